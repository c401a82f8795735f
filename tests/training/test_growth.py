"""Batch growth: no example is lost, steps grow, and a plan follows from (seed, epoch)."""

from itertools import pairwise

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from kakehashi.data.batching import BatchSampler, Indices
from kakehashi.training.growth import Growth, LinearGrowth, NoGrowth

RANDOM = np.random.default_rng(3)
LENGTHS = RANDOM.integers(3, 30, 2000).astype(np.int32), RANDOM.integers(3, 30, 2000).astype(np.int32)
SAMPLER = BatchSampler(*LENGTHS, tokens=1200, seed=1)


def cost(step: Indices) -> int:
    return len(step) * int(LENGTHS[0][step].max() + LENGTHS[1][step].max() + 2)


def test_none_leaves_the_plan_as_it_is() -> None:
    plan = SAMPLER.plan(0)
    assert NoGrowth().grown(plan, 0, 1) is plan


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_no_example_is_lost_and_none_comes_twice(epoch: int) -> None:
    steps = LinearGrowth(start=0.1, epochs=2.5).grown(SAMPLER.plan(epoch), epoch, 1)
    assert sorted(np.concatenate(steps)) == list(range(2000))
    assert all(len(step) for step in steps)


def test_steps_grow_from_the_start_to_the_whole_budget() -> None:
    growth = LinearGrowth(start=0.25, epochs=3)
    plans = [growth.grown(SAMPLER.plan(epoch), epoch, 1) for epoch in range(4)]
    whole = len(SAMPLER.plan(0))
    sizes = [float(np.mean([cost(step) for step in plan])) for plan in plans]
    assert sizes == sorted(sizes)
    first, last = plans[0][: whole // 4], plans[2][-whole // 4 :]
    assert max(map(cost, first)) < 0.4 * 1200
    assert np.mean([len(step) for step in last]) > 3 * np.mean([len(step) for step in first])
    assert len(plans[3]) == len(SAMPLER.plan(3))


def test_the_pieces_of_a_step_do_not_follow_one_another() -> None:
    """They are of like lengths."""
    plan = SAMPLER.plan(0)
    steps = LinearGrowth(start=0.25, epochs=1000).grown(plan, 0, 1)
    origin = {int(index): number for number, step in enumerate(plan) for index in step}
    neighbours = [origin[int(a[0])] == origin[int(b[0])] for a, b in pairwise(steps)]
    assert np.mean(neighbours) < 0.1


def test_the_plan_follows_from_seed_and_epoch() -> None:
    growth = LinearGrowth()
    first, second = (growth.grown(SAMPLER.plan(1), 1, 7) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    other = growth.grown(SAMPLER.plan(1), 1, 8)
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_step_of_one_example_stays_whole() -> None:
    plan = [np.array([4]), np.array([1, 2])]
    steps = LinearGrowth(start=0.1, epochs=1000).grown(plan, 0, 1)
    assert sorted(map(list, steps)) == [[1], [2], [4]]


def test_the_family_knows_its_kinds() -> None:
    adapter: TypeAdapter[NoGrowth | LinearGrowth] = TypeAdapter(Growth)
    assert adapter.validate_python("none") == NoGrowth()
    assert adapter.validate_python({"kind": "linear", "epochs": 2}) == LinearGrowth(epochs=2)
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "linear", "start": 0})
