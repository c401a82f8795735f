"""What a system is asked to train, and how it answers: an order on standard input, the last line of standard output.

Runs inside the peers' environments too, and so imports nothing but Python's own.
"""

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, Literal


@dataclass(frozen=True)
class Size:
    """A Transformer of as many encoder as decoder layers, ReLU, sinusoidal positions, one table for all embeddings."""

    depth: int
    width: int
    feedforward: int
    heads: int
    vocabulary: int
    placement: Literal["pre", "post"]


@dataclass(frozen=True)
class Workload:
    """data: a folder of benchmarks/corpora.py; run: an empty folder for whatever the system writes.

    tokens: padded target tokens of a step. Timed are the steps after `warmup` up to `steps`. minutes: train so long
    instead, and translate the development set every `every` steps.
    """

    data: str
    run: str
    size: Size
    tokens: int = 4096
    dropout: float = 0.1
    warmup: int = 20
    steps: int = 80
    threads: int = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 1
    peak: float = 1.5e-3
    rising: int = 400
    minutes: float | None = None
    every: int = 100

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls) -> "Workload":
        """From standard input; sets the threads, before torch is imported."""
        tree: dict[str, Any] = json.load(sys.stdin)
        os.environ["OMP_NUM_THREADS"] = str(tree["threads"])
        tree["size"] = Size(**tree["size"])
        return cls(**tree)


@dataclass
class Clock:
    """Target tokens, without padding, and seconds from the end of step `first` to the end of step `last`."""

    first: int
    last: int
    ends: dict[int, tuple[float, int]] = field(default_factory=dict[int, tuple[float, int]])

    def step_ended(self, step: int, tokens: int) -> None:
        """`tokens`: of all steps so far."""
        if step in (self.first, self.last):
            self.ends[step] = time.perf_counter(), tokens

    def measured(self) -> dict[str, float]:
        (started, before), (ended, after) = self.ends[self.first], self.ends[self.last]
        return {"tokens": after - before, "seconds": ended - started}


def answer(found: dict[str, Any], packages: Sequence[str]) -> None:
    """The process's last line, with its peak memory (bytes) and the versions that ran."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    print("\n" + json.dumps({**found, "peak_memory": peak, "versions": versions}))
