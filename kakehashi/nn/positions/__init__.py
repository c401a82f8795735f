"""Positions: how a stack knows the order of its tokens. The union is the registry."""

from typing import Annotated

from kakehashi.config import Family
from kakehashi.nn.positions.absolute import Learned, NoPosition, Sinusoidal, sinusoids
from kakehashi.nn.positions.protocol import Index, Mode, Position
from kakehashi.nn.positions.relative import T5, Alibi, Shaw
from kakehashi.nn.positions.rotary import Rope

PositionConfig = Annotated[NoPosition | Sinusoidal | Learned | Shaw | T5 | Alibi | Rope, Family()]

__all__ = [
    "T5",
    "Alibi",
    "Index",
    "Learned",
    "Mode",
    "NoPosition",
    "Position",
    "PositionConfig",
    "Rope",
    "Shaw",
    "Sinusoidal",
    "sinusoids",
]
