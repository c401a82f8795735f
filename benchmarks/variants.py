"""What every variant costs and how fast it learns: docs/variants.md, from one command that can be stopped at any time.

    python -m benchmarks.variants             measures what is not yet in benchmarks/results/variants.jsonl
    python -m benchmarks.variants --table     writes docs/variants.md from it

Every measurement has a process of its own, one thread, and one line of the results, found again by the row's
configuration and the settings of the measurement; after a change of the code, `--fresh` measures anew. `--only` takes a
pattern of names, as "position *"; without KAKEHASHI_DATA, or with `--skip-training`, nothing is trained.
"""

import argparse
import fnmatch
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Protocol, cast, runtime_checkable

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.variant_rows import SUBWORDS, Row, rows
from kakehashi import train
from kakehashi.errors import UserError
from kakehashi.models import ModelConfig
from kakehashi.models.protocol import Encoded, Encoder, Output, Vocabulary
from kakehashi.nn.variant import broken

ROOT = Path(__file__).resolve().parents[1]
RESULTS, TABLE = ROOT / "benchmarks" / "results" / "variants.jsonl", ROOT / "docs" / "variants.md"
SHORT, LONG, TIMED = 64, 4096, 1024  # tokens of source and of target
REPEATS = 5
PATIENCE = 1800  # seconds until a measurement is given up

Result = dict[str, Any]


# Measurements, each in a process of its own


@runtime_checkable
class Decoding(Protocol):
    """What not every model does (a bidirectional one only reads)."""

    def decode(self, tokens: Tensor, encoded: Encoded) -> Output: ...


def hidden(model: nn.Module, length: int) -> Tensor:
    """The last states of one pair of so many tokens each, or of one text; without the projection to the vocabulary."""
    tokens = torch.arange(length)[None] % (SUBWORDS - 4) + 4
    encoded = cast(Encoder, model).encode(tokens, torch.ones_like(tokens, dtype=torch.bool))
    return model.decode(tokens, encoded).hidden if isinstance(model, Decoding) else encoded.states


def operations(config: Any, settings: Result) -> Result:
    """Parameters, and floating-point operations a token. In float64, whose LSTMs and attention are countable."""
    vocabulary = Vocabulary(SUBWORDS)
    model = config.build(vocabulary, vocabulary).double().eval()
    found: Result = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    for length in settings["lengths"]:
        try:
            with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
                hidden(model, length)
            found[str(length)] = counter.get_total_flops() / length
        except (UserError, ValueError) as error:
            found[f"no {length}"] = str(error)
    return found


def speed(config: Any, settings: Result) -> Result:
    """Median seconds forward and backward in training, and the memory that the first of them adds, in MB."""
    torch.manual_seed(1)
    vocabulary = Vocabulary(SUBWORDS)
    model = config.build(vocabulary, vocabulary).train()
    hidden(model, 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak, forward, backward = before, list[float](), list[float]()
    for _ in range(REPEATS):
        started = time.perf_counter()
        loss = hidden(model, settings["length"]).square().mean()
        between = time.perf_counter()
        loss.backward()
        ended = time.perf_counter()
        forward.append(between - started)
        backward.append(ended - between)
        peak = max(peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) if peak == before else peak
    return {"forward": median(forward), "backward": median(backward), "memory": (peak - before) / 1e3}


def learning(config: Any, settings: Result) -> Result:
    """Loss a token on Multi30k's development set. Runs share their subwords, which the first one learns."""
    if config.kind == "encoder_only":
        return {"no loss": "it translates nothing: its task is language_model with objective=masked"}
    shared = Path(tempfile.gettempdir()) / f"kakehashi-variants-{os.getuid()}"
    pairs = "${KAKEHASHI_DATA}/multi30k/%s.{en,de}.gz"
    task = {"source": "en", "target": "de", "train": pairs % "train", "valid": pairs % "val"}
    recipe = {
        "base": "tiny",
        "task": {"kind": "translation", **task, "subwords": {"kind": "unigram", "size": SUBWORDS}},
        "model": config.model_dump(mode="json"),
        "training": {
            "steps": settings["steps"],
            "batch": {"tokens": settings["tokens"]},
            "schedule": {"kind": "cosine", "warmup": max(1, settings["steps"] // 5), "peak": 3e-3},
            "validation": {"every": settings["steps"]},
        },
        "decoding": {"kind": "greedy", "max_length": 64},
    }
    with tempfile.TemporaryDirectory() as folder:
        run, subwords = Path(folder), shared / "subwords"
        (run / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
        if subwords.is_dir():
            shutil.copytree(subwords, run / "subwords")
        train(run / "recipe.yaml", run, resume=True)
        if not subwords.is_dir():
            whole = Path(tempfile.mkdtemp()) / "subwords"
            shutil.copytree(run / "subwords", whole)
            shared.mkdir(exist_ok=True)
            whole.rename(subwords)  # there when it is whole, or not at all
        log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {"loss": next(line["loss"] for line in reversed(log) if line["kind"] == "validation")}


MEASUREMENTS: dict[str, Callable[[Any, Result], Result]] = {
    "operations": operations,
    "speed": speed,
    "learning": learning,
}


# What is done, and what is left


def settings_of(measurement: str, steps: int, tokens: int) -> Result:
    match measurement:
        case "operations":
            return {"lengths": [SHORT, LONG]}
        case "speed":
            return {"length": TIMED}
        case _:
            return {"steps": steps, "tokens": tokens}


def key_of(row: Row, measurement: str, settings: Result) -> str:
    described = json.dumps([measurement, settings, row.config.model_dump(mode="json")], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def results() -> dict[str, Result]:
    """The lines of the results by key; of several with one key the last."""
    if not RESULTS.exists():
        return {}
    lines = map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())
    return {line["key"]: line for line in lines}


def measured(row: Row, measurement: str, settings: Result) -> Result:
    """One measurement in a fresh process; `failed` holds the reason where there is none."""
    order = json.dumps([measurement, settings, row.config.model_dump(mode="json")])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.variants", "--worker"],
            cwd=ROOT,
            input=order,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {PATIENCE // 60} minutes"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if done.returncode < 0:
        return {"failed": f"the process was ended by signal {-done.returncode} (9: out of memory)"}
    reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return {"failed": reason.removeprefix("kakehashi.errors.UserError: ")}


def work() -> None:
    """The fresh process: an order on standard input, the result on the last line of standard output."""
    torch.set_num_threads(1)
    measurement, settings, tree = json.load(sys.stdin)
    config = TypeAdapter[Any](ModelConfig).validate_python(tree)
    print("\n" + json.dumps(MEASUREMENTS[measurement](config, settings)))


def measure(chosen: Sequence[Row], names: Sequence[str], arguments: argparse.Namespace) -> None:
    done = {} if arguments.fresh else results()
    todo: dict[str, tuple[Row, str, Result]] = {}
    for row in chosen:
        for name in names:
            settings = settings_of(name, arguments.steps, arguments.tokens)
            key = key_of(row, name, settings)
            if key not in done:
                todo.setdefault(key, (row, name, settings))
    RESULTS.parent.mkdir(exist_ok=True)
    started = time.monotonic()
    for i, (key, (row, name, settings)) in enumerate(todo.items()):
        left = (time.monotonic() - started) / i * (len(todo) - i) / 60 if i else None
        about = "" if left is None else f", about {left:,.0f} minutes left"
        print(f"{i + 1}/{len(todo)} {row.name}: {name}{about}", flush=True)
        found = measured(row, name, settings)
        line = {"key": key, "row": row.name, "measurement": name, "settings": settings, **found}
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "date": time.strftime("%Y-%m-%d"), "torch": torch.__version__}) + "\n")
        if "failed" in found:
            print(f"  {found['failed']}")


# The table


class Notes:
    """Reasons, numbered in the order in which they are first given."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def mark(self, reason: str) -> str:
        return f"[{self.numbers.setdefault(reason, len(self.numbers) + 1)}]"


def variants_table(chosen: Sequence[Row], found: Mapping[str, Result], steps: int, tokens: int) -> list[str]:
    """The lines of docs/variants.md."""
    notes = Notes()
    parts: dict[str, list[Row]] = {}
    for row in chosen:
        parts.setdefault(row.part, []).append(row)
    tables = [line for part, members in parts.items() for line in _section(part, members, found, steps, tokens, notes)]
    days = sorted(str(line["date"]) for line in found.values())
    versions = ", ".join(sorted({str(line["torch"]) for line in found.values()}))
    when = f"Measured from {days[0]} to {days[-1]} with torch {versions} on one core." if days else ""
    introduction = f"""What each variant costs and how fast it learns. Every row is the preset `tiny` with this one part
changed, wherever it can stand; `model`: another whole model of its width. Written by `python -m benchmarks.variants`.
{when}

- operations a token: forward through the whole model without the projection to the vocabulary, batch 1, for a source
  and a target of {SHORT} and of {LONG:,} tokens, divided by that length: products of matrices, convolutions; millions.
- forward, backward: seconds in training, fp32, one pair of {TIMED:,} tokens each, median of {REPEATS}; memory: what the
  first of them adds to the process, in MB.
- loss: on Multi30k's development set (nats a token), after {steps} steps of {tokens:,} tokens, seed 1. One learning
  rate, a peak of 3e-3, for all: what wants a lower one (`post`, no norm, ConvS2S) shows it here. It tells who learns
  fast, not who ends best.
- broken: the laws of `tests/laws` that the variant declares that it cannot keep."""
    footer = [f"{number}. {reason}" for reason, number in notes.numbers.items()]
    return ["# The variants, side by side", "", *introduction.splitlines(), "", *tables, "## Notes", "", *footer]


def _section(
    part: str, members: Sequence[Row], found: Mapping[str, Result], steps: int, tokens: int, notes: Notes
) -> Iterator[str]:
    yield f"## {part}"
    yield ""
    yield f"| variant | parameters | operations, {SHORT} | {LONG:,} | forward | backward | memory | loss | broken |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in members:
        results = {name: found.get(key_of(row, name, settings_of(name, steps, tokens)), {}) for name in MEASUREMENTS}
        counted, timed, learnt = (results[name] for name in MEASUREMENTS)
        cells = [
            _cell(counted, "parameters", "{:,}", notes),
            _cell(counted, str(SHORT), "{:.2f}", notes, 1e-6),
            _cell(counted, str(LONG), "{:.2f}", notes, 1e-6),
            *(_cell(timed, name, "{:.2f}", notes) for name in ("forward", "backward")),
            _cell(timed, "memory", "{:,.0f}", notes),
            _cell(learnt, "loss", "{:.3f}", notes),
            ", ".join(f"{law} {notes.mark(reason)}" for law, reason in broken(row.config).items()),
        ]
        yield f"| {row.choice} | {' | '.join(cells)} |"
    yield ""


def _cell(result: Result, name: str, form: str, notes: Notes, factor: float = 1) -> str:
    """A figure; a dash where there is none, with the reason if one is known."""
    if name in result:
        return form.format(result[name] * factor if factor != 1 else result[name])
    reason = result.get(f"no {name}", result.get("failed"))
    return f"– {notes.mark(reason)}" if reason else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="a pattern of names, as 'position *'")
    parser.add_argument("--skip-training", action="store_true", help="measure costs only")
    parser.add_argument("--fresh", action="store_true", help="measure anew what there is a result of")
    parser.add_argument("--steps", type=int, default=300, help="of training")
    parser.add_argument("--tokens", type=int, default=2048, help="of a training step, source and target")
    parser.add_argument("--table", action="store_true", help="only write docs/variants.md")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work()
    chosen = rows()
    if not arguments.table:
        names = [name for name in MEASUREMENTS if name != "learning" or not arguments.skip_training]
        if not os.environ.get("KAKEHASHI_DATA") and "learning" in names:
            print("KAKEHASHI_DATA is not set: nothing is trained")
            names.remove("learning")
        measure([row for row in chosen if fnmatch.fnmatch(row.name, arguments.only)], names, arguments)
    lines = variants_table(chosen, results(), arguments.steps, arguments.tokens)
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"written: {TABLE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
