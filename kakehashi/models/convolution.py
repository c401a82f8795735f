"""What a convolution reads, in training and step by step, for the models made of convolutions.

Shapes: R rows, L tokens, D width, W size of a window (its positions, one behind the other).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from kakehashi.nn.positions import Mode
from kakehashi.nn.state import State


@dataclass(frozen=True)
class Window:
    """`kernel` positions, `dilation` apart: ending at a token's own (causal), or around it (bidirectional).

    A matrix on what is read is a convolution. `name` is unique in the model: the state's tensors go by it.
    """

    kernel: int
    dilation: int
    mode: Mode
    name: str

    def read(self, x_RLD: Tensor, mask_RL: Tensor | None = None, state: State | None = None) -> Tensor:
        """[R, L, W = kernel * D]: what stands in each token's window, the earliest first; zero outside the sentence."""
        if mask_RL is not None:
            x_RLD = x_RLD.masked_fill(~mask_RL[..., None], 0)
        reach = (self.kernel - 1) * self.dilation
        before = reach if self.mode == "causal" else (self.kernel - 1) // 2 * self.dilation
        wide = pad(x_RLD, (0, 0, before, reach - before)) if state is None else self._remember(x_RLD, reach, state)
        starts = range(0, reach + 1, self.dilation)
        return torch.cat([wide[:, start : start + x_RLD.shape[1]] for start in starts], -1)

    def _remember(self, x_RLD: Tensor, reach: int, state: State) -> Tensor:
        """x behind the `reach` positions before it, which may begin elsewhere in every row."""
        rows, length, width = x_RLD.shape
        held_RKD = state.append(self.name, x_RLD[:, None])[:, 0]
        places = state.positions(length)[:, :1] + torch.arange(-reach, length, device=x_RLD.device)
        wide = held_RKD.gather(1, places.clamp(min=0)[..., None].expand(rows, -1, width))
        return wide.masked_fill((places < 0)[..., None], 0)
