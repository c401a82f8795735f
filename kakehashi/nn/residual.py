"""Residual blocks: where the norm stands around a sub-layer f, x [R, L, D] -> [R, L, D].

    post:      norm(x + f(x))               Vaswani et al. 2017 (arXiv 1706.03762), section 3.1
    pre:       x + f(norm(x))               Xiong et al. 2020 (arXiv 2002.04745)
    sandwich:  x + norm(f(norm(x)))         Ding et al. 2021 (CogView, arXiv 2105.13290), section 2.4
    deepnorm:  norm(alpha x + f(x))         Wang et al. 2022 (DeepNet, arXiv 2203.00555), figure 2

Dropout acts on what is added to x. Every placement has a factor `skip` on x: 1 in the papers, 0 without the residual
connection.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from kakehashi.nn.dropout import Dropout

Placement = Literal["pre", "post", "sandwich", "deepnorm"]


@dataclass(frozen=True)
class Depth:
    """How many layers a stack has, how many sub-layers each; `read_by`: layers of the decoder that reads it, or 0."""

    layers: int
    sublayers: int
    read_by: int = 0


class Residual(nn.Module):
    """The contract: a placement is one such class.

    ends_normed: the last block's output has passed a norm; else the stack adds one.
    gain: the factor with which the matrices that carry values through f start (models/initialisation.py).
    """

    ends_normed: ClassVar[bool] = False

    def __init__(self, norm: Callable[[], nn.Module], dropout: float, skip: float, depth: Depth) -> None:
        super().__init__()
        self.norm = norm()
        self.dropout = Dropout(dropout)
        self.skip = skip
        self.gain = 1.0

    @abstractmethod
    def forward(self, x: Tensor, inner: Callable[[Tensor], Tensor]) -> Tensor: ...

    def add(self, x: Tensor, update: Tensor) -> Tensor:
        """skip * x + dropout(update)."""
        return torch.add(self.dropout(update), x, alpha=self.skip)


class PreNorm(Residual):
    def forward(self, x: Tensor, inner: Callable[[Tensor], Tensor]) -> Tensor:
        return self.add(x, inner(self.norm(x)))


class PostNorm(Residual):
    ends_normed = True

    def forward(self, x: Tensor, inner: Callable[[Tensor], Tensor]) -> Tensor:
        return self.norm(self.add(x, inner(x)))


class Sandwich(Residual):
    def __init__(self, norm: Callable[[], nn.Module], dropout: float, skip: float, depth: Depth) -> None:
        super().__init__(norm, dropout, skip, depth)
        self.second_norm = norm()

    def forward(self, x: Tensor, inner: Callable[[Tensor], Tensor]) -> Tensor:
        return self.add(x, self.second_norm(inner(self.norm(x))))


class DeepNorm(Residual):
    ends_normed = True

    def __init__(self, norm: Callable[[], nn.Module], dropout: float, skip: float, depth: Depth) -> None:
        super().__init__(norm, dropout, skip, depth)
        alpha, self.gain = deepnorm(depth)
        self.skip = alpha * skip

    def forward(self, x: Tensor, inner: Callable[[Tensor], Tensor]) -> Tensor:
        return self.norm(self.add(x, inner(x)))


def deepnorm(depth: Depth) -> tuple[float, float]:
    """(alpha, beta) of DeepNet's figure 2, for N layers, in a decoder that follows an encoder too:

    a stack of its own           (2N)^(1/4)            (8N)^(-1/4)
    such a decoder               (3N)^(1/4)            (12N)^(-1/4)
    an encoder read by M layers  0.81 (N^4 M)^(1/16)   0.87 (N^4 M)^(-1/16)
    """
    if depth.read_by:
        root = (depth.layers**4 * depth.read_by) ** (1 / 16)
        return 0.81 * root, 0.87 / root
    sublayers = depth.sublayers * depth.layers
    return sublayers**0.25, (4 * sublayers) ** -0.25


PLACEMENTS: dict[Placement, type[Residual]] = {
    "pre": PreNorm,
    "post": PostNorm,
    "sandwich": Sandwich,
    "deepnorm": DeepNorm,
}
