"""The run's report: its log (also after a kill and a resume), its words on and off a terminal, its curve."""

import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kakehashi.errors import UserError
from kakehashi.training import report as module
from kakehashi.training.report import Report, learning_curve


def run(report: Report, steps: range) -> None:
    """Training lines every 10 steps and a validation every 50, all figures functions of the step."""
    for step in steps:
        if step == 75:
            report.note("step 75 skipped: gradient norm inf", step=75)
        if step % 10 == 0:
            report.train(step, {"loss": 9 / step, "tokens_per_second": 4123.0, "skipped": step // 75})
        if step % 50 == 0:
            report.validation(step, {"loss": 10 / step, "bleu": 30 - abs(step - 150) / 10, "chrf": 50.0})


def quiet() -> Console:
    return Console(file=io.StringIO(), width=100)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def timeless(directory: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "time"} for line in lines(directory) if line["kind"] != "end"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [1000.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    yield now


def test_the_log_has_a_json_object_a_line(tmp_path: Path) -> None:
    with Report(tmp_path / "run", 200, console=quiet()) as report:
        report.note("ノート [bold]", step=3)
        report.train(10, {"loss": 2.5, "gradient_norm": math.inf})
        assert lines(tmp_path / "run")[-1]["loss"] == 2.5, "flushed at once"
        report.validation(10, {"loss": math.nan, "bleu": 1.0})
    note, train, validation, end = lines(tmp_path / "run")
    assert (note["kind"], note["step"], note["message"]) == ("note", 3, "ノート [bold]")
    assert (train["kind"], train["step"], train["gradient_norm"]) == ("train", 10, None)
    assert (validation["kind"], validation["loss"], validation["bleu"]) == ("validation", None, 1.0)
    assert (end["kind"], end["step"], end["outcome"]) == ("end", 10, "finished")
    assert 10 * 2**20 < end["peak_memory"] < 2**40, "bytes"
    assert all(re.search(r"\.\d{3}\+00:00$", line["time"]) for line in (note, train, validation, end))


@pytest.mark.parametrize("torn", ["", '{"step": 160, "ki'], ids=["whole", "torn"])
def test_a_resumed_log_is_that_of_an_uninterrupted_run(tmp_path: Path, torn: str) -> None:
    with Report(tmp_path / "one", 200, console=quiet()) as report:
        report.note("warmup shortened")
        run(report, range(1, 201))
    with pytest.raises(KeyboardInterrupt), Report(tmp_path / "two", 200, console=quiet()) as report:
        report.note("warmup shortened")
        run(report, range(1, 138))
        raise KeyboardInterrupt
    assert lines(tmp_path / "two")[-1]["outcome"] == "KeyboardInterrupt"
    with (tmp_path / "two" / "log.jsonl").open("a") as file:
        file.write(torn)
    with Report(tmp_path / "two", 200, resume_from=100, console=quiet()) as report:
        report.note("warmup shortened")
        run(report, range(101, 201))
    assert timeless(tmp_path / "two") == timeless(tmp_path / "one")
    assert [line["kind"] for line in lines(tmp_path / "two")].count("end") == 1


def test_a_run_killed_before_its_first_checkpoint_starts_a_new_log(tmp_path: Path) -> None:
    for _ in range(2):
        with Report(tmp_path, 200, console=quiet()) as report:
            report.note("at the start")
            run(report, range(1, 31))
    assert [line["step"] for line in lines(tmp_path)] == [0, 10, 20, 30, 30]


def test_tensorboard_has_the_same_figures_after_a_resume(tmp_path: Path) -> None:
    with Report(tmp_path, 200, console=quiet()) as report:
        run(report, range(1, 138))
    (first,) = (tmp_path / "tensorboard").iterdir()
    first.rename(first.with_name("events.out.tfevents.0000000001.host"))  # files are read in the order of their times
    with Report(tmp_path, 200, resume_from=100, console=quiet()) as report:
        run(report, range(101, 201))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(10, 201, 10))
    assert [event.value for event in events.Scalars("validation/bleu")] == [20.0, 25.0, 30.0, 25.0]


def test_without_tensorboard_the_run_goes_on_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.sys.modules, "torch.utils.tensorboard.writer", None)
    console = quiet()
    with Report(tmp_path, 200, console=console) as report:
        run(report, range(1, 51))
    assert "no TensorBoard events" in text(console) and not (tmp_path / "tensorboard").exists()
    assert lines(tmp_path)[-2]["bleu"] == 20.0


def test_off_a_terminal_there_is_a_plain_line_each_half_minute_and_validation(
    tmp_path: Path, clock: list[float]
) -> None:
    console = quiet()
    with Report(tmp_path, 1200, resume_from=0, console=console) as report:
        for step in range(10, 101, 10):
            clock[0] += 10
            report.train(step, {"loss": 3.25, "tokens_per_second": 4123.4})
        report.validation(100, {"loss": 2.5, "bleu": 31.25})
        report.validation(110, {"loss": 2.0, "bleu": 30.0})
    assert text(console).splitlines() == [
        "step 10/1,200  loss 3.250  4,123 tokens/s  0:19:50 left",
        "step 40/1,200  loss 3.250  4,123 tokens/s  0:19:20 left",
        "step 70/1,200  loss 3.250  4,123 tokens/s  0:18:50 left",
        "step 100/1,200  loss 3.250  4,123 tokens/s  0:18:20 left",
        "step 100 validation  loss 2.500  bleu 31.25  (best)",
        "step 110 validation  loss 2.000  bleu 30.00",
        f"finished at step 110 after 0:01:40, peak memory {lines(tmp_path)[-1]['peak_memory'] / 2**30:.2f} GiB, "
        "best bleu 31.25 at step 100",
    ]


def test_a_resumed_run_estimates_from_its_own_pace_and_remembers_the_best(tmp_path: Path, clock: list[float]) -> None:
    with Report(tmp_path, 200, console=quiet(), score="loss") as report:
        report.validation(50, {"loss": 0.5})
        report.validation(100, {"loss": 0.25})
        report.validation(150, {"loss": 0.125})
    console = quiet()
    with Report(tmp_path, 200, resume_from=100, console=console, score="loss") as report:
        clock[0] += 10
        report.train(120, {"loss": 1.0})
        report.validation(150, {"loss": 0.375})
    first, second, last = text(console).splitlines()
    assert first == "step 120/200  loss 1.000  0:00:40 left"
    assert second == "step 150 validation  loss 0.375"
    assert last.endswith("best loss 0.250 at step 100")


def test_on_a_terminal_there_is_a_live_line(tmp_path: Path, clock: list[float]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with Report(tmp_path, 200, console=console) as report:
        clock[0] += 50
        report.validation(50, {"loss": 2.5, "bleu": 31.25})
        report.train(100, {"loss": 3.25, "tokens_per_second": 4123.4})
        report.note("[careful]")
    shown = text(console)
    assert "100/200 loss 3.250  4,123 tokens/s  0:00:50 left best bleu 31.25" in shown
    assert "[careful]" in shown and "step 50 validation" in shown
    assert shown.rstrip().endswith("best bleu 31.25 at step 50")


def test_the_learning_curve_is_drawn_and_redrawn(tmp_path: Path) -> None:
    with Report(tmp_path, 200, console=quiet()) as report:
        run(report, range(1, 201))
    path = learning_curve(tmp_path)
    first = path.read_bytes()
    assert path == tmp_path / "curve.png" and first.startswith(b"\x89PNG") and len(first) > 20_000
    with Report(tmp_path, 200, resume_from=100, console=quiet()):
        pass
    assert learning_curve(tmp_path).read_bytes() != first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curve.png", "log.jsonl", "tensorboard"]


@pytest.mark.parametrize("metrics", [{"loss": 2.0}, {"loss": math.nan, "bleu": 3.0}, {"bleu": 3.0}])
def test_the_learning_curve_of_a_single_validation(tmp_path: Path, metrics: dict[str, float]) -> None:
    with Report(tmp_path, 3, console=quiet()) as report:
        report.validation(3, metrics)
    if math.isnan(metrics.get("loss", math.nan)):
        with pytest.raises(UserError, match="no losses"):
            learning_curve(tmp_path)
    else:
        assert learning_curve(tmp_path).stat().st_size > 5_000
