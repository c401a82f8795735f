"""What a mixer is: the half of a layer in which tokens look at each other, x [R, L, D] -> [R, L, D].

Everything that a mixer may need beside x travels in one `Context`, so that no signature grows with a new variant.
Shapes: R rows (hypotheses; sentences when training), N sentences, L tokens, S source tokens, D width.
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from kakehashi.nn.positions.protocol import HeadSizes, Mode, Position
from kakehashi.nn.state import State
from kakehashi.nn.variant import Variant


@dataclass(frozen=True)
class Encoded:
    """An encoded source: states [N, S, D]; mask [N, S], True where there is a token.

    more: what else a model's decoder wants to know of each sentence, batch on axis 0 (the last states of a recurrent
    encoder, say). losses: scalars that encoding adds to the task's loss.
    """

    states: Tensor
    mask: Tensor
    more: dict[str, Tensor] = field(default_factory=dict)
    losses: dict[str, Tensor] = field(default_factory=dict)

    def select(self, sentences: Tensor) -> "Encoded":
        """These sentences, by index [n], in this order."""
        more = {name: tensor[sentences] for name, tensor in self.more.items()}
        return Encoded(self.states[sentences], self.mask[sentences], more, self.losses)

    def begin(self) -> State:
        """The empty state of a generator that reads this source: one hypothesis a sentence."""
        state = State(len(self.states), self.states.device)
        more = {f"encoded.more.{name}": tensor for name, tensor in self.more.items()}
        state.sentence = {"encoded.states": self.states, "encoded.mask": self.mask, **more}
        return state

    @classmethod
    def of(cls, state: State) -> "Encoded":
        """The encoded source that a state began with; its losses are the encoder's alone."""
        held, prefix = state.sentence, "encoded.more."
        more = {name.removeprefix(prefix): held[name] for name in held if name.startswith(prefix)}
        return cls(held["encoded.states"], held["encoded.mask"], more)


@dataclass
class Context:
    """What surrounds x in one forward pass.

    positions: of x's tokens, [1 or R, L].
    mask: True where x has a token [R, L]; None: no padding that anyone can see (causal: padding stands behind).
    counted: the same, also where padding stands behind, for parts that count tokens; None: as `mask`.
    memory: the encoded source, for cross-attention. state: caches, when decoding step by step.
    alignments: when not None, attention appends its weights here: cross-attention [R, H, L, S]; where there is no
    memory, attention over the sequence itself, block by block of queries [R, H, Q, K].
    losses: by the name of the part that wants it, a scalar added to the loss a token.
    position, position_context: the position encoding of the layer at hand, and what it prepared for this forward.
    """

    positions: Tensor
    mask: Tensor | None = None
    counted: Tensor | None = None
    memory: Encoded | None = None
    state: State | None = None
    alignments: list[Tensor] | None = None
    losses: dict[str, Tensor] = field(default_factory=dict)
    position: Position = field(default_factory=Position)
    position_context: dict[str, Tensor] = field(default_factory=dict)


class MixerConfig(Variant):
    """The base of a mixer's config. `modes`: where its mixer can stand; `attends`: it uses the stack's positions;
    `aligns`: it can tell with what weights a token looks at every one before it (`Context.alignments`)."""

    modes: ClassVar[frozenset[Mode]] = frozenset({"bidirectional", "causal"})
    attends: ClassVar[bool] = False

    @property
    def aligns(self) -> bool:
        return False

    @abstractmethod
    def build(self, width: int, heads: int, mode: Mode, name: str) -> nn.Module:
        """A module `forward(x, context) -> x`. `name` is unique in the model: what it keeps in the state goes by it.

        Raises ValueError where width and heads do not go together with the options.
        """


@runtime_checkable
class Sized(Protocol):
    """The module of a mixer that attends and chooses the sizes of its heads; those of others are width / heads."""

    @property
    def sizes(self) -> HeadSizes: ...


@runtime_checkable
class Limited(Protocol):
    """A module, mixer or positions, that may know so many places only; None: any number."""

    @property
    def limit(self) -> int | None: ...
