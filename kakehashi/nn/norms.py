"""Norms: a family of functions on the last axis [..., D]."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import PositiveFloat
from torch import nn

from kakehashi.config import Family
from kakehashi.nn.variant import Law, Variant


class LayerNorm(Variant):
    """Layer normalisation, Ba et al. 2016 (arXiv 1607.06450): (x - mean) / sqrt(variance + epsilon) * g + b."""

    kind: Literal["layer"] = "layer"
    epsilon: PositiveFloat = 1e-5

    def build(self, width: int) -> nn.Module:
        return nn.LayerNorm(width, eps=self.epsilon)


class RMSNorm(Variant):
    """x / sqrt(mean of x^2 + epsilon) * g, without mean and bias. Zhang and Sennrich 2019 (arXiv 1910.07467), eq. 4."""

    kind: Literal["rms"] = "rms"
    epsilon: PositiveFloat = 1e-6

    def build(self, width: int) -> nn.Module:
        return nn.RMSNorm(width, eps=self.epsilon)


class NoNorm(Variant):
    """x as it is."""

    breaks: ClassVar[Mapping[Law, str]] = {
        "bf16": "nothing bounds x: attention's scores grow, and a step of bf16 between large ones is a large factor"
    }
    kind: Literal["none"] = "none"

    def build(self, width: int) -> nn.Module:
        return nn.Identity()


Norm = Annotated[LayerNorm | RMSNorm | NoNorm, Family()]
