"""Consistency regularisation of translation: two views of a pair should be answered alike.

Both views go through the model in one batch of twice the rows, so that a step costs about twice as much, in time and
memory; `training.batch.tokens` counts one view.
"""

from abc import abstractmethod
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from kakehashi.config import Config, Family
from kakehashi.data.batching import Batch
from kakehashi.models.protocol import Translating, Vocabulary
from kakehashi.nn.consistency import ViewWeights, consistent_cross_entropy
from kakehashi.tasks.protocol import Sums, asked_places, further, sums


class ConsistencyConfig(Config):
    """The base of a kind."""

    @abstractmethod
    def loss(self, model: Translating, batch: Batch, smoothing: float) -> Sums:
        """Of teacher forcing; padding takes no part."""


class NoConsistency(ConsistencyConfig):
    """Label-smoothed cross-entropy alone."""

    kind: Literal["none"] = "none"

    def loss(self, model: Translating, batch: Batch, smoothing: float) -> Sums:
        output = model.decode(batch.target_input, model.encode(batch.source, batch.source_mask))
        return sums(output, batch.target_output, batch.pad, smoothing)


class RDrop(ConsistencyConfig):
    """Regularised dropout: the views differ in their dropout. Liang et al. 2021 (arXiv 2106.14448), equations 2 to 4.

    loss = (CE_1 + CE_2) / 2 + weight / 4 * (KL(p_1 || p_2) + KL(p_2 || p_1)): half of the paper's, so that a token's
    loss keeps its scale; `weight` is the paper's alpha, of which it takes 5 for translation.
    """

    kind: Literal["r_drop"] = "r_drop"
    weight: PositiveFloat = 5.0

    def loss(self, model: Translating, batch: Batch, smoothing: float) -> Sums:
        weights = ViewWeights(likelihood=(0.5, 0.5), divergence=(self.weight / 4, self.weight / 4))
        return _two_views(model, batch, (batch.source, batch.target_input), smoothing, weights)


class SimCut(ConsistencyConfig):
    """Token cut-off: in the second view tokens of source and target input are hidden. Gao et al. 2022 (arXiv
    2206.02368), section 3.

    loss = CE_1 + weight * KL(p_1 || p_2), with the gradient to both views, which the authors found to matter. Each
    token is hidden with probability `share`, by UNKNOWN, which no text holds, where the paper has a zero vector.
    """

    kind: Literal["simcut"] = "simcut"
    weight: PositiveFloat = 3.0
    share: Annotated[float, Field(gt=0, lt=1)] = 0.05

    def loss(self, model: Translating, batch: Batch, smoothing: float) -> Sums:
        weights = ViewWeights(likelihood=(1.0, 0.0), divergence=(self.weight, 0.0))
        view = self._cut(batch.source, model.source_vocabulary), self._cut(batch.target_input, model.target_vocabulary)
        return _two_views(model, batch, view, smoothing, weights)

    def _cut(self, tokens: Tensor, vocabulary: Vocabulary) -> Tensor:
        """Special tokens stay."""
        special = tokens.new_tensor([vocabulary.pad, vocabulary.begin, vocabulary.end])
        drawn = torch.rand(tokens.shape, device=tokens.device) < self.share
        return tokens.masked_fill(drawn & ~torch.isin(tokens, special), vocabulary.unknown)


Consistency = Annotated[NoConsistency | RDrop | SimCut, Family()]


def _two_views(
    model: Translating, batch: Batch, second: tuple[Tensor, Tensor], smoothing: float, weights: ViewWeights
) -> Sums:
    """The batch as it is and `second`, another source and target input for it."""
    source, target_input = (torch.cat(views) for views in zip((batch.source, batch.target_input), second, strict=True))
    output = model.decode(target_input, model.encode(source, batch.source_mask.repeat(2, 1)))
    asked = asked_places(batch.target_output, batch.pad)
    hidden = output.hidden.unflatten(0, (2, -1)).flatten(1, 2)[:, asked]
    targets = batch.target_output.flatten()[asked]
    loss, likelihood = consistent_cross_entropy(hidden, output.projection, output.bias, targets, smoothing, weights)
    return Sums(loss + further(output, len(targets)), likelihood, len(targets))
