"""Feed-forwards: the position-wise half of a layer, x [R, L, D] -> [R, L, D].

Like a mixer, a feed-forward gets the `Context` of the forward pass: experts need to know padding and add a loss.
Shapes: R rows, L tokens of each, D width; T tokens of all rows, E experts, K choices a token.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kakehashi.config import Family
from kakehashi.nn.mixers.protocol import Context
from kakehashi.nn.precision import wide
from kakehashi.nn.variant import Law, Variant

Activation = Callable[[Tensor], Tensor]


class FeedForwardConfig(Variant):
    """The base of a feed-forward's config."""

    @abstractmethod
    def build(self, width: int) -> nn.Module:
        """A module `forward(x, context) -> x`. Raises ValueError where options contradict each other."""


class ReLU(FeedForwardConfig):
    """FFN(x) = max(0, x W1 + b1) W2 + b2. Vaswani et al. 2017, equation 2."""

    kind: Literal["relu"] = "relu"
    size: PositiveInt = 2048

    def build(self, width: int) -> nn.Module:
        return PlainFeedForward(width, self.size, torch.relu_)


class GELU(FeedForwardConfig):
    """The same with x Phi(x), Phi the normal distribution. Hendrycks and Gimpel 2016 (arXiv 1606.08415)."""

    kind: Literal["gelu"] = "gelu"
    size: PositiveInt = 2048

    def build(self, width: int) -> nn.Module:
        return PlainFeedForward(width, self.size, functional.gelu)


class Swish(FeedForwardConfig):
    """The same with x sigmoid(x), also called SiLU. Ramachandran et al. 2017 (arXiv 1710.05941), beta = 1."""

    kind: Literal["swish"] = "swish"
    size: PositiveInt = 2048

    def build(self, width: int) -> nn.Module:
        return PlainFeedForward(width, self.size, functional.silu)


class GELUTanh(FeedForwardConfig):
    """The same with GELU's approximation 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). Hendrycks and Gimpel 2016,
    section 2; what GPT-2 has."""

    kind: Literal["gelu_tanh"] = "gelu_tanh"
    size: PositiveInt = 2048

    def build(self, width: int) -> nn.Module:
        return PlainFeedForward(width, self.size, partial(functional.gelu, approximate="tanh"))


class GELUSigmoid(FeedForwardConfig):
    """The same with GELU's approximation x sigmoid(1.702 x). Hendrycks and Gimpel 2016, section 2."""

    kind: Literal["gelu_sigmoid"] = "gelu_sigmoid"
    size: PositiveInt = 2048

    def build(self, width: int) -> nn.Module:
        return PlainFeedForward(width, self.size, gelu_sigmoid)


def gelu_sigmoid(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


class PlainFeedForward(nn.Module):
    def __init__(self, width: int, size: int, activation: Activation) -> None:
        super().__init__()
        self.inner = nn.Linear(width, size)
        self.outer = nn.Linear(size, width)
        self.activation = activation

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.outer(self.activation(self.inner(x)))


# Gated linear units, Shazeer 2020 (arXiv 2002.05202): three matrices and no bias. The default size is two thirds of
# the plain ones', so that three matrices hold as many numbers as their two.


class GLU(FeedForwardConfig):
    """FFN(x) = (sigmoid(x W) * x V) W2. Shazeer 2020, equation 6, after Dauphin et al. 2016 (arXiv 1612.08083)."""

    kind: Literal["glu"] = "glu"
    size: PositiveInt = 1365

    def build(self, width: int) -> nn.Module:
        return GatedFeedForward(width, self.size, torch.sigmoid)


class ReGLU(FeedForwardConfig):
    """FFN(x) = (max(0, x W) * x V) W2. Shazeer 2020, equation 6."""

    kind: Literal["reglu"] = "reglu"
    size: PositiveInt = 1365

    def build(self, width: int) -> nn.Module:
        return GatedFeedForward(width, self.size, torch.relu)


class GEGLU(FeedForwardConfig):
    """FFN(x) = (GELU(x W) * x V) W2. Shazeer 2020, equation 6."""

    kind: Literal["geglu"] = "geglu"
    size: PositiveInt = 1365

    def build(self, width: int) -> nn.Module:
        return GatedFeedForward(width, self.size, functional.gelu)


class SwiGLU(FeedForwardConfig):
    """FFN(x) = (Swish(x W) * x V) W2. Shazeer 2020, equation 6."""

    kind: Literal["swiglu"] = "swiglu"
    size: PositiveInt = 1365

    def build(self, width: int) -> nn.Module:
        return GatedFeedForward(width, self.size, functional.silu)


class GatedFeedForward(nn.Module):
    def __init__(self, width: int, size: int, activation: Activation) -> None:
        super().__init__()
        self.gate = nn.Linear(width, size, bias=False)
        self.inner = nn.Linear(width, size, bias=False)
        self.outer = nn.Linear(size, width, bias=False)
        self.activation = activation

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.outer(self.activation(self.gate(x)) * self.inner(x))


Dense = Annotated[ReLU | GELU | GELUTanh | GELUSigmoid | Swish | GLU | ReGLU | GEGLU | SwiGLU, Family()]
"""What every token goes through."""


class Experts(FeedForwardConfig):
    """A mixture of experts: FFN(x) = sum of p_i(x) E_i(x) over the `top` likeliest of the experts, p = softmax(x W).

    Shazeer et al. 2017 (arXiv 1701.06538); the formula as in Switch Transformer, Fedus et al. 2021 (arXiv 2101.03961),
    equations 1 and 2: p is not normalised again over the chosen, so that the router learns with top = 1 too.

    balance: the weight of a loss, E * sum of f_i P_i with f_i expert i's share of all choices and P_i its mean
    probability (equation 4 there): 1 when all experts are used alike.
    capacity: an expert takes at most capacity * top / experts of a batch's tokens, equation 3; choices beyond that are
    dropped, second ones before first ones (GShard, Lepikhin et al. 2020, arXiv 2006.16668). None: it takes all.
    """

    breaks: ClassVar[Mapping[Law, str]] = {
        "gradients": "an expert to which no token is sent learns nothing from it",
        "bf16": "a token between two experts may go to the other one when it is rounded",
    }
    kind: Literal["experts"] = "experts"
    experts: PositiveInt = 8
    top: PositiveInt = 2
    expert: Dense = ReLU()
    balance: NonNegativeFloat = 0.01
    capacity: PositiveFloat | None = None

    def exceptions(self) -> Mapping[Law, str]:
        if self.capacity is None:
            return self.breaks
        reason = "all tokens of a batch share an expert's room, later ones and those of other rows too"
        laws: tuple[Law, ...] = ("causality", "source", "padding", "batch", "step", "alignment")
        return {**self.breaks, **dict.fromkeys(laws, reason)}

    def build(self, width: int) -> nn.Module:
        if self.top > self.experts:
            raise ValueError(f"a token cannot go to the top {self.top} of {self.experts} experts")
        return ExpertsFeedForward(self, width)


@dataclass(frozen=True)
class Use:
    """How the experts were used: the share of all choices that fell on each [E], and the share that was dropped."""

    shares: Tensor
    dropped: float


class ExpertsFeedForward(nn.Module):
    """`use` tells of the last forward pass. Padding is neither sent to an expert nor counted; it becomes 0."""

    use: Use | None = None

    def __init__(self, config: Experts, width: int) -> None:
        super().__init__()
        self.config = config
        self.router = nn.Linear(width, config.experts, bias=False)
        self.experts = nn.ModuleList(config.expert.build(width) for _ in range(config.experts))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        counted = context.mask if context.counted is None else context.counted
        if counted is None:
            return self._mix(x.flatten(0, 1), context).view_as(x)
        mixed = torch.zeros_like(x)
        mixed[counted] = self._mix(x[counted], context)
        return mixed

    def _mix(self, x_TD: Tensor, context: Context) -> Tensor:
        """Sorts the choices by expert, so that each expert runs once, on its tokens only."""
        precise = wide(x_TD.dtype)
        probabilities_TE = self.router(x_TD).softmax(-1, dtype=precise)
        gates_TK, choices_TK = probabilities_TE.topk(self.config.top)
        gates, choices = gates_TK.T.flatten().to(x_TD.dtype), choices_TK.T.flatten()  # all first ones, all second ones
        counts = choices.bincount(minlength=len(self.experts))
        groups = choices.argsort(stable=True).split(counts.tolist())
        room, sent = self._room(len(choices)), 0
        mixed = torch.zeros_like(x_TD)
        for expert, group in zip(self.experts, groups, strict=True):
            kept = group[:room]
            tokens = kept % len(x_TD)
            mixed.index_add_(0, tokens, expert(x_TD[tokens], context) * gates[kept, None])
            sent += len(kept)
        shares = counts.to(precise) / len(choices)
        balance = len(self.experts) * (shares * probabilities_TE.mean(0)).sum()
        context.losses["balance"] = context.losses.get("balance", 0) + self.config.balance * balance
        self.use = Use(shares, 1 - sent / len(choices))
        return mixed

    def _room(self, choices: int) -> int | None:
        """How many tokens an expert takes."""
        if self.config.capacity is None:
            return None
        return math.ceil(self.config.capacity * choices / len(self.experts))


def use_of_experts(model: nn.Module) -> dict[str, float]:
    """By name of a layer with experts: the share of all choices that its busiest one got, and the share dropped."""
    uses = [(name, part.use) for name, part in model.named_modules() if isinstance(part, ExpertsFeedForward)]
    return {
        f"{name}.{figure}": value
        for name, use in uses
        if use is not None
        for figure, value in (("busiest", use.shares.max().item()), ("dropped", use.dropped))
    }


FeedForward = Annotated[ReLU | GELU | GELUTanh | GELUSigmoid | Swish | GLU | ReGLU | GEGLU | SwiGLU | Experts, Family()]
