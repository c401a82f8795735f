"""Patterns: who may look at whom, by position alone. (What depends on content is a mixer of its own.)

A pattern says it twice, and a law holds the two equal: `allowed`, a predicate on positions, and `groups` with
`keys_of`: queries cut into groups, and the keys that a group needs at all, so that attention skips the rest.
Everyone sees themselves in every pattern, so that no composition leaves a query with nothing to see.
"""

from abc import abstractmethod
from functools import reduce
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor

from kakehashi.config import Family
from kakehashi.nn.variant import Variant

_GRAIN = 64  # queries in a group at least: smaller ones save less than they cost to start


class Pattern(Variant):
    """The contract."""

    @abstractmethod
    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        """True where the query at a position may look at the key at a position, [B, Q, K]; None = everywhere."""

    @abstractmethod
    def groups(self, queries: int) -> tuple[range, ...]:
        """The queries 0, 1, ... cut into groups whose keys are much the same: blocks, or every n-th query."""

    @abstractmethod
    def keys_of(self, queries: range, count: int) -> range | Tensor:
        """Those of the first `count` positions, which hold the queries' own, that queries at these positions may look
        at, ascending; a tensor is on the CPU. Of a single query: no other ones."""


class Full(Pattern):
    """Everyone looks at everyone."""

    kind: Literal["full"] = "full"

    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        return None

    def groups(self, queries: int) -> tuple[range, ...]:
        return (range(queries),)

    def keys_of(self, queries: range, count: int) -> range | Tensor:
        return range(count)


class Causal(Pattern):
    """No one looks ahead: key position <= query position. Decoders have it without asking."""

    kind: Literal["causal"] = "causal"

    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        return key_BK[:, None, :] <= query_BQ[:, :, None]

    def groups(self, queries: int) -> tuple[range, ...]:
        return (range(queries),)

    def keys_of(self, queries: range, count: int) -> range | Tensor:
        return range(min(count, queries[-1] + 1))


class Window(Pattern):
    """The neighbours: |query - key| <= size. Beltagy et al. 2020 (Longformer, arXiv 2004.05150), section 3.1.

    O(length * size). A dilated window is `both` of this and `strided`.
    """

    kind: Literal["window"] = "window"
    size: PositiveInt = 32

    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        return (query_BQ[:, :, None] - key_BK[:, None, :]).abs() <= self.size

    def groups(self, queries: int) -> tuple[range, ...]:
        return _blocks(queries, max(self.size, _GRAIN))

    def keys_of(self, queries: range, count: int) -> range | Tensor:
        return range(max(0, queries[0] - self.size), min(count, queries[-1] + self.size + 1))


class Strided(Pattern):
    """Every `stride`th: (query - key) mod stride = 0. Child et al. 2019 (arXiv 1904.10509), section 4.3, A^(2).

    O(length^2 / stride), so O(length^1.5) with a stride near sqrt(length). Layers that alternate with `window` of that
    size are the paper's strided Transformer.
    """

    kind: Literal["strided"] = "strided"
    stride: PositiveInt = 4

    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        return (query_BQ[:, :, None] - key_BK[:, None, :]) % self.stride == 0

    def groups(self, queries: int) -> tuple[range, ...]:
        if queries <= _GRAIN:
            return (range(queries),)
        return tuple(range(first, queries, self.stride) for first in range(min(self.stride, queries)))

    def keys_of(self, queries: range, count: int) -> range | Tensor:
        if len(queries) == 1 or queries.step % self.stride == 0:
            return range(queries[0] % self.stride, count, self.stride)
        seen = torch.zeros(self.stride, dtype=torch.bool)
        seen[torch.tensor(queries) % self.stride] = True
        return torch.arange(count)[seen.repeat(-(-count // self.stride))[:count]]


class Fixed(Pattern):
    """One's own block of `stride`, and the last `summary` places of every block: key mod stride >= stride - summary.

    Child et al. 2019 (arXiv 1904.10509), section 4.3: A^(1) and A^(2) of fixed attention, merged in one head (5.1).
    O(length * (stride + length * summary / stride)).
    """

    kind: Literal["fixed"] = "fixed"
    stride: PositiveInt = 32
    summary: PositiveInt = 4

    @model_validator(mode="after")
    def _summary_fits(self) -> "Fixed":
        if self.summary > self.stride:
            raise ValueError(f"summary {self.summary} must not exceed the stride {self.stride}")
        return self

    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        summary = key_BK % self.stride >= self.stride - self.summary
        return summary[:, None, :] | _same_block(query_BQ, key_BK, self.stride)

    def groups(self, queries: int) -> tuple[range, ...]:
        return _blocks(queries, _whole(self.stride))

    def keys_of(self, queries: range, count: int) -> range | Tensor:
        blocks = torch.arange(-(-count // self.stride)) * self.stride
        summaries = (blocks[:, None] + torch.arange(self.stride - self.summary, self.stride)).flatten()
        own = range(queries[0] // self.stride * self.stride, (queries[-1] // self.stride + 1) * self.stride)
        found = _union(summaries, own)
        return found[found < count]


class Global(Pattern):
    """The first `count` positions see all and are seen by all; the others see themselves.

    Beltagy et al. 2020 (Longformer, arXiv 2004.05150), section 3.1; Zaheer et al. 2020 (BigBird, arXiv 2007.14062),
    section 2, ITC. Made for `either`: either(window, global, random) is BigBird. O(length * count).
    """

    kind: Literal["global"] = "global"
    count: PositiveInt = 1

    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        query, key = query_BQ[:, :, None], key_BK[:, None, :]
        return (query < self.count) | (key < self.count) | (query == key)

    def groups(self, queries: int) -> tuple[range, ...]:
        first = range(min(self.count, queries))
        rest = _blocks(queries - len(first), _GRAIN)
        return first, *(range(block.start + len(first), block.stop + len(first)) for block in rest)

    def keys_of(self, queries: range, count: int) -> range | Tensor:
        if queries[0] < self.count:
            return range(count)
        return _union(range(min(self.count, count)), range(queries[0], queries[-1] + 1))


class Random(Pattern):
    """Blocks of `block` positions; each draws `count` blocks at or before itself, and both ends of a draw see each
    other, as do the positions of one block.

    Zaheer et al. 2020 (BigBird, arXiv 2007.14062), section 2 and appendix D, where draws are made among all blocks.
    Here a draw depends on seed and block alone: not on a length that decoding does not know. O(length * block * count).
    """

    kind: Literal["random"] = "random"
    block: PositiveInt = 64
    count: PositiveInt = 3
    seed: NonNegativeInt = 0

    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        query, key = query_BQ // self.block, key_BK // self.block
        allowed = query[:, :, None] == key[:, None, :]
        for ours, theirs in zip(self._draws(query).unbind(-1), self._draws(key).unbind(-1), strict=True):
            allowed = allowed | (ours[:, :, None] == key[:, None, :]) | (query[:, :, None] == theirs[:, None, :])
        return allowed

    def groups(self, queries: int) -> tuple[range, ...]:
        return _blocks(queries, _whole(self.block))

    def keys_of(self, queries: range, count: int) -> range | Tensor:
        first, last = queries[0] // self.block, queries[-1] // self.block
        own, every = torch.arange(first, last + 1), torch.arange(-(-count // self.block))
        draws = self._draws(every)
        drawn_by = every[((first <= draws) & (draws <= last)).any(-1)]
        blocks = torch.cat((own, self._draws(own).flatten(), drawn_by)).unique()
        found = (blocks[:, None] * self.block + torch.arange(self.block)).flatten()
        return found[found < count]

    def _draws(self, block: Tensor) -> Tensor:
        """[...] -> [..., count]: a hash of seed, block and number of the draw (multiply and shift, twice)."""
        x = block[..., None] * self.count + torch.arange(self.count, device=block.device)
        x = x ^ (self.seed * 0x9E3779B1 & 0xFFFFFFFF)
        for _ in range(2):
            x = (x ^ x >> 16) * 0x45D9F3B & 0xFFFFFFFF
        return (x ^ x >> 16) % (block[..., None] + 1)


class Composed(Pattern):
    """Several patterns as one. Its groups are those of the member with which it needs the fewest keys a query."""

    patterns: tuple["PatternConfig", ...] = Field(min_length=1)

    def groups(self, queries: int) -> tuple[range, ...]:
        cuts = list(dict.fromkeys(pattern.groups(queries) for pattern in self.patterns))
        if len(cuts) == 1:
            return cuts[0]
        return min(
            cuts, key=lambda cut: len(self.keys_of(cut[len(cut) // 2], queries))
        )  # the middle stands for the rest


class Both(Composed):
    """All of the patterns must allow it. By itself a dilated window (Longformer, section 3.1)."""

    kind: Literal["both"] = "both"
    patterns: tuple["PatternConfig", ...] = Field(default=(Window(), Strided()), min_length=1)

    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        masks = [pattern.allowed(query_BQ, key_BK) for pattern in self.patterns]
        given = [mask for mask in masks if mask is not None]
        return reduce(torch.logical_and, given) if given else None

    def keys_of(self, queries: range, count: int) -> range | Tensor:
        return reduce(_intersection, (pattern.keys_of(queries, count) for pattern in self.patterns))


class Either(Composed):
    """One of the patterns must allow it. By itself BigBird (Zaheer et al. 2020, section 2).

    What their groups do not share is computed and hidden: `either` of `window` and `strided` costs as much as `full`,
    so let layers alternate between them.
    """

    kind: Literal["either"] = "either"
    patterns: tuple["PatternConfig", ...] = Field(default=(Window(), Global(), Random()), min_length=1)

    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        masks = [pattern.allowed(query_BQ, key_BK) for pattern in self.patterns]
        given = [mask for mask in masks if mask is not None]
        return reduce(torch.logical_or, given) if len(given) == len(masks) else None

    def keys_of(self, queries: range, count: int) -> range | Tensor:
        return reduce(_union, (pattern.keys_of(queries, count) for pattern in self.patterns))


PatternConfig = Annotated[
    Full | Causal | Window | Strided | Fixed | Global | Random | Both | Either,
    Family(),
]


def _blocks(queries: int, size: int) -> tuple[range, ...]:
    return tuple(range(start, min(start + size, queries)) for start in range(0, queries, size))


def _whole(block: int) -> int:
    """The fewest whole blocks that are a grain."""
    return block * -(-_GRAIN // block)


def _same_block(query_BQ: Tensor, key_BK: Tensor, size: int) -> Tensor:
    return (query_BQ // size)[:, :, None] == (key_BK // size)[:, None, :]


def _intersection(one: range | Tensor, other: range | Tensor) -> range | Tensor:
    if isinstance(one, range) and isinstance(other, range) and one.step == other.step == 1:
        return range(max(one.start, other.start), min(one.stop, other.stop))
    one = _tensor(one)
    return one[torch.isin(one, _tensor(other), assume_unique=True)]


def _union(one: range | Tensor, other: range | Tensor) -> Tensor:
    return torch.cat((_tensor(one), _tensor(other))).unique()


def _tensor(keys: range | Tensor) -> Tensor:
    return keys if isinstance(keys, Tensor) else torch.arange(keys.start, keys.stop, keys.step)
