"""LSTM layers, the encoder that they make, and the stack of a decoder.

An LSTM layer (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000), given x_t:

    i, f, o = sigmoid, g = tanh of the four parts of W [x_t; h_(t-1)] + b;  c_t = f c_(t-1) + i g;  h_t = o tanh(c_t)

Shapes: N sentences, S source tokens, R = N * fanout hypotheses (N when training), L target tokens, M layers, D width.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from kakehashi.config import Config
from kakehashi.nn.dropout import Dropout
from kakehashi.nn.mixers.recurrence import backwards


class Layers(Config):
    """`depth` layers. From layer number `residual_from` (the bottom is 1) on, the output of a layer is added to its
    input: Wu et al. 2016 (GNMT, arXiv 1609.08144), section 3.1."""

    depth: PositiveInt = 2
    residual_from: Annotated[int, Field(ge=2)] = 3


class EncoderLayers(Layers):
    """direction: `both`, the bottom layer reads both ways, each with half the width (GNMT, section 3.2); `forward`;
    `backward`, all layers read the sentence from its end (Sutskever et al. 2014, section 3.3)."""

    direction: Literal["both", "forward", "backward"] = "both"


class LSTMLayer(nn.Module):
    """y = LSTM(dropout([x; context])), plus x in a residual layer. Without a context where it reads none."""

    def __init__(self, width: int, dropout: float, *, context: int = 0, residual: bool = False, ways: int = 1) -> None:
        super().__init__()
        self.context, self.residual = context, residual
        self.dropout = Dropout(dropout)
        self.lstm = nn.LSTM(width + context, width // ways, batch_first=True, bidirectional=ways == 2)

    def initialise(self, generator: torch.Generator | None) -> None:
        """Each gate's matrix: Glorot for the input, orthogonal for the recurrence (Saxe et al. 2014); biases zero but
        the forget gate's, which is one (Jozefowicz et al. 2015): a new layer remembers."""
        for name, parameter in self.lstm.named_parameters():
            for gate, part in zip("ifgo", parameter.chunk(4), strict=True):
                if name.startswith("weight_ih"):
                    nn.init.xavier_uniform_(part, generator=generator)
                elif name.startswith("weight_hh"):
                    nn.init.orthogonal_(part, generator=generator)
                else:  # of torch's two biases, which add up
                    nn.init.constant_(part, 1.0 if gate == "f" and name.startswith("bias_ih") else 0.0)

    def forward(self, x_RLD: Tensor, past_R2D: Tensor, context_RLC: Tensor | None) -> tuple[Tensor, Tensor]:
        """y [R, L, D], and h and c [R, 2, D] behind it."""
        read = x_RLD if self.context == 0 or context_RLC is None else torch.cat((x_RLD, context_RLC), -1)
        inputs = self.dropout(read)
        h, c = past_R2D.unbind(1)
        if inputs.shape[1] == 1:  # the same as below, a quarter cheaper to train
            h, c = torch.lstm_cell(inputs[:, 0], (h, c), *self.lstm.all_weights[0])
            y = h[:, None]
        else:
            y, (h, c) = self.lstm(inputs, (h[None].contiguous(), c[None].contiguous()))
            h, c = h[0], c[0]
        return y + x_RLD if self.residual else y, torch.stack((h, c), 1)

    def read(self, packed: PackedSequence) -> tuple[PackedSequence, Tensor]:
        """The same over whole sentences from a state of zeros, without padding; both ways side by side."""
        output, last = self.lstm(_with(packed, self.dropout(packed.data)))
        y = output.data + packed.data if self.residual else output.data
        return _with(packed, y), torch.stack([half.transpose(0, 1).flatten(1) for half in last], 1)


def _with(packed: PackedSequence, data: Tensor) -> PackedSequence:
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


class LSTMEncoder(nn.Module):
    """Embedded source x [N, S, D] and its mask -> states [N, S, D] (zero in padding) and `last` [N, M, 2, D]: h and c
    of each layer behind the last token that it reads."""

    def __init__(self, config: EncoderLayers, width: int, dropout: float) -> None:
        super().__init__()
        if config.direction == "both" and width % 2:
            raise ValueError(f"encoder.direction both needs an even width, not {width}")
        self.backward = config.direction == "backward"
        ways = [2 if config.direction == "both" and i == 0 else 1 for i in range(config.depth)]
        self.layers = nn.ModuleList(
            LSTMLayer(width, dropout, residual=i + 1 >= config.residual_from, ways=ways[i]) for i in range(config.depth)
        )

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        lengths = mask.sum(1)
        x = backwards(x, lengths) if self.backward else x
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        last: list[Tensor] = []
        for layer in self.layers:
            assert isinstance(layer, LSTMLayer)
            packed, end = layer.read(packed)
            last.append(end)
        states = pad_packed_sequence(packed, batch_first=True, total_length=mask.shape[1])[0]
        return backwards(states, lengths) if self.backward else states, torch.stack(last, 1)


class LSTMStack(nn.Module):
    """The decoder's layers, of which those with an index in `readers` read a context beside what is below them."""

    def __init__(self, config: Layers, width: int, dropout: float, readers: Sequence[int] = ()) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            LSTMLayer(width, dropout, context=width if i in readers else 0, residual=i + 1 >= config.residual_from)
            for i in range(config.depth)
        )

    def forward(
        self, x: Tensor, past_RM2D: Tensor, context: Tensor | None = None, layers: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """x [R, L, D] through these layers, which remember past [R, M, 2, D] -> their output and what they remember."""
        ends: list[Tensor] = []
        for layer, past_R2D in zip(self.layers[layers], past_RM2D[:, layers].unbind(1), strict=True):
            x, end = layer(x, past_R2D, context)
            ends.append(end)
        return x, torch.stack(ends, 1)
