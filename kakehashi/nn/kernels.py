"""softmax(Q K^T + bias) V: the one place that chooses how attention is computed.

On a CPU at sentence lengths the plain formula wins: torch's fused kernel has no fast bf16 backward there (31 % of a
training step). At long lengths, and on GPUs, torch's fused kernel never holds the square of scores.
Query heads may share keys: H = G * S, and query head h looks at the keys of group h // S. No key is ever repeated.
Shapes: B rows, H query heads, G groups of them (heads of keys), S heads of a group, Q queries, K keys, C key size,
V value size.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from kakehashi.nn.positions import Index
from kakehashi.nn.precision import wide

_SHORT = 512 * 512  # scores a head: below it the formula, on a CPU
# Where torch's soft-max on a CPU is slow (docs/log.md): rows of few keys in bf16 take six times as long as in fp32, and
# rows that fill no vector eight times in any format.
_NARROW = 128  # keys: up to here the soft-max is computed in fp32
_VECTOR = 16  # keys: shorter rows are filled up
_MANY = 512  # queries of all heads: with fewer, filling up costs more than it saves


def attend(q_BHQC: Tensor, k_BGKC: Tensor, v_BGKV: Tensor, bias_BHQK: Tensor | None) -> Tensor:
    """The attention's output [B, H, Q, V]. `q` comes scaled; `bias` broadcasts to [B, H, Q, K]."""
    if q_BHQC.device.type == "cpu" and q_BHQC.shape[2] * k_BGKC.shape[2] <= _SHORT:
        k_BGKC, v_BGKV, bias_BHQK = _filled(q_BHQC, k_BGKC, v_BGKV, bias_BHQK)
        return mix(weights(q_BHQC, k_BGKC, bias_BHQK), v_BGKV)
    size, grouped = max(k_BGKC.shape[3], v_BGKV.shape[3]), q_BHQC.shape[1] > k_BGKC.shape[1]
    q, k, v = (_widen(x, size) for x in (q_BHQC, k_BGKC, v_BGKV))  # for two sizes torch has none but the plain formula
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias_BHQK, scale=1.0, enable_gqa=grouped)
    return mixed[..., : v_BGKV.shape[3]]


def weights(q_BHQC: Tensor, k_BGKC: Tensor, bias_BHQK: Tensor | None) -> Tensor:
    """softmax(Q K^T + bias) [B, H, Q, K], for who needs to see or change the weights."""
    scores = _product(q_BHQC, k_BGKC.transpose(-1, -2))
    narrow = scores.shape[-1] <= _NARROW
    summed = scores.to(wide(scores.dtype)) if narrow else scores
    if bias_BHQK is not None:
        summed = summed.add_(bias_BHQK.to(summed.dtype))  # in place: the product's backward needs its factors only
    return summed.softmax(-1).to(scores.dtype)


def mix(weights_BHQK: Tensor, v_BGKV: Tensor) -> Tensor:
    """weights V [B, H, Q, V]."""
    return _product(weights_BHQK, v_BGKV)


def hide(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where `allowed`, else the lowest number: a weight of 0, and no NaN where a query may see nothing at all."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, torch.finfo(dtype).min)


def _filled(
    q_BHQC: Tensor, k_BGKC: Tensor, v_BGKV: Tensor, bias_BHQK: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys, values and bias, with hidden keys up to a whole vector where so many queries wait that it pays."""
    keys = k_BGKC.shape[2]
    missing = _VECTOR - keys
    if missing <= 0 or prod(q_BHQC.shape[:3]) < _MANY:
        return k_BGKC, v_BGKV, bias_BHQK
    bias = k_BGKC.new_zeros(1) if bias_BHQK is None else bias_BHQK
    bias = functional.pad(bias.expand(*bias.shape[:-1], keys), (0, missing), value=-torch.inf)
    return functional.pad(k_BGKC, (0, 0, 0, missing)), functional.pad(v_BGKV, (0, 0, 0, missing)), bias


def pieces(x_BHLX: Tensor, indices: Sequence[Index]) -> Sequence[Tensor]:
    """x[:, :, index] for each index. Their gradients meet in one tensor: by itself, each piece would make its own."""
    if len(indices) == 1:
        return [x_BHLX if indices[0] == slice(0, x_BHLX.shape[2]) else x_BHLX[:, :, indices[0]]]
    return _Pieces.apply(x_BHLX, indices)  # pyright: ignore[reportReturnType]


class _Pieces(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, indices: Sequence[Index]) -> tuple[Tensor, ...]:
        ctx.shape, ctx.indices = x.shape, indices
        return tuple(x[:, :, i] if isinstance(i, slice) else x.index_select(2, i) for i in indices)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None]:
        total = gradients[0].new_zeros(ctx.shape)
        for index, gradient in zip(ctx.indices, gradients, strict=True):
            if isinstance(index, slice):
                total[:, :, index].add_(gradient)
            else:
                total.index_add_(2, index, gradient)
        return total, None


def _product(x_BHQX: Tensor, y_BGXY: Tensor) -> Tensor:
    """x y [B, H, Q, Y]: the heads of a group become further queries of one head."""
    heads, groups = x_BHQX.shape[1], y_BGXY.shape[1]
    if heads == groups:
        return x_BHQX @ y_BGXY
    return (x_BHQX.unflatten(1, (groups, -1)).flatten(2, 3) @ y_BGXY).view(*x_BHQX.shape[:3], -1)


def _widen(x: Tensor, size: int) -> Tensor:
    return x if x.shape[-1] == size else functional.pad(x, (0, size - x.shape[-1]))
