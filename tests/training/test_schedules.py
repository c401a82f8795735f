"""Schedules against their formulas, and how they shrink into a short run."""

import math

import pytest
from pydantic import TypeAdapter, ValidationError

from kakehashi.training.schedules import Constant, Cosine, InverseSqrt, Noam, Schedule, WarmupStableDecay

Kinds = InverseSqrt | Noam | Cosine | WarmupStableDecay | Constant
WARMED: list[Kinds] = [
    InverseSqrt(warmup=1000),
    Noam(warmup=1000),
    Cosine(warmup=1000),
    WarmupStableDecay(warmup=1000),
    Constant(warmup=1000),
]


def test_paper_schedule_is_equation_3() -> None:
    schedule = Noam()
    for step in (1, 17, 3999, 4000, 4001, 100_000):
        assert schedule.rate(step, 100_000, 512) == pytest.approx(
            512**-0.5 * min(step**-0.5, step * 4000**-1.5), rel=1e-15
        )
    assert schedule.rate(4000, 100_000, 512) == pytest.approx(6.987712429686844e-4)
    assert Noam(scale=2.0).rate(5, 10, 64) == pytest.approx(2 * Noam().rate(5, 10, 64))


@pytest.mark.parametrize("schedule", WARMED, ids=lambda schedule: schedule.kind)
def test_warmup_is_linear_and_ends_at_the_highest_rate(schedule: Kinds) -> None:
    rates = [schedule.rate(step, 5000, 256) for step in range(1, 5001)]
    assert rates[499] == pytest.approx(rates[999] / 2)
    assert rates[0] == pytest.approx(rates[999] / 1000)
    assert max(rates) == rates[999]
    if not isinstance(schedule, Noam):
        assert max(rates) == pytest.approx(1e-3)


def test_after_the_warmup_each_goes_its_way() -> None:
    assert InverseSqrt(warmup=100, peak=1e-3).rate(400, 1000, 1) == pytest.approx(5e-4)
    assert Constant(warmup=100, peak=1e-3).rate(999, 1000, 1) == 1e-3
    assert Constant().rate(1, 1000, 1) == 1e-3
    cosine = Cosine(warmup=100, peak=1e-3, floor=0.1)
    assert cosine.rate(600, 1100, 1) == pytest.approx(1e-3 * 0.55)
    assert cosine.rate(1100, 1100, 1) == pytest.approx(1e-4)
    assert cosine.rate(5000, 1100, 1) == pytest.approx(1e-4)
    assert Cosine(warmup=0).rate(1, 100, 1) == pytest.approx(1e-3 * (1 + math.cos(math.pi / 100)) / 2)


@pytest.mark.parametrize(("shape", "halfway"), [("linear", 0.5), ("sqrt", 1 - math.sqrt(0.5))])
def test_a_trapezoid_stays_at_its_peak_and_ends_at_nothing(shape: str, halfway: float) -> None:
    schedule = WarmupStableDecay.model_validate({"warmup": 100, "peak": 1e-3, "decay": 0.4, "shape": shape})
    assert {schedule.rate(step, 1000, 1) for step in range(100, 601)} == {1e-3}
    assert schedule.rate(800, 1000, 1) == pytest.approx(1e-3 * halfway)
    rates = [schedule.rate(step, 1000, 1) for step in range(600, 1001)]
    assert rates == sorted(rates, reverse=True) and rates[-1] == 0 == schedule.rate(2000, 1000, 1)
    late = WarmupStableDecay(warmup=800, decay=0.9)
    assert late.rate(800, 1000, 1) == 1e-3 > late.rate(801, 1000, 1), "a descent cannot begin before the peak"


@pytest.mark.parametrize("schedule", WARMED, ids=lambda schedule: schedule.kind)
def test_a_schedule_longer_than_the_run_is_shortened_and_keeps_its_peak(schedule: Kinds) -> None:
    assert schedule.shortened(1001) is schedule
    short = schedule.shortened(1000)
    assert short.warmup == 100 and short.kind == schedule.kind
    assert short.rate(100, 1000, 256) == pytest.approx(schedule.rate(1000, 5000, 256))
    assert schedule.shortened(3).warmup == 1


def test_one_step_runs_have_a_positive_rate() -> None:
    for schedule in (InverseSqrt(), Noam(), Constant(), Cosine(floor=0.1), WarmupStableDecay()):
        assert schedule.shortened(1).rate(1, 1, 64) > 0


def test_the_family_knows_its_kinds() -> None:
    adapter: TypeAdapter[Kinds] = TypeAdapter(Schedule)
    assert adapter.validate_python({"kind": "paper", "warmup": 8}) == Noam(warmup=8)
    assert adapter.validate_python("cosine") == Cosine()
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "inverse_sqrt", "warmup": 0})
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "cosine", "floor": 1.5})
