"""Indexed attention: a light index scores all keys first; exact attention looks at the best of them only.

Shapes: R rows, H heads, L tokens, Q queries, K keys, N keys kept for a query, C key size, D width.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from kakehashi.nn import kernels
from kakehashi.nn.mixers.heads import Reach, attend_chosen, head_size, in_blocks, join, split
from kakehashi.nn.mixers.protocol import Context, MixerConfig
from kakehashi.nn.positions import Mode
from kakehashi.nn.variant import Law

_BLOCK = 128  # queries at once: bounds the index scores and the gathered keys held in memory


class Indexed(MixerConfig):
    """I_ij = q'_i . k'_j / sqrt(c) with q', k' of `index_size` c, one index for all heads;
    S_i = the `keep` keys that i may look at with the largest I_ij;
    head_i = sum over j in S_i of softmax_j(q_i . k_j / sqrt(d_k) + I_ij) v_j.

    The indexer is that of DeepSeek-V3.2 (DeepSeek-AI 2025, arXiv 2512.02556, equations 1 and 2) with one head and no
    ReLU; choosing the largest scores alone is Explicit Sparse Transformer (Zhao et al. 2019, arXiv 1912.11637). There
    the indexer learns from a loss of its own. Here its score is part of the attention score, so that it learns from
    the task: a key that helps is to be found again. Each query chooses for itself, so nothing depends on later tokens.

    Positions act on the index as on a head; in the choice, their bias counts by its mean over the heads. Operations:
    n^2 c for the index, n `keep` D for attention; no tensor of n^2 is held.
    """

    attends: ClassVar[bool] = True
    breaks: ClassVar[Mapping[Law, str]] = {"bf16": "rounding changes which keys are kept where two score almost alike"}
    kind: Literal["indexed"] = "indexed"
    keep: PositiveInt = 64
    index_size: Annotated[int, Field(ge=2, multiple_of=2)] = 16  # even, for positions that rotate pairs

    def build(self, width: int, heads: int, mode: Mode, name: str) -> "IndexedAttention":
        head_size(width, heads)
        return IndexedAttention(self, width, heads, mode, name)


class IndexedAttention(nn.Module):
    """x [R, L, D] -> [R, L, D]."""

    def __init__(self, config: Indexed, width: int, heads: int, mode: Mode, name: str) -> None:
        super().__init__()
        self.keep, self.heads, self.name = config.keep, heads, name
        self.reach = Reach(nearest=0) if mode == "causal" else Reach()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.index_query = nn.Linear(width, config.index_size)  # its bias: how much a key matters to any query
        self.index_key = nn.Linear(width, config.index_size, bias=False)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        q, k = self._pair(x, self.query, self.key, self.heads, context)
        index_q, index_k = self._pair(x, self.index_query, self.index_key, 1, context)
        v = split(self.value(x), self.heads)
        if (state := context.state) is not None:
            k, v = state.append(f"{self.name}.key", k), state.append(f"{self.name}.value", v)
            index_k = state.append(f"{self.name}.index", index_k)

        def attend(rows: slice, context: Context) -> Tensor:
            return self._block(q[:, :, rows], k, v, index_q[:, :, rows], index_k, rows, context)

        return self.output(join(in_blocks(attend, context, _BLOCK)))

    def _pair(self, x: Tensor, query: nn.Linear, key: nn.Linear, heads: int, context: Context) -> tuple[Tensor, Tensor]:
        """Queries, scaled, and keys [R, heads, L, C] where the positions want them."""
        q, k = split(query(x), heads), split(key(x), heads)
        return context.position.rotate(context.position_context, q * q.shape[-1] ** -0.5, k)

    def _block(
        self, q: Tensor, k: Tensor, v: Tensor, index_q: Tensor, index_k: Tensor, rows: slice, context: Context
    ) -> Tensor:
        """The output [R, H, Q, C] of one block of queries."""
        position, prepared = context.position, context.position_context
        columns, allowed = self.reach.keys(context, rows)
        k, v, index_k = k[:, :, columns], v[:, :, columns], index_k[:, :, columns]
        scores = index_q @ index_k.transpose(-1, -2) + kernels.hide(allowed, q.dtype)[:, None]
        bias = position.bias(prepared, q, rows, columns)
        if bias is not None:
            scores = scores + bias
        if k.shape[2] <= self.keep:  # nothing to choose
            weights = kernels.weights(q, k, scores)
            mixed = weights @ v
        else:
            chosen = scores.mean(1, keepdim=True).topk(self.keep, sorted=False).indices.expand(-1, self.heads, -1, -1)
            scores = scores.expand(-1, self.heads, -1, -1)
            mixed, weights = attend_chosen(q, k, v, chosen, scores.gather(-1, chosen))
            if position.has_values:
                weights = weights.new_zeros(scores.shape).scatter(-1, chosen, weights)
        return mixed + position.values(prepared, weights, rows, columns) if position.has_values else mixed
