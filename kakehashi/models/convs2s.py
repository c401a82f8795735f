"""Convolutional sequence to sequence learning: Gehring et al. 2017 (arXiv 1705.03122).

Left out: weight normalisation, and the encoder's gradient divided by the number of attentions (section 3.5), which
Adam would multiply back.
Shapes: N sentences, S source tokens, R = N * fanout hypotheses (N when training), L tokens, V vocabulary, D width.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import glu

from kakehashi.config import Config
from kakehashi.models.initialisation import initialise
from kakehashi.models.protocol import Encoded, Output, State, Vocabulary
from kakehashi.nn import kernels
from kakehashi.nn.dropout import Dropout
from kakehashi.nn.embeddings import Embedding, Embeddings
from kakehashi.nn.mixers.convolution import Window
from kakehashi.nn.positions import Mode
from kakehashi.nn.variant import Variant

_HALF = math.sqrt(0.5)  # keeps the variance of a sum of two (section 3.5)


class Blocks(Config):
    """`depth` blocks, each of which reads windows of `kernel` tokens."""

    depth: PositiveInt = 6
    kernel: PositiveInt = 3


class ConvS2S(Variant):
    """Gated convolutions in encoder and decoder, learned positions, and attention in every decoder block.

    With glu([a; b]) = a sigmoid(b), z = W_z h^depth + b_z the encoder's states and e, g the embedded source and target
    (words and positions), the blocks are (sections 3.2 to 3.4; `+'` is a sum of two times sqrt(0.5)):

        encoder  h^0 = W e + b;  h^l = glu(W^l [h^(l-1)_(i-k/2) .. h^(l-1)_(i+k/2)] + b^l) +' h^(l-1);  z' = z +' e
        decoder  h^0 = W g + b;  y = glu(W^l [h^(l-1)_(i-k+1) .. h^(l-1)_i] + b^l)
                 d = (W_d y + b_d) +' g;  a = softmax(d . z);  c = W_c sqrt(m) sum_j a_j z'_j + b_c, m source tokens
                 h^l = (y +' c) +' h^(l-1)

    Scores are not divided by anything, so embeddings start small (`scale: none`): unit ones would choose one token.
    max_length: how many positions have a vector of their own; those beyond (a long pair of a development set) share the
    last one's.
    """

    kind: Literal["convs2s"] = "convs2s"
    width: PositiveInt = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    max_length: PositiveInt = 1024
    embeddings: Embeddings = Embeddings(scale="none")
    encoder: Blocks = Blocks()
    decoder: Blocks = Blocks()

    def build(self, source: Vocabulary, target: Vocabulary) -> "ConvS2SModel":
        """Raises ValueError where the settings contradict each other."""
        return ConvS2SModel(self, source, target)


class LearnedPositions(nn.Module):
    """Positions [R, L] -> vectors [R, L, D], as large as those of words."""

    def __init__(self, config: ConvS2S) -> None:
        super().__init__()
        self.vectors = Embedding(config.max_length, config.width, config.embeddings.scale)

    def forward(self, positions: Tensor) -> Tensor:
        return self.vectors(positions.clamp(max=self.vectors.table.num_embeddings - 1))


class GatedConvolution(nn.Module):
    """x [R, L, D] -> glu(W window(dropout(x)) + b) [R, L, D]. Equation of section 3.2."""

    def __init__(self, width: int, dropout: float, window: Window) -> None:
        super().__init__()
        self.window, self.kept = window, 1 - dropout
        self.dropout = Dropout(dropout)
        self.weight = nn.Parameter(torch.empty(2 * width, window.kernel * width))
        self.bias = nn.Parameter(torch.empty(2 * width))

    def initialise(self, generator: torch.Generator | None) -> None:
        """N(0, 4 p / inputs), p the probability of being kept: a gate takes a quarter of the variance. Section 3.5."""
        nn.init.normal_(self.weight, std=math.sqrt(4 * self.kept / self.weight.shape[1]), generator=generator)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, state: State | None = None) -> Tensor:
        windows = self.window.taps(self.dropout(x), mask, state)
        return glu(nn.functional.linear(windows, self.weight, self.bias), -1)


class ConvEncoder(nn.Module):
    """Embedded source e [N, S, D] -> z [N, S, D]."""

    def __init__(self, config: Blocks, width: int, dropout: float) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width, width), nn.Linear(width, width)
        self.blocks = nn.ModuleList(_convolutions(config, width, dropout, "bidirectional"))

    def forward(self, e: Tensor, mask: Tensor) -> Tensor:
        h = self.first(e)
        for block in self.blocks:
            h = (block(h, mask) + h) * _HALF
        return self.last(h)


def _convolutions(config: Blocks, width: int, dropout: float, mode: Mode) -> list[GatedConvolution]:
    windows = [Window(config.kernel, mode, f"{mode}.{i}") for i in range(config.depth)]
    return [GatedConvolution(width, dropout, window) for window in windows]


class ConvAttention(nn.Module):
    """Attention of one decoder block: y, g [R, L, D] -> c [R, L, D] and its weights [R, L, S]. Section 3.3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.output = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, y: Tensor, g: Tensor, encoded: Encoded) -> tuple[Tensor, Tensor]:
        d = (self.query(y) + g) * _HALF
        d_NQD = d.reshape(len(encoded.states), -1, d.shape[-1])  # a sentence's hypotheses are queries of one row
        bias = kernels.hide(encoded.mask, d.dtype)[:, None]
        weights_NQS = (d_NQD @ encoded.states.transpose(1, 2) + bias).softmax(-1)
        scale = encoded.mask.sum(-1).to(d.dtype).sqrt()[:, None, None]
        c_NQD = weights_NQS @ encoded.more["values"] * scale
        return self.output(c_NQD.view(d.shape)), weights_NQS.view(*d.shape[:2], -1)


class ConvDecoder(nn.Module):
    """Embedded target g [R, L, D] -> hidden [R, L, D] and the weights [R, L, S] of each block's attention."""

    def __init__(self, config: Blocks, width: int, dropout: float) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width, width), nn.Linear(width, width)
        self.blocks = nn.ModuleList(_convolutions(config, width, dropout, "causal"))
        self.attentions = nn.ModuleList(ConvAttention(width) for _ in range(config.depth))

    def forward(self, g: Tensor, encoded: Encoded, state: State | None) -> tuple[Tensor, list[Tensor]]:
        h, found = self.first(g), list[Tensor]()
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            y = block(h, state=state)
            c, weights = attention(y, g, encoded)
            h = ((y + c) * _HALF + h) * _HALF
            found.append(weights)
        return self.last(h), found


class ConvS2SModel(nn.Module):
    """Satisfies `models.protocol.Translating`."""

    def __init__(self, config: ConvS2S, source: Vocabulary, target: Vocabulary) -> None:
        super().__init__()
        self.config, self.source_vocabulary, self.target_vocabulary = config, source, target
        self.max_length: int | None = config.max_length
        tables = config.embeddings.build(source.size, target.size, config.width)
        self.source_embedding, self.target_embedding = tables
        self.source_positions = LearnedPositions(config)
        self.target_positions = LearnedPositions(config)
        self.dropout = Dropout(config.dropout)
        self.encoder = ConvEncoder(config.encoder, config.width, config.dropout)
        self.decoder = ConvDecoder(config.decoder, config.width, config.dropout)
        self.projection = config.embeddings.project(config.width, target.size)
        initialise(self)
        config.embeddings.connect(self.projection, self.target_embedding, target.pad)

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        """source [N, S] ids, mask [N, S] True where there is a token."""
        positions = torch.arange(source.shape[1], device=source.device)[None]
        e = self.dropout(self.source_embedding(source) + self.source_positions(positions))
        z = self.encoder(e, mask)
        return Encoded(z, mask, more={"values": (z + e) * _HALF})

    def decode(self, tokens: Tensor, encoded: Encoded, alignment: bool = False) -> Output:
        """tokens [N, L], the first of them `begin` -> what follows each. Padding must stand behind."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        return self._generate(tokens, positions, encoded, None, alignment)

    def begin(self, encoded: Encoded) -> State:
        """An empty state, one hypothesis a sentence."""
        return encoded.begin()

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        """tokens [R, L] behind those taken in -> what follows each."""
        positions = state.positions(tokens.shape[1])
        output = self._generate(tokens, positions, Encoded.of(state), state, alignment)
        state.advance(tokens.shape[1])
        return output

    def _generate(
        self, tokens: Tensor, positions: Tensor, encoded: Encoded, state: State | None, alignment: bool
    ) -> Output:
        g = self.dropout(self.target_embedding(tokens) + self.target_positions(positions))
        hidden, weights = self.decoder(g, encoded, state)
        aligned = torch.stack(weights).mean(0) if alignment else None
        return Output(self.dropout(hidden), self.projection.weight, self.projection.bias, alignment=aligned)
