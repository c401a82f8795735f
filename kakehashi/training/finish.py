"""The end of a run: the best model is scored on the test sets and gets its card."""

import datetime
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from kakehashi.evaluation.card import Card, ScoreRecord, Speed, TrainingRun
from kakehashi.evaluation.metrics import Score
from kakehashi.tasks.protocol import Task
from kakehashi.training.loop import Progress
from kakehashi.training.recipe import Recipe

LIBRARIES = ("kakehashi", "torch", "sentencepiece", "sacrebleu")


def finish(
    recipe: Recipe,
    task: Task[Any, Any],
    directory: Path,
    progress: Progress,
    parameters: int,
    console: Console,
    processes: int = 1,
) -> dict[str, list[Score]]:
    """Writes `directory`/model/card.json; returns the scores by test set ("valid" among them)."""
    finished = task.finish(directory / "model", console)
    decoding = recipe.decoding.model_dump(mode="json")
    today = datetime.datetime.now(datetime.UTC).date()
    source, target = finished.languages or (None, None)
    speed, conditions = finished.sentences_per_second, f"{_device()}, {recipe.decoding.kind}, fp32"
    card = Card(
        name=directory.resolve().name,
        source=source,
        target=target,
        data=(finished.corpus,),
        training=TrainingRun(
            steps=progress.step,
            seconds=round(progress.seconds, 1),
            parameters=parameters,
            device=_device() if processes == 1 else f"{processes} processes, each {_device()}",
            seed=recipe.training.seed,
            versions={name: version(name) for name in LIBRARIES},
            losses={} if progress.best is None else {f"best valid {recipe.metric}": progress.best},
        ),
        scores=tuple(
            ScoreRecord(test_set=name, score=each, decoding=decoding, date=today)
            for name, found in finished.scores.items()
            for each in found
        ),
        speed=None if speed is None else Speed(sentences_per_second=speed, conditions=conditions),
    )
    card.write(directory / "model" / "card.json")
    return finished.scores


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
