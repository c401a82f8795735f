"""Embeddings: token ids [R, L] to vectors [R, L, D]."""

import math
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from kakehashi.config import Config


class Embeddings(Config):
    """How tokens become vectors, and which tables are one.

    tie: `all` = source, target and output projection share one table (needs a joint vocabulary; Press and Wolf 2017,
    arXiv 1608.05859); `target` = target and output share; `none`.
    scale: vectors are multiplied by sqrt(width), Vaswani et al. 2017, section 3.4; or not.
    bias: logits have none, as in the paper, or one for each target token, as Marian's (Junczys-Dowmunt et al. 2018,
    arXiv 1804.00344); masked prediction has one in any case.
    pad: what the tables hold for padding, and its bias, is learned like all else; or it gets no gradient: for models
    that begin with the padding and whose readers elsewhere take its vector to be the one of before (weight decay still
    draws it to zero, where it often is).
    """

    tie: Literal["all", "target", "none"] = "all"
    scale: Literal["sqrt_width", "none"] = "sqrt_width"
    bias: Literal["none", "learned"] = "none"
    pad: Literal["learned", "frozen"] = "learned"

    def build(self, source: int, target: int, width: int) -> tuple["Embedding", "Embedding"]:
        """The tables of both sides, for vocabularies of these sizes.

        Raises ValueError where one table is asked for two vocabularies.
        """
        if self.tie == "all" and source != target:
            raise ValueError(
                "model.embeddings.tie: 'all' needs one vocabulary for both sides; "
                "set task.subwords.vocabulary=joint or model.embeddings.tie=target"
            )
        first = Embedding(source, width, self.scale)
        return first, first if self.tie == "all" else Embedding(target, width, self.scale)

    def project(self, width: int, target: int) -> nn.Linear:
        """The projection to the target's vocabulary."""
        return nn.Linear(width, target, bias=self.bias == "learned")

    def connect(self, projection: nn.Linear, target: "Embedding", pad: int) -> None:
        """The projection takes over the target's table, unless `tie: none`. After initialisation: what is shared keeps
        the embedding's distribution. `pad`: the id whose rows get no gradient with `pad: frozen`."""
        if self.tie != "none":
            projection.weight = target.table.weight
        if self.pad == "frozen":
            for parameter in {*projection.parameters(), target.table.weight}:
                parameter.register_hook(partial(_without, pad))


def _without(row: int, gradient: Tensor) -> Tensor:
    return gradient.index_fill(0, torch.tensor([row], device=gradient.device), 0.0)


class Embedding(nn.Module):
    """A table [V, D] and the factor on its vectors."""

    def __init__(self, vocabulary: int, width: int, scale: Literal["sqrt_width", "none"]) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        self.factor = math.sqrt(width) if scale == "sqrt_width" else 1.0

    def forward(self, tokens: Tensor) -> Tensor:
        vectors = self.table(tokens)
        return vectors * self.factor if self.factor != 1.0 else vectors
