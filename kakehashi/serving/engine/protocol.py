"""What the engine is asked and what it answers: values and errors, which every part of serving shares."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kakehashi.data.terms import Wording


@dataclass(frozen=True)
class Link:
    """Which characters of a translation come from which of its source.

    `source`, `target`: start and end in `Request.text` and in `Answer.text`; `weight`: of the attention, 0 to 1.
    """

    source: tuple[int, int]
    target: tuple[int, int]
    weight: float


@dataclass(frozen=True)
class Word:
    """A token of a translation: its start and end in `Answer.text`, and how sure the model is of it, 0 to 1; or what
    was known, as a whole and without that."""

    start: int
    end: int
    confidence: float | None


@dataclass(frozen=True)
class Request:
    """One text, of any number of lines and sentences.

    `source`, `target`: language codes that the engine knows ("auto" is resolved before, by `detect`); `deadline`:
    seconds from now; `model`: by name, None: the best for the direction; `known`: translations of the whole text, or of
    sentences of it, one or several side by side, with which the model is not asked.
    """

    text: str
    source: str
    target: str
    alternatives: int = 0
    alignment: bool = False
    wording: Wording | None = None
    deadline: float | None = None
    model: str | None = None
    known: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Answer:
    """The translation of one text.

    `confidence`: of its sentences the mean, by their tokens, 0 to 1 (`kakehashi.confidence`); `words`: the tokens that
    can be seen, in order; `links`: by target, empty unless asked for; `notes`: what the reader should know ("cut at the
    length limit"); `known`: the parts of the text whose translation was known.
    """

    text: str
    alternatives: tuple[str, ...] = ()
    confidence: float | None = None
    words: tuple[Word, ...] = ()
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


@dataclass(frozen=True)
class Detection:
    """`confidence`: 0 to 1."""

    language: str
    confidence: float


@dataclass(frozen=True)
class Language:
    """`targets`: the codes that texts in it can be translated to, its own among them."""

    code: str
    name: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Status:
    """The engine at one moment. All but the counters (whose names are verbs) are what is there now.

    `waiting`: sentences that are not yet sent to a worker; `running`: those that are; `loaded`: names of the models in
    memory, of any worker; `restarted`: workers that died or hung, and were replaced; `seconds`: of the workers' time
    spent on batches.
    """

    accepting: bool
    waiting: int
    running: int
    capacity: int
    workers: int
    models: tuple[str, ...]
    loaded: tuple[str, ...]
    accepted: int
    answered: int
    refused: int
    dropped: int
    batches: int
    sentences: int
    source_tokens: int
    restarted: int
    seconds: float


class Busy(Exception):
    """The queue is full, or the engine drains. `retry_after`: seconds, from the throughput that was measured."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the server is busy: try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class TooLate(Exception):
    """The deadline passed."""


class UnknownDirection(Exception):
    """No model leads from `source` to `target`, directly or through a third language."""

    def __init__(self, source: str, target: str) -> None:
        super().__init__(f"no model translates from {source} to {target}")
        self.source, self.target = source, target


class Broken(Exception):
    """Two workers died on this text, or the engine was stopped before it was done."""
