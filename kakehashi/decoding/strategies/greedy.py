"""The likeliest token at every step: the cheapest search, and the beam of size 1."""

from typing import Literal

import torch
from torch import Tensor

from kakehashi.decoding.strategies.protocol import Candidates, DecodingSettings, Frontier, Strategy


class GreedyStrategy:
    """One live hypothesis a sentence; its score is its log-probability."""

    size = groups = 1
    weighs_coverage = False

    def expand(self, frontier: Frontier) -> Candidates:
        best_R, token_R = frontier.logits.max(-1)
        log_probability_B1 = (best_R - frontier.normalizers)[:, None]
        token_B1 = token_R[:, None]
        totals_B1 = frontier.totals + log_probability_B1
        return Candidates(torch.zeros_like(token_B1), token_B1, log_probability_B1, totals_B1)

    def score(self, totals: Tensor, lengths: Tensor | int, received: Tensor | None) -> Tensor:
        return totals

    def bound(self, totals_B: Tensor, limits_B: Tensor) -> Tensor:
        return totals_B


class Greedy(DecodingSettings):
    kind: Literal["greedy"] = "greedy"

    def build(self) -> Strategy:
        return GreedyStrategy()
