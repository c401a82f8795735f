"""The contract of positions: how a stack knows the order of its tokens. For self-attention.

Shapes: B rows (1 when all rows have the same positions), L tokens, Q queries, K keys, H heads, C size of a head,
D width.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from kakehashi.nn.variant import Variant

Mode = Literal["bidirectional", "causal", "cross"]
"""Where a mixer stands: over the whole sequence, over the past only, or over the encoded source."""

Index = slice | Tensor
"""Which rows (queries) or columns (keys) of the scores a block holds: a run of them, or their indices."""


class Position(nn.Module):
    """The contract: hooks, each a no-op by default, called by the stack (`embed`, `prepare`) and by its attention."""

    shared: ClassVar[bool] = True  # one module for the whole stack; False: one for each layer that attends
    has_values: ClassVar[bool] = False  # True: attention asks for `values`, and so must hold its weights
    limit: int | None = None  # the longest sequence that it knows the positions of; None: any

    def embed(self, x_BLD: Tensor, positions_BL: Tensor) -> Tensor:
        """Called once, on the embedded tokens."""
        return x_BLD

    def prepare(self, query_BQ: Tensor, key_BK: Tensor) -> dict[str, Tensor]:
        """Called once a forward; O(queries + keys). What it returns is handed to the hooks below; they may add to it
        what depends on a layer's sizes, so that it is computed once."""
        return {}

    def rotate(self, context: dict[str, Tensor], q_BHQC: Tensor, k_BHKC: Tensor) -> tuple[Tensor, Tensor]:
        """Called on new queries and new keys only: cached keys were rotated when they were new. Keys may have fewer
        heads than queries."""
        return q_BHQC, k_BHKC

    def bias(self, context: dict[str, Tensor], q_BHQC: Tensor, rows: Index, columns: Index) -> Tensor | None:
        """What is added to the scores of a block, broadcastable to [B, H, Q, K], or None. `q` is the block's."""
        return None

    def values(self, context: dict[str, Tensor], weights_BHQK: Tensor, rows: Index, columns: Index) -> Tensor | float:
        """What is added to the attention's output [B, H, Q, C] of a block, given its weights."""
        return 0.0


@dataclass(frozen=True)
class HeadSizes:
    """Width of the model, its number of heads, key and value size of one head."""

    width: int
    heads: int
    key: int
    value: int


class Positions(Variant):
    """The base of a position's config. `in_attention`: it acts inside attention only, and does
    nothing in a stack that has none, which is an error."""

    in_attention: ClassVar[bool] = False

    @abstractmethod
    def build(self, sizes: HeadSizes, mode: Mode) -> Position:
        """Raises ValueError where the sizes do not go together with the options."""
