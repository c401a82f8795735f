"""Beam search: the `size` likeliest prefixes are followed side by side.

Notable: the candidates of a sentence are found without normalising or sorting the vocabulary. The highest scores lie in
the blocks with the highest maxima, so the vocabulary is cut into blocks and only the best blocks are looked into.

Shapes: B sentences, F live hypotheses each, R = B * F rows, V vocabulary, C candidates a sentence, N blocks a row,
W scores a block, M blocks looked into.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from kakehashi.decoding.strategies.protocol import Candidates, DecodingSettings, Frontier, Strategy

BLOCK = 64  # near sqrt(8,000) and sqrt(37,000): about as many blocks as scores in a block


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
        logits_RV, normalizers_R = frontier.logits, frontier.normalizers
        sentences, fanout = frontier.totals.shape
        offsets_R = frontier.totals.reshape(-1) - normalizers_R
        totals_BC, row_BC, tokens_BC = _best(logits_RV, offsets_R, sentences, 2 * self.size)
        log_probabilities_BC = logits_RV[row_BC, tokens_BC] - normalizers_R[row_BC]
        return Candidates(row_BC % fanout, tokens_BC, log_probabilities_BC, totals_BC)

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


def _best(logits_RV: Tensor, offsets_R: Tensor, sentences: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` highest logits + offsets of each sentence, sorted: values, rows, tokens, each [B, count]."""
    rows, size = logits_RV.shape
    full = size // BLOCK * BLOCK
    maxima_RN = logits_RV[:, :full].unflatten(1, (-1, BLOCK)).amax(2)
    if full < size:
        maxima_RN = torch.cat([maxima_RN, logits_RV[:, full:].amax(1, keepdim=True)], 1)
    blocks = maxima_RN.shape[1]
    block_totals_BX = (maxima_RN + offsets_R[:, None]).view(sentences, -1)
    picked_BM = block_totals_BX.topk(min(count, block_totals_BX.shape[1]), dim=1).indices
    first_row_B1 = torch.arange(0, rows, rows // sentences, device=logits_RV.device)[:, None]
    row_BM = first_row_B1 + picked_BM // blocks
    position_BMW = (picked_BM % blocks * BLOCK)[..., None] + torch.arange(BLOCK, device=logits_RV.device)
    token_BMW = position_BMW.clamp(max=size - 1)
    value_BMW = logits_RV[row_BM[..., None], token_BMW] + offsets_R[row_BM][..., None]
    value_BX = value_BMW.masked_fill(position_BMW >= size, -torch.inf).flatten(1)
    best_BC, place_BC = value_BX.topk(min(count, value_BX.shape[1]), dim=1)
    missing = count - best_BC.shape[1]  # a vocabulary smaller than the beam
    return (
        pad(best_BC, (0, missing), value=-torch.inf),
        pad(row_BM.gather(1, place_BC // BLOCK), (0, missing), mode="constant"),
        pad(token_BMW.flatten(1).gather(1, place_BC), (0, missing)),
    )


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
