"""What a run tells the world: log.jsonl, TensorBoard events, the terminal, and the learning curve.

log.jsonl holds one JSON object a line: `step`, `time`, `kind` (train, validation, note, end) and the metrics by name.
A resumed run drops what was logged after the step it resumes from, so that its log is that of an uninterrupted one.
On a terminal there is a live line; elsewhere (a file, a CI log) a plain line about every half minute.
"""

import json
import math
import os
import resource
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from kakehashi.errors import UserError
from kakehashi.tasks.protocol import better

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch.utils.tensorboard.writer import SummaryWriter

LOG, CURVE, EVENTS = "log.jsonl", "curve.png", "tensorboard"
PLAIN_SECONDS = 30.0
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"  # told apart by colour-blind eyes too (Okabe & Ito 2008)

Line = dict[str, Any]  # one line of the log
Series = tuple[list[int], list[float]]  # steps, values


class Reporter(Protocol):
    """Whom the loop tells."""

    def train(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def validation(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def note(self, message: str, step: int | None = None) -> None: ...


class Silence:
    """What the processes beside the main one report."""

    def train(self, step: int, metrics: Mapping[str, float]) -> None:
        pass

    def validation(self, step: int, metrics: Mapping[str, float]) -> None:
        pass

    def note(self, message: str, step: int | None = None) -> None:
        pass


class Report:
    """Reports the run in `directory`; a context manager. Steps count from 1; `resume_from` is the last one kept.

    score: the validation metric whose best is shown; of a loss the lowest, of a score the highest.
    """

    def __init__(
        self,
        directory: Path,
        total_steps: int,
        resume_from: int = 0,
        console: Console | None = None,
        score: str = "bleu",
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._total = total_steps
        self._start = self._step = resume_from
        kept = _drop_after(directory / LOG, resume_from)
        self._old_notes = {line["message"] for line in kept if line["kind"] == "note"}
        self._best = _Best(score)
        for line in kept:
            if line["kind"] == "validation":
                self._best.see(line["step"], _metrics(line))
        self._log = (directory / LOG).open("a", encoding="utf-8")
        self._console = console or Console(stderr=True)
        self._live = _live_line(self._console)
        self._task = self._live.add_task(
            "", total=total_steps, completed=resume_from, status="", best=self._best.short()
        )
        self._started = monotonic()
        self._last_plain = -math.inf
        self._events = self._open_events(directory / EVENTS)

    def __enter__(self) -> Self:
        self._started = monotonic()
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds, peak = monotonic() - self._started, peak_memory()
        outcome = "finished" if kind is None else kind.__name__
        if self._console.is_terminal:
            self._live.stop()
        self._write("end", self._step, {"outcome": outcome, "seconds": round(seconds, 1), "peak_memory": peak})
        self._print(
            f"{outcome} at step {self._step:,} after {_duration(seconds)}, peak memory {peak / 2**30:.2f} GiB"
            + (f", {self._best}" if self._best.step else "")
        )
        self._log.close()
        if self._events:
            self._events.close()

    def train(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of the steps since the last call, by name; shown are `loss` and `tokens_per_second`."""
        self._step = step
        self._write("train", step, metrics)
        self._add_events("train", step, metrics)
        status = self._status(metrics)
        self._live.update(self._task, completed=step, status=status)
        if not self._console.is_terminal and monotonic() - self._last_plain >= PLAIN_SECONDS:
            self._last_plain = monotonic()
            self._print(f"step {step:,}/{self._total:,}  {status}")

    def validation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics on the development set, by name."""
        self._step = step
        self._write("validation", step, metrics)
        self._add_events("validation", step, metrics)
        if self._events:
            self._events.flush()  # a checkpoint follows, and its step will not be repeated
        self._best.see(step, metrics)
        self._live.update(self._task, completed=step, best=self._best.short())
        figures = "  ".join(f"{name} {_figure(value)}" for name, value in metrics.items())
        self._print(f"step {step:,} validation  {figures}" + ("  (best)" if self._best.step == step else ""))

    def note(self, message: str, step: int | None = None) -> None:
        """A sentence for the user about `step` (default: the last one reported).

        What a resumed run says again (at its start, mostly) is printed but stands in the log once.
        """
        if message not in self._old_notes:
            self._write("note", self._step if step is None else step, {"message": message})
        self._print(message)

    def _write(self, kind: str, step: int, content: Mapping[str, float | str]) -> None:
        line: Line = {"step": step, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind}
        line |= {name: None if _is_infinite(value) else value for name, value in content.items()}
        self._log.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        self._log.flush()

    def _print(self, text: str) -> None:
        """Above the live line where there is one. Soft wrapping keeps a line of a log file on one line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _status(self, metrics: Mapping[str, float]) -> str:
        parts: list[str] = []
        if "loss" in metrics:
            parts.append(f"loss {_figure(metrics['loss'])}")
        if "tokens_per_second" in metrics:
            parts.append(f"{metrics['tokens_per_second']:,.0f} tokens/s")
        if done := self._step - self._start:
            # All pauses for validation so far are in this mean, as they will be in the rest of the run.
            left = (monotonic() - self._started) / done * (self._total - self._step)
            parts.append(f"{_duration(left)} left")
        return "  ".join(parts)

    def _open_events(self, directory: Path) -> "SummaryWriter | None":
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            self.note(f"no TensorBoard events: the package tensorboard is not installed ({LOG} has the same figures)")
            return None
        return SummaryWriter(str(directory), purge_step=self._start + 1)

    def _add_events(self, kind: str, step: int, metrics: Mapping[str, float]) -> None:
        if self._events:
            for name, value in metrics.items():
                self._events.add_scalar(f"{kind}/{name}", value, step)


class _Best:
    """The best validation so far."""

    def __init__(self, name: str) -> None:
        self.name, self.value, self.step = name, math.nan, 0

    def see(self, step: int, metrics: Mapping[str, float]) -> None:
        value = metrics.get(self.name, math.nan)
        if not math.isnan(value) and better(self.name, value, self.value):
            self.value, self.step = value, step

    def short(self) -> str:
        """For the live line, which must fit 80 columns."""
        return f"best {self.name} {_figure(self.value)}" if self.step else ""

    def __str__(self) -> str:
        return f"{self.short()} at step {self.step:,}" if self.step else ""


def learning_curve(directory: Path) -> Path:
    """Draws `curve.png` from the run's log: both losses, and the first score beside it on an axis of its own.

    UserError when the log holds no figures yet.
    """
    from matplotlib.figure import Figure  # takes a second to import, and only the end of a run needs it

    lines = _read(directory / LOG)
    training = _series(lines, "train", "loss")
    validation = _series(lines, "validation", "loss")
    first = next((_metrics(line) for line in lines if line["kind"] == "validation"), {})
    name = next((name for name in first if name != "loss"), "")
    score = _series(lines, "validation", name)
    if not (training[0] or validation[0]):
        raise UserError(f"{directory / LOG} holds no losses to draw yet.")
    figure = Figure(figsize=(8, 4.8), dpi=150, layout="constrained")
    left = figure.subplots()
    left.plot(*training, color=BLUE, linewidth=1.0, alpha=0.75, label="training loss")
    left.plot(*validation, color=ORANGE, linewidth=1.8, marker="o", markersize=3.5, label="validation loss")
    left.set(xlabel="step", ylabel="loss (nats a token)", xlim=(0, None), ylim=_loss_range(training, validation))
    left.xaxis.set_major_formatter("{x:,.0f}")
    left.grid(alpha=0.25)
    axes = [left]
    if score[0]:
        axes.append(_draw_score(left, name, score))
    handles = [handle for one in axes for handle in one.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    for one in axes:
        one.spines["top"].set_visible(False)
    temporary = directory / f".{CURVE}"
    figure.savefig(temporary, format="png")
    return temporary.replace(directory / CURVE)


def peak_memory() -> int:
    """The most bytes that this process has held in memory so far (its resident set)."""
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _draw_score(left: "Axes", name: str, score: Series) -> "Axes":
    steps, values = score
    right = left.twinx()
    label = _label(name)
    right.plot(steps, values, color=GREEN, linewidth=1.8, marker="s", markersize=3.5, label=f"validation {label}")
    best = max(range(len(values)), key=values.__getitem__)
    right.plot(steps[best], values[best], color=GREEN, marker="*", markersize=13, markeredgecolor="white")
    right.annotate(
        f"{_figure(values[best])} at step {steps[best]:,}",
        (steps[best], values[best]),
        xytext=(0, 9),
        textcoords="offset points",
        ha="right" if steps[best] > max(steps) / 2 else "left",
        color=GREEN,
    )
    right.set_ylabel(label, color=GREEN)
    right.tick_params(axis="y", colors=GREEN)
    right.margins(y=0.12)
    return right


def _loss_range(training: Series, validation: Series) -> tuple[float, float]:
    """The first steps of a run fall from log(vocabulary); drawn in full they would flatten all that follows."""
    steps, losses = training
    settled = [loss for step, loss in zip(steps, losses, strict=True) if step >= 0.04 * steps[-1]]
    shown = settled + validation[1]
    low, high = min(shown), max(shown)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _live_line(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        BarColumn(bar_width=None),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn("{task.fields[status]}", markup=False),
        TextColumn("{task.fields[best]}", style="green", markup=False),
        console=console,
        expand=True,
        transient=True,
    )


def _drop_after(path: Path, step: int) -> list[Line]:
    """Keeps the lines up to `step`, but those that end a run (nothing of a run that has no step to resume from)."""
    if not path.exists():
        return []
    kept = [line for line in _read(path) if 0 < step >= line["step"] and line["kind"] != "end"]
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return kept


def _read(path: Path) -> list[Line]:
    """The lines of a log. The last may be cut off, when its process was killed while writing it: it is left out."""
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1]]


def _metrics(line: Line) -> dict[str, float]:
    rest = {name: value for name, value in line.items() if name not in ("step", "time", "kind")}
    return {name: math.nan if value is None else value for name, value in rest.items()}


def _series(lines: list[Line], kind: str, name: str) -> Series:
    points = [(line["step"], line[name]) for line in lines if line["kind"] == kind and line.get(name) is not None]
    return [step for step, _ in points], [value for _, value in points]


def _label(name: str) -> str:
    return {"bleu": "BLEU", "chrf": "chrF", "ter": "TER"}.get(name, name)


def _is_infinite(value: float | str) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _figure(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
