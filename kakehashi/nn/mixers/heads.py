"""What attention's relatives share: heads, the keys within reach, blocks of queries, attention over chosen keys.

Shapes: R rows, L tokens, H heads, Q queries, K keys, N keys chosen for a query, C key size, V value size, D width.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kakehashi.nn import kernels
from kakehashi.nn.mixers.protocol import Context


def head_size(width: int, heads: int) -> int:
    """Raises ValueError where the heads do not share the width evenly."""
    if width % heads:
        raise ValueError(f"width {width} is not a multiple of heads {heads}")
    return width // heads


def split(x_RLD: Tensor, heads: int) -> Tensor:
    """[R, L, D] -> [R, H, L, C]."""
    return x_RLD.unflatten(-1, (heads, -1)).transpose(1, 2)


def join(x_RHLC: Tensor) -> Tensor:
    """[R, H, L, C] -> [R, L, D]."""
    return x_RHLC.transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class Reach:
    """Which keys a query may look at: `nearest` <= its position - the key's < `beyond`."""

    nearest: int = -sys.maxsize
    beyond: int = sys.maxsize

    def keys(self, context: Context, rows: slice) -> tuple[slice, Tensor]:
        """The run of keys, cached ones included, that a block of queries needs, and which of them each query may look
        at [1 or R, Q, K]; padding is not among them."""
        places, first, last = context.positions, rows.start, rows.stop - 1
        if (state := context.state) is not None:
            places, first, last = state.slots(places.shape[1]), first + state.shortest, last + state.longest
        columns = slice(max(0, first - self.beyond + 1), max(0, min(places.shape[1], last - self.nearest + 1)))
        distance = context.positions[:, rows, None] - places[:, None, columns]
        allowed = (distance >= self.nearest) & (distance < self.beyond)
        return columns, allowed if context.mask is None else allowed & context.mask[:, None, columns]


def in_blocks(attend: Callable[[slice, Context], Tensor], context: Context, size: int) -> Tensor:
    """`attend` [R, H, Q, C] for one run of `size` queries after the other, joined.

    Training computes each block again in the backward pass, instead of holding its scores and gathered keys. What
    position hooks add to their context is dropped each time, so that both times compute the same.
    """
    prepared, length = dict(context.position_context), context.positions.shape[1]

    def block(rows: slice) -> Tensor:
        return attend(rows, replace(context, position_context=dict(prepared)))

    runs = [slice(start, min(start + size, length)) for start in range(0, length, size)]
    if torch.is_grad_enabled():
        return torch.cat([checkpoint(block, rows, use_reentrant=False, preserve_rng_state=False) for rows in runs], 2)
    return torch.cat([block(rows) for rows in runs], 2)


def take(x_RHLC: Tensor, tokens: Tensor) -> Tensor:
    """The vectors of these tokens, by index [R, H, ...]: [R, H, ..., C]."""
    flat = tokens.flatten(2)[..., None].expand(-1, -1, -1, x_RHLC.shape[-1])
    return x_RHLC.gather(2, flat).unflatten(2, tokens.shape[2:])


def attend_chosen(
    q_RHQC: Tensor, k_RHKC: Tensor, v_RHKV: Tensor, chosen_RHQN: Tensor, bias_RHQN: Tensor
) -> tuple[Tensor, Tensor]:
    """Attention of each query over keys of its own: the output [R, H, Q, V] and the weights [R, H, Q, N].

    To the kernel, each query is a head.
    """
    near_k, near_v = (take(x, chosen_RHQN).flatten(1, 2) for x in (k_RHKC, v_RHKV))
    weights = kernels.weights(q_RHQC.flatten(1, 2)[:, :, None], near_k, bias_RHQN.flatten(1, 2)[:, :, None])
    return (weights @ near_v).view(*q_RHQC.shape[:3], -1), weights.view(chosen_RHQN.shape)
