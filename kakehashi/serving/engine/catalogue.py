"""The models that an engine has: by name and direction, which way leads from one language to another, and which of
them may stay in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kakehashi.data.languages import NAMES, unsubtagged
from kakehashi.directory import WEIGHTS, read_card, read_config
from kakehashi.errors import UserError
from kakehashi.serving.engine.protocol import Language, UnknownDirection
from kakehashi.translator import ModelDirectory


@dataclass(frozen=True)
class Model:
    """`score`: the mean of its card's chrF, the worst where it has none; `size`: bytes of its weights in the file."""

    name: str
    directory: Path
    source: str
    target: str
    score: float
    size: int


def read_models(directories: Sequence[Path]) -> list[Model]:
    """The models by name: that of the directory, with as many of the folders above it as tell it from the others.

    Raises UserError where there is no directory of a translator, or one is named twice.
    """
    directories = [directory.resolve() for directory in directories]
    if twice := [directory for directory in directories if directories.count(directory) > 1]:
        raise UserError(f"{twice[0]} is named twice: leave one out")
    return [_read(directory, _told_apart(directory, directories)) for directory in directories]


def _read(directory: Path, name: str) -> Model:
    config = read_config(directory, ModelDirectory, "translation")
    if not (weights := directory / WEIGHTS).is_file():
        raise UserError(f"{directory} is no model directory: it has no {WEIGHTS}")
    source, target = config.source.lower(), config.target.lower()
    return Model(name, directory, source, target, _score(read_card(directory)), weights.stat().st_size)


def _told_apart(directory: Path, directories: Sequence[Path]) -> str:
    names = ("/".join(directory.parts[-count:]) for count in range(1, len(directory.parts)))
    return next(
        (
            name
            for name in names
            if sum(f"/{each}".endswith(f"/{name}") for each in map(Path.as_posix, directories)) == 1
        ),
        str(directory),
    )


class Catalogue:
    """`models`: their names differ; `memory`: bytes of weights, at most, of those in memory; the one in use may alone
    be larger. Raises UserError when there is no model."""

    def __init__(self, models: Iterable[Model], memory: int) -> None:
        self.models = {model.name: model for model in models}
        if not self.models:
            raise UserError("a server needs at least one model")
        self.memory = memory
        self.used: dict[str, None] = {}  # those in memory, the least recently used first

    def route(self, source: str, target: str, name: str | None = None) -> tuple[str, ...]:
        """Names of the models that lead from one language to the other, one after the other; none when it is the same.

        `name`: of the model to take. Of several models that with the best score is taken, and of several languages
        between that with the best sum. Raises UnknownDirection.
        """
        if source == target:
            return ()
        if name is not None:
            named = self.models.get(name)
            if named is None or (named.source, named.target) != (source, target):
                raise UnknownDirection(source, target)
            return (name,)
        if direct := self._best(source, target):
            return (direct.name,)
        pairs = [
            (first, second)
            for first in self.models.values()
            if first.source == source and (second := self._best(first.target, target))
        ]
        if not pairs:
            raise UnknownDirection(source, target)
        first, second = max(pairs, key=lambda pair: pair[0].score + pair[1].score)
        return first.name, second.name

    def languages(self) -> list[Language]:
        """All of them, by code."""
        codes = sorted({code for model in self.models.values() for code in (model.source, model.target)})
        return [Language(code, _name(code), self._targets(code, codes)) for code in codes]

    @property
    def sources(self) -> tuple[str, ...]:
        """The languages that a text to be translated can be in."""
        return tuple(sorted({model.source for model in self.models.values()}))

    def use(self, name: str) -> list[str]:
        """Notes that a model is used now; returns those that have to leave the memory for it."""
        self.used.pop(name, None)
        self.used[name] = None
        dropped: list[str] = []
        while len(self.used) > 1 and sum(self.models[each].size for each in self.used) > self.memory:
            dropped.append(next(iter(self.used)))
            del self.used[dropped[-1]]
        return dropped

    def _best(self, source: str, target: str) -> Model | None:
        direct = (model for model in self.models.values() if (model.source, model.target) == (source, target))
        return max(direct, key=lambda model: model.score, default=None)

    def _targets(self, source: str, codes: Sequence[str]) -> tuple[str, ...]:
        return tuple(code for code in codes if self._leads(source, code))

    def _leads(self, source: str, target: str) -> bool:
        try:
            self.route(source, target)
        except UnknownDirection:
            return False
        return True


def _score(card: dict[str, Any] | None) -> float:
    records: Any = (card or {}).get("scores")
    values = [each["score"]["value"] for each in records if each["score"]["name"] == "chrf"] if records else []
    return sum(values) / len(values) if values else 0.0


def _name(code: str) -> str:
    return NAMES.get(unsubtagged(code), code)
