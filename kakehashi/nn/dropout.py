"""Dropout whose random numbers cost little: one byte an element, cut from 64-bit draws of torch's own generator.

`bernoulli_` took 11 % of a training step on a CPU. With bytes the rate is a multiple of 1/256 (0.1 becomes 26/256 =
0.1016); kept values are divided by the exact probability of being kept, so the expectation is exact.
Srivastava et al. 2014 (JMLR 15), in the inverted form.
"""

from typing import Any

import torch
from torch import Tensor, nn

_INT64_MIN = -(2**63)


class Dropout(nn.Module):
    """`dropout(x)`: zeroes a share `rate` of the elements in training, the identity in evaluation."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.threshold = min(round(rate * 256), 255)  # something is always kept

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.threshold == 0:
            return x
        return _ByteDropout.apply(x, self.threshold)  # pyright: ignore[reportReturnType]

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class _ByteDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: int) -> Tensor:
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(_INT64_MIN, None)
        random = words.view(torch.uint8)[: x.numel()].view(x.shape)
        # written as numbers at once: a boolean tensor on the way takes four times as long
        scaled = torch.ge(random, threshold, out=torch.empty_like(x)).mul_(256 / (256 - threshold))
        ctx.save_for_backward(scaled)
        return x * scaled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (scaled,) = ctx.saved_tensors
        return gradients[0] * scaled, None
