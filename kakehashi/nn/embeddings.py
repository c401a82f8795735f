"""Embeddings: token ids [R, L] to vectors [R, L, D]."""

import math
from typing import Literal

from torch import Tensor, nn

from kakehashi.config import Config


class Embeddings(Config):
    """How tokens become vectors, and which tables are one.

    tie: `all` = source, target and output projection share one table (needs a joint vocabulary; Press and Wolf 2017,
    arXiv 1608.05859); `target` = target and output share; `none`.
    scale: vectors are multiplied by sqrt(width), Vaswani et al. 2017, section 3.4; or not.
    """

    tie: Literal["all", "target", "none"] = "all"
    scale: Literal["sqrt_width", "none"] = "sqrt_width"

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

    def connect(self, projection: nn.Linear, target: "Embedding") -> None:
        """The projection takes over the target's table, unless `tie: none`. After initialisation: what is shared keeps
        the embedding's distribution."""
        if self.tie != "none":
            projection.weight = target.table.weight


class Embedding(nn.Module):
    """A table [V, D] and the factor on its vectors."""

    def __init__(self, vocabulary: int, width: int, scale: Literal["sqrt_width", "none"]) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        self.factor = math.sqrt(width) if scale == "sqrt_width" else 1.0

    def forward(self, tokens: Tensor) -> Tensor:
        vectors = self.table(tokens)
        return vectors * self.factor if self.factor != 1.0 else vectors
