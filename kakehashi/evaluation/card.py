"""The quality card of a model directory, `card.json`: what the model was trained on, how, and how well it does.

A card travels with its model to other people and machines, so it names files but no paths, gives every score with its
signature and its decoding settings, and states a licence only where somebody stated one.
"""

import datetime
import json
import os
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal, Self
from uuid import uuid4

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from kakehashi.errors import UserError
from kakehashi.evaluation.metrics import TITLES, Score

FORMAT_VERSION = 1

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


def _name_only(name: str) -> str:
    if not name or "/" in name or "\\" in name:
        raise ValueError(f"a card gives the name of a file, not a path: {name!r}")
    return name


FileName = Annotated[str, AfterValidator(_name_only)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TrainingCorpus(_Part):
    """Files read as one corpus: `pairs` (or sequences, as `unit` says) in all, of which `dropped` (reason: count) were
    not used."""

    unit: Literal["pairs", "sequences"] = "pairs"
    files: Annotated[tuple[FileName, ...], Field(min_length=1)]
    pairs: Count
    dropped: dict[str, Count] = {}
    content_hash: str  # with its algorithm, "sha256:..."

    @model_validator(mode="after")
    def _drops_no_more_than_all(self) -> Self:
        if self.kept < 0:
            raise ValueError(f"{', '.join(self.files)}: more {self.unit} dropped than the {self.pairs} there are")
        return self

    @property
    def kept(self) -> int:
        return self.pairs - sum(self.dropped.values())


class TrainingRun(_Part):
    """The run that made the model; `versions` are those of the libraries, `losses` the final ones by name."""

    steps: Count
    seconds: Seconds
    parameters: Count
    device: str
    seed: int
    versions: dict[str, str]
    losses: dict[str, float]


class ScoreRecord(_Part):
    """A score on a test set, with all that it depends on."""

    test_set: str
    score: Score
    decoding: dict[str, JsonValue]
    date: datetime.date


class Speed(_Part):
    """Translation speed, end to end; `conditions` name the machine, the threads and the batch size."""

    sentences_per_second: Annotated[float, Field(gt=0)]
    conditions: str


class Card(_Part):
    """The whole card; `source` and `target`: language codes of a translator. What is not known is None or empty."""

    format_version: Annotated[int, Field(ge=1, le=FORMAT_VERSION)] = FORMAT_VERSION
    name: str
    source: str | None = None
    target: str | None = None
    data: tuple[TrainingCorpus, ...] = ()
    training: TrainingRun | None = None
    scores: tuple[ScoreRecord, ...] = ()
    speed: Speed | None = None
    data_licence: str | None = None
    model_licence: str | None = None

    @classmethod
    def read(cls, path: Path) -> "Card":
        """Reads a card file.

        Raises:
            UserError: an unreadable file, a wrong entry, or a card of a newer format.
        """
        try:
            text = path.read_text(encoding="utf-8")
            tree = json.loads(text)
        except OSError as error:
            raise UserError(f"cannot read the card {path}: {error.strerror}") from error
        except ValueError as error:  # not UTF-8, or not JSON
            raise UserError(f"{path} is not a card: {error}") from error
        found = tree.get("format_version") if isinstance(tree, dict) else None
        if isinstance(found, int) and found > FORMAT_VERSION:
            raise UserError(
                f"{path} has format_version {found}, but this Kakehashi reads up to {FORMAT_VERSION}: "
                "the model was made by a newer one, so upgrade with pip install --upgrade kakehashi"
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise UserError(f"{path} is not a valid card: {faults}") from error

    def write(self, path: Path) -> None:
        """Writes the card file whole or not at all: under a temporary name beside it, synced, then renamed.

        Raises:
            UserError: the file cannot be written there.
        """
        temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
        try:
            with temporary.open("x", encoding="utf-8", newline="\n") as file:
                file.write(self.model_dump_json(indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_directory(path.parent)
        except OSError as error:
            raise UserError(f"cannot write the card {path}: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def render(self, language: Literal["en", "ja"] = "en") -> str:
        """The card as text for people, headings in the language given."""
        words = _WORDS[language]
        lines = [f"{self.name}: {self.source} → {self.target}" if self.source and self.target else self.name]
        lines += _section(words.data, [_corpus(corpus, words) for corpus in self.data], words)
        lines += _section(words.training, _training(self.training, words) if self.training else [], words)
        lines += _section(words.scores, _scores(self.scores), words)
        speed = self.speed
        spoken = [f"{speed.sentences_per_second:,.1f} {words.speed_unit} ({speed.conditions})"] if speed else []
        lines += _section(words.speed, spoken, words)
        licences = [(words.data, self.data_licence), (words.model, self.model_licence)]
        lines += _section(
            words.licence, [f"{label}: {licence or words.unstated}" for label, licence in licences], words
        )
        return "\n".join(lines)


@dataclass(frozen=True)
class _Words:
    data: str
    pairs: str
    sequences: str
    dropped: str
    training: str
    steps: str
    time: str
    parameters: str
    device: str
    seed: str
    losses: str
    versions: str
    scores: str
    speed: str
    speed_unit: str
    licence: str
    model: str
    unstated: str


_WORDS = {
    "en": _Words(
        data="Data",
        pairs="pairs",
        sequences="sequences",
        dropped="dropped",
        training="Training",
        steps="steps",
        time="time",
        parameters="parameters",
        device="device",
        seed="seed",
        losses="final losses",
        versions="versions",
        scores="Scores",
        speed="Speed",
        speed_unit="sentences/s",
        licence="Licence",
        model="Model",
        unstated="not stated",
    ),
    "ja": _Words(
        data="データ",
        pairs="対訳文数",
        sequences="系列数",
        dropped="除外",
        training="学習",
        steps="ステップ数",
        time="時間",
        parameters="パラメータ数",
        device="装置",
        seed="乱数の種",
        losses="最終損失",
        versions="バージョン",
        scores="評価",
        speed="速度",
        speed_unit="文/秒",
        licence="ライセンス",
        model="モデル",
        unstated="記載なし",
    ),
}


def _section(heading: str, lines: list[str], words: _Words) -> list[str]:
    return ["", heading, *(f"  {line}" for line in lines or [words.unstated])]


def _corpus(corpus: TrainingCorpus, words: _Words) -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in corpus.dropped.items() if count)
    dropped = f"; {words.dropped}: {reasons}" if reasons else ""
    unit = words.pairs if corpus.unit == "pairs" else words.sequences
    return f"{', '.join(corpus.files)}: {unit} {corpus.kept:,}{dropped} ({corpus.content_hash})"


def _training(run: TrainingRun, words: _Words) -> list[str]:
    rows = [
        (words.steps, f"{run.steps:,}"),
        (words.time, str(datetime.timedelta(seconds=round(run.seconds)))),
        (words.parameters, f"{run.parameters:,}"),
        (words.device, run.device),
        (words.seed, str(run.seed)),
        (words.losses, ", ".join(f"{name} {loss:.4f}" for name, loss in run.losses.items())),
        (words.versions, ", ".join(f"{name} {version}" for name, version in run.versions.items())),
    ]
    return [f"{label}: {text}" for label, text in rows if text]


def _scores(scores: tuple[ScoreRecord, ...]) -> list[str]:
    lines: list[str] = []
    for heading, group in groupby(scores, key=_circumstances):
        lines.append(heading)
        for each in group:
            score = each.score
            spread = "" if score.low is None or score.high is None else f" [{score.low:.1f}, {score.high:.1f}]"
            lines.append(f"  {TITLES.get(score.name, score.name)}: {_figure(score)}{spread}  {score.signature}")
    return lines


def _figure(score: Score) -> str:
    """What is in percent to one digit behind the point, a loss to three."""
    return f"{score.value:.1f}" if score.name in TITLES else f"{score.value:.3f}"


def _circumstances(score: ScoreRecord) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in score.decoding.items())
    return f"{score.test_set}, {score.date.isoformat()}" + (f" ({settings})" if settings else "")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
