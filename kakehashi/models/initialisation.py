"""How every parameter starts, in one place.

matrices of linear layers   uniform, +-sqrt(6 / (fan in + fan out))      Glorot and Bengio 2010, equation 16
embeddings                  normal, deviation width^-0.5                 so that scaled by sqrt(width) they are unit
biases                      zero
norms                       gain one, bias zero (torch's own)
anything else               by the module's own `initialise`
"""

from typing import Protocol, runtime_checkable

import torch
from torch import nn


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
