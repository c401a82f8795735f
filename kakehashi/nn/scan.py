"""The linear recurrence h_t = a_t h_{t-1} + b_t, all steps at once: the one place that computes it.

Two neighbouring steps are one step of the same form, (a_2 a_1, a_2 b_1 + b_2), so a sequence of half the length gives
every second h, and those give the rest (Blelloch 1990, "Prefix sums and their applications"): O(L) work in O(log L)
steps. Only products and sums: with 0 <= a <= 1 nothing can overflow. The gradient is the same recurrence from the end
to the beginning, so that only a and h are kept for it.
Shapes: R rows, L steps, D channels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kakehashi.nn.precision import wide


def scan(a_RLD: Tensor, b_RLD: Tensor, initial_RD: Tensor | None = None) -> Tensor:
    """All h [R, L, D] of h_t = a_t h_{t-1} + b_t, begun from `initial` or zero."""
    if initial_RD is None:
        initial_RD = torch.zeros_like(b_RLD[:, 0])
    return _Scan.apply(a_RLD, b_RLD, initial_RD)  # pyright: ignore[reportReturnType]


def widen(x: Tensor) -> Tensor:
    """In a format in which it can add up over a sequence."""
    return x.to(wide(x.dtype))


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
        first = torch.addcmul(b[:, :1], a[:, :1], initial[:, None])
        h = _from_zero(a, torch.cat((first, b[:, 1:]), 1))
        ctx.save_for_backward(a, h, initial)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """d_t = upstream_t + a_{t+1} d_{t+1} is the gradient of b_t, and of all that h_t is made of."""
        a, h, initial = ctx.saved_tensors
        d = _from_zero(a.flip(1).roll(1, 1), upstream[0].flip(1)).flip(1)
        return d * torch.cat((initial[:, None], h[:, :-1]), 1), d, d[:, 0] * a[:, 0]


def _from_zero(a: Tensor, b: Tensor) -> Tensor:
    """h with h_0 = 0. The first `a` multiplies nothing."""
    length = b.shape[1]
    if length == 1:
        return b
    early, late = slice(0, length - length % 2, 2), slice(1, None, 2)
    h = torch.empty_like(b)
    h[:, late] = _from_zero(a[:, late] * a[:, early], torch.addcmul(b[:, late], a[:, late], b[:, early]))
    h[:, 0] = b[:, 0]
    h[:, 2::2] = torch.addcmul(b[:, 2::2], a[:, 2::2], h[:, 1:-1:2])
    return h
