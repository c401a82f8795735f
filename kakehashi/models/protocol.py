"""What search, tasks and serving know of a model: nothing but this.

Shapes: N sentences, S source tokens, R hypotheses (N when training), L tokens, V vocabulary, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from kakehashi.errors import UserError
from kakehashi.nn.mixers.protocol import Encoded, Losses
from kakehashi.nn.state import State

__all__ = ["Encoded", "Encoder", "Generator", "Output", "Predicting", "State", "Translating", "Vocabulary"]


@dataclass(frozen=True)
class Vocabulary:
    """How many ids there are, and which are special. Two of these may be one: some models begin with the padding."""

    size: int
    pad: int = 0
    begin: int = 1
    end: int = 2
    unknown: int = 3


@dataclass
class Output:
    """What a generator says of each position.

    hidden [R, L, D]; projection [V, D] and bias [V] take it to the vocabulary; alignment [R, L, S]: how much each
    position looks at each source token, when asked for, and None where no attention tells;
    losses: further scalars, by part, to add to the loss a token (balance of experts, say), the encoder's among them.
    project: a cheaper way from hidden to logits than those two (models/int8.py).
    """

    hidden: Tensor
    projection: Tensor
    bias: Tensor | None = None
    alignment: Tensor | None = None
    losses: Losses = field(default_factory=Losses)
    project: Callable[[Tensor], Tensor] | None = None

    @property
    def logits(self) -> Tensor:
        """[R, L, V], in the model's precision. Training does not need them: see nn/losses.py."""
        if self.project is not None:
            return self.project(self.hidden)
        logits = self.hidden @ self.projection.T
        return logits if self.bias is None else logits + self.bias

    @property
    def attention(self) -> Tensor:
        """The alignment that was asked for, in fp32. Raises UserError where no attention tells."""
        if self.alignment is None:
            raise UserError(
                "this model has no attention to its source, which alone could tell what a translated word goes back "
                "to: leave the alignment out, and the coverage_penalty"
            )
        return self.alignment.float()


class Encoder(Protocol):
    """Reads a whole sequence."""

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        """source [N, S] ids; mask [N, S], True where there is a token."""
        ...


class Predicting(Encoder, Protocol):
    """Says what stands at each place of a sequence that it has read as a whole."""

    def predict(self, encoded: Encoded) -> Output: ...


class Generator(Protocol):
    """Writes a sequence token by token."""

    @property
    def target_vocabulary(self) -> Vocabulary: ...

    def decode(self, tokens: Tensor, encoded: Encoded, alignment: bool = False) -> Output:
        """All positions at once (teacher forcing): tokens [N, L], the first of them `begin`."""
        ...

    def begin(self, encoded: Encoded) -> State:
        """An empty state with one hypothesis a sentence."""
        ...

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        """The next tokens [R, L], one or many, after those that the state has taken in; the state takes them in."""
        ...


class Translating(Encoder, Generator, Protocol):
    """An encoder and a generator in one: what translation needs, and a language model, whose source is empty [N, 0]."""

    @property
    def source_vocabulary(self) -> Vocabulary: ...

    @property
    def max_length(self) -> int | None:
        """The longest sequence it can take; None: no limit of its own."""
        ...
