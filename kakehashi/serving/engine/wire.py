"""What the engine and its workers tell each other: JSON over pipes, each message behind its length.

JSON and no pickle: a message is data whatever it holds. Python's own module, since a text may hold lone surrogates.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from kakehashi.data.terms import Wording

LENGTH_BYTES = 4
BEAT = 1.0  # seconds after which a worker at work says again that it is alive

Seen = tuple[int, int, float]
Place = tuple[int, int, int, int, float]


@dataclass(frozen=True)
class Job:
    """What is asked of a model; sentences of one job share batches.

    `count`: how many translations of each sentence; `terms`, `required`, `forbidden`: as in `Wording`; `translation`:
    of each sentence, where it is known and only its links are asked for.
    """

    model: str
    count: int = 1
    alignment: bool = False
    terms: tuple[tuple[str, str], ...] = ()
    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    translation: str | None = None

    @property
    def wording(self) -> Wording | None:
        worded = self.terms or self.required or self.forbidden
        return Wording(dict(self.terms), self.required, self.forbidden) if worded else None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        return cls(
            told["model"],
            told["count"],
            told["alignment"],
            tuple((source, target) for source, target in told["terms"]),
            tuple(told["required"]),
            tuple(told["forbidden"]),
            told["translation"],
        )


@dataclass(frozen=True)
class Found:
    """A sentence's translations, best first.

    `confidence`, `tokens`: of the best one, its end not counted; `words`: start, end and confidence of those of its
    tokens that can be seen; `links`: start and end in the sentence, start and end in the best translation, and
    the weight.
    """

    texts: tuple[str, ...]
    confidence: float = 0.0
    tokens: int = 0
    words: tuple[Seen, ...] = ()
    links: tuple[Place, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        return cls(
            tuple(told["texts"]),
            told["confidence"],
            told["tokens"],
            tuple((start, end, confidence) for start, end, confidence in told["words"]),
            tuple((a, b, c, d, weight) for a, b, c, d, weight in told["links"]),
            tuple(told["notes"]),
        )


def batch_message(job: Job, directory: str, texts: Sequence[str]) -> dict[str, Any]:
    return {"job": asdict(job), "directory": directory, "texts": list(texts)}


def packed(message: Mapping[str, Any]) -> bytes:
    data = json.dumps(message).encode("ascii")
    return len(data).to_bytes(LENGTH_BYTES, "big") + data
