"""What the search asks of a strategy, and the settings that every strategy has.

Shapes: B sentences in the batch, F live hypotheses a sentence (1 before the first token, then `size`), R = B * F rows,
V vocabulary, C candidates a sentence.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from kakehashi.config import Config
from kakehashi.decoding.processors import ProcessorConfig


@dataclass(frozen=True)
class Candidates:
    """Continuations by one token, best first; a total of -inf marks a place that nothing fills.

    `parents` [B, C]: which of the sentence's live hypotheses is continued; `tokens` [B, C]: by what;
    `log_probabilities` [B, C]: that token's; `totals` [B, C]: the sum over the whole hypothesis.
    """

    parents: Tensor
    tokens: Tensor
    log_probabilities: Tensor
    totals: Tensor

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Candidates":
        return Candidates(*map(change, (self.parents, self.tokens, self.log_probabilities, self.totals)))

    def rows(self, count: int) -> "Candidates":
        """The same in so many rows: those of a sentence's groups, one after the other, or back."""
        return self if len(self.parents) == count else self._each(lambda x: x.reshape(count, -1))

    def first(self, count: int) -> "Candidates":
        """The best so many of each row."""
        return self if self.parents.shape[1] == count else self._each(lambda x: x[:, :count])

    def of(self, sentences: Tensor) -> "Candidates":
        """Those of these sentences, by index [n]."""
        return self._each(lambda x: x.index_select(0, sentences))

    @classmethod
    def joined(cls, parts: "Sequence[Candidates]") -> "Candidates":
        """One after the other in each row."""
        fields = zip(*((p.parents, p.tokens, p.log_probabilities, p.totals) for p in parts), strict=True)
        return cls(*(torch.cat(tensors, 1) for tensors in fields))

    def ordered(self, places: Tensor) -> "Candidates":
        """Those at these places of each row."""
        return self._each(lambda x: x.gather(1, places))


@dataclass(frozen=True)
class Frontier:
    """The live hypotheses of one step. Log-probability of token v in row r = logits[r, v] - normalizers[r].

    `logits` [R, V]: fp32, -inf where a processor forbids, lower where one reweighs; `normalizers` [R]: the model's;
    `totals` [B, F]: log-probabilities so far;
    `keys` [B]: a number for what each sentence's source says; `length`: tokens emitted, the next one counted.
    """

    logits: Tensor
    normalizers: Tensor
    totals: Tensor
    keys: Tensor
    length: int


class Strategy(Protocol):
    """Which continuations to follow. The search keeps `size` live hypotheses a sentence, in `groups` of one size that
    end and stop each for itself. `weighs_coverage`: it scores by what the source's words have received."""

    size: int
    groups: int
    weighs_coverage: bool

    def expand(self, frontier: Frontier) -> Candidates:
        """The candidates of one step: those of one group after the other, each best first; none changes its group."""
        ...

    def score(self, totals: Tensor, lengths: Tensor | int, received: Tensor | None) -> Tensor:
        """By what hypotheses are ranked, from their log-probabilities, their lengths (the end included), and how much
        attention each source token has received in all, [..., S], where `weighs_coverage`."""
        ...

    def bound(self, totals_B: Tensor, limits_B: Tensor) -> Tensor:
        """The highest score that a live hypothesis with this total can still reach within the limit."""
        ...


class DecodingSettings(Config):
    """Lengths are counted in emitted tokens, the end included.

    A sentence's limit is min(max_length, source length + extra_length) (Vaswani et al. 2017, section 6.1).
    """

    max_length: Annotated[int, Field(ge=1)] = 256
    extra_length: Annotated[int, Field(ge=0)] = 50
    min_length: Annotated[int, Field(ge=1)] = 1
    processors: tuple[ProcessorConfig, ...] = ()

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length {self.min_length} is greater than max_length {self.max_length}")
        return self

    @abstractmethod
    def build(self) -> Strategy: ...
