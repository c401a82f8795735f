"""Text for language models: what a recipe says of it, and its readers.

A text is what a model reads and writes from its beginning to its end: a whole file, a line, a sum.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from kakehashi.config import Config, Family, FilePath
from kakehashi.data.corpus import read_lines
from kakehashi.errors import UserError


def _several(value: Any) -> Any:
    """One file or several as a tuple."""
    return value if isinstance(value, list | tuple) else (value,)


Files = Annotated[
    tuple[FilePath, ...],
    BeforeValidator(_several, json_schema_input_type=str | Annotated[list[str], Field(min_length=1)]),
]


class TextConfig(Config):
    """The base of a text's config."""

    @abstractmethod
    def read(self) -> dict[str, list[str]]:
        """The texts of each set: `train`, `valid`, and the test sets by name. Raises UserError."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the training text is called: its files, if it has any."""
        return (str(dict(self)["kind"]),)

    @property
    def asks(self) -> bool:
        """Whether a text is a question with an answer."""
        return False

    def question(self, text: str) -> str:
        """How much of a text is the question."""
        raise NotImplementedError


class _Files(TextConfig):
    """What files have in common.

    train, valid, test: files, plain, .gz or .zst. valid may also be a share: as much is held out at the end of each
    training file.
    """

    train: Files
    valid: Files | Annotated[float, Field(gt=0, lt=1)]
    test: dict[str, Files] = Field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(Path(file).name for file in self.train)

    def read(self) -> dict[str, list[str]]:
        train = [self._texts(file) for file in self.train]
        if isinstance(self.valid, tuple):
            valid = [self._texts(file) for file in self.valid]
        else:
            cuts = [self._cut(texts, self.valid) for texts in train]
            train, valid = [cut[0] for cut in cuts], [cut[1] for cut in cuts]
        tests = {name: _joined(self._texts(file) for file in files) for name, files in self.test.items()}
        return {"train": _joined(train), "valid": _joined(valid), **tests}

    @abstractmethod
    def _texts(self, file: str) -> list[str]: ...

    @abstractmethod
    def _cut(self, texts: list[str], share: float) -> tuple[list[str], list[str]]: ...


class Stream(_Files):
    """Each file is one long text, which is cut into sequences wherever they are full."""

    kind: Literal["stream"] = "stream"

    def _texts(self, file: str) -> list[str]:
        text = "".join(f"{line}\n" for line in read_lines(Path(file)))
        if not text:
            raise UserError(f"{file} is empty")
        return [text]

    def _cut(self, texts: list[str], share: float) -> tuple[list[str], list[str]]:
        (text,) = texts
        place = round(len(text) * (1 - share))
        return [text[:place]], [text[place:]]


class Lines(_Files):
    """Each line is a text of its own; blank lines are none."""

    kind: Literal["lines"] = "lines"

    def _texts(self, file: str) -> list[str]:
        texts = [line for line in read_lines(Path(file)) if line.strip()]
        if not texts:
            raise UserError(f"{file} holds no line of text")
        return texts

    def _cut(self, texts: list[str], share: float) -> tuple[list[str], list[str]]:
        place = round(len(texts) * (1 - share))
        return texts[:place], texts[place:]


class Arithmetic(TextConfig):
    """Problems as texts, `12+34=46`: operands of up to `digits` digits, drawn without repetition.

    train, valid, test: how many problems; no problem is in two sets (but 1+2 and 2+1 are two problems).
    """

    kind: Literal["arithmetic"] = "arithmetic"
    digits: Annotated[int, Field(ge=1, le=6)] = 2
    operations: Annotated[tuple[Literal["+", "-", "*"], ...], Field(min_length=1)] = ("+",)
    train: PositiveInt = 8000
    valid: PositiveInt = 500
    test: PositiveInt = 1000
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _enough(self) -> "Arithmetic":
        asked, there = self.train + self.valid + self.test, len(self.operations) * 100**self.digits
        if asked > there:
            raise ValueError(f"{asked:,} problems asked, but there are {there:,} with {self.digits} digits")
        return self

    @property
    def asks(self) -> bool:
        return True

    def question(self, text: str) -> str:
        return text[: text.index("=") + 1]

    def read(self) -> dict[str, list[str]]:
        counts = (self.train, self.valid, self.test)
        population = len(self.operations) * 100**self.digits
        drawn = np.random.default_rng(self.seed).choice(population, sum(counts), replace=False)
        sets = np.split(drawn, np.cumsum(counts)[:-1])
        return {
            name: [self._problem(int(number)) for number in numbers]
            for name, numbers in zip(("train", "valid", "test"), sets, strict=True)
        }

    def _problem(self, number: int) -> str:
        rest, second = divmod(number, 10**self.digits)
        which, first = divmod(rest, 10**self.digits)
        match self.operations[which]:
            case "+":
                return f"{first}+{second}={first + second}"
            case "-":
                return f"{first}-{second}={first - second}"
            case "*":
                return f"{first}*{second}={first * second}"


Text = Annotated[Stream | Lines | Arithmetic, Family()]


def _joined(parts: Iterable[Sequence[str]]) -> list[str]:
    return [text for part in parts for text in part]
