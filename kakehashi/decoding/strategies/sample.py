"""Sampling: the next token is drawn from the model's distribution, made sharper or cut as asked.

Shapes: R = B rows (one live hypothesis a sentence), V vocabulary.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from kakehashi.decoding.draws import uniforms
from kakehashi.decoding.strategies.protocol import Candidates, DecodingSettings, Frontier, Strategy


class SampleStrategy:
    """One live hypothesis a sentence; its score is its log-probability under the model as it is."""

    size = groups = 1
    weighs_coverage = False

    def __init__(self, config: "Sample") -> None:
        self.config = config

    def expand(self, frontier: Frontier) -> Candidates:
        config, logits_RV = self.config, frontier.logits
        weights_RV = (logits_RV.double() / config.temperature).softmax(-1).nan_to_num(0.0)  # 0: all are forbidden
        if config.top_k is not None:
            weights_RV = _at_least(weights_RV, weights_RV.topk(min(config.top_k, weights_RV.shape[1])).values[:, -1:])
        if config.top_p < 1:
            weights_RV = _nucleus(weights_RV, config.top_p)
        heights_RV = weights_RV.cumsum(-1)
        drawn_R = uniforms(config.seed, frontier.keys, frontier.length) * heights_RV[:, -1]
        token_R1 = torch.searchsorted(heights_RV, drawn_R[:, None], right=True).clamp_(max=logits_RV.shape[1] - 1)
        log_probability_R1 = logits_RV.gather(1, token_R1) - frontier.normalizers[:, None]
        return Candidates(
            torch.zeros_like(token_R1), token_R1, log_probability_R1, frontier.totals + log_probability_R1
        )

    def score(self, totals: Tensor, lengths: Tensor | int, received: Tensor | None) -> Tensor:
        return totals

    def bound(self, totals_B: Tensor, limits_B: Tensor) -> Tensor:
        return totals_B


def _at_least(weights_RV: Tensor, least_R1: Tensor) -> Tensor:
    return weights_RV.where(weights_RV >= least_R1, 0.0)


def _nucleus(weights_RV: Tensor, top_p: float) -> Tensor:
    """The likeliest tokens that together have `top_p` of the weight; the one that fills it up is among them."""
    falling_RV = weights_RV.sort(dim=-1, descending=True).values
    before_RV = falling_RV.cumsum(-1) - falling_RV
    inside_RV = before_RV < top_p * falling_RV.sum(-1, keepdim=True)
    last_R1 = (inside_RV.sum(-1, keepdim=True) - 1).clamp_(min=0)
    return _at_least(weights_RV, falling_RV.gather(1, last_R1))


class Sample(DecodingSettings):
    """p(token)^(1 / temperature), normalised anew, of the `top_k` likeliest tokens (Fan et al. 2018, arXiv 1805.04833)
    and of the fewest that together have `top_p` of the probability (nucleus, Holtzman et al. 2020, arXiv 1904.09751);
    tokens as likely as the last of them stay too.

    The same seed and source (or prompt) give the same text, whatever else is in the batch.
    """

    kind: Literal["sample"] = "sample"
    temperature: PositiveFloat = 1.0
    top_k: PositiveInt | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: NonNegativeInt = 1

    def build(self) -> Strategy:
        return SampleStrategy(self)
