"""From raw text to a score: what a recipe reaches, and in how many minutes of the wall clock, everything included.

    python -m benchmarks.time_to_quality                        configs/multi30k.yaml as it is (KAKEHASHI_DATA)
    python -m benchmarks.time_to_quality --seeds 1 2 3 --run "muon: training.optimizer=muon" --run "..."
    python -m benchmarks.time_to_quality --levers levers.yaml   the same from a file: {muon: training.optimizer=muon}
    python -m benchmarks.time_to_quality --joeynmt 60           JoeyNMT on the same model and text, for 60 minutes
    python -m benchmarks.time_to_quality --table                what was measured, mean and spread over the seeds
    python -m benchmarks.time_to_quality --plot curve.svg       learning curves: score against minutes

Each run is `kakehashi train` in a process of its own, with an empty cache: it learns its subwords, cuts the text,
trains, translates the development set again and again to choose the best weights, and then translates the test sets.
Each is a line of benchmarks/results/time_to_quality.jsonl, found again by the resolved recipe: what is there is not
run a second time, unless `--fresh`. JoeyNMT's environment: `python -m benchmarks.training --setup`.
"""

import argparse
import fnmatch
import hashlib
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import cycle
from pathlib import Path
from statistics import mean, stdev
from typing import cast

from ruamel.yaml import YAML

from benchmarks import corpora, environments
from benchmarks.peers.workload import Size, Workload
from benchmarks.records import Line, append, machine, read
from benchmarks.training import answered, process, train
from kakehashi.data.subwords import BPE, Unigram
from kakehashi.errors import UserError
from kakehashi.evaluation.metrics import build_metric
from kakehashi.models.stack import CrossStack, Layer, Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.feedforward import ReLU
from kakehashi.tasks.translation import Translation, pairs_of
from kakehashi.training.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "time_to_quality.jsonl"
METRICS = ("bleu", "bleu_tokenized_lowercase")
JOEYNMT = "JoeyNMT 2.3.0"
LOOK = 100  # steps between two of JoeyNMT's validations
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito 2008


@dataclass(frozen=True)
class Run:
    """A recipe with overrides. Raises UserError where it is none."""

    name: str
    path: Path
    overrides: tuple[str, ...]
    seed: int
    threads: int
    processes: int = 1

    @property
    def settings(self) -> list[str]:
        return [*self.overrides, f"training.seed={self.seed}"]

    @cached_property
    def recipe(self) -> Recipe:
        return load_recipe(self.path, self.settings)

    @property
    def key(self) -> str:
        """Of all that decides the result; the folder of the data does not."""
        tree = {**self.recipe.model_dump(mode="json"), "threads": self.threads, "processes": self.processes}
        text = json.dumps(tree, sort_keys=True).replace(os.environ.get("KAKEHASHI_DATA", "\0"), "")
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def task(self) -> Translation:
        return cast(Translation, self.recipe.task)


def named(text: str) -> tuple[str, tuple[str, ...]]:
    """name: key=value key=value; values with spaces in quotes."""
    name, _, overrides = text.partition(":")
    return name.strip(), tuple(shlex.split(overrides))


def levers(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """A mapping of names to overrides, in one line or as a list."""
    tree = cast(Mapping[str, str | list[str] | None], YAML(typ="safe").load(path))
    return [(name, tuple(shlex.split(o or "") if not isinstance(o, list) else o)) for name, o in tree.items()]


# One run


def measured(run: Run, test: str) -> Line:
    """Trains, and scores the test set in both manners."""
    with tempfile.TemporaryDirectory(prefix="kakehashi-quality-") as temporary:
        directory = Path(temporary) / "run"
        arguments = [str(run.path), f"run={directory}", *run.settings]
        started = datetime.now(UTC)
        train(arguments, run.threads, run.processes, KAKEHASHI_CACHE=f"{temporary}/cache")
        ended = datetime.now(UTC)
        log = read(directory / "log.jsonl")
        card = json.loads((directory / "model" / "card.json").read_text(encoding="utf-8"))
        scores = {each["score"]["name"]: each["score"]["value"] for each in card["scores"] if each["test_set"] == test}
        return {
            **phases(log, started, ended),
            "parameters": card["training"]["parameters"],
            "scores": {**scores, **tokenized_lowercase(directory / "model", run, test)},
        }


def phases(log: Sequence[Line], started: datetime, ended: datetime) -> Line:
    """Minutes of each part of a run, and the development set's score by the minutes since its start."""

    def minutes(end: datetime, start: datetime) -> float:
        return (end - start).total_seconds() / 60

    times = [datetime.fromisoformat(line["time"]) for line in log]
    last = next(line for line in log if line["kind"] == "end")
    return {
        "minutes": {
            "data": minutes(times[0], started),
            "training": minutes(times[-1], times[0]),
            "test sets": minutes(ended, times[-1]),
        },
        "curve": [
            {"minutes": minutes(when, started), "step": line["step"], "bleu": line["bleu"]}
            for line, when in zip(log, times, strict=True)
            if line["kind"] == "validation"
        ],
        "peak_memory": last["peak_memory"],
    }


def tokenized_lowercase(model: Path, run: Run, test: str) -> dict[str, float]:
    """BLEU as older publications count it. Not on the clock: a second translation of the same set."""
    source, target = run.task.test[test][0].paths
    command = [sys.executable, "-m", "kakehashi", "evaluate", str(model), "--source", str(source)]
    command += ["--reference", str(target), "--metric", "bleu_tokenized_lowercase", "--json"]
    (scores,) = json.loads(process(command, run.threads))["scores"].values()
    return {score["name"]: score["value"] for score in scores}


def joeynmt(run: Run, minutes: float, peers: Path) -> Line:
    """JoeyNMT's learning curve on the recipe's text, with its subwords, model, batches, and highest learning rate."""
    recipe, task = run.recipe, run.task
    size, subwords = plain(run)
    steps, width = recipe.training.steps, recipe.model.width
    rates = [recipe.training.schedule.rate(step, steps, width) for step in range(1, steps + 1)]
    with tempfile.TemporaryDirectory(prefix="kakehashi-quality-") as temporary:
        started = time.monotonic()
        corpora.of_pairs(Path(temporary, "data"), subwords, [*pairs_of(task.train)], [*pairs_of(task.valid)])
        prepared = (time.monotonic() - started) / 60
        work = Workload(
            data=f"{temporary}/data",
            run=f"{temporary}/run",
            size=size,
            tokens=recipe.training.batch.tokens // 2,
            dropout=recipe.model.dropout,
            threads=run.threads,
            seed=run.seed,
            peak=max(rates),
            rising=rates.index(max(rates)) + 1,
            minutes=minutes,
            every=LOOK,
        )
        Path(work.run).mkdir()
        command = [str(environments.python(peers, "joeynmt")), "-m", "benchmarks.peers.joeynmt"]
        found = answered(process(command, run.threads, str(work)))
        curve = [{**look, "minutes": look["minutes"] + prepared} for look in found.pop("curve")]
        return {**found, "minutes": {"data": prepared, "training": curve[-1]["minutes"]}, "curve": curve, "scores": {}}


def plain(run: Run) -> tuple[Size, Unigram | BPE]:
    """Model and subwords, where they are such as JoeyNMT has too. Raises UserError where they are not."""
    match run.recipe.model, run.task.subwords:
        case (
            EncoderDecoder(
                width=width,
                heads=heads,
                encoder=Stack(
                    depth=depth, placement="pre" | "post" as placement, layers=(Layer(feedforward=ReLU(size=size)),)
                ),
                decoder=CrossStack(depth=other),
            ),
            Unigram(size=int(vocabulary), vocabulary="joint")
            | BPE(size=int(vocabulary), vocabulary="joint") as subwords,
        ) if depth == other:
            return Size(depth, width, size, heads, vocabulary, placement), subwords
        case _:
            raise UserError(
                f"{run.path.name}: JoeyNMT has no such model or subwords: it takes as many layers on both sides, ReLU, "
                "pre- or post-norm, and joint unigram or BPE subwords of a given size"
            )


def measure(runs: Sequence[Run], arguments: argparse.Namespace) -> None:
    minutes = arguments.joeynmt
    peer = f"{JOEYNMT}, {minutes:g} minutes" if minutes else ""
    known = set[str]() if arguments.fresh else {line["key"] for line in results()}
    todo = [run for run in runs if run.key + peer not in known]
    for number, run in enumerate(todo, 1):
        print(f"{number}/{len(todo)} {peer or run.name}, seed {run.seed} ...", flush=True)
        line: Line = {
            "key": run.key + peer,
            "name": JOEYNMT if peer else run.name,
            "recipe": run.path.name,
            "overrides": run.overrides,
            "seed": run.seed,
            "threads": run.threads,
            "processes": run.processes,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "load": round(os.getloadavg()[0], 1),
        }
        try:
            line |= joeynmt(run, minutes, arguments.peers) if peer else measured(run, arguments.test)
        except RuntimeError as error:  # the next one is tried all the same
            print(f"failed: {error}", flush=True)
            continue
        append(RESULTS, line)
        print("\n".join(table([line])), flush=True)


# What was measured


def results() -> list[Line]:
    """The lines of the results; of several with one key the last."""
    return [*{line["key"]: line for line in read(RESULTS)}.values()]


def groups(lines: Sequence[Line]) -> dict[tuple[str, ...], list[Line]]:
    """Runs that differ in their seed alone."""
    found: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        found.setdefault((line["name"], line["recipe"], _apart(line), *line["overrides"]), []).append(line)
    return found


def table(lines: Sequence[Line]) -> Iterator[str]:
    yield "| run | seeds | minutes (of them for the test sets) | BLEU, 13a cased | BLEU, tokenised lower-case | valid |"
    yield "|---|---|---|---|---|---|"
    for (name, recipe, apart, *overrides), runs in groups(lines).items():
        shown = f"{name}: {recipe} {' '.join(overrides)}".strip() + f" ({apart})"
        tests = mean(run["minutes"].get("test sets", 0.0) for run in runs)
        cells = [
            f"{_spread([sum(run['minutes'].values()) for run in runs], '{:.1f}')} ({tests:.1f})",
            *(_spread([run["scores"][m] for run in runs if m in run["scores"]]) for m in METRICS),
            _spread([max(look["bleu"] for look in run["curve"]) for run in runs]),
        ]
        yield f"| {shown} | {len(runs)} | {' | '.join(cells)} |"


def _apart(line: Line) -> str:
    threads, processes = line["threads"], line["processes"]
    each = f"{threads // processes} thread{'s' * (threads > processes)}"
    return each if processes == 1 else f"{processes} processes of {each}"


def _spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Mean, and the standard deviation of several."""
    if not values:
        return "–"
    return form.format(mean(values)) + (f" ± {form.format(stdev(values))}" if len(values) > 1 else "")


def plot(lines: Sequence[Line], path: Path) -> None:
    """A curve for each run, a colour for each group of them."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for colour, (group, runs) in zip(cycle(COLOURS), groups(lines).items(), strict=False):
        for label, run in zip([group[0], *[None] * len(runs)], runs, strict=False):
            minutes, bleu = ([look[name] for look in run["curve"]] for name in ("minutes", "bleu"))
            axes.plot(minutes, bleu, color=colour, marker="o", markersize=3, linewidth=1.5, label=label)
    axes.set(
        xlabel="minutes from the raw text", ylabel="BLEU of the development set, greedy", xlim=(0, None), ylim=(0, None)
    )
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    temporary = path.with_name(f".{path.name}")
    with rc_context({"svg.hashsalt": "kakehashi", "svg.fonttype": "none"}):
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", type=Path, default=ROOT / "configs" / "multi30k.yaml")
    parser.add_argument("--run", action="append", default=[], metavar="'NAME: KEY=VALUE ...'", help="one of several")
    parser.add_argument("--levers", type=Path, metavar="FILE.yaml", help="a mapping of such names to overrides")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1, help="that share the threads, started by torchrun")
    parser.add_argument("--test", default="test_2016_flickr", help="the recipe's test set that is reported")
    parser.add_argument("--joeynmt", type=float, metavar="MINUTES", help="train JoeyNMT so long instead")
    parser.add_argument("--peers", type=Path, default=environments.DEFAULT, help="the folder of its environment")
    parser.add_argument("--fresh", action="store_true", help="run again what there is a result of")
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="only draw the learning curves")
    parser.add_argument("--only", default="*", help="a pattern of names for the table and the curves")
    arguments = parser.parse_args()
    if arguments.processes > (1 if arguments.joeynmt else arguments.threads):
        parser.error("--processes: at most one for each thread, and one for JoeyNMT")
    if not arguments.table and not arguments.plot:
        sets = [*map(named, arguments.run), *(levers(arguments.levers) if arguments.levers else [])]
        try:
            measure(planned(arguments, sets or [(arguments.recipe.stem, ())]), arguments)
        except UserError as error:
            parser.error(str(error))
    lines = [line for line in results() if fnmatch.fnmatch(line["name"], arguments.only)]
    if arguments.plot:
        plot(lines, arguments.plot)
    else:
        print("\n".join(table(lines)))


def planned(arguments: argparse.Namespace, sets: Sequence[tuple[str, tuple[str, ...]]]) -> list[Run]:
    """Every set of overrides with every seed, seed by seed. Raises UserError before the first of them is run."""
    recipe = arguments.recipe.resolve()
    runs = [
        Run(name, recipe, o, seed, arguments.threads, arguments.processes)
        for seed in arguments.seeds
        for name, o in sets
    ]
    for run in runs:
        if not isinstance(run.recipe.task, Translation) or arguments.test not in run.recipe.task.test:
            raise UserError(f"{recipe}: no translation with a test set {arguments.test!r}: name one of task.test")
        for metric in METRICS:
            build_metric(metric, run.recipe.task.target)
        if arguments.joeynmt:
            plain(run)
    return runs


if __name__ == "__main__":
    main()
