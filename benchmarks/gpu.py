"""How fast the paper's models train on the GPU at hand, and what that makes of the paper's training time.

    python -m benchmarks.gpu                                       paper-base and paper-big on random ids
    python -m benchmarks.gpu training.recompute=layers             the same with other settings of the recipe
    torchrun --nproc-per-node 8 -m benchmarks.gpu                  in many processes: tokens of all, peak of all

Vaswani et al. 2017, section 5: 37,000 joint subwords, steps of about 25,000 source and 25,000 target tokens; base took
100,000 of them (12 hours on eight P100), big 300,000 (3.5 days). All pairs have one length, so that nothing is padding.
It is the loop that `kakehashi train` runs, making batches included; timed from the first line of its log to the last.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.scaling import table
from kakehashi.config import resolve
from kakehashi.data.batching import Batch, Indices, collate
from kakehashi.models import ModelConfig
from kakehashi.models.protocol import Translating, Vocabulary
from kakehashi.tasks.consistency import NoConsistency
from kakehashi.tasks.protocol import Sums
from kakehashi.training.loop import LOG_EVERY, Trainer
from kakehashi.training.parallel import Group, processes
from kakehashi.training.recipe import PRESETS, Recipe
from kakehashi.training.report import Silence

WORDS = 37_000
LENGTH = 32  # tokens a side, the end counted: about a sentence of WMT
STEPS = 200
PAPER_STEPS = {"paper-base": 100_000, "paper-big": 300_000}
# bf16 operations a second, dense, as the data sheets say; the first name that the device's contains.
PEAKS = {"H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "B200": 2250e12, "A100": 312e12}


class RandomPairs:
    """A task of pairs of random ids, of which every step has as many as its tokens allow."""

    fingerprint = "random"

    def __init__(self, words: int, steps: int) -> None:
        self.source_vocabulary = self.target_vocabulary = Vocabulary(words)
        self.steps = steps
        self.random = np.random.default_rng(1)
        self.rows = 0

    def introduction(self) -> list[str]:
        return []

    def sampler(self, tokens: int, seed: int) -> "RandomPairs":
        self.rows = tokens // (2 * LENGTH)
        return self

    def plan(self, epoch: int) -> Sequence[Indices]:
        return [np.arange(self.rows)] * self.steps

    def divide(self, step: Indices, parts: int) -> Sequence[Indices]:
        return np.array_split(step, parts)

    def batch(self, indices: Indices, epoch: int, seed: int) -> Batch:
        ids = self.random.integers(4, self.source_vocabulary.size, (len(indices), 2, LENGTH - 1), dtype=np.int32)
        return collate([(source, target) for source, target in ids], indices)

    def loss(self, model: Translating, batch: Batch) -> Sums:
        return NoConsistency().loss(model, batch, smoothing=0.1)

    def evaluate(self, model: Translating, device: torch.device) -> Mapping[str, float]:
        return {"loss": 0.0}

    def save(self, model: nn.Module, *rest: Any) -> None:
        pass

    def finish(self, *rest: Any) -> Any:
        raise NotImplementedError("nothing was learnt")


class Clock(Silence):
    """When each line of the log would be written, and the target tokens until then."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, float]] = []

    def train(self, step: int, metrics: Mapping[str, float]) -> None:
        self.lines.append((time.perf_counter(), metrics["tokens"]))


@dataclass(frozen=True)
class Measured:
    """target_tokens, operations: of a step, in all processes. memory: bytes, the most that this process held."""

    parameters: int
    target_tokens: int
    seconds: float
    memory: int
    operations: float


def measure(preset: str, group: Group, words: int, steps: int, overrides: Sequence[str]) -> Measured:
    recipe = resolve(
        {
            "base": preset,
            "task": {"kind": "translation", "source": "en", "target": "de", "train": "-.{en,de}", "valid": "-.{en,de}"},
            "training": {"steps": steps, "validation": {"every": steps, "metric": "loss"}},
        },
        Recipe,
        overrides,
        PRESETS,
    )
    task, clock = RandomPairs(words, steps), Clock()
    if group.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, task, Path(folder), clock, group)
        trainer.run()
    (started, before), *_, (ended, after) = clock.lines
    timed = LOG_EVERY * (len(clock.lines) - 1)
    return Measured(
        trainer.parameters(),
        round((after - before) / timed),
        (ended - started) / timed,
        memory(group.device),
        operations(recipe.model, words) * task.rows,
    )


def operations(config: ModelConfig, words: int) -> float:
    """Floating-point operations of training on one pair: forward and backward, counted on shapes alone."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model: Any = config.build(Vocabulary(words), Vocabulary(words)).eval()
        tokens = torch.zeros(1, LENGTH, dtype=torch.int64)
        model.decode(tokens, model.encode(tokens, torch.ones_like(tokens, dtype=torch.bool))).logits.sum().backward()
    return counter.get_total_flops()


def memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak(name: str) -> float | None:
    return next((value for part, value in PEAKS.items() if part in name), None)


def row(preset: str, found: Measured, device: str, processes: int) -> list[str]:
    best = peak(device)
    steps = PAPER_STEPS.get(preset)
    return [
        f"`{preset}`",
        f"{found.parameters / 1e6:,.1f}M",
        f"{found.target_tokens:,}",
        f"{found.seconds * 1e3:,.1f}",
        f"{found.target_tokens / found.seconds:,.0f}",
        f"{found.operations / found.seconds / processes / 1e12:,.1f}",
        f"{found.operations / found.seconds / processes / best:.0%}" if best else "–",
        f"{found.memory / 2**30:,.1f}",
        f"{steps * found.seconds / 3600:,.1f} ({steps:,} steps)" if steps else "–",
    ]


HEAD = [
    "model",
    "parameters",
    "target tokens a step",
    "ms a step",
    "target tokens/s",
    "TFLOP/s a device",
    "of the peak",
    "GiB",
    "hours for the paper's run",
]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", metavar="PRESET", help="default: paper-base and paper-big")
    parser.add_argument("--words", type=int, default=WORDS)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"{2 * LOG_EVERY} at least; {LOG_EVERY} warm up")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of the recipe")
    chosen = parser.parse_args(arguments)
    models = chosen.model or list(PAPER_STEPS)
    with processes() as group:
        found = {each: measure(each, group, chosen.words, chosen.steps, chosen.overrides) for each in models}
        device = torch.cuda.get_device_name() if group.device.type == "cuda" else "CPU"
        if group.main:
            print(f"{group.size} x {device}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}", end="\n\n")
            print(table(HEAD, [row(name, each, device, group.size) for name, each in found.items()]))


if __name__ == "__main__":
    main()
