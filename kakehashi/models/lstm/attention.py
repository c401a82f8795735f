"""How an LSTM decoder attends to the source: the family, and a decoder for each.

Where attention feeds back into the layers below it (`bahdanau`, and `luong` with `feeding: input`), the decoder goes
token by token; elsewhere every layer runs over the whole target in one call.
Shapes: N sentences, S source tokens, R = N * fanout hypotheses (N when training), Q queries, L target tokens, M layers,
D width.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from kakehashi.config import Family
from kakehashi.models.lstm.layers import Layers, LSTMStack
from kakehashi.models.protocol import Encoded, State
from kakehashi.nn import kernels, scores
from kakehashi.nn.variant import Law, Variant

Past = dict[str, Tensor]
"""What a decoder remembers of each hypothesis, [R, ...]: `layers` [R, M, 2, D], h and c of each; and what is fed."""

Decoded = tuple[Tensor, Tensor | None, Past]
"""hidden [R, L, D], the attention's weights [R, L, S] where there are any, and what is remembered from now on."""


class Product(nn.Module):
    """Luong et al. 2015, equation 8: score(q, h) = q . h (`dot`) or q . W h (`general`)."""

    def __init__(self, width: int, score: Literal["dot", "general"]) -> None:
        super().__init__()
        self.key = nn.Linear(width, width, bias=False) if score == "general" else nn.Identity()

    def forward(self, q_NQD: Tensor, keys_NSD: Tensor) -> Tensor:
        return q_NQD @ keys_NSD.transpose(1, 2)


class Additive(nn.Module):
    """Bahdanau et al. 2015, section A.1.2: score(q, h) = v . tanh(W q + U h)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, q_NQD: Tensor, keys_NSD: Tensor) -> Tensor:
        one_head = self.query(q_NQD)[:, None, None], keys_NSD[:, None], self.score.weight[None]
        return scores.additive(*one_head)[:, 0, 0]


@dataclass(frozen=True)
class Source:
    """What a decoder attends to: the states [N, S, D], their keys, and what hides padding, [N, 1, S]."""

    values: Tensor
    keys: Tensor
    bias: Tensor

    @classmethod
    def of(cls, scorer: Product | Additive, encoded: Encoded, state: State | None) -> "Source":
        """The keys are computed once a sentence."""
        key, states = scorer.key, encoded.states
        keys = key(states) if state is None else state.once("keys", lambda: key(states))
        return cls(states, keys, kernels.hide(encoded.mask, states.dtype)[:, None])


def attend(scorer: Product | Additive, q_RLD: Tensor, source: Source) -> tuple[Tensor, Tensor]:
    """context [R, L, D] = weights [R, L, S] times states; weights = softmax(scores).

    All hypotheses of a sentence share its keys, as further queries of one row.
    """
    q_NQD = q_RLD.reshape(len(source.keys), -1, q_RLD.shape[-1])
    weights_NQS = (scorer(q_NQD, source.keys) + source.bias).softmax(-1)
    context_NQD = weights_NQS @ source.values
    return context_NQD.view(q_RLD.shape), weights_NQS.view(*q_RLD.shape[:2], -1)


class Decoder(nn.Module):
    """The contract."""

    @abstractmethod
    def forward(self, x: Tensor, encoded: Encoded, past: Past, state: State | None) -> Decoded:
        """Takes in the embedded target x [R, L, D]."""


class Attending(Variant):
    """The base of how a decoder attends."""

    @abstractmethod
    def build(self, layers: Layers, width: int, dropout: float) -> Decoder:
        """Raises ValueError where there are too few layers."""


class NoAttention(Attending):
    """All that the decoder knows of the source is the encoder's last states: Sutskever et al. 2014 (arXiv 1409.3215).

    hidden_t = h_t of the top layer.
    """

    breaks: ClassVar[Mapping[Law, str]] = {"alignment": "it has no attention"}
    kind: Literal["none"] = "none"

    def build(self, layers: Layers, width: int, dropout: float) -> Decoder:
        return PlainDecoder(layers, width, dropout)


class PlainDecoder(Decoder):
    def __init__(self, layers: Layers, width: int, dropout: float) -> None:
        super().__init__()
        self.stack = LSTMStack(layers, width, dropout)

    def forward(self, x: Tensor, encoded: Encoded, past: Past, state: State | None) -> Decoded:
        hidden, end = self.stack(x, past["layers"])
        return hidden, None, {"layers": end}


class Bahdanau(Attending):
    """Bahdanau et al. 2015 (arXiv 1409.0473), sections 3.1 and A.2.2, with LSTM layers in the place of one GRU:

    c_t = attend(h_(t-1) of the top layer), additive; the bottom layer reads [E y_t; c_t];
    hidden_t [j] = max over k = 2j, 2j + 1 of (W [h_t; E y_t; c_t] + b)[k].

    The context depends on the last state and is part of the next one, so the decoder goes token by token.
    """

    kind: Literal["bahdanau"] = "bahdanau"

    def build(self, layers: Layers, width: int, dropout: float) -> Decoder:
        return BahdanauDecoder(layers, width, dropout)


class BahdanauDecoder(Decoder):
    def __init__(self, layers: Layers, width: int, dropout: float) -> None:
        super().__init__()
        self.stack = LSTMStack(layers, width, dropout, readers=[0])
        self.scorer = Additive(width)
        self.output = nn.Linear(3 * width, 2 * width)

    def forward(self, x: Tensor, encoded: Encoded, past: Past, state: State | None) -> Decoded:
        source, end = Source.of(self.scorer, encoded, state), past["layers"]
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for x_R1D in x.split(1, 1):
            context, weights = attend(self.scorer, end[:, -1:, 0], source)
            h, end = self.stack(x_R1D, end, context)
            found.append((h, context, weights))
        h, context, weights = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        hidden = self.output(torch.cat((h, x, context), -1)).unflatten(-1, (-1, 2)).amax(-1)
        return hidden, weights, {"layers": end}


class Luong(Attending):
    """Luong et al. 2015 (arXiv 1508.04025), global attention, sections 3.1 and 3.3:

    c_t = attend(h_t of the top layer), `score` dot or general; hidden_t = tanh(W [c_t; h_t]).

    feeding: `input`, the bottom layer reads [E y_t; hidden_(t-1)], token by token; `none`, it does not, and the decoder
    runs over the whole target at once.
    """

    kind: Literal["luong"] = "luong"
    score: Literal["dot", "general"] = "general"
    feeding: Literal["input", "none"] = "input"

    def build(self, layers: Layers, width: int, dropout: float) -> Decoder:
        return LuongDecoder(self, layers, width, dropout)


class LuongDecoder(Decoder):
    def __init__(self, config: Luong, layers: Layers, width: int, dropout: float) -> None:
        super().__init__()
        self.fed = config.feeding == "input"
        self.stack = LSTMStack(layers, width, dropout, readers=[0] if self.fed else [])
        self.scorer = Product(width, config.score)
        self.output = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor, encoded: Encoded, past: Past, state: State | None) -> Decoded:
        source = Source.of(self.scorer, encoded, state)
        end, last = past["layers"], past.get("fed", torch.zeros_like(x[:, 0]))[:, None]
        found: list[tuple[Tensor, Tensor]] = []
        for piece in x.split(1, 1) if self.fed else [x]:
            h, end = self.stack(piece, end, last)
            context, weights = attend(self.scorer, h, source)
            last = self.output(torch.cat((context, h), -1)).tanh()
            found.append((last, weights))
        hidden, weights = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        return hidden, weights, {"layers": end, **({"fed": last[:, 0]} if self.fed else {})}


class GNMT(Attending):
    """Wu et al. 2016 (GNMT, arXiv 1609.08144), section 3 and figure 1: additive attention from the bottom layer.

    c_t = attend(h_t of the bottom layer); each layer above reads [what is below it; c_t]; hidden_t = h_t of the top.
    The paper attends by h_(t-1), which has not yet seen y_t. Nothing flows back down, so every layer runs over the
    whole target at once.
    """

    kind: Literal["gnmt"] = "gnmt"

    def build(self, layers: Layers, width: int, dropout: float) -> Decoder:
        if layers.depth < 2:
            raise ValueError("attention gnmt feeds the layers above the bottom one: it needs decoder.depth 2 or more")
        return GNMTDecoder(layers, width, dropout)


class GNMTDecoder(Decoder):
    def __init__(self, layers: Layers, width: int, dropout: float) -> None:
        super().__init__()
        self.stack = LSTMStack(layers, width, dropout, readers=range(1, layers.depth))
        self.scorer = Additive(width)

    def forward(self, x: Tensor, encoded: Encoded, past: Past, state: State | None) -> Decoded:
        source = Source.of(self.scorer, encoded, state)
        bottom, first = self.stack(x, past["layers"], layers=slice(1))
        context, weights = attend(self.scorer, bottom, source)
        hidden, others = self.stack(bottom, past["layers"], context, slice(1, None))
        return hidden, weights, {"layers": torch.cat((first, others), 1)}


AttentionConfig = Annotated[NoAttention | Bahdanau | Luong | GNMT, Family()]
