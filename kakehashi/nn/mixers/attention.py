"""Attention: multi-head; over itself (bidirectional or causal) or over the encoded source (cross).

Shapes: R rows, N sentences (R = N * fanout in cross-attention of a beam), Q queries, K keys, H heads, G heads of keys
and values (H unless grouped), C key size, V value size, D width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from kakehashi.nn import kernels
from kakehashi.nn.mixers.protocol import Context, MixerConfig
from kakehashi.nn.patterns import Both, Causal, Full, Pattern, PatternConfig
from kakehashi.nn.positions.protocol import HeadSizes, Index, Mode
from kakehashi.nn.scores import Dot, Score, ScoreConfig
from kakehashi.nn.state import State

_BLOCK = 1024  # queries at once: bounds the scores held in memory


class Attention(MixerConfig):
    """MultiHead(Q, K, V) = Concat(head_1..head_H) W_O, head_i = softmax(Q W_i^Q (K W_i^K)^T / sqrt(d_k)) V W_i^V.

    Vaswani et al. 2017 (arXiv 1706.03762), sections 3.2.1 and 3.2.2. `key_size` (d_k) and `value_size` (d_v) of one
    head are width / heads unless given. `kv_heads`: so many heads of keys and values, each shared by heads / kv_heads
    query heads: grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245), with 1 multi-query attention (Shazeer
    2019, arXiv 1911.02150). `values`: of a projection of their own, or the keys themselves (before positions).
    """

    modes: ClassVar[frozenset[Mode]] = frozenset({"bidirectional", "causal", "cross"})
    attends: ClassVar[bool] = True
    kind: Literal["attention"] = "attention"
    key_size: PositiveInt | None = None
    value_size: PositiveInt | None = None
    kv_heads: PositiveInt | None = None
    values: Literal["separate", "keys"] = "separate"
    score: ScoreConfig = Dot()
    pattern: PatternConfig = Full()

    @property
    def aligns(self) -> bool:
        return isinstance(self.pattern, Full)

    def build(self, width: int, heads: int, mode: Mode, name: str) -> "MultiHeadAttention":
        return MultiHeadAttention(self, self._sizes(width, heads), mode, self._pattern(mode), name)

    def _sizes(self, width: int, heads: int) -> "Sizes":
        value_size = self.value_size or (self.key_size if self.values == "keys" else None)
        if width % heads and not (self.key_size and value_size):
            raise ValueError(f"width {width} is not a multiple of heads {heads}; give key_size and value_size")
        key, value, kv_heads = self.key_size or width // heads, value_size or width // heads, self.kv_heads or heads
        sizes = Sizes(width, heads, key, value, kv_heads)
        if heads % sizes.kv_heads:
            raise ValueError(f"heads {heads} is not a multiple of kv_heads {sizes.kv_heads}")
        if self.values == "keys" and sizes.key != sizes.value:
            raise ValueError(
                f"values that are the keys have their size: value_size {sizes.value}, key_size {sizes.key}"
            )
        return sizes

    def _pattern(self, mode: Mode) -> Pattern:
        full = isinstance(self.pattern, Full)
        if mode == "cross" and not full:
            raise ValueError(f"cross-attention sees the whole source: it takes no pattern {self.pattern.kind}")
        if mode == "causal":
            return Causal() if full else Both(patterns=(Causal(), self.pattern))
        return self.pattern


@dataclass(frozen=True)
class Sizes(HeadSizes):
    """And the number of heads of keys and values."""

    kv_heads: int


class MultiHeadAttention(nn.Module):
    """x [R, Q, D] -> [R, Q, D]. `name` is unique in the model: the state's tensors go by it."""

    def __init__(self, config: Attention, sizes: Sizes, mode: Mode, pattern: Pattern, name: str) -> None:
        super().__init__()
        self.sizes, self.mode, self.pattern, self.name = sizes, mode, pattern, name
        self.query = nn.Linear(sizes.width, sizes.heads * sizes.key)
        self.key = nn.Linear(sizes.width, sizes.kv_heads * sizes.key)
        self.tied = config.values == "keys"
        self.value = self.key if self.tied else nn.Linear(sizes.width, sizes.kv_heads * sizes.value)
        self.output = nn.Linear(sizes.heads * sizes.value, sizes.width)
        self.score: Score = config.score.build(sizes.heads, sizes.key)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        q = _heads(self.query(x), self.sizes.key) * self.score.scale
        mixed = self._cross(q, context) if self.mode == "cross" else self._self(q, x, context)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _cross(self, q_RHQC: Tensor, context: Context) -> Tensor:
        """Over the encoded source: all hypotheses of a sentence share its keys, as further queries of one row."""
        memory, state = context.memory, context.state
        assert memory is not None, "cross-attention needs an encoded source"

        def once(name: str, compute: Callable[[], Tensor]) -> Tensor:
            if state is None:
                return compute()
            return state.once(f"{self.name}.{name}", lambda: compute().contiguous())  # else each step would copy it

        k = once("key", lambda: _heads(self.key(memory.states), self.sizes.key))
        v = k if self.tied else once("value", lambda: _heads(self.value(memory.states), self.sizes.value))
        rows, _, queries, _ = q_RHQC.shape
        fanout = rows // len(k)
        folded = q_RHQC.unflatten(0, (-1, fanout)).transpose(1, 2).flatten(2, 3) if fanout > 1 else q_RHQC
        bias = once("bias", lambda: kernels.hide(memory.mask, q_RHQC.dtype)[:, None, None, :])
        if context.alignments is None:
            mixed = self.score.attend(folded, k, v, bias)
        else:
            weights = self.score.weights(folded, k, bias)
            context.alignments.append(_unfold(weights, fanout, queries))
            mixed = kernels.mix(weights, v)
        return _unfold(mixed, fanout, queries)

    def _self(self, q: Tensor, x: Tensor, context: Context) -> Tensor:
        """Over the sequence itself: each group of queries against the keys that its pattern needs."""
        q, k, v = self._rotated(q, x, context)
        groups = list(self._groups(q.shape[2], k.shape[2], context.state))
        rows = [_index(queries, q.device) for queries, _ in groups]
        columns = [_index(keys, q.device) for _, keys in groups]
        pieces = kernels.pieces(q, rows), kernels.pieces(k, columns), kernels.pieces(v, columns)
        mixed = [self._attend(*piece, context) for piece in zip(*pieces, rows, columns, strict=True)]
        return _join(mixed, [queries for queries, _ in groups])

    def _rotated(self, q: Tensor, x: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, with all that was cached; the positions' rotation is in them."""
        state, new = context.state, _heads(self.key(x), self.sizes.key)
        q, k = context.position.rotate(context.position_context, q, new)
        v = new if self.tied else _heads(self.value(x), self.sizes.value)
        if state is None:
            return q, k, v
        cached = state.append(f"{self.name}.key", k)
        return q, cached, cached if v is k else state.append(f"{self.name}.value", v)

    def _groups(self, queries: int, keys: int, state: State | None) -> Iterator[tuple[range, range | Tensor]]:
        """Groups of queries, and the keys that they need between them at all the places where a batch's rows stand."""
        shortest, longest = (0, 0) if state is None else (state.shortest, state.longest)
        for group in self.pattern.groups(queries):
            for start in range(0, len(group), _BLOCK):
                block = group[start : start + _BLOCK]
                step = block.step if shortest == longest else 1
                yield block, self.pattern.keys_of(range(block[0] + shortest, block[-1] + longest + 1, step), keys)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, rows: Index, columns: Index, context: Context) -> Tensor:
        bias = self._bias(q, rows, columns, context)
        told = None if context.memory is not None else context.alignments
        if told is None and not context.position.has_values:
            return self.score.attend(q, k, v, bias)
        weights = self.score.weights(q, k, bias)
        if told is not None:
            told.append(weights)
        mixed = kernels.mix(weights, v)
        if not context.position.has_values:
            return mixed
        return mixed + context.position.values(context.position_context, weights, rows, columns)

    def _bias(self, q: Tensor, rows: Index, columns: Index, context: Context) -> Tensor | None:
        """What a group's scores get: what pattern and padding hide, and the position's bias."""
        allowed = self._allowed(context.positions[:, rows], columns)
        if context.mask is not None:
            padding = context.mask[:, None, columns]
            allowed = padding if allowed is None else allowed & padding
        bias = context.position.bias(context.position_context, q, rows, columns)
        if allowed is None:
            return bias
        hidden = kernels.hide(allowed, q.dtype)[:, None]
        return hidden if bias is None else bias + hidden

    def _allowed(self, queries: Tensor, columns: Index) -> Tensor | None:
        """Which keys of its group a query may look at; None: all of them, as a single query may by `keys_of`."""
        if queries.numel() == 1:
            return None
        if isinstance(columns, slice):
            columns = torch.arange(columns.start, columns.stop, device=queries.device)
        return self.pattern.allowed(queries, columns[None])


def _heads(x: Tensor, size: int) -> Tensor:
    """[R, L, H * size] -> [R, H, L, size]."""
    return x.unflatten(-1, (-1, size)).transpose(1, 2)


def _index(places: range | Tensor, device: torch.device) -> Index:
    """A slice for a run of places, else their indices."""
    first, last = int(places[0]), int(places[-1])
    if last - first + 1 == len(places):
        return slice(first, last + 1)
    if isinstance(places, range):
        return torch.arange(places.start, places.stop, places.step, device=device)
    return places.to(device)


def _join(mixed: list[Tensor], queries: list[range]) -> Tensor:
    """The outputs [R, H, Q, V] of groups of queries, in the order of the sequence."""
    if len(mixed) == 1:
        return mixed[0]
    joined = torch.cat(mixed, 2)
    if all(group.step == 1 for group in queries):
        return joined
    places = torch.cat([torch.arange(group.start, group.stop, group.step) for group in queries])
    return joined.index_select(2, places.argsort().to(joined.device))


def _unfold(folded: Tensor, fanout: int, queries: int) -> Tensor:
    """[N, H, fanout * Q, X] -> [N * fanout, H, Q, X]."""
    if fanout == 1:
        return folded
    return folded.unflatten(2, (fanout, queries)).transpose(1, 2).flatten(0, 1)
