"""What interop knows of a format, and of whoever translates with it.

Formats and their libraries are imported here and nowhere else: the core needs none of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kakehashi.errors import UserError
from kakehashi.translator import Translator

BATCH = 16  # sentences at once
LONGEST = 128  # tokens that a compared translation has at most, its end included

Pieces = list[str]
"""A sentence as pieces of its vocabulary, without special ones."""


@dataclass(frozen=True)
class Languages:
    """Codes of source and target, where the user gave them."""

    source: str | None = None
    target: str | None = None

    def of(self, directory: Path, source: str | None = None, target: str | None = None) -> tuple[str, str]:
        """Both, from what a directory says where the user says nothing. Raises UserError when neither does."""
        source, target = self.source or source, self.target or target
        if not source or not target:
            raise UserError(f"{directory} does not say between which languages it translates: give --from and --to")
        return source, target


@dataclass(frozen=True)
class Limits:
    """What a report must keep.

    log_probability, mean: the largest difference of a token's log-probability, and the mean one, in nats (None: no
    other); identical: the share of outputs, greedy and beam, that must be the same (near ties may turn over); tested:
    the same where there is a test set, whose lines are less strange to the model than the sample's; score: points of
    BLEU and chrF; weights: where they are rounded, the largest difference of one as a share of the largest of its
    tensor.
    """

    log_probability: float = 1e-3
    mean: float | None = None
    identical: float = 0.9
    tested: float = 0.9
    score: float = 0.3
    weights: float = 0.006  # half a step of 1 / 127, and half of that again

    def loosened(self, other: "Limits") -> "Limits":
        """Those that both keep."""
        means = [each.log_probability if each.mean is None else each.mean for each in (self, other)]
        return Limits(
            log_probability=max(self.log_probability, other.log_probability),
            mean=None if self.mean is other.mean is None else max(means),
            identical=min(self.identical, other.identical),
            tested=min(self.tested, other.tested),
            score=max(self.score, other.score),
            weights=max(self.weights, other.weights),
        )


EXACT = Limits()
"""For weights that nobody rounded."""


class System(Protocol):
    """Someone who translates and scores: ours, or a foreign library with the foreign directory.

    `name` says who, with the version, for the report. Search is plain: no length penalty, no processor but the ban on
    padding and the begin mark, at most LONGEST tokens.
    """

    @property
    def name(self) -> str: ...

    @property
    def longest(self) -> int:
        """Tokens of the longest source that it takes, the end included."""
        ...

    @property
    def limits(self) -> Limits:
        """How close it can come to the same model: less close where its weights are rounded."""
        ...

    def segment(self, text: str) -> Pieces:
        """A source text as pieces."""
        ...

    def text(self, pieces: Pieces) -> str:
        """A translation as text."""
        ...

    def translate(self, sources: Sequence[Pieces], beam: int) -> list[Pieces]:
        """The best translation of each, by a beam of this size; 1 is greedy search."""
        ...

    def score(self, sources: Sequence[Pieces], targets: Sequence[Pieces]) -> list[list[float]]:
        """Of each target the log-probability of every piece, and of the end behind them, given the pieces before."""
        ...


class Format(Protocol):
    """A foreign format. `library`: the package whose models these are; `rounds`: whether it stores weights less exactly
    than as fp32."""

    @property
    def name(self) -> str: ...

    @property
    def library(self) -> str: ...

    @property
    def rounds(self) -> bool: ...

    def recognises(self, path: Path) -> bool:
        """Whether this looks like one of its models, whole or not."""
        ...

    def read(self, path: Path, languages: Languages) -> Translator:
        """Raises UserError when it is damaged, or holds what we cannot express."""
        ...

    def check(self, translator: Translator) -> None:
        """Raises UserError that names what the format cannot express. Writes nothing."""
        ...

    def write(self, translator: Translator, path: Path) -> None:
        """Writes a file or a folder at `path`, where nothing is yet."""
        ...

    def open(self, path: Path) -> System | None:
        """The library with this model; None where it is not installed."""
        ...
