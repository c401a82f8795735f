"""Beam search: the `size` likeliest prefixes are followed side by side.

Notable: the candidates of a sentence are found without normalising or sorting the vocabulary (decoding/scores.py).
Shapes: B sentences, F live hypotheses each, R = B * F rows, V vocabulary, C candidates a sentence.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from kakehashi.decoding.scores import best
from kakehashi.decoding.strategies.protocol import Candidates, DecodingSettings, Frontier, Strategy


class BeamStrategy:
    """Candidates are ranked by log-probability; finished hypotheses (Wu et al. 2016, GNMT, equation 14) by

        log-probability / ((5 + length) / 6) ** alpha + beta sum_i log(min(sum_j a_ij, 1)),

    alpha = `length_penalty`, beta = `coverage_penalty`, a_ij what token j gives to the source's word i.
    """

    groups = 1

    def __init__(self, size: int, length_penalty: float, coverage_penalty: float = 0.0) -> None:
        self.size = size
        self.length_penalty = length_penalty
        self.coverage_penalty = coverage_penalty
        self.weighs_coverage = coverage_penalty > 0

    def expand(self, frontier: Frontier) -> Candidates:
        """2 * size candidates: at most `size` of them are ends, one a live hypothesis, so `size` can go on."""
        totals_R = frontier.totals.reshape(-1)
        found = best(frontier.logits, frontier.normalizers, totals_R, len(frontier.totals), 2 * self.size)
        return Candidates(*found)

    def score(self, totals: Tensor, lengths: Tensor | int, received: Tensor | None) -> Tensor:
        scores = totals / ((5 + lengths) / 6) ** self.length_penalty
        if received is None:
            return scores
        covered = received.clamp(min=torch.finfo(received.dtype).tiny, max=1)
        return scores + self.coverage_penalty * covered.log().sum(-1)

    def bound(self, totals_B: Tensor, limits_B: Tensor) -> Tensor:
        """A total only falls, the length penalty only grows, and coverage is at most whole: nothing beats today's total
        at the limit's length."""
        return self.score(totals_B, limits_B, None)


class Beam(DecodingSettings):
    """`size` hypotheses a sentence. Of GNMT's equation 14, `length_penalty` is alpha (0 = off, higher = longer) and
    `coverage_penalty` beta (0 = off, 0.2 in GNMT): translations rank lower when they look at some word of the source
    too little, as those do that leave something out. It needs a model with attention to its source."""

    kind: Literal["beam"] = "beam"
    size: Annotated[int, Field(ge=1)] = 5
    length_penalty: Annotated[float, Field(ge=0)] = 1.0
    coverage_penalty: Annotated[float, Field(ge=0)] = 0.0

    def build(self) -> Strategy:
        return BeamStrategy(self.size, self.length_penalty, self.coverage_penalty)
