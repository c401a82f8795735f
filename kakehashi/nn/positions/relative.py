"""Relative positions: what a score gets for the distance j - i from its query i to its key j.

Notable: a block of scores costs memory of its own size, whatever the whole. Distances are clipped to a short range, and
what belongs to each of that range is computed once and gathered, so that no tensor of [Q, K, C] ever is.

Shapes: B rows (1 when all rows have the same positions), Q queries, K keys, H heads, C key size, V value size,
M distances within the clipping range.
"""

import math
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from kakehashi.nn.positions.protocol import HeadSizes, Index, Mode, Position, Positions
from kakehashi.nn.precision import wide


def distances(context: dict[str, Tensor], rows: Index, columns: Index) -> Tensor:
    """Position of the key less that of the query, for a block [B, Q, K]."""
    return context["key"][:, None, columns] - context["query"][:, rows, None]


class Shaw(Positions):
    """Learned vectors for clipped distances, for keys and for values, in each layer. Shaw et al. 2018 (arXiv
    1803.02155), equations 3 and 4:

    e_ij = q_i (k_j + a^K_clip(j-i))^T / sqrt(d_k), z_i = sum_j softmax(e)_ij (v_j + a^V_clip(j-i)),
    clip(x) = max(-clip, min(x, clip)).

    Heads share the vectors. A causal stack has no keys ahead, and so no vectors for them.
    """

    in_attention = True
    kind: Literal["shaw"] = "shaw"
    clip: PositiveInt = 16

    def build(self, sizes: HeadSizes, mode: Mode) -> Position:
        return ShawPosition(-self.clip, 0 if mode == "causal" else self.clip, sizes)


class ShawPosition(Position):
    """For distances from `lowest` to `highest`; beyond these they are clipped."""

    shared = False
    has_values = True

    def __init__(self, lowest: int, highest: int, sizes: HeadSizes) -> None:
        super().__init__()
        self.lowest, self.highest = lowest, highest
        self.keys = nn.Embedding(highest - lowest + 1, sizes.key)
        self.vectors = nn.Embedding(highest - lowest + 1, sizes.value)

    def prepare(self, query_BQ: Tensor, key_BK: Tensor) -> dict[str, Tensor]:
        return {"query": query_BQ, "key": key_BK}

    def bias(self, context: dict[str, Tensor], q_BHQC: Tensor, rows: Index, columns: Index) -> Tensor:
        """q_i a^K for each distance of the range, gathered: [B, H, Q, M] -> [B, H, Q, K].

        Music Transformer (Huang et al. 2018, arXiv 1809.04281) skews [Q, Q + K] instead; clipped distances are fewer.
        """
        scores_BHQM = (q_BHQC @ self.keys.weight.T).to(wide(q_BHQC.dtype))
        return scores_BHQM.gather(-1, self._index(context, q_BHQC, rows, columns)).to(q_BHQC.dtype)

    def values(self, context: dict[str, Tensor], weights_BHQK: Tensor, rows: Index, columns: Index) -> Tensor:
        """The weights of each distance added up, times a^V: [B, H, Q, K] -> [B, H, Q, M] -> [B, H, Q, V]."""
        index = self._index(context, weights_BHQK, rows, columns)
        addends = weights_BHQK.to(wide(weights_BHQK.dtype))
        sums_BHQM = addends.new_zeros(*addends.shape[:3], self.vectors.num_embeddings).scatter_add(-1, index, addends)
        return sums_BHQM.to(weights_BHQK.dtype) @ self.vectors.weight

    def _index(self, context: dict[str, Tensor], like: Tensor, rows: Index, columns: Index) -> Tensor:
        """The place of each score's distance in the tables, [B, H, Q, K] with B and H of `like`, without a copy."""
        places_BQK = distances(context, rows, columns).clamp_(self.lowest, self.highest).sub_(self.lowest)
        return places_BQK[:, None].expand(*like.shape[:2], -1, -1)


class T5(Positions):
    """One learned number for each head and bucket of distances, added to the scores of all layers. Raffel et al. 2020
    (arXiv 1910.10683), section 2.1.

    Half of the buckets hold one distance each, the others logarithmically more, up to `max_distance`; the last holds
    all that lies beyond. A bidirectional stack spends half of all buckets on the keys ahead.
    """

    in_attention = True
    kind: Literal["t5"] = "t5"
    buckets: Annotated[int, Field(ge=4, multiple_of=2)] = 32
    max_distance: PositiveInt = 128

    @model_validator(mode="after")
    def _distances_grow(self) -> Self:
        if self.max_distance <= self.buckets // 2:
            raise ValueError(f"max_distance {self.max_distance} must be greater than half of buckets {self.buckets}")
        return self

    def build(self, sizes: HeadSizes, mode: Mode) -> Position:
        return T5Position(self.buckets, self.max_distance, sizes.heads, mode)


class T5Position(Position):
    def __init__(self, buckets: int, max_distance: int, heads: int, mode: Mode) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.mode: Mode = mode
        self.table = nn.Embedding(buckets, heads)

    def prepare(self, query_BQ: Tensor, key_BK: Tensor) -> dict[str, Tensor]:
        """`numbers` [H, M]: what each head adds for each distance; from max_distance on it is always the same."""
        reach = torch.arange(-self.max_distance, self.max_distance + 1, device=query_BQ.device)
        table = self.table.weight.to(wide(self.table.weight.dtype))
        numbers_MH = table[t5_buckets(reach, len(table), self.max_distance, self.mode)]
        return {"query": query_BQ, "key": key_BK, "numbers": numbers_MH.T}

    def bias(self, context: dict[str, Tensor], q_BHQC: Tensor, rows: Index, columns: Index) -> Tensor:
        reach, numbers_HM = self.max_distance, context["numbers"]
        places_BQK = distances(context, rows, columns).clamp_(-reach, reach).add_(reach)
        gathered = numbers_HM.gather(1, places_BQK.flatten().expand(len(numbers_HM), -1)).to(q_BHQC.dtype)
        return gathered.unflatten(1, places_BQK.shape).transpose(0, 1)


def t5_buckets(distance: Tensor, buckets: int, max_distance: int, mode: Mode) -> Tensor:
    """The bucket of each distance, of the same shape. Causal: keys ahead go with the query's own place."""
    first, far = torch.zeros_like(distance), (-distance).clamp(min=0)
    if mode == "bidirectional":
        buckets //= 2
        first, far = (distance > 0) * buckets, distance.abs()
    exact = buckets // 2
    # In fp32, as T5 does: at a bucket's edge another precision may choose its neighbour.
    growth = (far.clamp(min=1).float() / exact).log() / math.log(max_distance / exact)
    wider = (exact + (growth * (buckets - exact)).long()).clamp(max=buckets - 1)
    return first + torch.where(far < exact, far, wider)


class Alibi(Positions):
    """Scores fall linearly with the distance: -m_h |j - i|. Press et al. 2022 (arXiv 2108.12409), section 3.

    The slopes m_h are fixed, or learned from there on. A bidirectional stack sees both sides alike.
    """

    in_attention = True
    kind: Literal["alibi"] = "alibi"
    slopes: Literal["fixed", "learned"] = "fixed"

    def build(self, sizes: HeadSizes, mode: Mode) -> Position:
        return AlibiPosition(sizes.heads, self.slopes)


class AlibiPosition(Position):
    def __init__(self, heads: int, slopes: Literal["fixed", "learned"]) -> None:
        super().__init__()
        self.heads = heads
        self.slopes = nn.Parameter(torch.empty(heads)) if slopes == "learned" else None
        self.initialise(None)

    def initialise(self, generator: torch.Generator | None) -> None:
        """Learned slopes start as the fixed ones."""
        if self.slopes is not None:
            with torch.no_grad():
                self.slopes.copy_(alibi_slopes(self.heads))

    def prepare(self, query_BQ: Tensor, key_BK: Tensor) -> dict[str, Tensor]:
        slopes = alibi_slopes(self.heads).to(query_BQ.device) if self.slopes is None else self.slopes
        return {"query": query_BQ, "key": key_BK, "slopes": slopes}

    def bias(self, context: dict[str, Tensor], q_BHQC: Tensor, rows: Index, columns: Index) -> Tensor:
        slopes_H = context["slopes"].to(wide(q_BHQC.dtype))
        far_BQK = distances(context, rows, columns).abs_()
        return (slopes_H[:, None, None] * -far_BQK[:, None]).to(q_BHQC.dtype)


def alibi_slopes(heads: int) -> Tensor:
    """2^(-8h/H), h = 1..H, in float64 [H]; where H is no power of two, those of the power below, then every second
    one of the power above, as in the authors' code."""
    power = 2 ** (heads.bit_length() - 1)
    steps = [-8 * (h + 1) / power for h in range(power)] + [-4 * (2 * h + 1) / power for h in range(heads - power)]
    return 2.0 ** torch.tensor(steps, dtype=torch.float64)
