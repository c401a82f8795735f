"""What a training step costs in many processes: docs/scaling.md, measured on two of them and projected to 512 on paper.

    python -m benchmarks.scaling             measures into benchmarks/results/scaling.json, and writes docs/scaling.md
    python -m benchmarks.scaling --table     writes docs/scaling.md from what was measured

Each process has one thread. Compute is counted in the processor's time, which does not change when other programs
share the cores; the exchange is counted in both, since most of it is waiting.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import numpy as np
import torch

from kakehashi.config import load
from kakehashi.data.batching import collate
from kakehashi.describe import Preset
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import LayerModule
from kakehashi.tasks.protocol import sums
from kakehashi.training.optimizers import AdamW, MasterWeights
from kakehashi.training.parallel import BUCKET, processes
from kakehashi.training.recipe import PRESETS

ROOT = Path(__file__).resolve().parents[1]
RESULTS, TABLE = ROOT / "benchmarks" / "results" / "scaling.json", ROOT / "docs" / "scaling.md"
PROCESSES = 2
TOKENS = 4096  # source + target of a step, over all processes
LENGTH = 16  # tokens a side
STEPS, WARMUP = 8, 2
MEASURED = {"tiny": 6_000, "small": 8_000}  # preset: subwords

# On paper
PEAK = 989e12  # bf16 operations a second of an NVIDIA H100 or H200 SXM, dense, as its data sheet says
UTILISATION = 0.4  # of the peak, assumed
TOKENS_A_GPU = 16_384
PAPER_TOKENS = 50_000  # of a step, over all GPUs, in Vaswani et al. 2017, section 5.1
SIZES = (8, 64, 512)
BYTES = 4  # of a gradient: fp32
WEIGHT = 2  # bytes of a weight that is gathered: bf16
SHARED = 5 * BYTES  # bytes a parameter that can be shared out, fp32: master, gradient, two moments, average
HELD = 2 * WEIGHT + SHARED  # with the bf16 copy that computes, and its gradient
JUDGED = 4  # bytes a parameter of what is judged, in the main process alone, while it is
MEMORY = 80e9  # bytes of a GPU
SMALL_EXCHANGES = 3  # of a step: tokens, loss, whether to stop
NVLINK_REACHES = 8  # GPUs


@dataclass(frozen=True)
class Network:
    """bandwidth: bytes a second of each GPU in each direction; latency: seconds a hop, assumed."""

    name: str
    bandwidth: float
    latency: float


NETWORKS = (
    Network("10 GbE", 1.25e9, 30e-6),
    Network("100 GbE", 12.5e9, 30e-6),
    Network("400G InfiniBand", 50e9, 5e-6),
    Network("NVLink", 450e9, 2e-6),
)


@dataclass(frozen=True)
class Model:
    """A model of the projection."""

    name: str
    parameters: int
    layers: int


# Measured


def measure(preset: str) -> dict[str, Any]:
    """One process's part of some steps; the medians."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    vocabulary = Vocabulary(MEASURED[preset])
    model = load(PRESETS / f"{preset}.yaml", Preset, presets=PRESETS).model.build(vocabulary, vocabulary).bfloat16()
    masters = MasterWeights(model, AdamW())
    random = np.random.default_rng(1)
    rows = [tuple(random.integers(4, vocabulary.size, (2, LENGTH - 1), dtype=np.int32)) for _ in range(TOKENS // 32)]
    with processes() as group:
        mine = np.arange(group.rank, len(rows), group.size)
        batch = collate([rows[i] for i in mine], mine)
        compute, exchange, waited = list[float](), list[float](), list[float]()
        for _ in range(WARMUP + STEPS):
            started = time.process_time()
            output = model.decode(batch.target_input, model.encode(batch.source, batch.source_mask))
            (sums(output, batch.target_output, 0.1).loss / (TOKENS / 2)).backward()
            masters.gather_gradients()
            computed = time.process_time()
            group.wait()  # for the slower one, so that the exchange alone is timed
            ready, ready_at = time.process_time(), time.perf_counter()
            masters.sum_gradients(group)
            exchanged, exchanged_at = time.process_time(), time.perf_counter()
            masters.clip(1.0)
            masters.step(1e-3)
            masters.zero_grad()
            compute.append(computed - started + time.process_time() - exchanged)
            exchange.append(exchanged - ready)
            waited.append(exchanged_at - ready_at)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    found = {"compute": compute, "exchange": exchange, "waited": waited}
    return {"parameters": parameters, **{name: median(values[WARMUP:]) for name, values in found.items()}}


def measured() -> dict[str, Any]:
    """All presets, alone and in `PROCESSES`."""
    found: dict[str, Any] = {}
    for preset in MEASURED:
        for count in (1, PROCESSES):
            print(f"{preset}, {count} process(es)", flush=True)
            launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
            command = [*launch, "-m", "benchmarks.scaling", "--worker", preset]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
            found[f"{preset} {count}"] = {name: max(line[name] for line in lines) for name in lines[0]}
    return {
        "rows": found,
        "date": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


# Projected


def models() -> list[Model]:
    """Counted on the models themselves, whose tensors have shapes only."""
    presets = [("small", 8_000, {}), ("paper-base", 37_000, {}), ("paper-big", 37_000, {})]
    wide = {"feedforward": {"kind": "relu", "size": 8192}}
    deep = {"depth": 8, "layers": [wide]}
    presets.append(("paper-base", 37_000, {"width": 2048, "heads": 16, "encoder": deep, "decoder": deep}))
    found = list[Model]()
    for preset, subwords, changes in presets:
        config = load(PRESETS / f"{preset}.yaml", Preset, presets=PRESETS).model
        if changes:
            config = type(config).model_validate(config.model_dump() | changes)
        with torch.device("meta"):
            model = config.build(Vocabulary(subwords), Vocabulary(subwords))
        parameters = sum(parameter.numel() for parameter in model.parameters())
        layers = sum(isinstance(module, LayerModule) for module in model.modules())
        found.append(Model("width 2048, 8 + 8 layers" if changes else preset, parameters, layers))
    return found


def compute_seconds(parameters: int, tokens: float) -> float:
    return 6 * parameters * tokens / (PEAK * UTILISATION)


def exchange_seconds(parameters: int, gpus: int, network: Network) -> float:
    """A ring sends all but a process's own part twice, to be added up and as a sum; the hops are those of a tree."""
    sent = 2 * (gpus - 1) / gpus * BYTES * parameters
    exchanges = SMALL_EXCHANGES + math.ceil(parameters / BUCKET)
    return sent / network.bandwidth + exchanges * 2 * math.log2(gpus) * network.latency


def efficiency(parameters: int, tokens: float, gpus: int, network: Network, hidden: float = 0.0) -> float:
    """The share of a step that is compute, a part `hidden` of which can go on beside the exchange."""
    compute, exchange = compute_seconds(parameters, tokens), exchange_seconds(parameters, gpus, network)
    return compute / (compute + max(0.0, exchange - hidden * compute))


def part_seconds(model: Model, gpus: int, network: Network) -> tuple[float, float]:
    """With every parameter in parts: seconds of gathering the weights for the forward; and for the backward, with the
    gradients' sums, of which each process gets its part alone. Once a layer, and once for what is outside of them."""
    share, hops = (gpus - 1) / gpus * model.parameters / network.bandwidth, math.log2(gpus) * network.latency
    gather, add_up = WEIGHT * share + (model.layers + 1) * hops, BYTES * share + (model.layers + 1) * hops
    return gather, gather + add_up


def part_efficiency(model: Model, tokens: float, gpus: int, network: Network) -> float:
    """As `efficiency`; one layer is gathered while another computes, a third forward and two thirds backward."""
    compute = compute_seconds(model.parameters, tokens)
    forward, backward = part_seconds(model, gpus, network)
    shown = max(0.0, forward - compute / 3) + max(0.0, backward - compute * 2 / 3)
    return compute / (compute + shown + SMALL_EXCHANGES * 2 * math.log2(gpus) * network.latency)


def reached(network: Network, gpus: int) -> bool:
    return network.name != "NVLink" or gpus <= NVLINK_REACHES


# The page


def page(found: dict[str, Any]) -> str:
    """docs/scaling.md."""
    return f"""# Scaling: what many processes cost

Written by `python -m benchmarks.scaling`; with `--table` anew from what was measured. How to train in many processes is
in [guide.md](guide.md), how it works in `kakehashi/training/parallel.py`.

## Measured

By `python -m benchmarks.scaling`: {PROCESSES} processes of one thread, {found["machine"]},
torch {found["torch"]}, gloo, {found["date"]}. A step has {TOKENS:,} tokens (source and target, {LENGTH} each a pair),
which the processes share; bf16; medians of {STEPS} steps, of the slower process. *Compute* is forward, backward,
clipping and the optimiser (whose work does not shrink with the share), in seconds of the processor. *Exchange* is
copying the gradients together, adding them up and copying them back: in seconds of the processor and, last, by the
clock, which depends on what else runs.

{measured_table(found["rows"])}

{projected()}

## What follows

- With NVLink the exchange is not worth hiding. Between machines it is, once a run takes many of them; until then a
  larger `training.batch.tokens`, in pieces, does as much and needs no code.
- Each GPU holds the whole model, {HELD} bytes a parameter (weight and gradient in bf16; in fp32 the master, its
  gradient, two moments and an average), and the main one {JUDGED} more while it judges. Of {MEMORY / 1e9:.0f} GB,
  {MEMORY / HELD / 1e9:.1f} billion parameters leave nothing for activations.

## Replicate or shard

{in_parts()}
"""


def projected() -> str:
    latencies = ", ".join(f"{network.name} {network.latency * 1e6:.0f}" for network in NETWORKS)
    return f"""## Projected

Formulas; nothing of this has been run. N parameters, n GPUs, T tokens of a step on each GPU:

    compute  = 6 N T / (peak x utilisation)
    exchange = 2 (n - 1) / n x {BYTES} N / bandwidth + exchanges x 2 log2(n) x latency
    efficiency = compute / (compute + exchange)

Peak is {PEAK / 1e12:.0f} TFLOP/s (H100 or H200, bf16, dense); a utilisation of {UTILISATION:.0%} is assumed, for
small models too. Bandwidth is what each GPU has to itself; latencies are assumed (microseconds a hop:
{latencies}). NVLink joins {NVLINK_REACHES} GPUs. Exchanges: one for each
{BUCKET * BYTES >> 20} MiB of gradients, and {SMALL_EXCHANGES} of a few bytes, which go by gloo even where gradients
go by NCCL. 6 N counts every parameter for every token, of source and target, and no attention.

Milliseconds of a step with T = {TOKENS_A_GPU:,}, on {SIZES[0]} GPUs:

{milliseconds_table()}

Efficiency with T = {TOKENS_A_GPU:,}; after the stroke, with the exchange hidden behind the backward (two thirds of the
compute), as DistributedDataParallel does it:

{efficiency_table(TOKENS_A_GPU)}

The size of the model hardly matters, as N stands in both terms: small ones pay the latency. What matters is T. For 90 %
on {SIZES[-1]} GPUs, without hiding anything, each GPU needs so many tokens a step (in pieces, if need be:
`training.batch.accumulate` exchanges once):

{tokens_table()}

A batch that stays what it is, as the paper's {PAPER_TOKENS:,} tokens, leaves each of n GPUs T = {PAPER_TOKENS:,} / n:

{efficiency_table(PAPER_TOKENS, shared=True)}"""


def in_parts() -> str:
    most = ", ".join(f"{MEMORY / (SHARED / gpus + JUDGED) / 1e9:.0f} on {gpus}" for gpus in SIZES)
    return f"""`training.data_parallel: shard` leaves each of n processes one n-th of every parameter, its
gradient, moments and average: {SHARED} / n bytes a parameter, beside what is gathered in bf16 at a time (a layer or
two, and all outside the layers). The main process holds {JUDGED} more while it judges. Of {MEMORY / 1e9:.0f} GB,
so many billion parameters leave nothing for anything else: {most} GPUs. GB a GPU:

{memory_table()}

The weights are gathered by all for the forward and again for the backward, and each gets the sums of its part of the
gradients: in fp32 {3 * BYTES} N bytes against the {2 * BYTES} N of replicas, {3 / 2} times as much; in bf16, with
gradients that are still added up in fp32, {2 * WEIGHT + BYTES} N against {2 * BYTES} N. It goes on beside the compute,
layer by layer; but each piece of a step (`training.batch.accumulate`) sends all of it again. Efficiency with
T = {TOKENS_A_GPU:,}, bf16, in one piece:

{part_table()}

So replicate where the model fits, in pieces where the network is slow; shard where it does not."""


def memory_table() -> str:
    rows = [
        [model.name, f"{HELD * model.parameters / 1e9:.2f}"]
        + [f"{SHARED / gpus * model.parameters / 1e9:.2f}" for gpus in SIZES]
        for model in models()
    ]
    return table(["model", "replicate", *(f"shard, {gpus} GPUs" for gpus in SIZES)], rows)


def part_table() -> str:
    def cell(model: Model, gpus: int, network: Network) -> str:
        return f"{part_efficiency(model, TOKENS_A_GPU, gpus, network):.0%}" if reached(network, gpus) else "–"

    rows = [
        [model.name if gpus == SIZES[0] else "", str(gpus), *(cell(model, gpus, network) for network in NETWORKS)]
        for model in models()
        for gpus in SIZES
    ]
    return table(["model", "GPUs", *(network.name for network in NETWORKS)], rows)


def measured_table(rows: dict[str, dict[str, float]]) -> str:
    lines = list[list[str]]()
    for name, row in rows.items():
        preset, count = name.split()
        cells = [f"`{preset}`", f"{row['parameters']:,}", count, f"{row['compute']:.2f} s"]
        sent = 2 * (int(count) - 1) / int(count) * BYTES * row["parameters"]
        more = [f"{sent / 1e6:.1f} MB", f"{row['exchange'] * 1e3:.0f} ms", f"{row['waited'] * 1e3:.0f} ms"]
        lines.append(cells + (more if sent else ["–"] * 3))
    head = ["model", "parameters", "processes", "compute", "sent by each", "exchange", "by the clock"]
    return table(head, lines)


def milliseconds_table() -> str:
    rows = [
        [model.name, f"{model.parameters / 1e6:,.1f}M", f"{compute_seconds(model.parameters, TOKENS_A_GPU) * 1e3:,.1f}"]
        + [f"{exchange_seconds(model.parameters, SIZES[0], network) * 1e3:,.1f}" for network in NETWORKS]
        for model in models()
    ]
    return table(["model", "N", "compute", *(f"exchange, {network.name}" for network in NETWORKS)], rows)


def efficiency_table(tokens: int, shared: bool = False) -> str:
    def cell(model: Model, gpus: int, network: Network) -> str:
        if not reached(network, gpus):
            return "–"
        mine = tokens / gpus if shared else tokens
        plain, hidden = (efficiency(model.parameters, mine, gpus, network, share) for share in (0.0, 2 / 3))
        return f"{plain:.0%} / {hidden:.0%}"

    rows = [
        [model.name if gpus == SIZES[0] else "", str(gpus), *(cell(model, gpus, network) for network in NETWORKS)]
        for model in models()
        for gpus in SIZES
    ]
    return table(["model", "GPUs", *(network.name for network in NETWORKS)], rows)


def tokens_table() -> str:
    def needed(model: Model, network: Network) -> str:
        if not reached(network, SIZES[-1]):
            return "–"
        return (
            f"{9 * exchange_seconds(model.parameters, SIZES[-1], network) / compute_seconds(model.parameters, 1):,.0f}"
        )

    rows = [[model.name, *(needed(model, network) for network in NETWORKS)] for model in models()]
    return table(["model", *(network.name for network in NETWORKS)], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only write docs/scaling.md")
    parser.add_argument("--worker", choices=MEASURED, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        sys.stdout.write(json.dumps(measure(arguments.worker)) + "\n")  # at once: the processes share the pipe
        return
    if not arguments.table:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(measured(), indent=1) + "\n", encoding="utf-8")
    TABLE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
    print(f"written: {TABLE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
