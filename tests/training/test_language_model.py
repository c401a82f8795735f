"""Language models through the loop and the run: the same bits after a stop, a directory that writes, a card."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kakehashi.config import dump, resolve
from kakehashi.data.corpus import write_lines
from kakehashi.errors import UserError
from kakehashi.text_generator import TextGenerator
from kakehashi.training import loop
from kakehashi.training.loop import Interrupted, Trainer
from kakehashi.training.recipe import Recipe
from kakehashi.training.run import train
from kakehashi.translator import Translator

from .conftest import TREE, PlainReport, Workshop, assert_same_run, newest, quiet

At = Callable[[Trainer, int, Callable[[], None]], None]

LAYERS = {"depth": 1, "layers": [{"feedforward": {"kind": "relu", "size": 32}}]}
CAUSAL = {"kind": "decoder_only", "width": 16, "heads": 2, "decoder": LAYERS}
MASKED = {"kind": "encoder_only", "width": 16, "heads": 2, "encoder": LAYERS}
SUMS = {"kind": "arithmetic", "digits": 1, "train": 80, "valid": 10, "test": 10}
STREAM = {"kind": "stream", "train": "train.txt", "valid": 0.2}
TASKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sums": ({"text": SUMS}, CAUSAL),
    "stream": ({"text": STREAM, "length": 24}, CAUSAL),
    "masked": ({"text": STREAM, "length": 24, "objective": "masked"}, MASKED),
}


def recipe(name: str, directory: Path) -> Recipe:
    write_lines(directory / "train.txt", [f"line {i} of many, {i * i} and so on" for i in range(60)])
    task, model = TASKS[name]
    training = TREE["training"] | {"batch": {"tokens": 256}}
    tree = {"task": {"kind": "language_model", **task}, "model": model, "training": training, "decoding": "greedy"}
    return resolve(tree, Recipe, directory=directory)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 5)
    monkeypatch.setattr("kakehashi.training.run.Report", PlainReport)


@pytest.mark.parametrize("name", TASKS)
def test_stopped_and_resumed_gives_the_same_bits(name: str, workshop: Workshop, tmp_path: Path, at_step: At) -> None:
    chosen = recipe(name, tmp_path)
    (tmp_path / "shared").mkdir()
    apart = Workshop(tmp_path / "shared", workshop.reports)  # with a vocabulary of its own
    apart.trainer(chosen, tmp_path / "whole").run()
    first = apart.trainer(chosen, tmp_path / "stopped")
    at_step(first, 7, first.stop)
    with pytest.raises(Interrupted):
        first.run()
    assert newest(tmp_path / "stopped").name == "checkpoint-00000007"
    apart.trainer(chosen, tmp_path / "stopped", resume=True).run()
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.parametrize("name", TASKS)
def test_a_run_from_end_to_end(name: str, tmp_path: Path) -> None:
    chosen, run = recipe(name, tmp_path), tmp_path / "run"
    outcome = train(chosen, run, cache=tmp_path / "cache", console=quiet())
    assert outcome.scores.keys() == ({"valid", "test"} if name == "sums" else {"valid"})
    assert [score.name for score in outcome.scores["valid"]] == list(chosen.task.metrics)
    card = json.loads((run / "model" / "card.json").read_text("utf-8"))
    assert card["source"] is None and card["data"][0]["unit"] == "sequences" and card["speed"] is None
    assert {path.name for path in (run / "model").iterdir()} == {
        "card.json",
        "config.yaml",
        "model.safetensors",
        "vocabulary.json",
    }
    with pytest.raises(UserError, match="is a language model: use it with kakehashi generate"):
        Translator.load(run / "model")
    generator = TextGenerator.load(run / "model")
    if name == "masked":
        with pytest.raises(UserError, match=r"encoder_only.*cannot continue a text"):
            generator.generate("line")
    else:
        assert generator.generate("3+", max_length=5)[0].startswith("3+")


def test_a_decoder_only_model_translates(workshop: Workshop, tmp_path: Path) -> None:
    tree = {**TREE, "model": CAUSAL, "training": TREE["training"] | {"steps": 4}}
    chosen = resolve(tree, Recipe, directory=workshop.directory)
    workshop.trainer(chosen, tmp_path).run()
    translator = Translator.load(tmp_path / "model")
    texts = ["Two apples, please.", "The museum is closed."]
    assert translator.translate(texts) == [translator.translate([text])[0] for text in texts]
    sampled = [translator.translate(texts[:count], kind="sample", seed=3, max_length=8) for count in (1, 2)]
    assert sampled[0][0] == sampled[1][0], "whoever else is in the batch"
    assert translator.translate(texts, kind="sample", seed=4, max_length=8) != sampled[1]


def test_what_cannot_translate_is_told(workshop: Workshop) -> None:
    for model, overrides, message in (
        (MASKED, (), "generates nothing"),
        (CAUSAL, ("task.subwords.vocabulary=separate",), "one vocabulary"),
    ):
        with pytest.raises(UserError, match=message):
            resolve({**TREE, "model": model}, Recipe, overrides, directory=workshop.directory)


def test_a_vocabulary_goes_with_the_run_that_a_mistake_ends(tmp_path: Path) -> None:
    chosen = recipe("sums", tmp_path)
    small = resolve(chosen.model_dump(), Recipe, ["training.batch.tokens=3"])
    with pytest.raises(UserError, match=r"training\.batch\.tokens = 3 is too small"):
        train(small, tmp_path / "run", cache=tmp_path / "cache", console=quiet())
    assert not (tmp_path / "run").exists()
    assert "length: 256" in dump(chosen)
