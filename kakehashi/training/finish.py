"""The end of a run: the best model is scored on the test sets, timed, and gets its card."""

import datetime
import hashlib
import platform
import time
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console

from kakehashi.data.corpus import Corpora
from kakehashi.evaluation.card import Card, ScoreRecord, Speed, TrainingCorpus, TrainingRun
from kakehashi.evaluation.metrics import Score, score
from kakehashi.tasks.translation import TranslationTask, pairs_of
from kakehashi.training.loop import Progress
from kakehashi.training.recipe import Recipe
from kakehashi.translator import Translator

LIBRARIES = ("kakehashi", "torch", "sentencepiece", "sacrebleu")


def finish(
    recipe: Recipe, task: TranslationTask, directory: Path, progress: Progress, parameters: int, console: Console
) -> dict[str, list[Score]]:
    """Writes `directory`/model/card.json; returns the scores by test set ("valid" among them)."""
    translator = Translator.load(directory / "model")
    sets = {"valid": recipe.task.valid, **recipe.task.test}
    scores: dict[str, list[Score]] = {}
    sentences, seconds = 0, 0.0
    for name, corpora in sets.items():
        with console.status(f"Translating {name} ..."):
            started = time.perf_counter()
            pairs = list(pairs_of(corpora))
            texts = translator.translate([pair.source for pair in pairs])
            sentences, seconds = sentences + len(pairs), seconds + time.perf_counter() - started
        scores[name] = score(texts, [pair.target for pair in pairs], recipe.task.target, confidence=True)
    decoding = recipe.decoding.model_dump(mode="json")
    today = datetime.datetime.now(datetime.UTC).date()
    card = Card(
        name=directory.resolve().name,
        source=recipe.task.source,
        target=recipe.task.target,
        data=(_training_corpus(recipe.task.train, task),),
        training=TrainingRun(
            steps=progress.step,
            seconds=round(progress.seconds, 1),
            parameters=parameters,
            device=_device(),
            seed=recipe.training.seed,
            versions={name: version(name) for name in LIBRARIES},
            losses={} if progress.best is None else {f"best valid {recipe.training.validation.metric}": progress.best},
        ),
        scores=tuple(
            ScoreRecord(test_set=name, score=each, decoding=decoding, date=today)
            for name, found in scores.items()
            for each in found
        ),
        speed=Speed(sentences_per_second=sentences / seconds, conditions=f"{_device()}, {recipe.decoding.kind}, fp32"),
    )
    card.write(directory / "model" / "card.json")
    return scores


def _training_corpus(corpora: Corpora, task: TranslationTask) -> TrainingCorpus:
    digest = hashlib.sha256()
    paths = [path for corpus in corpora for path in corpus.paths]
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return TrainingCorpus(
        files=tuple(path.name for path in paths),
        pairs=len(task.shards) + sum(task.shards.dropped.values()),
        dropped=task.shards.dropped,
        content_hash=f"sha256:{digest.hexdigest()}",
    )


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
