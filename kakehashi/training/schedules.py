"""Learning-rate schedules: pure functions of the step, so that a resumed run needs no state of theirs.

Steps count from 1. Every schedule rises linearly over `warmup` steps; they differ in what follows.
`shortened` fits a schedule to a run that would end inside its warmup, and keeps the highest rate.
"""

import math
from typing import Annotated, Literal, Protocol, Self

from pydantic import Field

from kakehashi.config import Config, Family

WARMUP_SHARE = 10  # a shortened warmup takes one tenth of the run


class RateSchedule(Protocol):
    """What the training loop knows of a schedule."""

    def rate(self, step: int, steps: int, width: int) -> float:
        """The learning rate of `step` (1 is the first) in a run of `steps` for a model of `width`."""
        ...

    def shortened(self, steps: int) -> Self:
        """The schedule itself when its warmup ends inside a run of `steps`, else one whose warmup does."""
        ...


class InverseSqrt(Config):
    """Linear to `peak` at step `warmup`, then peak * sqrt(warmup / step): it needs no known end."""

    kind: Literal["inverse_sqrt"] = "inverse_sqrt"
    warmup: int = Field(default=1000, ge=1)
    peak: float = Field(default=1e-3, gt=0)

    def rate(self, step: int, steps: int, width: int) -> float:
        return self.peak * min(step / self.warmup, math.sqrt(self.warmup / step))

    def shortened(self, steps: int) -> "InverseSqrt":
        return self if self.warmup < steps else self.model_copy(update={"warmup": _short_warmup(steps)})


class Noam(Config):
    """scale * width^-0.5 * min(step^-0.5, step * warmup^-1.5) (Vaswani et al. 2017, section 5.3, equation 3).

    Its peak is scale / sqrt(width * warmup), so that a shorter warmup alone would be a hotter one.
    """

    kind: Literal["paper"] = "paper"
    warmup: int = Field(default=4000, ge=1)
    scale: float = Field(default=1.0, gt=0)

    def rate(self, step: int, steps: int, width: int) -> float:
        return self.scale * width**-0.5 * min(step**-0.5, step * self.warmup**-1.5)

    def shortened(self, steps: int) -> "Noam":
        if self.warmup < steps:
            return self
        warmup = _short_warmup(steps)
        return self.model_copy(update={"warmup": warmup, "scale": self.scale * math.sqrt(warmup / self.warmup)})


class Cosine(Config):
    """Linear to `peak`, then half a cosine down to `floor` (a fraction of the peak) at the last step.

    SGDR without restarts (Loshchilov & Hutter 2017, equation 5). Past the last step the rate stays at the floor.
    """

    kind: Literal["cosine"] = "cosine"
    warmup: int = Field(default=1000, ge=0)
    peak: float = Field(default=1e-3, gt=0)
    floor: float = Field(default=0.0, ge=0, le=1)

    def rate(self, step: int, steps: int, width: int) -> float:
        if step <= self.warmup:
            return self.peak * step / self.warmup
        progress = min(1.0, (step - self.warmup) / max(1, steps - self.warmup))
        return self.peak * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2)

    def shortened(self, steps: int) -> "Cosine":
        return self if self.warmup < steps else self.model_copy(update={"warmup": _short_warmup(steps)})


class WarmupStableDecay(Config):
    """Linear to `peak`, then `peak`, then down to 0 over the last share `decay` of the run: a trapezoid.

    Hu et al. 2024 (arXiv 2404.06395). At the part t of the descent the rate is peak * (1 - t) or, the better of the
    two in Hägele et al. 2024 (arXiv 2405.18392), peak * (1 - sqrt(t)).
    """

    kind: Literal["wsd"] = "wsd"
    warmup: int = Field(default=1000, ge=0)
    peak: float = Field(default=1e-3, gt=0)
    decay: float = Field(default=0.2, gt=0, le=1)
    shape: Literal["linear", "sqrt"] = "sqrt"

    def rate(self, step: int, steps: int, width: int) -> float:
        if step <= self.warmup:
            return self.peak * step / self.warmup
        start = max(self.warmup, steps * (1 - self.decay))
        gone = min(1.0, max(0.0, step - start) / max(1, steps - start))
        return self.peak * (1 - (math.sqrt(gone) if self.shape == "sqrt" else gone))

    def shortened(self, steps: int) -> "WarmupStableDecay":
        return self if self.warmup < steps else self.model_copy(update={"warmup": _short_warmup(steps)})


class Constant(Config):
    """Linear to `peak` over `warmup` steps (0: from the first step), then `peak`."""

    kind: Literal["constant"] = "constant"
    warmup: int = Field(default=0, ge=0)
    peak: float = Field(default=1e-3, gt=0)

    def rate(self, step: int, steps: int, width: int) -> float:
        return self.peak * step / self.warmup if step < self.warmup else self.peak

    def shortened(self, steps: int) -> "Constant":
        return self if self.warmup < steps else self.model_copy(update={"warmup": _short_warmup(steps)})


def _short_warmup(steps: int) -> int:
    return max(1, steps // WARMUP_SHARE)


Schedule = Annotated[InverseSqrt | Noam | Cosine | WarmupStableDecay | Constant, Family()]
