"""Scores: how well a key answers a query. Attention's weights are their soft-max over the keys.

Shapes: B rows, H query heads, G groups of them that share keys (G = H unless keys are grouped), S heads of a group,
Q queries, K keys, C key size, V value size.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from kakehashi.config import Family
from kakehashi.nn import kernels
from kakehashi.nn.variant import Variant

_BLOCK = 2**22  # numbers at once in additive attention, which has one for each query, key and unit of a head


class Score(nn.Module):
    """The contract. `scale`: of the projected queries, before positions see them; `formula`: in words, for readers."""

    scale: float
    formula: ClassVar[str]

    @abstractmethod
    def weights(self, q_BHQC: Tensor, k_BGKC: Tensor, bias_BHQK: Tensor | None) -> Tensor:
        """softmax(scores + bias) [B, H, Q, K]."""

    @abstractmethod
    def attend(self, q_BHQC: Tensor, k_BGKC: Tensor, v_BGKV: Tensor, bias_BHQK: Tensor | None) -> Tensor:
        """The weights times V, [B, H, Q, V], where no one needs to see them."""


class Scores(Variant):
    """The base of a score's config."""

    @abstractmethod
    def build(self, heads: int, key_size: int) -> Score: ...


class Dot(Scores):
    """q^T k / sqrt(d_k): Vaswani et al. 2017 (arXiv 1706.03762), section 3.2.1. Without the root, scores of unit
    queries and keys would have the variance d_k."""

    kind: Literal["dot"] = "dot"

    def build(self, heads: int, key_size: int) -> Score:
        return DotScore(key_size)


class Additive(Scores):
    """v^T tanh(W q + U k), with W, U and v of each head: Bahdanau et al. 2015 (arXiv 1409.0473), appendix A.1.2.

    Attention's projections are W and U. Costs d_k times the memory traffic of `dot`, in bounded blocks.
    """

    kind: Literal["additive"] = "additive"

    def build(self, heads: int, key_size: int) -> Score:
        return AdditiveScore(heads, key_size)


class DotScore(Score):
    formula: ClassVar[str] = "Q K^T / sqrt(d_k)"

    def __init__(self, key_size: int) -> None:
        super().__init__()
        self.scale = key_size**-0.5

    def weights(self, q_BHQC: Tensor, k_BGKC: Tensor, bias_BHQK: Tensor | None) -> Tensor:
        return kernels.weights(q_BHQC, k_BGKC, bias_BHQK)

    def attend(self, q_BHQC: Tensor, k_BGKC: Tensor, v_BGKV: Tensor, bias_BHQK: Tensor | None) -> Tensor:
        return kernels.attend(q_BHQC, k_BGKC, v_BGKV, bias_BHQK)


class AdditiveScore(Score):
    formula: ClassVar[str] = "v^T tanh(Q + K)"
    scale = 1.0

    def __init__(self, heads: int, key_size: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.empty(heads, key_size))

    def initialise(self, generator: torch.Generator | None) -> None:
        """Glorot's bound of a layer from d_k units to one score."""
        bound = (6 / (self.vector.shape[1] + 1)) ** 0.5
        nn.init.uniform_(self.vector, -bound, bound, generator)

    def weights(self, q_BHQC: Tensor, k_BGKC: Tensor, bias_BHQK: Tensor | None) -> Tensor:
        groups = k_BGKC.shape[1]
        q_BGSQC, vector_GSC = q_BHQC.unflatten(1, (groups, -1)), self.vector.unflatten(0, (groups, -1))
        scores_BHQK = additive(q_BGSQC, k_BGKC, vector_GSC).flatten(1, 2)
        return (scores_BHQK if bias_BHQK is None else scores_BHQK + bias_BHQK).softmax(-1)

    def attend(self, q_BHQC: Tensor, k_BGKC: Tensor, v_BGKV: Tensor, bias_BHQK: Tensor | None) -> Tensor:
        return kernels.mix(self.weights(q_BHQC, k_BGKC, bias_BHQK), v_BGKV)


def additive(q_BGSQC: Tensor, k_BGKC: Tensor, vector_GSC: Tensor) -> Tensor:
    """v^T tanh(q + k), [B, G, S, Q, K], whose units [B, G, S, Q, K, C] are never held but in blocks."""
    return _AdditiveScores.apply(q_BGSQC, k_BGKC, vector_GSC)  # pyright: ignore[reportReturnType]


class _AdditiveScores(torch.autograd.Function):
    """[B, G, S, Q, K] in blocks; backward computes each block again, so that none is kept."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, vector: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, vector)
        scores = q.new_empty(*q.shape[:4], k.shape[2])
        for rows, columns in _blocks(q, k):
            units = _units(q, k, rows, columns)
            scores[..., rows, columns] = units.mul_(vector[:, :, None, None]).sum(-1)
        return scores

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, vector = ctx.saved_tensors
        of_q, of_k, of_vector = (torch.zeros_like(x) for x in (q, k, vector))
        for rows, columns in _blocks(q, k):
            gradient = gradients[0][..., rows, columns, None]
            units = _units(q, k, rows, columns)
            of_vector += (gradient * units).sum((0, 3, 4))
            of_sum = units.square_().neg_().add_(1).mul_(vector[:, :, None, None]).mul_(gradient)
            of_q[:, :, :, rows] += of_sum.sum(4)
            of_k[:, :, columns] += of_sum.sum((2, 3))
        return of_q, of_k, of_vector


def _blocks(q_BGSQC: Tensor, k_BGKC: Tensor) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the scores: whole rows if they fit, else pieces of one."""
    queries, keys = q_BGSQC.shape[3], k_BGKC.shape[2]
    pairs = max(1, _BLOCK * queries // q_BGSQC.numel())
    wide = min(pairs, keys)
    for row in range(0, queries, pairs // wide):
        for column in range(0, keys, wide):
            yield slice(row, row + pairs // wide), slice(column, column + wide)


def _units(q_BGSQC: Tensor, k_BGKC: Tensor, rows: slice, columns: slice) -> Tensor:
    """tanh(q + k) of a block, [B, G, S, Q, K, C]."""
    return (q_BGSQC[:, :, :, rows, None] + k_BGKC[:, :, None, None, columns]).tanh_()


ScoreConfig = Annotated[Dot | Additive, Family()]
