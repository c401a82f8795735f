"""How fast the same model trains here and in other toolkits, side by side on one machine.

    python -m benchmarks.training --setup                makes the peers' virtual environments, once
    python -m benchmarks.training                        the 9.4M model on Multi30k (KAKEHASHI_DATA), 2 threads
    python -m benchmarks.training --model paper-base     63M parameters and 37,000 words, random ones: speed only
    python -m benchmarks.training --table                the tables again, for benchmarks/RESULTS.md

Every run is a process of its own, and the systems take turns, round after round: a busy minute meets all of them.
Each line of benchmarks/results/training.jsonl is one run; the tables show the last session of each model and number of
threads.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import corpora, environments
from benchmarks.peers.workload import Size, Workload
from benchmarks.records import Line, append, machine, read
from benchmarks.training_table import speed, tables
from kakehashi.config import resolve
from kakehashi.data.subwords import BEGIN, END, JOINT_FILE, Segmenter
from kakehashi.models.protocol import Translating, Vocabulary
from kakehashi.training.loop import LOG_EVERY
from kakehashi.training.recipe import PRESETS, Recipe

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "training.jsonl"
VALID = 20  # pairs: the loops want a development set, and nothing here depends on it
SIDE = 2048  # of the square product that sets the ceiling
COUNTED = 64  # examples whose operations are counted
SIZES = {
    "small": Size(depth=4, width=256, feedforward=1024, heads=4, vocabulary=8000, placement="pre"),
    "paper-base": Size(depth=6, width=512, feedforward=2048, heads=8, vocabulary=37_000, placement="post"),
}


@dataclass(frozen=True)
class System:
    """The environment that it runs in (None: ours), the format of its matrix products, and how many processes train."""

    peer: str | None
    precision: Literal["fp32", "bf16"]
    processes: int = 1


SYSTEMS = {
    "ours": System(None, "bf16"),
    "ours-apart": System(None, "bf16", processes=2),
    "joeynmt": System("joeynmt", "fp32"),
    "eole": System("eole", "fp32"),
    "eole-bf16": System("eole", "bf16"),
    "marian": System("marian", "fp32"),
    "marian-bf16": System("marian", "bf16"),
}


# One run each, in a process of its own


def run_ours(work: Workload, preset: str, processes: int = 1) -> Line:
    """What the log of our run says."""
    run = Path(work.run)
    (run / "subwords").symlink_to(Path(work.data, "subwords"))
    (run / "recipe.yaml").write_text(json.dumps(recipe(work, preset)), encoding="utf-8")
    arguments = [str(run / "recipe.yaml"), f"run={run}", "--resume"]
    train(arguments, work.threads, processes, KAKEHASHI_CACHE=f"{work.data}/cache")
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    card = json.loads((run / "model" / "card.json").read_text(encoding="utf-8"))
    return {
        **timed(log, work.warmup, work.steps),
        "parameters": card["training"]["parameters"],
        "versions": {"python": platform.python_version(), **card["training"]["versions"]},
    }


def recipe(work: Workload, preset: str) -> dict[str, Any]:
    return {
        "base": preset,
        "task": {
            "kind": "translation",
            "source": "en",
            "target": "de",
            **{part: f"{work.data}/text/{part}.{{source,target}}" for part in ("train", "valid")},
            "subwords": {"kind": "unigram", "size": work.size.vocabulary},
        },
        "model": {"dropout": work.dropout},
        "training": {
            "steps": work.steps,
            "seed": work.seed,
            "batch": {"tokens": 2 * work.tokens},
            "precision": work.precision,
            "validation": {"every": work.steps, "metric": "loss"},
        },
        "decoding": {"kind": "greedy", "max_length": 64},
    }


def timed(log: Sequence[Line], first: int, last: int) -> Line:
    """Target tokens and seconds between the ends of two steps of one of our logs; the peak memory of the process."""
    ends = {line["step"]: line for line in log if line["kind"] == "train"}
    before, after = ends[first], ends[last]
    seconds = datetime.fromisoformat(after["time"]) - datetime.fromisoformat(before["time"])
    return {
        "tokens": after["tokens"] - before["tokens"],
        "seconds": seconds.total_seconds(),
        "peak_memory": next(line["peak_memory"] for line in log if line["kind"] == "end"),
    }


def train(arguments: Sequence[str], threads: int, processes: int, **environment: str) -> None:
    """`kakehashi train`, as a user starts it; several processes share the threads."""
    many = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"] if processes > 1 else []
    process([sys.executable, "-m", *many, "kakehashi", "train", *arguments], threads // processes, **environment)


def process(command: Sequence[str], threads: int, order: str = "", **environment: str) -> str:
    """What it printed. RuntimeError, with the last line of its complaints, when it fails."""
    settings = {**os.environ, "OMP_NUM_THREADS": str(threads), **environment}
    done = subprocess.run(command, cwd=ROOT, env=settings, input=order, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1])
    return done.stdout


def answered(output: str) -> Line:
    """The last line, which is the answer of benchmarks/peers/workload.py."""
    return json.loads(output.splitlines()[-1])


# What the runs are held against


def ceiling(work: Workload, preset: str) -> Line:
    """Floating-point operations a second of the product, median of 20."""
    torch.set_num_threads(work.threads)
    x = torch.randn(SIDE, SIDE).bfloat16()
    seconds: list[float] = []
    for _ in range(23):
        started = time.perf_counter()
        torch.mm(x, x)
        seconds.append(time.perf_counter() - started)
    return {"ceiling": 2 * SIDE**3 / median(seconds[3:])}


def operations(work: Workload, preset: str) -> Line:
    """Floating-point operations of a training step a target token: pairs of the data one by one, without padding."""
    vocabulary = Vocabulary(work.size.vocabulary)
    model = cast(Translating, resolve(recipe(work, preset), Recipe, (), PRESETS).model.build(vocabulary, vocabulary))
    segmenter = Segmenter.load(Path(work.data, "subwords", JOINT_FILE))
    texts = [Path(work.data, "text", f"train.{side}").read_text("utf-8").split("\n") for side in ("source", "target")]
    pairs = list(zip(*texts, strict=True))[:-1]
    tokens = 0
    with FlopCounterMode(display=False) as counter:
        for source, target in pairs[:: len(pairs) // COUNTED]:
            read = torch.tensor([[*segmenter.encode(source), END]])
            written = torch.tensor([[BEGIN, *segmenter.encode(target)]])
            encoded = model.encode(read, torch.ones_like(read, dtype=torch.bool))
            model.decode(written, encoded).logits.logsumexp(-1).sum().backward()
            tokens += written.shape[1]
    return {"operations": counter.get_total_flops() / tokens}


HELD_AGAINST = {"operations": operations, "ceiling": ceiling}


# The session


def measure(arguments: argparse.Namespace, names: Sequence[str]) -> None:
    model = arguments.model
    conditions = {
        "session": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model,
        "threads": arguments.threads,
        "machine": machine(),
    }
    with tempfile.TemporaryDirectory(prefix="kakehashi-training-") as temporary:
        data = Path(temporary) / "data"
        print("Preparing the data ...", flush=True)
        if model == "small":
            corpora.multi30k(data, SIZES[model].vocabulary, VALID)
        else:
            corpora.random_words(data, SIZES[model].vocabulary, VALID)
        work = Workload(
            str(data), "", SIZES[model], warmup=arguments.warmup, steps=arguments.steps, threads=arguments.threads
        )
        rounds = range(1, arguments.rounds + 1)
        turns = [("operations", 1), *((name, turn) for turn in rounds for name in ("ceiling", *names))]
        for name, turn in turns:
            run = Path(temporary) / f"{name}-{turn}"
            run.mkdir()
            load = os.getloadavg()[0]
            found = one(name, replace(work, run=str(run), seed=turn), arguments)
            line = {**conditions, "round": turn, "system": name, "load": round(load, 1), **found}
            line |= {"warmup": work.warmup, "steps": work.steps, "batch": work.tokens, "dropout": work.dropout}
            append(RESULTS, line)
            print(f"{turn}/{arguments.rounds} {name}: {said(found)}", flush=True)


def one(name: str, work: Workload, arguments: argparse.Namespace) -> Line:
    """One turn; `failed` holds the reason where there is no figure."""
    try:
        if name in HELD_AGAINST:
            command = [sys.executable, "-m", "benchmarks.training", "--worker", name, "--model", arguments.model]
            return answered(process(command, work.threads, str(work)))
        system = SYSTEMS[name]
        work = replace(work, precision=system.precision)
        if system.peer is None:
            return run_ours(work, arguments.model, system.processes)
        command = [str(environments.python(arguments.peers, system.peer)), "-m", f"benchmarks.peers.{system.peer}"]
        return answered(process(command, work.threads, str(work)))
    except RuntimeError as error:
        return {"failed": str(error)}


def said(found: Line) -> str:
    if "failed" in found:
        return f"failed: {found['failed']}"
    if "seconds" in found:
        return f"{speed(found):,.0f} target tokens/s, {found['parameters']:,} parameters"
    return ", ".join(f"{value:,.0f} {key}" for key, value in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setup", action="store_true", help="make the peers' virtual environments, and no more")
    parser.add_argument("--peers", type=Path, default=environments.DEFAULT, help="the folder of those environments")
    parser.add_argument("--model", choices=SIZES, default="small")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, help="the systems that take turns")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, choices=(1, 2), default=2)
    parser.add_argument(
        "--warmup", type=int, default=20, help=f"steps before the clock starts, {LOG_EVERY} or a multiple"
    )
    parser.add_argument("--steps", type=int, default=80, help="steps of a run, a multiple of the warm-up")
    parser.add_argument("--table", action="store_true", help="only print the tables")
    parser.add_argument("--worker", choices=HELD_AGAINST, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print("\n" + json.dumps(HELD_AGAINST[arguments.worker](Workload.read(), arguments.model)))
        return
    if arguments.setup:
        return environments.set_up(arguments.peers, environments.TRAINING)
    if arguments.warmup % LOG_EVERY or arguments.steps % arguments.warmup:
        parser.error(f"our log has a line every {LOG_EVERY} steps: --warmup {LOG_EVERY}, --steps a multiple of it")
    if not arguments.table:
        names = arguments.only or [name for name, each in SYSTEMS.items() if each.processes <= arguments.threads]
        for peer in {SYSTEMS[name].peer for name in names}:
            if peer and not environments.ready(arguments.peers, peer):
                parser.error(f"no environment for {peer} in {arguments.peers}: make it with --setup, or leave it out")
        measure(arguments, names)
    print("\n".join(tables(read(RESULTS))))


if __name__ == "__main__":
    main()
