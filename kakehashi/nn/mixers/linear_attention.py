"""Attention without the square: the past is a sum of fixed size, so that a step costs the same at any length.

Shapes: R rows, L tokens, H heads, C size of a head, V = C + 1, D width.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kakehashi.nn.mixers.heads import head_size, join, split
from kakehashi.nn.mixers.protocol import Context, MixerConfig
from kakehashi.nn.mixers.recurrence import NO_WAY_BACK
from kakehashi.nn.positions import Mode
from kakehashi.nn.scan import widen
from kakehashi.nn.variant import Law

_BLOCK = 128  # tokens whose scores are held at once


class LinearAttention(MixerConfig):
    """Attention with the scores phi(q_i) . phi(k_j), phi(x) = elu(x) + 1, in place of exp(q_i . k_j): for each head

    y_i = phi(q_i)^T sum_j phi(k_j) v_j^T / (phi(q_i)^T sum_j phi(k_j)), over all j, or j <= i.

    Katharopoulos et al. 2020 (arXiv 2006.16236), equations 5 to 12. A causal one goes through blocks of 128 tokens:
    within a block by the scores, from the blocks before it by the sums.
    """

    breaks: ClassVar[Mapping[Law, str]] = NO_WAY_BACK
    kind: Literal["linear_attention"] = "linear_attention"

    def build(self, width: int, heads: int, mode: Mode, name: str) -> nn.Module:
        head_size(width, heads)
        return LinearAttentionMixer(width, heads, mode, name)


class AverageAttention(MixerConfig):
    """g_j = FFN(1/j sum_{k <= j} y_k), i_j, f_j = sigmoid(W [y_j; g_j]), h_j = i_j y_j + f_j g_j.

    Zhang et al. 2018 (arXiv 1805.00631), equations 1 and 2. `size`: of the FFN, inside.
    """

    modes: ClassVar[frozenset[Mode]] = frozenset({"causal"})
    breaks: ClassVar[Mapping[Law, str]] = NO_WAY_BACK
    kind: Literal["average_attention"] = "average_attention"
    size: PositiveInt = 2048

    def build(self, width: int, heads: int, mode: Mode, name: str) -> nn.Module:
        return AverageAttentionMixer(width, self.size, name)


class LinearAttentionMixer(nn.Module):
    """x [R, L, D] -> [R, L, D]. `name` is unique in the model: the state's tensor goes by it."""

    def __init__(self, width: int, heads: int, mode: Mode, name: str) -> None:
        super().__init__()
        self.heads, self.mode, self.name = heads, mode, name
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        # In fp32 at least, as the sums are.
        q, k, v = (split(widen(part(x)), self.heads) for part in (self.query, self.key, self.value))
        q, k, v = phi(q), phi(k), functional.pad(v, (0, 1), value=1.0)  # the ones add up to the normaliser
        if context.mask is not None:
            k = k.masked_fill(~context.mask[:, None, :, None], 0)
        sums = self._causal(q, k, v, context) if self.mode == "causal" else q @ (k.mT @ v)
        mixed = sums[..., :-1] / sums[..., -1:].clamp_min(torch.finfo(sums.dtype).eps)
        return self.output(join(mixed).to(x.dtype))

    def _causal(self, q_RHLC: Tensor, k_RHLC: Tensor, v_RHLV: Tensor, context: Context) -> Tensor:
        past = None if context.state is None else context.state.carried(self.name)
        if past is None:
            past = k_RHLC.new_zeros(*k_RHLC.shape[:2], k_RHLC.shape[3], v_RHLV.shape[3])
        sums: list[Tensor] = []
        for q, k, v in zip(*(part.split(_BLOCK, 2) for part in (q_RHLC, k_RHLC, v_RHLV)), strict=True):
            sums.append((q @ k.mT).tril() @ v + q @ past)
            past = past + k.mT @ v
        if context.state is not None:
            context.state.carry(self.name, past)
        return torch.cat(sums, 2)


def phi(x: Tensor) -> Tensor:
    """elu(x) + 1, written so that it stays above zero far below it."""
    return x.relu() + x.clamp_max(0).exp()


class AverageAttentionMixer(nn.Module):
    """x [R, L, D] -> [R, L, D]. `name` is unique in the model: the state's tensor goes by it."""

    def __init__(self, width: int, size: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.inner = nn.Linear(width, size)
        self.outer = nn.Linear(size, width)
        self.gates = nn.Linear(2 * width, 2 * width)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        averages = self._averages(x, context).to(x.dtype)
        averages = self.outer(self.inner(averages).relu())
        keep_x, keep_averages = self.gates(torch.cat((x, averages), -1)).sigmoid().chunk(2, -1)
        return keep_x * x + keep_averages * averages

    def _averages(self, x: Tensor, context: Context) -> Tensor:
        """Of each token and all before it."""
        state, sums = context.state, widen(x).cumsum(1)
        if state is None:
            return sums / torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        past = state.carried(self.name)
        sums = sums if past is None else sums + past[:, None]
        state.carry(self.name, sums[:, -1])
        return sums / (state.positions(x.shape[1]) + 1)[..., None]
