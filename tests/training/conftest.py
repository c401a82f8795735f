"""A run that takes half a second: 70 pairs of the phrasebook, a model of width 16, 12 steps."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from kakehashi.config import resolve
from kakehashi.data.corpus import write_lines
from kakehashi.data.phrasebook import generate
from kakehashi.training import checkpoint
from kakehashi.training.loop import Trainer
from kakehashi.training.parallel import ALONE, Group
from kakehashi.training.recipe import Recipe
from kakehashi.training.report import Report, Silence

LAYERS = {"depth": 1, "layers": [{"feedforward": {"kind": "relu", "size": 32}}]}
TREE: dict[str, Any] = {
    "task": {
        "kind": "translation",
        "source": "en",
        "target": "de",
        "train": "train.{en,de}",
        "valid": "valid.{en,de}",
        "test": {"held_out": "test.{en,de}"},
        "subwords": {"kind": "unigram", "size": 340},
        "max_tokens": 64,
    },
    "model": {"width": 16, "heads": 2, "dropout": 0.1, "encoder": LAYERS, "decoder": LAYERS},
    "training": {
        "steps": 12,
        "batch": {"tokens": 768},
        "schedule": {"kind": "constant", "warmup": 4, "peak": 3e-3},
        "precision": "fp32",
        "averaging": "none",
        "validation": {"every": 4, "metric": "loss"},
    },
    "decoding": {"kind": "greedy", "max_length": 8},
}
TREE["model"]["kind"] = "encoder_decoder"


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def log_of(directory: Path, *kinds: str) -> list[dict[str, Any]]:
    """The lines of a run's log of these kinds, without what the clock says."""
    lines = [json.loads(line) for line in (directory / "log.jsonl").read_text("utf-8").split("\n") if line]
    return [
        {key: value for key, value in line.items() if key not in ("time", "tokens_per_second")}
        for line in lines
        if line["kind"] in kinds
    ]


def assert_same_run(one: Path, other: Path) -> None:
    """The last checkpoint, the best and the last model, and all figures of the log are the same, bit for bit."""
    tensors, states = zip(*(checkpoint.load(newest(run)) for run in (one, other)), strict=True)
    assert tensors[0].keys() == tensors[1].keys()
    differing = [name for name in tensors[0] if not torch.equal(tensors[0][name], tensors[1][name])]
    assert differing == []
    progress = [dict(state["progress"], seconds=0) for state in states]
    assert progress[0] == progress[1]
    for name in ("model", "last"):
        models = [load_file(run / name / "model.safetensors") for run in (one, other)]
        assert models[0].keys() == models[1].keys()
        assert all(torch.equal(models[0][key], models[1][key]) for key in models[0]), name
    assert log_of(one, "train", "validation") == log_of(other, "train", "validation") != []


def newest(run: Path) -> Path:
    path = checkpoint.latest(run / "checkpoints")
    assert path is not None, f"{run} holds no checkpoint"
    return path


class PlainReport(Report):
    """Without TensorBoard, whose import takes longer than a run."""

    def _open_events(self, directory: Path) -> None:
        return None


@dataclass(frozen=True)
class Workshop:
    """Where the corpus, its subwords and the cache lie, and how recipes and trainers on them are made."""

    directory: Path
    reports: list[Report] = field(default_factory=list[Report])

    @property
    def cache(self) -> Path:
        return self.directory / "cache"

    def recipe(self, *overrides: str) -> Recipe:
        return resolve(TREE, Recipe, overrides, directory=self.directory)

    def trainer(self, recipe: Recipe, run: Path, resume: bool = False, group: Group = ALONE) -> Trainer:
        """As `run.train` sets it up, but on subwords that are there already."""
        start = checkpoint.step_of(newest(run)) if resume else 0
        report = Silence()
        if group.main:
            report = PlainReport(run, recipe.training.steps, start, quiet(), recipe.metric)
            self.reports.append(report)
        trainer = Trainer(recipe, recipe.task.build(self.directory, self.cache), run, report, group)
        if resume:
            trainer.resume(newest(run))
        return trainer


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    directory = tmp_path_factory.mktemp("workshop")
    pairs = generate("de", 80, seed=3)
    for name, part in {"train": pairs[:70], "valid": pairs[70:75], "test": pairs[75:]}.items():
        write_lines(directory / f"{name}.en", [pair.source for pair in part])
        write_lines(directory / f"{name}.de", [pair.target for pair in part])
    return Workshop(directory)


@pytest.fixture(scope="session")
def prepared(workshop: Workshop) -> Workshop:
    """With subwords and shards: what the main process makes before the others come."""
    workshop.recipe().task.build(workshop.directory, workshop.cache)
    return workshop


@pytest.fixture(autouse=True)
def closed(workshop: Workshop) -> Iterator[None]:
    """Closes the reports of the trainers that a test made."""
    yield
    while workshop.reports:
        workshop.reports.pop().__exit__(None, None, None)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Trainer, int, Callable[[], None]], None]:
    """Has a trainer do something just before it takes a step."""

    def at(trainer: Trainer, step: int, action: Callable[[], None]) -> None:
        take = trainer._take_step

        def watched(*indices: Any) -> None:
            if trainer.progress.step == step:
                action()
            take(*indices)

        monkeypatch.setattr(trainer, "_take_step", watched)

    return at
