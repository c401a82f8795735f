"""Positions: how a stack knows the order of its tokens. For self-attention.

Shapes: B rows (1 when all rows have the same positions), L tokens, Q queries, K keys, H heads, C size of a head,
D width.
"""

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from kakehashi.config import Family
from kakehashi.nn.variant import Variant

Mode = Literal["bidirectional", "causal", "cross"]
"""Where a mixer stands: over the whole sequence, over the past only, or over the encoded source."""

Index = slice | Tensor
"""Which rows (queries) or columns (keys) of the scores a block holds: a run of them, or their indices."""


class Position(nn.Module):
    """The contract: hooks, each a no-op by default, called by the stack (`embed`, `prepare`) and by its attention."""

    shared: ClassVar[bool] = True  # one module for the whole stack; False: one for each layer
    has_values: ClassVar[bool] = False  # True: attention asks for `values`, and so must hold its weights

    def embed(self, x_BLD: Tensor, positions_BL: Tensor) -> Tensor:
        """Called once, on the embedded tokens."""
        return x_BLD

    def prepare(self, query_BQ: Tensor, key_BK: Tensor) -> dict[str, Tensor]:
        """Called once a forward; O(queries + keys). What it returns is handed to the hooks below; they may add to it
        what depends on a layer's sizes, so that it is computed once."""
        return {}

    def rotate(self, context: dict[str, Tensor], q_BHQC: Tensor, k_BHKC: Tensor) -> tuple[Tensor, Tensor]:
        """Called on new queries and new keys only: cached keys were rotated when they were new."""
        return q_BHQC, k_BHKC

    def bias(self, context: dict[str, Tensor], q_BHQC: Tensor, rows: Index, columns: Index) -> Tensor | None:
        """What is added to the scores of a block, broadcastable to [B, H, Q, K], or None."""
        return None

    def values(self, context: dict[str, Tensor], weights_BHQK: Tensor, rows: Index, columns: Index) -> Tensor | float:
        """What is added to the attention's output [B, H, Q, C] of a block, given its weights."""
        return 0.0


class Positions(Variant):
    """The base of a position's config. `in_attention`: it acts inside attention only, and does
    nothing in a stack that has none, which is an error."""

    in_attention: ClassVar[bool] = False

    @abstractmethod
    def build(self, width: int, heads: int, mode: Mode) -> Position:
        """Raises ValueError where width and heads do not go together with the options."""


class NoPosition(Positions):
    """No positions: a bidirectional stack then sees a bag of tokens; a causal one can still learn order (NoPE)."""

    kind: Literal["none"] = "none"

    def build(self, width: int, heads: int, mode: Mode) -> Position:
        return Position()


class Sinusoidal(Positions):
    """Vaswani et al. 2017 (arXiv 1706.03762), section 3.5, added to the embeddings, sines and cosines interleaved:

    PE(pos, 2i) = sin(pos / 10000^(2i/D)), PE(pos, 2i+1) = cos(pos / 10000^(2i/D)).
    """

    kind: Literal["sinusoidal"] = "sinusoidal"

    def build(self, width: int, heads: int, mode: Mode) -> Position:
        if width % 2:
            raise ValueError(f"sinusoidal positions need an even width, not {width}")
        return SinusoidalPosition()


class SinusoidalPosition(Position):
    def embed(self, x_BLD: Tensor, positions_BL: Tensor) -> Tensor:
        return x_BLD + sinusoids(positions_BL, x_BLD.shape[-1], x_BLD.dtype)


def sinusoids(positions_BL: Tensor, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """PE(positions) [B, L, D], computed in float64 and rounded once to `dtype`."""
    evens = torch.arange(0, width, 2, dtype=torch.float64, device=positions_BL.device)
    angles = positions_BL[..., None] * 10000.0 ** (-evens / width)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2).to(dtype)


PositionConfig = Annotated[NoPosition | Sinusoidal, Family()]
