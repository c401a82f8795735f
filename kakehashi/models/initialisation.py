"""How every parameter starts, in one place.

matrices of linear layers   uniform, +-sqrt(6 / (fan in + fan out))      Glorot and Bengio 2010, equation 16
embeddings                  normal, deviation width^-0.5                 so that scaled by sqrt(width) they are unit
biases                      zero
norms                       gain one, bias zero (torch's own)
anything else               by the module's own `initialise`

Then the matrices that carry values through a sub-layer (value and output of attention, inner and outer of a
feed-forward, found by these names) are multiplied by the gain that its placement wants: DeepNorm's beta, else one.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import nn

from kakehashi.models.stack import LayerModule

_CARRYING = {"value", "output", "inner", "outer"}


@runtime_checkable
class Initialised(Protocol):
    """A module with parameters of its own, which it fills itself."""

    def initialise(self, generator: torch.Generator | None) -> None: ...


def initialise(model: nn.Module, generator: torch.Generator | None = None) -> None:
    """Fills all parameters anew; the same generator state gives the same model."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
                nn.init.zeros_(module.bias)
        elif isinstance(module, Initialised):
            module.initialise(generator)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=module.embedding_dim**-0.5, generator=generator)
    for module in model.modules():
        if isinstance(module, LayerModule):
            _scale(module, module.gain)


@torch.no_grad()
def _scale(layer: nn.Module, gain: float) -> None:
    for name, module in layer.named_modules():
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in _CARRYING:
            module.weight.mul_(gain)
