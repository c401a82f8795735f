"""Attention to the near past, and to the few nearest neighbours in a memory of all that came before.

Shapes: R rows, H heads, L tokens, Q queries, K keys, N neighbours, C key size, D width.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from kakehashi.nn import kernels
from kakehashi.nn.mixers.heads import Reach, attend_chosen, head_size, in_blocks, join, split
from kakehashi.nn.mixers.protocol import Context, MixerConfig
from kakehashi.nn.positions import Mode
from kakehashi.nn.variant import Law

_BLOCK = 256  # queries at once: bounds the scores held in memory


class KNN(MixerConfig):
    """head_i = (1 - g) softmax(q_i K_near^T / sqrt(d_k)) V_near + g softmax(q_i K_mem^T / sqrt(d_k)) V_mem.

    Wu et al. 2022, Memorizing Transformers (arXiv 2203.08913), section 3: near are the last `window` tokens; the
    memory holds those before them, and K_mem are the `neighbours` of its keys with the largest inner product with q_i,
    for each head; g = sigmoid of one number a head. As in the paper no gradient flows into the memory, and positions
    act on near tokens only. Unlike there the memory is the sequence's own past, searched exactly, so that each token
    has it at once; where it is still empty g is 0.

    Operations: n (`window` + `neighbours`) D, and n^2 D without gradient to search; no tensor of n^2 is held.
    """

    modes: ClassVar[frozenset[Mode]] = frozenset({"causal"})
    attends: ClassVar[bool] = True
    breaks: ClassVar[Mapping[Law, str]] = {
        "bf16": "rounding changes who the nearest neighbours are where two are almost as near"
    }
    kind: Literal["knn"] = "knn"
    window: PositiveInt = 64
    neighbours: PositiveInt = 32

    def build(self, width: int, heads: int, mode: Mode, name: str) -> "KNNAttention":
        head_size(width, heads)
        return KNNAttention(self, width, heads, name)


class KNNAttention(nn.Module):
    """x [R, L, D] -> [R, L, D]."""

    def __init__(self, config: KNN, width: int, heads: int, name: str) -> None:
        super().__init__()
        self.heads, self.neighbours, self.name = heads, config.neighbours, name
        self.near, self.far = Reach(0, config.window), Reach(config.window)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.gate = nn.Parameter(torch.empty(heads))

    def initialise(self, generator: torch.Generator | None) -> None:
        nn.init.zeros_(self.gate)  # both halves count alike

    def forward(self, x: Tensor, context: Context) -> Tensor:
        q, k, v = (split(part(x), self.heads) for part in (self.query, self.key, self.value))
        q = q * q.shape[-1] ** -0.5
        near_q, near_k = context.position.rotate(context.position_context, q, k)
        if (state := context.state) is not None:
            near_k, v = state.append(f"{self.name}.key", near_k), state.append(f"{self.name}.value", v)
            k = state.append(f"{self.name}.memory", k)

        def attend(rows: slice, context: Context) -> Tensor:
            local = self._local(near_q[:, :, rows], near_k, v, rows, context)
            recalled, found = self._recalled(q[:, :, rows], k, v, rows, context)
            return torch.lerp(local, recalled, self.gate.sigmoid()[:, None, None] * found)

        return self.output(join(in_blocks(attend, context, _BLOCK)))

    def _local(self, q: Tensor, k: Tensor, v: Tensor, rows: slice, context: Context) -> Tensor:
        """Attention [R, H, Q, C] to the last `window` tokens."""
        position = context.position
        columns, allowed = self.near.keys(context, rows)
        hidden = kernels.hide(allowed, q.dtype)[:, None]
        bias = position.bias(context.position_context, q, rows, columns)
        block = q, k[:, :, columns], hidden if bias is None else bias + hidden
        if not position.has_values:
            return kernels.attend(block[0], block[1], v[:, :, columns], block[2])
        weights = kernels.weights(*block)
        return weights @ v[:, :, columns] + position.values(context.position_context, weights, rows, columns)

    def _recalled(self, q: Tensor, k: Tensor, v: Tensor, rows: slice, context: Context) -> tuple[Tensor, Tensor]:
        """Attention [R, H, Q, C] to the neighbours in memory, and 1 where there is a memory, else 0 [R, 1, Q, 1]."""
        columns, allowed = self.far.keys(context, rows)
        k, v = k[:, :, columns].detach(), v[:, :, columns].detach()
        hidden = kernels.hide(allowed, q.dtype)[:, None].expand(*q.shape[:3], -1)
        similarity = q.detach() @ k.transpose(-1, -2) + hidden
        chosen = similarity.topk(min(self.neighbours, k.shape[2]), sorted=False).indices
        recalled, _ = attend_chosen(q, k, v, chosen, hidden.gather(-1, chosen))
        return recalled, allowed.any(-1)[:, None, :, None].to(q.dtype)
