"""Norms: a family of functions on the last axis [..., D]."""

from typing import Annotated, Literal

from torch import nn

from kakehashi.config import Family
from kakehashi.nn.variant import Variant


class LayerNorm(Variant):
    """Layer normalisation, Ba et al. 2016 (arXiv 1607.06450): (x - mean) / sqrt(variance + epsilon) * g + b."""

    kind: Literal["layer"] = "layer"
    epsilon: float = 1e-5

    def build(self, width: int) -> nn.Module:
        return nn.LayerNorm(width, eps=self.epsilon)


Norm = Annotated[LayerNorm, Family()]
