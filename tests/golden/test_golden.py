"""Golden losses: a change that is meant to change no number must not change these.

A 20-step fp32 run on a fixed part of the phrasebook, dropout off so that no order of random draws matters. When a
change of the numbers is meant (and said in CHANGELOG.md), write them anew:

    KAKEHASHI_GOLDEN=write pytest tests/golden
"""

import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from kakehashi.config import resolve
from kakehashi.data.corpus import Pair, write_lines
from kakehashi.training import loop
from kakehashi.training.recipe import Recipe
from kakehashi.training.report import Report

HERE = Path(__file__).parent
LOSSES = HERE / "losses.json"
CORPUS = HERE / "corpus.json"  # stored, so that work on the phrasebook does not move the losses
TOLERANCE = 1e-4
VARIANTS = {
    "pre-norm, cosine": [],
    "post-norm, the paper's schedule": [
        "model.encoder.placement=post",
        "model.decoder.placement=post",
        "training.schedule={kind: paper, warmup: 8}",
        "training.optimizer=adam",
        "training.batch.accumulate=2",
    ],
}


class Silent(Report):
    """Without TensorBoard, whose import takes longer than the run."""

    def _open_events(self, directory: Path) -> None:
        return None


def recipe(directory: Path, overrides: list[str]) -> Recipe:
    layers = {"depth": 1, "layers": [{"feedforward": {"kind": "relu", "size": 64}}]}
    tree = {
        "task": {
            "kind": "translation",
            "source": "en",
            "target": "de",
            "train": "train.{en,de}",
            "valid": "valid.{en,de}",
            "subwords": {"kind": "unigram", "size": 340},
        },
        "model": {
            "kind": "encoder_decoder",
            "width": 32,
            "heads": 4,
            "dropout": 0,
            "encoder": layers,
            "decoder": layers,
        },
        "training": {
            "steps": 20,
            "batch": {"tokens": 768},
            "schedule": {"kind": "cosine", "warmup": 5, "peak": 5e-3},
            "precision": "fp32",
            "averaging": "none",
            "validation": {"every": 10, "metric": "loss"},
        },
    }
    return resolve(tree, Recipe, overrides, directory=directory)


def losses(directory: Path, overrides: list[str]) -> dict[str, list[float]]:
    """The mean -log p a token of each training step, and of the development set at each look."""
    settings = recipe(directory, overrides)
    task = settings.task.build(directory, directory / "cache")
    console = Console(file=io.StringIO())
    with Silent(directory / "run", settings.training.steps, console=console) as report:
        loop.Trainer(settings, task, directory / "run", report).run()
    lines = [json.loads(line) for line in (directory / "run" / "log.jsonl").read_text("utf-8").split("\n") if line]
    return {kind: [line["loss"] for line in lines if line["kind"] == kind] for kind in ("train", "validation")}


@pytest.mark.parametrize("name", VARIANTS)
def test_losses_are_what_they_were(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    pairs = [Pair(*row) for row in json.loads(CORPUS.read_text("utf-8"))]
    for part, rows in {"train": pairs[:-6], "valid": pairs[-6:]}.items():
        write_lines(tmp_path / f"{part}.en", [row.source for row in rows])
        write_lines(tmp_path / f"{part}.de", [row.target for row in rows])
    found = losses(tmp_path, VARIANTS[name])
    golden = json.loads(LOSSES.read_text("utf-8")) if LOSSES.exists() else {}
    if os.environ.get("KAKEHASHI_GOLDEN") == "write":
        LOSSES.write_text(json.dumps(golden | {name: found}, indent=1, sort_keys=True) + "\n", "utf-8")
        return
    assert len(found["train"]) == 20 and len(found["validation"]) == 2
    assert found["train"][-1] < found["train"][0] - 0.5, "it learns"
    for kind in ("train", "validation"):
        assert found[kind] == pytest.approx(golden[name][kind], abs=TOLERANCE), kind
