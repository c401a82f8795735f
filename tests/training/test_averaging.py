"""Averages of weights against the naive formula in float64, and their resumption."""

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load, save
from torch import Tensor

from kakehashi.errors import UserError
from kakehashi.training.averaging import Averaging, ExponentialMovingAverage, LastCheckpoints, NoAverage

CONFIGS: list[NoAverage | LastCheckpoints | ExponentialMovingAverage] = [
    NoAverage(),
    LastCheckpoints(count=3),
    ExponentialMovingAverage(decay=0.5),
]


def start() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {"a.weight": torch.randn(3, 4, generator=generator), "b": torch.randn(2, generator=generator)}


def move(weights: dict[str, Tensor], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for weight in weights.values():
        weight.add_(torch.randn(weight.shape, generator=generator))


def test_no_average_is_the_live_weights() -> None:
    weights = start()
    averager = NoAverage().build(weights)
    move(weights, 1)
    averager.update_step()
    averager.update_checkpoint()
    assert averager.weights()["b"].data_ptr() == weights["b"].data_ptr()


def test_last_is_the_mean_of_the_last_checkpoints() -> None:
    weights = start()
    averager = LastCheckpoints(count=3).build(weights)
    assert torch.equal(averager.weights()["b"], weights["b"])
    history: list[dict[str, Tensor]] = []
    for step in range(6):
        move(weights, step)
        averager.update_step()
        averager.update_checkpoint()
        history.append({name: weight.clone() for name, weight in weights.items()})
        for name, average in averager.weights().items():
            naive = torch.stack([snapshot[name].double() for snapshot in history[-3:]]).mean(0)
            assert torch.equal(average, naive.float()) and average.dtype == torch.float32


def test_ema_is_the_recurrence_with_its_warmup() -> None:
    weights = start()
    averager = ExponentialMovingAverage(decay=0.5).build(weights)
    naive = {name: weight.double() for name, weight in weights.items()}
    decays = []
    for step in range(1, 31):
        move(weights, step)
        averager.update_step()
        averager.update_checkpoint()
        decays.append(min(0.5, (1 + step) / (10 + step)))
        naive = {name: decays[-1] * naive[name] + (1 - decays[-1]) * weights[name].double() for name in weights}
    assert decays[0] == pytest.approx(2 / 11) and decays[-1] == 0.5
    for name, average in averager.weights().items():
        torch.testing.assert_close(average, naive[name].float(), rtol=1e-5, atol=1e-6)


def test_ema_of_still_weights_is_those_weights() -> None:
    weights = start()
    averager = ExponentialMovingAverage().build(weights)
    for _ in range(50):
        averager.update_step()
    assert all(torch.equal(averager.weights()[name], weights[name]) for name in weights)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
@pytest.mark.parametrize("before", [0, 2, 5])
def test_resumed_through_a_file_gives_the_same_bits(
    config: NoAverage | LastCheckpoints | ExponentialMovingAverage, before: int
) -> None:
    weights = start()
    averager = config.build(weights)
    for step in range(before):
        move(weights, step)
        averager.update_step()
        averager.update_checkpoint()
    stored = save(averager.state_tensors())
    restored_weights = {name: weight.clone() for name, weight in weights.items()}
    resumed = config.build(restored_weights)
    move(restored_weights, 99)
    resumed.update_step()  # what it held before must not show
    resumed.update_checkpoint()
    for name in weights:
        restored_weights[name].copy_(weights[name])
    resumed.load_state_tensors(load(stored))
    for step in range(before, before + 4):
        move(weights, step)
        move(restored_weights, step)
        for one in (averager, resumed):
            one.update_step()
            one.update_checkpoint()
    expected, found = averager.weights(), resumed.weights()
    assert all(torch.equal(expected[name], found[name]) for name in weights)


def test_the_state_of_another_averaging_is_refused() -> None:
    window, moving = LastCheckpoints(count=2).build(start()), ExponentialMovingAverage().build(start())
    window.update_checkpoint()
    with pytest.raises(UserError, match="averaging"):
        moving.load_state_tensors(window.state_tensors())
    with pytest.raises(UserError, match="averaging"):
        window.load_state_tensors(moving.state_tensors())
    with pytest.raises(UserError, match="averaging"):
        NoAverage().build(start()).load_state_tensors(window.state_tensors())


def test_the_family_knows_its_kinds() -> None:
    adapter: TypeAdapter[NoAverage | LastCheckpoints | ExponentialMovingAverage] = TypeAdapter(Averaging)
    assert adapter.validate_python("ema") == ExponentialMovingAverage()
    assert adapter.validate_python({"kind": "last", "count": 2}) == LastCheckpoints(count=2)
    assert adapter.validate_python("none") == NoAverage()
