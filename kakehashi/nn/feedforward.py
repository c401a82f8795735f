"""Feed-forwards: the position-wise half of a layer, x [R, L, D] -> [R, L, D].

Like a mixer, a feed-forward gets the `Context` of the forward pass: experts need to know padding and add a loss.
"""

from typing import Annotated, Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from kakehashi.config import Family
from kakehashi.nn.mixers.protocol import Context
from kakehashi.nn.variant import Variant


class ReLU(Variant):
    """FFN(x) = max(0, x W1 + b1) W2 + b2. Vaswani et al. 2017, equation 2."""

    kind: Literal["relu"] = "relu"
    size: PositiveInt = 2048

    def build(self, width: int) -> nn.Module:
        return ReLUFeedForward(width, self.size)


class ReLUFeedForward(nn.Module):
    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, size)
        self.outer = nn.Linear(size, width)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.outer(self.inner(x).relu_())


FeedForward = Annotated[ReLU, Family()]
