"""Averages of the weights over the run: evaluation uses the average, training goes on from the weights.

All of it is fp32 (from the optimiser's master weights), whatever the working model computes in. An averager holds
the live weights it was built from and reads them at each update; `weights()` is what to evaluate and to save.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, _foreach_lerp_  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]

from kakehashi.config import Config, Family
from kakehashi.errors import UserError
from kakehashi.training.sharding import part


class Averager(Protocol):
    """Follows the weights of a run. Tensors are named as in `MasterWeights.weights()`."""

    def update_step(self) -> None:
        """After each step of the optimiser."""
        ...

    def update_checkpoint(self) -> None:
        """At each validation, before `weights()` is evaluated."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """The average; not to be written to. Before the first update, the weights themselves."""
        ...

    def state_tensors(self) -> dict[str, Tensor]:
        """What exact resumption needs beyond the weights."""
        ...

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over, by copying, what `state_tensors` gave."""
        ...


class NoAverage(Config):
    """The weights as they are."""

    kind: Literal["none"] = "none"

    def build(self, weights: dict[str, Tensor]) -> Averager:
        return LatestWeights(weights)


class LastCheckpoints(Config):
    """The mean of the weights at the last `count` validations (Vaswani et al. 2017, section 6.1: 5 checkpoints).

    The mean of a sliding window is exact only if its members are kept: `count` fp32 copies, in memory
    and in each training checkpoint.
    """

    kind: Literal["last"] = "last"
    count: int = Field(default=5, ge=1)

    def build(self, weights: dict[str, Tensor]) -> Averager:
        return WindowAverage(weights, self.count)


class ExponentialMovingAverage(Config):
    """average += (1 - d) * (weights - average) after step t, with d = min(decay, (1 + t) / (10 + t)).

    The warm-up of d keeps the random start out of the average (as TensorFlow's ExponentialMovingAverage).
    """

    kind: Literal["ema"] = "ema"
    decay: float = Field(default=0.999, ge=0, lt=1)

    def build(self, weights: dict[str, Tensor]) -> Averager:
        return MovingAverage(weights, self.decay)


Averaging = Annotated[NoAverage | LastCheckpoints | ExponentialMovingAverage, Family()]


class LatestWeights:
    """No average: the live weights."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self._weights = weights

    def update_step(self) -> None:
        pass

    def update_checkpoint(self) -> None:
        pass

    def weights(self) -> dict[str, Tensor]:
        return self._weights

    def state_tensors(self) -> dict[str, Tensor]:
        return {}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        _refuse_strangers(tensors, set())


class WindowAverage:
    """The mean over a sliding window of snapshots, the oldest first."""

    def __init__(self, weights: dict[str, Tensor], count: int) -> None:
        self._weights = weights
        self._count = count
        self._snapshots: list[dict[str, Tensor]] = []

    def update_step(self) -> None:
        pass

    @torch.no_grad()
    def update_checkpoint(self) -> None:
        if len(self._snapshots) < self._count:
            self._snapshots.append({name: torch.empty_like(weight) for name, weight in self._weights.items()})
        else:
            self._snapshots.append(self._snapshots.pop(0))  # the oldest one's memory takes the newest
        for name, weight in self._weights.items():
            self._snapshots[-1][name].copy_(weight)

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        return {name: self._mean(name) for name in self._weights} if self._snapshots else self._weights

    def state_tensors(self) -> dict[str, Tensor]:
        return {f"{age}.{name}": x for age, snapshot in enumerate(self._snapshots) for name, x in snapshot.items()}

    @torch.no_grad()
    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        count = min(len(tensors) // len(self._weights), self._count)
        _refuse_strangers(tensors, {f"{age}.{name}" for age in range(count) for name in self._weights})
        self._snapshots = [
            {n: torch.empty_like(w).copy_(part(tensors[f"{age}.{n}"], w)) for n, w in self._weights.items()}
            for age in range(count)
        ]

    def _mean(self, name: str) -> Tensor:
        """In float64, so that the mean of equal weights is that weight, and no order of summing shows."""
        total = torch.zeros_like(self._weights[name], dtype=torch.float64)
        for snapshot in self._snapshots:
            total += snapshot[name]
        return (total / len(self._snapshots)).to(self._weights[name].dtype)


class MovingAverage:
    """The exponential moving average, updated in place."""

    def __init__(self, weights: dict[str, Tensor], decay: float) -> None:
        self._weights = weights
        self._decay = decay
        self._updates = 0
        self._average = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update_step(self) -> None:
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        _foreach_lerp_(list(self._average.values()), list(self._weights.values()), 1 - decay)

    def update_checkpoint(self) -> None:
        pass

    def weights(self) -> dict[str, Tensor]:
        return self._average

    def state_tensors(self) -> dict[str, Tensor]:
        updates = torch.tensor(self._updates, dtype=torch.int64)
        return {"updates": updates} | {f"average.{name}": average for name, average in self._average.items()}

    @torch.no_grad()
    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        _refuse_strangers(tensors, {"updates", *(f"average.{name}" for name in self._weights)})
        self._updates = int(tensors["updates"].item())
        for name, average in self._average.items():
            average.copy_(part(tensors[f"average.{name}"], average))


def _refuse_strangers(tensors: Mapping[str, Tensor], wanted: set[str]) -> None:
    if wrong := sorted(tensors.keys() ^ wanted):
        raise UserError(
            f"The checkpoint's average of weights does not fit this run ({wrong[0]!r} and {len(wrong) - 1} more names "
            "differ). Resume with the averaging that the run was started with."
        )
