"""Scores: how well a key answers a query. Attention's weights are their soft-max over the keys.

Shapes: B rows, H query heads, G groups of them that share keys (G = H unless keys are grouped), S heads of a group,
Q queries, K keys, C key size, V value size.
"""

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

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
        scores = self._scores(q_BHQC, k_BGKC)
        return (scores if bias_BHQK is None else scores + bias_BHQK).softmax(-1)

    def attend(self, q_BHQC: Tensor, k_BGKC: Tensor, v_BGKV: Tensor, bias_BHQK: Tensor | None) -> Tensor:
        return kernels.mix(self.weights(q_BHQC, k_BGKC, bias_BHQK), v_BGKV)

    def _scores(self, q_BHQC: Tensor, k_BGKC: Tensor) -> Tensor:
        """[B, H, Q, K], block by block; training computes each block again for its gradient."""
        rows, heads, _, size = q_BHQC.shape
        pairs = max(1, _BLOCK // (rows * heads * size))
        keys = min(pairs, k_BGKC.shape[2])
        grouped = q_BHQC.unflatten(1, (k_BGKC.shape[1], -1))
        scores = [
            torch.cat([self._block(q, k) for k in k_BGKC.split(keys, 2)], -1) for q in grouped.split(pairs // keys, 3)
        ]
        return torch.cat(scores, 3).flatten(1, 2)

    def _block(self, q_BGSQC: Tensor, k_BGKC: Tensor) -> Tensor:
        """[B, G, S, Q, K]."""

        def compute(q: Tensor, k: Tensor, vector: Tensor) -> Tensor:
            return ((q[..., None, :] + k[:, :, None, None]).tanh() * vector).sum(-1)

        vector_GS11C = self.vector.view(*q_BGSQC.shape[1:3], 1, 1, -1)
        return checkpoint(compute, q_BGSQC, k_BGKC, vector_GS11C, use_reentrant=False, preserve_rng_state=False)


ScoreConfig = Annotated[Dot | Additive, Family()]
