"""The tables of benchmarks: the variants' rows are those of the unions, and lines say what was measured. The page on
scaling."""

import json
import re
from typing import get_args

import pytest
import torch

from benchmarks import gpu, scaling
from benchmarks.precision import table
from benchmarks.variant_rows import Row, rows
from benchmarks.variants import key_of, settings_of, variants_table
from kakehashi.config import load
from kakehashi.config.places import alternatives, kinds
from kakehashi.describe import Preset
from kakehashi.models import ModelConfig
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import Placement
from kakehashi.nn.feedforward import FeedForward
from kakehashi.nn.mixers import Mixer
from kakehashi.nn.norms import Norm
from kakehashi.nn.positions import PositionConfig


@pytest.fixture(scope="module")
def found() -> list[Row]:
    return rows()


def test_every_variant_has_a_row(found: list[Row]) -> None:
    families = {"position": PositionConfig, "norm": Norm, "feedforward": FeedForward, "mixer": Mixer}
    expected = {
        f"{part} {kinds(kind)[0]}"
        for part, family in families.items()
        for kind in alternatives([family])
        if len(alternatives([family])) > 1
    }
    expected |= {f"placement {name}" for name in get_args(Placement)}
    expected |= {f"model {kinds(kind)[0]}" for kind in alternatives([ModelConfig])}
    names = [row.name for row in found]
    assert expected <= set(names) and len(names) == len(set(names))


def test_a_row_differs_in_its_part_alone(found: list[Row]) -> None:
    tiny, none = (
        next(row.config.model_dump() for row in found if row.name == name)
        for name in ("position sinusoidal", "position none")
    )
    assert none["encoder"].pop("position") == none["decoder"].pop("position") == {"kind": "none"}
    assert tiny["encoder"].pop("position") == tiny["decoder"].pop("position") == {"kind": "sinusoidal"}
    assert none == tiny


def test_the_table_says_what_was_measured_and_why_not(found: list[Row]) -> None:
    row = next(row for row in found if row.name == "position none")
    lines = {
        "operations": {"parameters": 1234567, "64": 2.5e6, "no 4096": "it reads 1,024 tokens at most"},
        "speed": {"failed": "it took too long"},
    }
    results = {
        key_of(row, name, settings_of(name, 3, 50)): {**line, "date": "2026-01-02", "torch": "2"}
        for name, line in lines.items()
    }
    text = "\n".join(variants_table([row], results, 3, 50))
    cells = re.findall(r"^\| none \|(.*)\|$", text, re.MULTILINE)[0].split("|")
    assert [cell.strip() for cell in cells[:7]] == ["1,234,567", "2.50", "– [1]", *["– [2]"] * 3, "–"]
    assert "1. it reads 1,024 tokens at most\n2. it took too long" in text
    assert key_of(row, "learning", settings_of("learning", 3, 50)) != key_of(
        row, "learning", settings_of("learning", 4, 50)
    )


def test_the_page_on_scaling_is_what_was_measured_and_projected() -> None:
    found = json.loads(scaling.RESULTS.read_text(encoding="utf-8"))
    assert scaling.TABLE.read_text(encoding="utf-8") == scaling.page(found)


def test_a_ring_sends_nearly_twice_the_gradients_and_hiding_it_helps() -> None:
    network = scaling.Network("test", bandwidth=1e9, latency=0)
    assert scaling.exchange_seconds(1000, 2, network) == pytest.approx(4000 / 1e9)
    assert scaling.exchange_seconds(1000, 512, network) == pytest.approx(2 * 4000 / 1e9, rel=0.01)
    plain, hidden = (scaling.efficiency(10**8, 16_384, 8, network, share) for share in (0, 2 / 3))
    assert 0 < plain < hidden <= 1


def test_parts_are_sent_in_bf16_and_their_gradients_in_fp32() -> None:
    network = scaling.Network("test", bandwidth=1e9, latency=0)
    model = scaling.Model("test", parameters=10**6, layers=4)
    forward, backward = scaling.part_seconds(model, 4, network)
    assert forward == pytest.approx(0.75 * 2e6 / 1e9) and backward == pytest.approx(0.75 * 6e6 / 1e9)
    efficiencies = [scaling.part_efficiency(model, tokens, 4, network) for tokens in (10, 10**6)]
    assert 0 < efficiencies[0] < efficiencies[1] == 1


def test_the_benchmark_of_gpus_runs_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--model", "tiny", "--words", "60", "--steps", "40", "training.batch.tokens=256", "training.keep=1"])
    head, _, first = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[-3:]]
    found = dict(zip(head, first, strict=True))
    assert found["target tokens a step"] == "128" and found["of the peak"] == "–"
    assert float(found["ms a step"]) > 0 and float(found["GiB"]) > 0


def test_its_operations_are_six_for_each_parameter_and_token() -> None:
    """Of matrices; attention's own products are few at a sentence's length."""
    config = load(scaling.PRESETS / "paper-base.yaml", Preset, presets=scaling.PRESETS).model
    with torch.device("meta"):
        model = config.build(Vocabulary(1000), Vocabulary(1000))
    matrices = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim == 2)
    assert gpu.operations(config, 1000) == pytest.approx(6 * matrices * gpu.LENGTH, rel=0.02)


def test_a_peak_is_known_by_the_name_of_the_device() -> None:
    names = ("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H200", "a slower one")
    assert [gpu.peak(name) for name in names] == [989e12, 756e12, 989e12, None]


def test_the_table_of_number_formats_sets_them_beside_the_seeds() -> None:
    found = {
        (form, seed): {"training": 1.0 + 0.2 * seed + off, "development": 2.0}
        for form, off in (("fp32", 0.0), ("bf16", 0.001))
        for seed in (1, 2)
    }
    lines = table(found, 2)
    assert "| training | 2 | 1.4000 | 1.4010 | +0.0010 |" in lines
    assert "| training | mean | 1.3000 | 1.3010 | +0.0010 (seeds: 0.1414) |" in lines
    assert lines[-1] == "| development | mean | 2.0000 | 2.0000 | +0.0000 (seeds: 0.0000) |"
