"""Whether training in bf16 ends where training in fp32 ends: some seeds of short runs, as a table.

    python -m benchmarks.precision                            3 seeds, 400 steps: about ten minutes on one core
    python -m benchmarks.precision --seeds 1 --steps 50       a look

The tiny preset on the first pairs of Multi30k (KAKEHASHI_DATA). Both formats start a seed from the same initial weights
(bf16 rounds them once), see the same batches, and drop the same units. Losses are -log p a token.
"""

import argparse
import json
import os
import tempfile
from itertools import islice
from pathlib import Path
from statistics import mean, stdev
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch

from kakehashi import train
from kakehashi.data.corpus import Corpus, read_pairs, write_lines

FORMATS = ("fp32", "bf16")
LAST = 50  # steps over which the training loss is averaged, of steps logged every 20
Losses = dict[str, float]


def corpus(folder: Path, pairs: int) -> None:
    """The first pairs of `train` and 500 of `val`."""
    for part, count in {"train": pairs, "val": 500}.items():
        files = Path(os.environ["KAKEHASHI_DATA"]) / "multi30k" / f"{part}.{{en,de}}.gz"
        rows = list(islice(read_pairs(Corpus(files=str(files))), count))
        write_lines(folder / f"{part}.en", [row.source for row in rows])
        write_lines(folder / f"{part}.de", [row.target for row in rows])


def recipe(steps: int, seed: int, precision: str) -> dict[str, Any]:
    return {
        "base": "tiny",
        "task": {
            "kind": "translation",
            "source": "en",
            "target": "de",
            "train": "train.{en,de}",
            "valid": "val.{en,de}",
            "subwords": {"kind": "unigram", "size": 4000},
        },
        "training": {
            "steps": steps,
            "seed": seed,
            "batch": {"tokens": 2048},
            "schedule": {"kind": "cosine", "warmup": max(1, steps // 8), "peak": 3e-3},
            "precision": precision,
            "averaging": "none",
            "validation": {"every": steps, "metric": "loss"},
        },
        "decoding": {"kind": "greedy"},
    }


def losses(folder: Path, steps: int, seed: int, precision: str) -> Losses:
    """Of one run: the mean of its last steps in training, and the development set's."""
    path = folder / f"{precision}-{seed}.yaml"
    path.write_text(json.dumps(recipe(steps, seed, precision)), encoding="utf-8")
    run = folder / path.stem
    train(path, run)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    late = [line["loss"] for line in log if line["kind"] == "train" and line["step"] > steps - LAST]
    return {"training": mean(late), "development": next(x["loss"] for x in log if x["kind"] == "validation")}


def table(found: dict[tuple[str, int], Losses], seeds: int) -> list[str]:
    """A row a seed and set, and how far the formats lie apart beside how far the seeds do."""
    lines = ["| loss | seed | fp32 | bf16 | difference |", "|---|---|---|---|---|"]
    for name in ("training", "development"):
        wide, narrow = ([found[form, seed][name] for seed in range(1, seeds + 1)] for form in FORMATS)
        for seed, (one, other) in enumerate(zip(wide, narrow, strict=True), 1):
            lines.append(f"| {name} | {seed} | {one:.4f} | {other:.4f} | {other - one:+.4f} |")
        means = f"{mean(wide):.4f} | {mean(narrow):.4f} | {mean(narrow) - mean(wide):+.4f}"
        spread = f" (seeds: {stdev(wide):.4f})" if seeds > 1 else ""
        lines.append(f"| {name} | mean | {means}{spread} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=8000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus(folder, options.pairs)
        found = {
            (form, seed): losses(folder, options.steps, seed, form)
            for seed in range(1, options.seeds + 1)
            for form in FORMATS
        }
    print("\n".join(table(found, options.seeds)))


if __name__ == "__main__":
    main()
