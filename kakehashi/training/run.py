"""A run: a directory that holds all of it, from the recipe to the model and its card.

    RUN/recipe.yaml    the resolved recipe         RUN/model/        the best model so far, in the end with its card
    RUN/subwords/      or RUN/vocabulary/          RUN/last/         the latest model
    RUN/checkpoints/   what resuming needs         RUN/log.jsonl, RUN/tensorboard/, RUN/curve.png

An existing run is never overwritten: it is resumed, or another directory is chosen.
"""

import fcntl
import shutil
import signal
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console

from kakehashi.cache import cache_folder
from kakehashi.config import ConfigError, dump
from kakehashi.data.corpus import write_lines
from kakehashi.errors import UserError
from kakehashi.evaluation.metrics import Score
from kakehashi.models.protocol import Vocabulary
from kakehashi.tasks.protocol import Task
from kakehashi.training import checkpoint
from kakehashi.training.defaults import ORIGIN
from kakehashi.training.finish import finish
from kakehashi.training.loop import Trainer
from kakehashi.training.parallel import processes
from kakehashi.training.recipe import Recipe, load_recipe
from kakehashi.training.report import Report, Silence, learning_curve

RECIPE = "recipe.yaml"
PREPARED = ("subwords", "vocabulary")  # what a task makes of its text before the first step
LOCK = ".kakehashi-lock"
# settings that may change on resuming
FREE = ("training.steps", "training.batch.accumulate", "training.keep", "training.data_parallel")


@dataclass(frozen=True)
class Outcome:
    """A finished run: its directory, and the scores of the best model by test set (only the main process has them)."""

    directory: Path
    scores: dict[str, list[Score]]


def train(
    recipe: Recipe, directory: Path, resume: bool = False, cache: Path | None = None, console: Console | None = None
) -> Outcome:
    """Trains as the recipe says, into `directory`. `resume` goes on where a run was stopped, or starts it.

    Under torchrun all processes train one model; `directory` is on a disk that all of them see.
    `cache` holds tokenised corpora that runs share: $KAKEHASHI_CACHE, or ~/.cache/kakehashi.
    Raises UserError for what the user can mend, and loop.Interrupted after SIGINT or SIGTERM, when all is saved.
    """
    console, cache = console or Console(stderr=True), cache or cache_folder()
    with processes() as group, ExitStack() as held:
        with group.main_first():
            _check_possible(recipe)
            if group.main:
                held.enter_context(_claimed(directory))
                console.print("Preparing the data ...", style="dim")
                task, notes = _prepare(recipe, directory, resume, cache)
            else:
                task, notes = recipe.task.build(directory, cache), []
        newest = checkpoint.latest(directory / "checkpoints")
        start = checkpoint.step_of(newest) if newest else 0
        last = recipe.training.steps
        initial = Path(recipe.initial_model) if recipe.initial_model and not newest else None
        with Report(directory, last, start, console, recipe.metric) if group.main else nullcontext(Silence()) as report:
            trainer = Trainer(recipe, task, directory, report, group, initial)
            for note in (*notes, f"{trainer.parameters() / 1e6:.1f}M parameters"):
                report.note(note)
            if newest:
                trainer.resume(newest)
            with _interruptible(trainer):
                progress = trainer.run()
        if not group.main:
            return Outcome(directory, {})
        learning_curve(directory)
        scores = finish(recipe, task, directory, progress, trainer.parameters(), console, group.size)
        return Outcome(directory, scores)


def _check_possible(recipe: Recipe) -> None:
    """What no part of the recipe can know of itself. Raises UserError, before anything is written."""
    recipe.task.check()
    vocabulary = Vocabulary(1000)
    try:
        with torch.device("meta"):  # shapes without memory
            model = recipe.model.build(vocabulary, vocabulary)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    longest = recipe.task.longest(recipe.model)
    if model.max_length is not None and model.max_length < longest:
        raise ConfigError(
            f"model: the task has sequences of up to {longest} tokens, and the model knows "
            f"{model.max_length} places: raise its max_length, or let the task have shorter ones"
        )


def _prepare(recipe: Recipe, directory: Path, resume: bool, cache: Path) -> tuple[Task[Any, Any], list[str]]:
    """The task, and what is to be said of its data.

    A new run that a mistake ends here leaves nothing behind, so that the mended recipe can start in its place.
    """
    new = _check_or_write_recipe(recipe, directory, resume)
    try:
        if new and recipe.initial_model is not None:
            recipe.task.adopt(Path(recipe.initial_model), directory)
        task = recipe.task.build(directory, cache)
        if new and recipe.initial_model is not None:  # does it fit?
            model = recipe.model.build(task.source_vocabulary, task.target_vocabulary)
            task.start(model, Path(recipe.initial_model))
        task.sampler(recipe.training.batch.tokens, recipe.training.seed)  # does the longest example fit?
        return task, task.introduction()
    except UserError:
        if new:
            (directory / RECIPE).unlink()
            for name in PREPARED:
                shutil.rmtree(directory / name, ignore_errors=True)
        raise


@contextmanager
def _claimed(directory: Path) -> Generator[None]:
    """Holds the run against a second process. The lock dies with its process, so that a crash leaves none.

    Where no run comes to be, the lock goes, and so do the directories that were made for it.
    """
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / LOCK).open("w")
    except OSError as error:
        raise UserError(f"{directory} cannot be used for a run: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{directory} is being trained by another process: wait, or choose run=DIR") from None
        try:
            yield
        finally:
            if not (directory / RECIPE).exists():
                (directory / LOCK).unlink()
                with suppress(OSError):  # not empty
                    for path in made:
                        path.rmdir()


def _check_or_write_recipe(recipe: Recipe, directory: Path, resume: bool) -> bool:
    """A new directory gets the recipe; an existing run must be asked for, and be of the same recipe. Whether it is new.

    A resumed run gets the recipe too, for the settings that may change.
    """
    path = directory / RECIPE
    if not path.exists():
        own = {"data"} if (directory / "data" / ORIGIN).exists() else set[str]()  # that training without YAML split
        others = sorted(e.name for e in directory.iterdir() if not e.name.startswith(".") and e.name not in own)
        if others:
            raise UserError(f"{directory} is no run and not empty ({others[0]}): choose another run=DIR")
        _write_recipe(recipe, path)
        return True
    if not resume:
        raise UserError(f"{directory} holds a run already: add --resume to go on with it, or choose another run=DIR")
    changes = _changes(load_recipe(path).model_dump(), recipe.model_dump())
    if changes:
        raise ConfigError(f"{directory} was started with other settings:\n  " + "\n  ".join(changes))
    _write_recipe(recipe, path)
    return False


def _write_recipe(recipe: Recipe, path: Path) -> None:
    write_lines(path, dump(recipe).rstrip("\n").split("\n"))


def _changes(old: object, new: object, path: str = "") -> list[str]:
    """Where two trees differ, a line each, but for what may."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in _changes(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    if old == new or path in FREE:
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
