"""Batch growth: an optimiser's first steps learn from fewer tokens than the later ones.

A schedule of tokens in epochs, fractions included, so that the plan of an epoch still follows from (seed, epoch): a run
that is resumed needs no state of it.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat

from kakehashi.config import Config, Family
from kakehashi.data.batching import Indices


class NoGrowth(Config):
    """Every step has the whole budget."""

    kind: Literal["none"] = "none"

    def grown(self, plan: Sequence[Indices], epoch: int, seed: int) -> Sequence[Indices]:
        return plan


class LinearGrowth(Config):
    """Steps begin with the share `start` of the budget, which grows linearly to all of it over `epochs`.

    McCandlish et al. 2018 (arXiv 1812.06162): the batch that is worth its cost grows as the loss falls. A planned step
    is cut evenly into round(1 / share) steps; those of as many pieces in an epoch are shuffled. The learning rate still
    follows the steps, of which an epoch has more now.
    """

    kind: Literal["linear"] = "linear"
    start: float = Field(default=0.25, gt=0, le=1)
    epochs: PositiveFloat = 4.0

    def grown(self, plan: Sequence[Indices], epoch: int, seed: int) -> Sequence[Indices]:
        random = np.random.default_rng([seed, epoch, len(plan)])
        steps: list[Indices] = []
        for count, places in groupby(range(len(plan)), lambda place: self._pieces(epoch + place / len(plan))):
            pieces = [piece for place in places for piece in np.array_split(plan[place], min(count, len(plan[place])))]
            steps += [pieces[i] for i in random.permutation(len(pieces))]
        return steps

    def _pieces(self, epochs: float) -> int:
        """Into how many steps a planned one is cut after so many epochs."""
        return round(1 / (self.start + (1 - self.start) * min(1.0, epochs / self.epochs)))


Growth = Annotated[NoGrowth | LinearGrowth, Family()]
