"""Diverse beam search: groups of hypotheses that keep away from each other's words.

Shapes: B sentences, F live hypotheses each, E of a group (1 before the first token, then K), R = B * F rows, V
vocabulary, C candidates of a group.
"""

from dataclasses import replace
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from kakehashi.decoding.strategies.beam import BeamStrategy
from kakehashi.decoding.strategies.protocol import Candidates, DecodingSettings, Frontier, Strategy


class DiverseStrategy:
    """Each group is a beam of size / groups (Vijayakumar et al. 2016, arXiv 1610.02424, algorithm 1). In a step they
    choose one after the other, by

        log-probability of the hypothesis - strength * how many choices of earlier groups in this step are its token

    (their Hamming diversity). That only chooses: totals, and so the ranks in the end, are without it.
    """

    weighs_coverage = False

    def __init__(self, config: "Diverse") -> None:
        self.size = config.size
        self.groups = config.groups or config.size
        self.strength = config.strength
        self.beam = BeamStrategy(self.size // self.groups, config.length_penalty)

    def expand(self, frontier: Frontier) -> Candidates:
        sentences, vocabulary = len(frontier.totals), frontier.logits.shape[1]
        lowered_BV = frontier.logits.new_zeros(sentences, vocabulary)
        found: list[Candidates] = []
        for group in range(self.groups):
            first, own = self._of(frontier, group)
            logits_BEV = own.logits.view(sentences, -1, vocabulary) - lowered_BV[:, None]
            chosen = self.beam.expand(replace(own, logits=logits_BEV.flatten(0, 1)))
            back_BC = lowered_BV.gather(1, chosen.tokens)
            candidates = Candidates(
                chosen.parents + first, chosen.tokens, chosen.log_probabilities + back_BC, chosen.totals + back_BC
            )
            found.append(candidates)
            best_BK, said_BK = chosen.totals[:, : self.beam.size], chosen.tokens[:, : self.beam.size]
            lowered_BV = lowered_BV.scatter_add(1, said_BK, self.strength * (best_BK > -torch.inf))
        return Candidates.joined(found)

    def _of(self, frontier: Frontier, group: int) -> tuple[int, Frontier]:
        """The group's first place among the sentence's hypotheses, and what its own say next."""
        fanout, size = frontier.totals.shape[1], self.beam.size
        if fanout == 1:  # all groups begin with the one empty hypothesis
            return 0, frontier
        first = group * size
        logits_RV = frontier.logits.unflatten(0, (-1, fanout))[:, first : first + size].flatten(0, 1)
        normalizers_R = frontier.normalizers.unflatten(0, (-1, fanout))[:, first : first + size].flatten()
        totals_BE = frontier.totals[:, first : first + size]
        return first, replace(frontier, logits=logits_RV, normalizers=normalizers_R, totals=totals_BE)

    def score(self, totals: Tensor, lengths: Tensor | int, received: Tensor | None) -> Tensor:
        return self.beam.score(totals, lengths, received)

    def bound(self, totals_B: Tensor, limits_B: Tensor) -> Tensor:
        return self.beam.bound(totals_B, limits_B)


class Diverse(DecodingSettings):
    """`size` hypotheses a sentence in `groups` (as many as hypotheses unless given, which explores most), for
    alternatives that differ in more than a word. strength: the paper finds 0.2 to 0.8 good; 0 lets all groups find the
    same. What several groups find is one alternative. length_penalty: as in `beam`."""

    kind: Literal["diverse"] = "diverse"
    size: PositiveInt = 5
    groups: PositiveInt | None = None
    strength: Annotated[float, Field(ge=0)] = 0.5
    length_penalty: Annotated[float, Field(ge=0)] = 1.0

    @model_validator(mode="after")
    def _groups_fill_the_size(self) -> Self:
        if self.size % (self.groups or self.size):
            raise ValueError(f"size {self.size} is not a multiple of groups {self.groups}")
        return self

    def build(self) -> Strategy:
        return DiverseStrategy(self)
