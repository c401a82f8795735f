"""Attention within buckets of like tokens, found by locality-sensitive hashing.

Shapes: R rows, H heads, L tokens, Q queries, K keys, N rounds, T chunks of S tokens, each against W = 2 S or 3 S keys,
C key size, D width.
"""

import zlib
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kakehashi.nn import kernels
from kakehashi.nn.mixers.heads import head_size, in_blocks, join, split, take
from kakehashi.nn.mixers.protocol import Context, MixerConfig
from kakehashi.nn.positions import Mode
from kakehashi.nn.variant import Law

_BLOCK = 256  # queries at once behind a cache: bounds the scores held in memory
_SELF = -1e5  # added to a token's score with itself


class LSH(MixerConfig):
    """o_i = sum over j in P_i of softmax_j(q_i . k_j / sqrt(d_k)) v_j with k_j = q_j / |q_j|;
    h(q) = argmax([q R; -q R]), R a fixed random matrix [d_k, buckets / 2] for each of several `rounds`.

    Kitaev et al. 2020, Reformer (arXiv 2001.04451), section 2: queries and keys are one; tokens are sorted by bucket
    and attended to in chunks; rounds are joined by their log-sum-exp, a pair found in several counted once (appendix
    A); a token attends to itself only where it finds nothing else.

    P_i is not quite the paper's, where i sees its own chunk of the sorted sequence and the one before: later tokens and
    padding move the limits of chunks, and thereby what i sees. Here j is in P_i where, in some round, h(q_j) = h(q_i)
    and j stands at most `chunk` places before i in their bucket (when bidirectional, before or behind). The same chunks
    hold these pairs, no later token and no padding changes them, and a step finds them too. For the same reason the
    number of buckets is fixed; the paper's grows with the length.

    The hash goes by content alone, and buckets scatter what is near: positions that act in attention have no place
    here. Operations: `rounds` n `chunk` D, and sorting. A step costs n D like attention's own.
    """

    breaks: ClassVar[Mapping[Law, str]] = {"bf16": "rounding moves a token near the limit of its bucket into another"}
    kind: Literal["lsh"] = "lsh"
    buckets: Annotated[int, Field(ge=2, multiple_of=2)] = 16
    chunk: PositiveInt = 64
    rounds: PositiveInt = 2

    def build(self, width: int, heads: int, mode: Mode, name: str) -> "LSHAttention":
        return LSHAttention(self, width, heads, head_size(width, heads), mode, name)


class LSHAttention(nn.Module):
    """x [R, L, D] -> [R, L, D]."""

    rotations: Tensor  # [N, C, buckets / 2]

    def __init__(self, config: LSH, width: int, heads: int, size: int, mode: Mode, name: str) -> None:
        super().__init__()
        self.config, self.heads, self.causal, self.name = config, heads, mode == "causal", name
        self.query = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        # Not from the global generator: every model of one configuration hashes alike, and each layer differently.
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        self.register_buffer("rotations", torch.randn(config.rounds, size, config.buckets // 2, generator=generator))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        q, v = split(self.query(x), self.heads), split(self.value(x), self.heads)
        buckets_RHLN = self._hash(q, context.mask)
        q, k = q * q.shape[-1] ** -0.5, functional.normalize(q, dim=-1)
        state = context.state
        if state is not None:
            k, v = state.append(f"{self.name}.key", k), state.append(f"{self.name}.value", v)
            buckets_RHLN = state.append(f"{self.name}.bucket", buckets_RHLN)
        places_RHLN = self._places(buckets_RHLN)
        if state is None or state.longest == 0:
            mixed = self._sorted(q, k, v, places_RHLN)
        else:
            mixed = self._masked(q, k, v, places_RHLN, context)
        return self.output(join(mixed))

    def _hash(self, q: Tensor, mask: Tensor | None) -> Tensor:
        """Each token's bucket in each round [R, H, L, N]; padding has one of its own."""
        turned = torch.einsum("rhlc,ncb->rhlnb", q, self.rotations)
        buckets = torch.cat((turned, -turned), -1).argmax(-1)
        return buckets if mask is None else buckets.masked_fill(~mask[:, None, :, None], self.config.buckets)

    def _places(self, buckets_RHLN: Tensor) -> Tensor:
        """Each token's place when all are sorted by bucket and time [R, H, L, N]. Between two buckets `chunk` places
        are left free, so that no distance up to `chunk` reaches into another bucket."""
        return buckets_RHLN.argsort(dim=2, stable=True).argsort(2) + buckets_RHLN * (self.config.chunk + 1)

    def _found(self, query_places: Tensor, key_places: Tensor) -> Tensor:
        """In which rounds a query finds a key: places [..., Q, N] and [..., K, N] -> [..., Q, K, N]."""
        distance = query_places[..., :, None, :] - key_places[..., None, :, :]
        return (distance <= self.config.chunk) & (distance >= (0 if self.causal else -self.config.chunk))

    def _sorted(self, q: Tensor, k: Tensor, v: Tensor, places_RHLN: Tensor) -> Tensor:
        """A whole sequence at once, round by round [R, H, L, C]."""
        rounds = [self._round(q, k, v, places_RHLN, number) for number in range(self.config.rounds)]
        mixed, totals = (torch.stack(part) for part in zip(*rounds, strict=True))
        return (mixed * totals.softmax(0)).sum(0)

    def _round(self, q: Tensor, k: Tensor, v: Tensor, places_RHLN: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Attention [R, H, L, C] within the chunks of one round, and the log-sum-exp [R, H, L, 1] of its scores."""
        length, order = q.shape[2], places_RHLN[..., number].argsort(-1)
        query_slots, key_slots = self._chunks(length, q.device)
        rows, columns = (order[..., slots.clamp(0, length - 1)] for slots in (query_slots, key_slots))
        found = self._found(take(places_RHLN, rows), take(places_RHLN, columns))
        inside = (key_slots >= 0) & (key_slots < length)
        bias = kernels.hide(found[..., number] & inside[:, None], q.dtype)
        bias = bias - found.sum(-1).clamp(min=1).to(q.dtype).log()  # a pair found in n rounds counts 1 / n in each
        bias = bias + _SELF * (rows[..., :, None] == columns[..., None, :]).to(q.dtype)
        scores = take(q, rows) @ take(k, columns).transpose(-1, -2) + bias
        total = scores.logsumexp(-1, keepdim=True)
        mixed = (scores - total).exp() @ take(v, columns)
        back = order.argsort(-1)
        return take(mixed.flatten(2, 3), back), take(total.flatten(2, 3), back)

    def _chunks(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Which places in the sorted sequence each chunk's queries [T, S] and keys [T, W] have: the keys of a chunk are
        its own, those of the chunk before and, when bidirectional, those of the next. Some lie outside."""
        size = min(self.config.chunk, length)
        starts = torch.arange(0, length, size, device=device)[:, None]
        reach = torch.arange(-size, size if self.causal else 2 * size, device=device)
        return starts + reach[size : 2 * size], starts + reach

    def _masked(self, q: Tensor, k: Tensor, v: Tensor, places_RHLN: Tensor, context: Context) -> Tensor:
        """New tokens behind a cache [R, H, Q, C]: the same pairs, by a mask. What the cache holds beyond a row's length
        is sorted behind the row's own tokens of its bucket, and moves no distance between them."""
        own = take(places_RHLN, context.positions[:, None].expand(*q.shape[:3]))
        slots = torch.arange(k.shape[2], device=q.device)

        def attend(rows: slice, context: Context) -> Tensor:
            bias = kernels.hide(self._found(own[:, :, rows], places_RHLN).any(-1), q.dtype)
            bias = bias + _SELF * (context.positions[:, None, rows, None] == slots).to(q.dtype)
            return kernels.attend(q[:, :, rows], k, v, bias)

        return in_blocks(attend, context, _BLOCK)
