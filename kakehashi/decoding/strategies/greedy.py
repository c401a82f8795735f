"""The likeliest token at every step: the cheapest search, and the beam of size 1."""

from typing import Literal

from torch import Tensor

from kakehashi.decoding.scores import best
from kakehashi.decoding.strategies.protocol import Candidates, DecodingSettings, Frontier, Strategy


class GreedyStrategy:
    """One live hypothesis a sentence; its score is its log-probability."""

    size = groups = 1
    weighs_coverage = False

    def expand(self, frontier: Frontier) -> Candidates:
        totals_R = frontier.totals.reshape(-1)
        return Candidates(*best(frontier.logits, frontier.normalizers, totals_R, len(totals_R), 1))

    def score(self, totals: Tensor, lengths: Tensor | int, received: Tensor | None) -> Tensor:
        return totals

    def bound(self, totals_B: Tensor, limits_B: Tensor) -> Tensor:
        return totals_B


class Greedy(DecodingSettings):
    kind: Literal["greedy"] = "greedy"

    def build(self) -> Strategy:
        return GreedyStrategy()
