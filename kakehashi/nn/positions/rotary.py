"""Rotary positions: queries and keys turned by their position, so that their product knows the distance.

Shapes: B rows (1 when all rows have the same positions), L tokens, H heads (keys may have fewer), C size of a head.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from kakehashi.nn.positions.protocol import HeadSizes, Mode, Position, Positions


class Rope(Positions):
    """Su et al. 2021 (arXiv 2104.09864), section 3.2.2: the pair i of a query or key at position m turns by
    m theta^(-2i/C).

    Pairs are (i, i + C/2), as in GPT-NeoX and Llama; the paper's (2i, 2i + 1) is the same up to the order of the
    weights. Raises ValueError where the size of a head is odd.
    """

    in_attention = True
    kind: Literal["rope"] = "rope"
    theta: Annotated[float, Field(gt=1)] = 10000.0

    def build(self, sizes: HeadSizes, mode: Mode) -> Position:
        if sizes.key % 2:
            raise ValueError(f"rope turns pairs: it needs queries and keys of an even size in a head, not {sizes.key}")
        return RopePosition(self.theta)


class RopePosition(Position):
    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = theta

    def prepare(self, query_BQ: Tensor, key_BK: Tensor) -> dict[str, Tensor]:
        return {"new": query_BQ}  # of new keys too: those in a cache were turned when they were new

    def rotate(self, context: dict[str, Tensor], q_BHQC: Tensor, k_BHKC: Tensor) -> tuple[Tensor, Tensor]:
        size = q_BHQC.shape[-1]
        name = f"turns of {size}"
        if name not in context:
            context[name] = rotations(context["new"], size, self.theta).to(q_BHQC.dtype)
        return rotate(q_BHQC, context[name]), rotate(k_BHKC, context[name])


def rotations(positions_BL: Tensor, size: int, theta: float) -> Tensor:
    """Cosines and sines of all angles, [2, B, 1, L, C/2], in float64."""
    evens = torch.arange(0, size, 2, dtype=torch.float64, device=positions_BL.device)
    angles = positions_BL[:, None, :, None] * theta ** (-evens / size)
    return torch.stack((angles.cos(), angles.sin()))


def rotate(x_BHLC: Tensor, turns: Tensor) -> Tensor:
    """(a, b) -> (a cos - b sin, b cos + a sin), for each pair."""
    (a, b), (cos, sin) = x_BHLC.chunk(2, -1), turns
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
