"""Absolute positions, added to the embedded tokens once; and none at all.

Shapes: B rows (1 when all rows have the same positions), L tokens, D width.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from kakehashi.nn.positions.protocol import HeadSizes, Mode, Position, Positions


class NoPosition(Positions):
    """No positions: a bidirectional stack then sees a bag of tokens; a causal one can still learn order (NoPE)."""

    kind: Literal["none"] = "none"

    def build(self, sizes: HeadSizes, mode: Mode) -> Position:
        return Position()


class Sinusoidal(Positions):
    """Vaswani et al. 2017 (arXiv 1706.03762), section 3.5, added to the embeddings, sines and cosines interleaved:

    PE(pos, 2i) = sin(pos / 10000^(2i/D)), PE(pos, 2i+1) = cos(pos / 10000^(2i/D)).
    """

    kind: Literal["sinusoidal"] = "sinusoidal"

    def build(self, sizes: HeadSizes, mode: Mode) -> Position:
        if sizes.width % 2:
            raise ValueError(f"sinusoidal positions need an even width, not {sizes.width}")
        return SinusoidalPosition()


class SinusoidalPosition(Position):
    def embed(self, x_BLD: Tensor, positions_BL: Tensor) -> Tensor:
        return x_BLD + sinusoids(positions_BL, x_BLD.shape[-1], x_BLD.dtype)


def sinusoids(positions_BL: Tensor, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """PE(positions) [B, L, D], computed in float64 and rounded once to `dtype`."""
    evens = torch.arange(0, width, 2, dtype=torch.float64, device=positions_BL.device)
    angles = positions_BL[..., None] * 10000.0 ** (-evens / width)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2).to(dtype)


class Learned(Positions):
    """One learned vector for each position, added to the embeddings. Gehring et al. 2017 (arXiv 1705.03122), section
    3.1; Vaswani et al. 2017, table 3, row E. Nothing is known beyond `max_length`: longer sequences are an error.
    """

    kind: Literal["learned"] = "learned"
    max_length: PositiveInt = 1024

    def build(self, sizes: HeadSizes, mode: Mode) -> Position:
        return LearnedPosition(self.max_length, sizes.width)


class LearnedPosition(Position):
    def __init__(self, limit: int, width: int) -> None:
        super().__init__()
        self.limit = limit
        self.table = nn.Embedding(limit, width)

    def embed(self, x_BLD: Tensor, positions_BL: Tensor) -> Tensor:
        return x_BLD + self.table(positions_BL)
