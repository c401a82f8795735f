"""softmax(Q K^T + bias) V: the one place that chooses how attention is computed.

On a CPU at sentence lengths the plain formula wins: torch's fused kernel has no fast bf16 backward there (31 % of a
training step). At long lengths, and on GPUs, torch's fused kernel never holds the square of scores.
Shapes: B rows, H heads, Q queries, K keys, C key size, V value size.
"""

import torch
from torch import Tensor
from torch.nn import functional

_SHORT = 512 * 512  # scores a head: below it the formula, on a CPU


def attend(q_BHQC: Tensor, k_BHKC: Tensor, v_BHKV: Tensor, bias_BHQK: Tensor | None) -> Tensor:
    """The attention's output [B, H, Q, V]. `q` comes scaled; `bias` broadcasts to [B, H, Q, K]."""
    if q_BHQC.device.type == "cpu" and q_BHQC.shape[2] * k_BHKC.shape[2] <= _SHORT:
        return weights(q_BHQC, k_BHKC, bias_BHQK) @ v_BHKV
    return functional.scaled_dot_product_attention(q_BHQC, k_BHKC, v_BHKV, attn_mask=bias_BHQK, scale=1.0)


def weights(q_BHQC: Tensor, k_BHKC: Tensor, bias_BHQK: Tensor | None) -> Tensor:
    """softmax(Q K^T + bias) [B, H, Q, K], for who needs to see or change the weights."""
    scores = q_BHQC @ k_BHKC.transpose(-1, -2)
    if bias_BHQK is not None:
        scores = scores.add_(bias_BHQK)  # in place: the product's backward needs its factors only
    return scores.softmax(-1)


def hide(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where `allowed`, else the lowest number: a weight of 0, and no NaN where a query may see nothing at all."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, torch.finfo(dtype).min)
