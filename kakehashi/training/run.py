"""A run: a directory that holds all of it, from the recipe to the model and its card.

    RUN/recipe.yaml    the resolved recipe         RUN/model/        the best model so far, in the end with its card
    RUN/subwords/      the subword models          RUN/last/         the latest model
    RUN/checkpoints/   what resuming needs         RUN/log.jsonl, RUN/tensorboard/, RUN/curve.png

An existing run is never overwritten: it is resumed, or another directory is chosen.
"""

import fcntl
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from kakehashi.config import ConfigError, dump
from kakehashi.data.check import overlap
from kakehashi.data.corpus import write_lines
from kakehashi.errors import UserError
from kakehashi.evaluation.metrics import Score
from kakehashi.tasks.translation import TranslationTask, pairs_of
from kakehashi.training import checkpoint
from kakehashi.training.finish import finish
from kakehashi.training.loop import Trainer
from kakehashi.training.recipe import Recipe, load_recipe
from kakehashi.training.report import Report, learning_curve

RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class Outcome:
    """A finished run: its directory, and the scores of the best model by test set."""

    directory: Path
    scores: dict[str, list[Score]]


def train(
    recipe: Recipe, directory: Path, resume: bool = False, cache: Path | None = None, console: Console | None = None
) -> Outcome:
    """Trains as the recipe says, into `directory`. `resume` goes on where a run was stopped, or starts it.

    `cache` holds tokenised corpora that runs share: $KAKEHASHI_CACHE, or ~/.cache/kakehashi.
    Raises UserError for what the user can mend, and loop.Interrupted after SIGINT or SIGTERM, when all is saved.
    """
    console = console or Console(stderr=True)
    with _claimed(directory):
        _check_or_write_recipe(recipe, directory, resume)
        newest = checkpoint.latest(directory / "checkpoints")
        console.print("Preparing the data ...", style="dim")
        task = recipe.task.build(directory, cache or _default_cache())
        start = checkpoint.step_of(newest) if newest else 0
        with Report(directory, recipe.training.steps, start, console, recipe.training.validation.metric) as report:
            trainer = Trainer(recipe, task, directory, report)
            _introduce(recipe, task, trainer, report)
            if newest:
                trainer.resume(newest)
            with _interruptible(trainer):
                progress = trainer.run()
        learning_curve(directory)
        return Outcome(directory, finish(recipe, task, directory, progress, trainer.parameters(), console))


def _introduce(recipe: Recipe, task: TranslationTask, trainer: Trainer, report: Report) -> None:
    """What the user should know before the first step."""
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in task.shards.dropped.items() if count)
    report.note(f"{len(task.shards):,} training pairs" + (f" (dropped: {dropped})" if dropped else ""))
    sides = {task.segmenters.source.size, task.segmenters.target.size}
    report.note(f"{' and '.join(f'{size:,}' for size in sides)} subwords, {trainer.parameters() / 1e6:.1f}M parameters")
    train = recipe.task.train
    for name, corpora in {"the development set": recipe.task.valid, **recipe.task.test}.items():
        found = overlap(pairs_of(train), pairs_of(corpora))
        for line in found.lines():
            report.note(f"{name}: {line}")


@contextmanager
def _claimed(directory: Path) -> Generator[None]:
    """Holds the run against a second process. The lock dies with its process, so that a crash leaves none."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / ".lock").open("w")
    except OSError as error:
        raise UserError(f"{directory} cannot be used for a run: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{directory} is being trained by another process: wait, or choose run=DIR") from None
        yield


def _check_or_write_recipe(recipe: Recipe, directory: Path, resume: bool) -> None:
    """A new directory gets the recipe; an existing run must be asked for, and be of the same recipe."""
    path = directory / RECIPE
    if not path.exists():
        others = [entry.name for entry in directory.iterdir() if entry.name != ".lock"]
        if others:
            raise UserError(f"{directory} is no run and not empty ({others[0]}): choose another run=DIR")
        write_lines(path, dump(recipe).splitlines())
        return
    if not resume:
        raise UserError(f"{directory} holds a run already: add --resume to go on with it, or choose another run=DIR")
    changes = _changes(load_recipe(path).model_dump(), recipe.model_dump())
    if changes:
        raise ConfigError(f"{directory} was started with other settings:\n  " + "\n  ".join(changes))


def _changes(old: object, new: object, path: str = "") -> list[str]:
    """Where two trees differ, a line each; how long a run is may change."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in _changes(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    if old == new or path == "training.steps":
        return []
    return [f"{path}: {old} then, {new} now"]


@contextmanager
def _interruptible(trainer: Trainer) -> Generator[None]:
    """SIGINT and SIGTERM end the run after the step at hand; a second one ends it at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        trainer.stop()
        for name in previous:
            signal.signal(name, signal.SIG_DFL)

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _default_cache() -> Path:
    base = os.environ.get("KAKEHASHI_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "kakehashi"
    return Path(base).expanduser()
