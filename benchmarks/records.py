"""Results as JSON lines, one a measurement, and the machine that they belong to."""

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

Line = dict[str, Any]
RESULTS = Path(__file__).with_name("results")


def append(path: Path, line: Line) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def machine() -> str:
    """The processor's name, and the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    names = [platform.processor() or platform.machine()]
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")] or names
    return f"{cores} core{'s' * (cores != 1)} of {names[0]}"
