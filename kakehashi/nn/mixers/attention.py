"""Attention: multi-head, scaled dot product; over itself (bidirectional or causal) or over the encoded source (cross).

Shapes: R rows, N sentences (R = N * fanout in cross-attention of a beam), Q queries, K keys, H heads, C key size,
V value size, D width.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from kakehashi.nn import kernels
from kakehashi.nn.mixers.protocol import Context, MixerConfig
from kakehashi.nn.patterns import Both, Causal, Full, Pattern, PatternConfig
from kakehashi.nn.positions import Mode

_BLOCK = 1024  # queries at once: bounds the scores held in memory


class Attention(MixerConfig):
    """MultiHead(Q, K, V) = Concat(head_1..head_H) W_O, head_i = softmax(Q W_i^Q (K W_i^K)^T / sqrt(d_k)) V W_i^V.

    Vaswani et al. 2017 (arXiv 1706.03762), sections 3.2.1 and 3.2.2. `key_size` (d_k) and `value_size` (d_v) of one
    head are width / heads unless given.
    """

    modes: ClassVar[frozenset[Mode]] = frozenset({"bidirectional", "causal", "cross"})
    attends: ClassVar[bool] = True
    kind: Literal["attention"] = "attention"
    key_size: PositiveInt | None = None
    value_size: PositiveInt | None = None
    pattern: PatternConfig = Full()

    def build(self, width: int, heads: int, mode: Mode, name: str) -> "MultiHeadAttention":
        if width % heads and not (self.key_size and self.value_size):
            raise ValueError(f"width {width} is not a multiple of heads {heads}; give key_size and value_size")
        sizes = Sizes(width, heads, self.key_size or width // heads, self.value_size or width // heads)
        pattern: Pattern = self.pattern
        if mode == "causal":
            pattern = Causal() if isinstance(self.pattern, Full) else Both(first=Causal(), second=self.pattern)
        return MultiHeadAttention(sizes, mode, pattern, name)


@dataclass(frozen=True)
class Sizes:
    """Width of the model, number of heads, key and value size of one head."""

    width: int
    heads: int
    key: int
    value: int


class MultiHeadAttention(nn.Module):
    """x [R, Q, D] -> [R, Q, D]. `name` is unique in the model: the state's tensors go by it."""

    def __init__(self, sizes: Sizes, mode: Mode, pattern: Pattern, name: str) -> None:
        super().__init__()
        self.sizes, self.mode, self.pattern, self.name = sizes, mode, pattern, name
        self.query = nn.Linear(sizes.width, sizes.heads * sizes.key)
        self.key = nn.Linear(sizes.width, sizes.heads * sizes.key)
        self.value = nn.Linear(sizes.width, sizes.heads * sizes.value)
        self.output = nn.Linear(sizes.heads * sizes.value, sizes.width)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        q = self._heads(self.query(x), self.sizes.key) * self.sizes.key**-0.5
        mixed = self._cross(q, context) if self.mode == "cross" else self._self(q, x, context)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _cross(self, q_RHQC: Tensor, context: Context) -> Tensor:
        """Over the encoded source: all hypotheses of a sentence share its keys, as further queries of one row."""
        memory, state = context.memory, context.state
        assert memory is not None, "cross-attention needs an encoded source"
        if state is None:
            k, v = self._keys(memory.states), self._values(memory.states)
        else:
            k = state.once(f"{self.name}.key", lambda: self._keys(memory.states))
            v = state.once(f"{self.name}.value", lambda: self._values(memory.states))
        rows, _, queries, _ = q_RHQC.shape
        fanout = rows // len(k)
        folded = q_RHQC.unflatten(0, (-1, fanout)).transpose(1, 2).flatten(2, 3) if fanout > 1 else q_RHQC
        bias = kernels.hide(memory.mask, q_RHQC.dtype)[:, None, None, :]
        if context.alignments is None:
            mixed = kernels.attend(folded, k, v, bias)
        else:
            weights = kernels.weights(folded, k, bias)
            context.alignments.append(_unfold(weights, fanout, queries))
            mixed = weights @ v
        return _unfold(mixed, fanout, queries)

    def _self(self, q: Tensor, x: Tensor, context: Context) -> Tensor:
        """Over the sequence itself, block by block of queries, each against the keys that its pattern needs."""
        position, state = context.position, context.state
        q, k = position.rotate(context.position_context, q, self._keys(x))
        v = self._values(x)
        key_positions, first, last = context.positions, 0, q.shape[2] - 1
        if state is not None:
            k, v = state.append(f"{self.name}.key", k), state.append(f"{self.name}.value", v)
            key_positions, first, last = state.slots(q.shape[2]), state.shortest, state.longest + q.shape[2] - 1
        mixed: list[Tensor] = []
        for start in range(0, q.shape[2], _BLOCK):
            rows = slice(start, min(start + _BLOCK, q.shape[2]))
            columns = self.pattern.key_blocks(first + rows.start, last - q.shape[2] + rows.stop, k.shape[2])
            bias = self._bias(q[:, :, rows], rows, columns, key_positions, context)
            block = q[:, :, rows], k[:, :, columns], v[:, :, columns], bias
            if position.has_values:
                weights = kernels.weights(block[0], block[1], bias)
                mixed.append(weights @ block[2] + position.values(context.position_context, weights, rows, columns))
            else:
                mixed.append(kernels.attend(*block))
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed, 2)

    def _bias(self, q: Tensor, rows: slice, columns: slice, key_positions: Tensor, context: Context) -> Tensor | None:
        """What a block's scores get: what pattern and padding hide, and the position's bias."""
        allowed = self.pattern.allowed(context.positions[:, rows], key_positions[:, columns])
        if context.mask is not None:
            padding = context.mask[:, None, columns]
            allowed = padding if allowed is None else allowed & padding
        bias = context.position.bias(context.position_context, q, rows, columns)
        if allowed is None:
            return bias
        hidden = kernels.hide(allowed, q.dtype)[:, None]
        return hidden if bias is None else bias + hidden

    def _keys(self, x: Tensor) -> Tensor:
        return self._heads(self.key(x), self.sizes.key)

    def _values(self, x: Tensor) -> Tensor:
        return self._heads(self.value(x), self.sizes.value)

    def _heads(self, x: Tensor, size: int) -> Tensor:
        """[R, L, H * size] -> [R, H, L, size]."""
        return x.unflatten(-1, (self.sizes.heads, size)).transpose(1, 2)


def _unfold(folded: Tensor, fanout: int, queries: int) -> Tensor:
    """[N, H, fanout * Q, X] -> [N * fanout, H, Q, X]."""
    if fanout == 1:
        return folded
    return folded.unflatten(2, (fanout, queries)).transpose(1, 2).flatten(0, 1)
