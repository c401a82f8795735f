"""A general model adapted to another domain: what it learns, what it forgets, what new pieces and old text do to both.

    python -m studies.adaptation.study            runs what results.jsonl lacks; writes table and figure
    python -m studies.adaptation.study --trial    all of it with a few steps each, in runs/adaptation-trial
    python -m studies.adaptation.study --only data

It can be stopped at any time and goes on where it was. Every run is a command that it prints, in a process of its own.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shlex
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from kakehashi.config import resolve
from kakehashi.data.corpus import Corpus, Pair, read_pairs, write_lines

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GENERAL, FINETUNE = ROOT / "configs" / "general-en-de.yaml", ROOT / "configs" / "finetune-gnome.yaml"
README, FIGURE, RESULTS = HERE / "README.md", HERE / "figure.png", HERE / "results.jsonl"

GNOME = "${KAKEHASHI_DATA}/gnome_docs/en-de.train.{en,de}.gz"
GENERAL_TEXT = {
    "old": ["multi30k/train", "tatoeba_ende/train"],
    "old-valid": ["multi30k/val", "tatoeba_ende/dev"],
    "old-test": ["multi30k/test_2016_flickr", "tatoeba_ende/test"],
}
TEST, VALID = 500, 250  # pairs; of the old text, so many of each of the two
TESTS = {"gnome": "test", "general": "old-test"}  # by the name of their files
SEED = 1
TRIAL = 0.02  # of the steps

Start = Literal["general", "scratch"]
STEPS: dict[Start, dict[int | None, int]] = {
    "general": {100: 60, 1000: 150, None: 300},
    "scratch": {100: 100, 1000: 300, None: 600},
}
# What a model that starts from nothing needs otherwise: subwords of its own, more dropout, a higher rate.
SCRATCH = ["initial_model=null", "task.subwords=unigram", "model.dropout=0.3", "training.schedule.peak=3e-3"]

Result = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A model. pairs: of the new domain, None = all, 0 = none; extended: with new pieces; mixed: with old text."""

    start: Start
    pairs: int | None
    extended: bool = False
    mixed: bool = False

    @property
    def name(self) -> str:
        marks = [mark for mark, present in (("extended", self.extended), ("mixed", self.mixed)) if present]
        return "-".join([self.start, "all" if self.pairs is None else str(self.pairs), *marks])


BEFORE = Row("general", 0)


def rows() -> list[Row]:
    """In the order in which they are run and shown."""
    sizes = list(STEPS["general"])
    adapted = [
        Row("general", n, extended, mixed) for n in sizes for mixed in (False, True) for extended in (False, True)
    ]
    return [BEFORE, *adapted, *(Row("scratch", n) for n in sizes)]


# The data


def split(pairs: Sequence[Pair]) -> dict[str, Sequence[Pair]]:
    """test, valid and train, drawn by the seed; no English line of one stands in another, whatever its case and spaces.

    Where a line has several translations, training has all, and the others have the first.
    """
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        folded = "".join(unicodedata.normalize("NFKC", pair.source).casefold().split())
        groups.setdefault(folded, []).append(pair)
    drawn = list(groups.values())
    random.Random(SEED).shuffle(drawn)
    return {
        "test": [group[0] for group in drawn[:TEST]],
        "valid": [group[0] for group in drawn[TEST : TEST + VALID]],
        "train": [pair for group in drawn[TEST + VALID :] for pair in group],
    }


def write_data(folder: Path, share: float) -> None:
    """train, train-100, train-1000, valid, test; old, old-valid, old-test. `share`: of all but the new text."""
    parts = split(list(_pairs(GNOME)))
    for size in STEPS["general"]:
        if size is not None:
            parts[f"train-{size}"] = parts["train"][:size]
    sizes = {"test": TEST, "valid": VALID, "old-test": TEST, "old-valid": VALID}

    def cut(name: str, pairs: Sequence[Pair]) -> Sequence[Pair]:
        return pairs[: round(share * min(sizes.get(name, len(pairs)), len(pairs)))]

    for name, texts in GENERAL_TEXT.items():
        several = [list(_pairs(f"${{KAKEHASHI_DATA}}/{text}.{{en,de}}.gz")) for text in texts]
        parts[name] = [pair for pairs in several for pair in cut(name, pairs)]
    parts |= {name: cut(name, parts[name]) for name in ("test", "valid")}
    for name, part in parts.items():
        for side, language in enumerate(("en", "de")):
            write_lines(folder / f"{name}.{language}", [pair[side] for pair in part])


def _pairs(files: str) -> Iterator[Pair]:
    return read_pairs(resolve({"files": files}, Corpus))


def _lines(files: str) -> int:
    return sum(1 for _ in _pairs(files))


# The runs


def overrides(row: Row, data: Path, share: float) -> list[str]:
    """What a row's run has otherwise than configs/finetune-gnome.yaml. `share`: of the steps."""
    name = "train" if row.pairs is None else f"train-{row.pairs}"
    train: list[Any] = [str(data / f"{name}.{{en,de}}")]
    if row.mixed:  # as many pairs of old text in an epoch as of the new
        old = str(data / "old.{en,de}")
        train.append({"files": old, "weight": round(_lines(train[0]) / _lines(old), 6)})
    steps = max(10, round(STEPS[row.start][row.pairs] * share))
    return [
        f"task.train={json.dumps(train)}",
        f"task.valid={data / 'valid.{en,de}'}",
        f"task.test={json.dumps({name: str(data / f'{file}.{{en,de}}') for name, file in TESTS.items()})}",
        f"training.steps={steps}",
        f"training.schedule.warmup={steps // 10}",
        f"training.validation.every={steps // 3}",
        *([] if row.extended else ["task.subwords=given"]),
        *([f"initial_model={data.parent / 'imported'}"] if row.start == "general" else SCRATCH),
    ]


class Study:
    """What is done, and what is left, in one folder."""

    def __init__(self, runs: Path, results: Path, share: float) -> None:
        self.runs, self.results, self.share = runs, results, share

    def run(self, only: str) -> None:
        data = self.runs / "data"
        if not data.exists():
            write_data(data, self.share)
        if only == "data":
            return
        self._general()
        done = self.done()
        for row in rows():
            if self._key(row) not in done:
                started = time.monotonic()
                scores = self._before() if row == BEFORE else self._trained(row)
                line = {"key": self._key(row), "row": row.name, **asdict(row), "scores": scores}
                line["seconds"] = round(time.monotonic() - started)
                with self.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({**line, "date": time.strftime("%Y-%m-%d")}) + "\n")

    def done(self) -> dict[str, Result]:
        """The lines of the results by key."""
        if not self.results.exists():
            return {}
        lines = map(json.loads, self.results.read_text(encoding="utf-8").splitlines())
        return {line["key"]: line for line in lines}

    def found(self) -> dict[Row, Result]:
        done = self.done()
        return {row: done[self._key(row)] for row in rows() if self._key(row) in done}

    def _key(self, row: Row) -> str:
        """Of all that a result depends on, but for the code."""
        recipes = [path.read_text(encoding="utf-8") for path in (GENERAL, FINETUNE)]
        described = json.dumps([asdict(row), recipes, STEPS[row.start].get(row.pairs), SCRATCH, self.share])
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    def _general(self) -> None:
        """A model for everyday text, written as Hugging Face's, and read from there."""
        general, exported, imported = (self.runs / name for name in ("general", "exported", "imported"))
        data = {
            name: self.runs / "data" / f"{file}.{{en,de}}" for name, file in (("train", "old"), ("valid", "old-valid"))
        }
        changes = [f"task.{name}={path}" for name, path in data.items()] + ["task.test={}"]
        if self.share < 1:
            changes += ["training.steps=50", "training.validation.every=50", "task.subwords.size=auto"]
        if not (general / "model" / "card.json").exists():
            self._kakehashi("train", str(GENERAL), f"run={general}", "--resume", *changes)
        if not exported.exists():
            self._kakehashi("export", str(general / "model"), str(exported), "--format", "huggingface")
        if not imported.exists():
            self._kakehashi("import", str(exported), str(imported))

    def _before(self) -> Result:
        found: Result = {}
        for name, file in TESTS.items():
            sides = [str(self.runs / "data" / f"{file}.{language}") for language in ("en", "de")]
            written = self._kakehashi(
                "evaluate", str(self.runs / "imported"), "--source", sides[0], "--reference", sides[1], "--json"
            )
            (scores,) = json.loads(written)["scores"].values()
            found[name] = {score["name"]: score for score in scores}
        return found

    def _trained(self, row: Row) -> Result:
        directory = self.runs / row.name
        changes = overrides(row, self.runs / "data", self.share)
        self._kakehashi("train", str(FINETUNE), f"run={directory}", "--resume", *changes)
        card = json.loads((directory / "model" / "card.json").read_text(encoding="utf-8"))
        found: Result = {name: {} for name in TESTS}
        for each in card["scores"]:
            if each["test_set"] in found:
                found[each["test_set"]][each["score"]["name"]] = each["score"]
        return found

    def _kakehashi(self, *arguments: str) -> str:
        print("kakehashi", shlex.join(arguments), flush=True)
        environment = {**os.environ, "KAKEHASHI_CACHE": str(self.runs / "cache"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "kakehashi", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


# What is shown


def table(found: Mapping[Row, Result]) -> list[str]:
    """The lines of the README's table."""
    lines = [
        "| start | pairs | new pieces | old text | GNOME: BLEU | chrF | general: BLEU | chrF | minutes |",
        "|---|---:|---|---|---:|---:|---:|---:|---:|",
    ]
    for row, result in found.items():
        values = [result["scores"][name][metric]["value"] for name in TESTS for metric in ("bleu", "chrf")]
        cells = [
            row.start,
            "all" if row.pairs is None else f"{row.pairs:,}",
            "yes" if row.extended else "",
            "mixed in" if row.mixed else "",
            *(f"{value:.1f}" for value in values),
            f"{result['seconds'] / 60:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def put(lines: Sequence[str], document: Path) -> None:
    """Between the two marks of the document."""
    text = document.read_text(encoding="utf-8")
    between = re.compile(r"(<!-- table -->\n).*?(<!-- end -->)", re.DOTALL)
    assert between.search(text), f"{document} has no place for the table"
    text = between.sub(lambda marks: marks[1] + "\n".join(lines) + "\n" + marks[2], text)
    document.write_text(text, encoding="utf-8")


def draw(found: Mapping[Row, Result], pairs: int, path: Path) -> None:
    """BLEU in both domains against the number of new pairs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), dpi=150, layout="constrained")
    kinds = {
        "from scratch": ("scratch", False, False, "#000000", "-"),
        "adapted": ("general", False, False, "#0072B2", "-"),
        "with new pieces": ("general", True, False, "#0072B2", "--"),
        "with old text": ("general", False, True, "#D55E00", "-"),
        "with both": ("general", True, True, "#D55E00", "--"),
    }
    for axes, (name, title) in zip(
        figure.subplots(1, 2), {"gnome": "GNOME's manuals", "general": "general text"}.items(), strict=True
    ):
        for label, (start, extended, mixed, color, style) in kinds.items():
            chosen = [row for row in found if (row.start, row.extended, row.mixed) == (start, extended, mixed)]
            chosen = [row for row in chosen if row != BEFORE]
            values = [found[row]["scores"][name]["bleu"]["value"] for row in chosen]
            axes.plot([row.pairs or pairs for row in chosen], values, style, color=color, marker="o", label=label)
        if BEFORE in found:
            value = found[BEFORE]["scores"][name]["bleu"]["value"]
            axes.axhline(value, color="#888888", linestyle=":", label="the general model")
        axes.set(title=title, xlabel="pairs of GNOME's manuals", ylabel="BLEU", xscale="log", ylim=(0, None))
        axes.set_xticks([size or pairs for size in STEPS["general"]], minor=False)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(alpha=0.25)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["data", "table", "all"], default="all", help="how much to do")
    parser.add_argument("--trial", action="store_true", help="a few steps each, in runs/adaptation-trial")
    arguments = parser.parse_args()
    trial = ROOT / "runs" / "adaptation-trial"
    if arguments.trial:
        trial.mkdir(parents=True, exist_ok=True)
        study = Study(trial, trial / "results.jsonl", TRIAL)
    else:
        study = Study(ROOT / "runs" / "adaptation", RESULTS, 1)
    if arguments.only != "table":
        study.run(arguments.only)
    if arguments.only == "data" or not (found := study.found()):
        return
    lines = table(found)
    print(*lines, sep="\n")
    draw(found, _lines(str(study.runs / "data" / "train.{en,de}")), trial / "figure.png" if arguments.trial else FIGURE)
    if not arguments.trial:
        put(lines, README)


if __name__ == "__main__":
    main()
