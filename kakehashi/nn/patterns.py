"""Patterns: who may look at whom, by position alone. (What depends on content is a mixer of its own.)

A pattern says it twice, and a law holds the two equal: `allowed`, a predicate on positions, and `key_blocks`, the keys
that a block of queries needs at all, so that blocked computation can skip the rest.
"""

from typing import Annotated, Literal, Protocol

import torch
from torch import Tensor

from kakehashi.config import Family
from kakehashi.nn.variant import Variant


class Pattern(Protocol):
    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        """True where the query at a position may look at the key at a position, [B, Q, K]; None = everywhere."""
        ...

    def key_blocks(self, first_query: int, last_query: int, keys: int) -> slice:
        """The smallest run of key positions that holds all that these queries (ends included) may look at."""
        ...


class Full(Variant):
    """Everyone looks at everyone."""

    kind: Literal["full"] = "full"

    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        return None

    def key_blocks(self, first_query: int, last_query: int, keys: int) -> slice:
        return slice(0, keys)


class Causal(Variant):
    """No one looks ahead: key position <= query position. Decoders have it without asking."""

    kind: Literal["causal"] = "causal"

    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        return key_BK[:, None, :] <= query_BQ[:, :, None]

    def key_blocks(self, first_query: int, last_query: int, keys: int) -> slice:
        return slice(0, min(keys, last_query + 1))


class Both(Variant):
    """Two patterns composed with *and*."""

    kind: Literal["both"] = "both"
    first: "PatternConfig" = Full()
    second: "PatternConfig" = Full()

    def allowed(self, query_BQ: Tensor, key_BK: Tensor) -> Tensor | None:
        masks = [p.allowed(query_BQ, key_BK) for p in (self.first, self.second)]
        given = [mask for mask in masks if mask is not None]
        return torch.stack(given).all(0) if given else None

    def key_blocks(self, first_query: int, last_query: int, keys: int) -> slice:
        a, b = (p.key_blocks(first_query, last_query, keys) for p in (self.first, self.second))
        return slice(max(a.start, b.start), min(a.stop, b.stop))


PatternConfig = Annotated[Full | Causal | Both, Family()]
