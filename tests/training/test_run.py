"""A run as a directory: who may write into it, what a mistake leaves behind, how it is stopped and gone on with."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kakehashi.config import ConfigError, dump
from kakehashi.errors import UserError
from kakehashi.training.loop import Interrupted, Trainer
from kakehashi.training.recipe import Recipe, load_recipe
from kakehashi.training.run import Outcome, train
from kakehashi.translator import Translator

from .conftest import PlainReport, Workshop, assert_same_run, log_of, newest, quiet

QUICK = ("training.steps=4", "training.validation.every=2")
WARM = ("training.schedule.warmup=2",)  # which no run here is too short for


@pytest.fixture(autouse=True)
def without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kakehashi.training.run.Report", PlainReport)


@pytest.fixture
def start(workshop: Workshop) -> Callable[..., Outcome]:
    def run(recipe: Recipe, directory: Path, resume: bool = False, console: Console | None = None) -> Outcome:
        return train(recipe, directory, resume, workshop.cache, console or quiet())

    return run


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_a_run_from_end_to_end(workshop: Workshop, tmp_path: Path, start: Callable[..., Outcome]) -> None:
    recipe, run = workshop.recipe(*QUICK), tmp_path / "run"
    outcome = start(recipe, run)
    assert outcome.directory == run and outcome.scores.keys() == {"valid", "held_out"}
    assert {score.name for score in outcome.scores["held_out"]} == {"bleu", "chrf", "ter"}
    assert load_recipe(run / "recipe.yaml") == recipe
    assert {path.name for path in run.iterdir()} >= {
        "checkpoints",
        "curve.png",
        "last",
        "log.jsonl",
        "model",
        "subwords",
    }
    card = json.loads((run / "model" / "card.json").read_text("utf-8"))
    assert card["training"]["steps"] == 4 and card["data"][0]["pairs"] == 70
    assert {record["test_set"] for record in card["scores"]} == {"valid", "held_out"}
    assert len(Translator.load(run / "model").translate(["Two apples, please.", ""])) == 2


@pytest.mark.parametrize(
    "model", ["lstm, width: 16", "convs2s, width: 16, max_length: 65", "bytenet, width: 16, decoder: {sets: 1}"]
)
def test_other_models_are_trained_and_opened(
    model: str, workshop: Workshop, tmp_path: Path, start: Callable[..., Outcome]
) -> None:
    recipe = workshop.recipe(*QUICK, "training.precision=bf16", f"model={{kind: {model}}}")
    assert start(recipe, tmp_path / "run").scores.keys() == {"valid", "held_out"}
    assert len(Translator.load(tmp_path / "run" / "model").translate(["Two apples, please.", ""])) == 2


def test_an_existing_run_must_be_asked_for(workshop: Workshop, tmp_path: Path, start: Callable[..., Outcome]) -> None:
    (tmp_path / "recipe.yaml").write_text(dump(workshop.recipe()), "utf-8")
    before = files(tmp_path)
    with pytest.raises(UserError, match=r"holds a run already: add --resume"):
        start(workshop.recipe(), tmp_path)
    changed = workshop.recipe("training.seed=7", "model.encoder.depth=2", "training.averaging=ema", "training.steps=9")
    with pytest.raises(ConfigError, match=r"started with other settings") as caught:
        start(changed, tmp_path, resume=True)
    assert "training.seed: 1 then, 7 now" in str(caught.value)
    assert "model.encoder.depth: 1 then, 2 now" in str(caught.value)
    assert "training.averaging.kind: none then, ema now" in str(caught.value)
    assert "training.steps" not in str(caught.value), "how long a run is may change"
    assert {name for name in files(tmp_path) if not name.startswith(".")} == set(before)
    assert load_recipe(tmp_path / "recipe.yaml") == workshop.recipe()


def test_a_directory_of_something_else_is_left_alone(
    workshop: Workshop, tmp_path: Path, start: Callable[..., Outcome]
) -> None:
    (tmp_path / "thesis.txt").write_text("precious", "utf-8")
    for resume in (False, True):
        with pytest.raises(UserError, match=r"is no run and not empty \(thesis\.txt\)"):
            start(workshop.recipe(), tmp_path, resume)
    with pytest.raises(UserError, match="cannot be used for a run"):
        start(workshop.recipe(), tmp_path / "thesis.txt")
    assert files(tmp_path) == ["thesis.txt"]


def test_two_processes_do_not_share_a_run(workshop: Workshop, tmp_path: Path, start: Callable[..., Outcome]) -> None:
    with (tmp_path / ".kakehashi-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="is being trained by another process"):
            start(workshop.recipe(), tmp_path, resume=True)
    assert files(tmp_path) == [".kakehashi-lock"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.heads=3", "model: width 16 is not a multiple of heads 3"),
        ("model.width=15", "model: .* 15"),
        ("model={kind: convs2s, max_length: 64}", "sequences of up to 65 tokens, and the model knows 64 places"),
        (
            "model={kind: decoder_only, decoder: {position: {kind: learned, max_length: 129}}}",
            "sequences of up to 130 tokens, and the model knows 129 places",  # source and target in one
        ),
        ("task.target=german!", "'german!' is not a language code"),
        ("task.train=absent.{en,de}", "there is no file .*absent.en"),
        ("task.valid=absent.{en,de}", "there is no file .*absent.en"),
        ("task.test.more=absent.{en,de}", "there is no file .*absent.en"),
        ("training.batch.tokens=20", "training.batch.tokens = 20 is too small"),
        ("task.max_tokens=1", "no pair is left"),
    ],
)
def test_a_mistake_leaves_nothing_behind(
    override: str, message: str, workshop: Workshop, tmp_path: Path, start: Callable[..., Outcome]
) -> None:
    with pytest.raises(UserError, match=message):
        start(workshop.recipe(override), tmp_path / "run")
    assert files(tmp_path) == []


def test_a_mistake_on_resuming_removes_nothing(
    workshop: Workshop, tmp_path: Path, start: Callable[..., Outcome]
) -> None:
    recipe = workshop.recipe("task.test.more=absent.{en,de}")
    (tmp_path / "recipe.yaml").write_text(dump(recipe), "utf-8")
    with pytest.raises(UserError, match="there is no file"):
        start(recipe, tmp_path, resume=True)
    assert {"recipe.yaml", "subwords"} <= set(files(tmp_path))


def test_a_signal_stops_and_resuming_finishes(
    workshop: Workshop, tmp_path: Path, start: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Trainer._take_step
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def interrupted(trainer: Trainer, *indices: Any) -> None:
        if trainer.progress.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        take(trainer, *indices)

    run = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_take_step", interrupted)
        with pytest.raises(Interrupted):
            start(workshop.recipe(*QUICK, *WARM), run)
    assert newest(run).name == "checkpoint-00000003"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    longer = workshop.recipe(*QUICK, *WARM, "training.steps=6", "training.keep=3")
    start(longer, run, resume=True)
    assert load_recipe(run / "recipe.yaml") == longer, "the recipe that the run had in the end"
    assert [line["step"] for line in log_of(run, "validation")] == [2, 4, 6]
    assert log_of(run, "validation")[-1] == log_of(start_whole(workshop, longer, tmp_path / "whole"), "validation")[-1]


def start_whole(workshop: Workshop, recipe: Recipe, run: Path) -> Path:
    workshop.trainer(recipe, run).run()
    return run


def test_the_papers_schedule_is_shortened_with_a_warning(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.recipe("training.schedule=paper", "training.steps=50")
    trainer = workshop.trainer(recipe, tmp_path)
    assert [line["message"] for line in log_of(tmp_path, "note")] == [
        "the schedule's warmup is as long as the run: shortened to 5 steps"
    ]
    rates = [trainer.schedule.rate(step, 50, 16) for step in range(1, 51)]
    assert max(rates) == rates[4] == pytest.approx(16**-0.5 * 4000**-0.5), "the paper's peak, and no hotter one"


KILLED = """
import os, signal, sys
number = getattr(signal, sys.argv.pop())
from kakehashi import cli
from kakehashi.training.loop import Trainer
take = Trainer._take_step
def killed(trainer, *indices):
    if trainer.progress.step == 7:
        os.kill(os.getpid(), number)
    take(trainer, *indices)
Trainer._take_step = killed
cli.main()
"""


def command(workshop: Workshop, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"KAKEHASHI_CACHE": str(workshop.cache)}
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_the_command_stopped_at_step_7_goes_on_to_the_same_bits(
    number: str, workshop: Workshop, tmp_path: Path
) -> None:
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    chosen = "training.precision=bf16", "training.averaging=ema", "task.subwords.sampling=0.3"
    recipe.write_text(dump(workshop.recipe(*chosen)), "utf-8")
    arguments = ("train", str(recipe), f"run={run}")
    stopped = command(workshop, sys.executable, "-c", KILLED, *arguments, number)
    if number == "SIGKILL":
        assert stopped.returncode == -signal.SIGKILL and newest(run).name == "checkpoint-00000004"
    else:
        assert stopped.returncode == 130, stopped.stderr
        assert f"add --resume to the same command (run={run})" in stopped.stderr
        assert newest(run).name == "checkpoint-00000007"
    refused = command(workshop, sys.executable, "-m", "kakehashi", *arguments)
    assert refused.returncode == 2 and "add --resume" in refused.stderr and "Traceback" not in refused.stderr
    resumed = command(workshop, sys.executable, "-m", "kakehashi", *arguments, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert f"kakehashi translate {run / 'model'}" in resumed.stdout
    whole = command(workshop, sys.executable, "-m", "kakehashi", "train", str(recipe), f"run={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    assert_same_run(run, tmp_path / "whole")
