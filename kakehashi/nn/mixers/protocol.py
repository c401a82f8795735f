"""What a mixer is: the half of a layer in which tokens look at each other, x [R, L, D] -> [R, L, D].

Everything that a mixer may need beside x travels in one `Context`, so that no signature grows with a new variant.
Shapes: R rows (hypotheses; sentences when training), N sentences, L tokens, S source tokens, D width.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor

from kakehashi.nn.positions import Position
from kakehashi.nn.state import State

Mode = Literal["bidirectional", "causal", "cross"]
"""Where a mixer stands: over the whole sequence, over the past only, or over the encoded source."""


class Memory(NamedTuple):
    """An encoded source: states [N, S, D]; mask [N, S], True where there is a token."""

    states: Tensor
    mask: Tensor


@dataclass
class Context:
    """What surrounds x in one forward pass.

    positions: of x's tokens, [1 or R, L].
    mask: True where x has a token [R, L]; None: no padding that anyone can see (causal: padding stands behind).
    memory: the encoded source, for cross-attention. state: caches, when decoding step by step.
    alignments: when not None, cross-attention appends its weights [R, H, L, S] here. losses: added to the task's loss.
    position, position_context: the position encoding of the layer at hand, and what it prepared for this forward.
    """

    positions: Tensor
    mask: Tensor | None = None
    memory: Memory | None = None
    state: State | None = None
    alignments: list[Tensor] | None = None
    losses: dict[str, Tensor] = field(default_factory=dict)
    position: Position = field(default_factory=Position)
    position_context: dict[str, Tensor] = field(default_factory=dict)
