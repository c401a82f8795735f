"""A model with int8 linear layers, for decoding on a CPU: a quarter of the bytes, and products of small integers.

As in Bhandare et al. 2019 (arXiv 1906.00532), without its calibration: rows of activations are scaled as they come. A
row's scale is its own, and sums of integers are exact, so that no layer lets a sentence depend on its neighbours.
Shapes: R rows, I inputs, O outputs; others as in models/protocol.py.
"""

import logging
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from kakehashi.models.int8_transformer import Int8Transformer, fits
from kakehashi.models.protocol import Encoded, Output, State, Translating
from kakehashi.native import kernels
from kakehashi.native.kernels import rounded
from kakehashi.native.library import library, trouble

_log = logging.getLogger(__name__)


class Int8Linear(nn.Module):
    """x W^T + b: each row of x and of W divided by its own scale (its largest number / 127) and rounded. In torch, for
    where there are no kernels, or for other widths."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        whole_OI, scale_O1 = rounded(linear.weight.detach().float())
        self.register_buffer("weight_IO", whole_OI.to(torch.int8).T)
        self.register_buffer("scale_O", scale_O1[:, 0])
        self.weight_IO: Tensor
        self.scale_O: Tensor
        self.bias = cast(Tensor | None, linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        x_RI = x.reshape(-1, x.shape[-1])
        whole_RI, scale_R1 = rounded(x_RI)
        whole_RI = whole_RI.to(torch.int8)
        product_RO = torch._int_mm(whole_RI, self.weight_IO)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
        y_RO = (product_RO * scale_R1).mul_(self.scale_O)
        if self.bias is not None:
            y_RO.add_(self.bias)
        return y_RO.view(*x.shape[:-1], -1)


class FastInt8Linear(nn.Module):
    """The same by a kernel."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.apply_to = kernels.Linear(linear.weight, linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.apply_to(x)


def int8_linear(linear: nn.Linear) -> Int8Linear | FastInt8Linear:
    fast = library() is not None and linear.in_features % kernels.LANES == 0
    return FastInt8Linear(linear) if fast else Int8Linear(linear)


class Int8(nn.Module):
    """Satisfies `models.protocol.Translating`. The model, in fp32, is changed: its linear layers are replaced, and only
    its embeddings, norms and what is no `nn.Linear` stay as they are. `decode` gives int8's logits too."""

    def __init__(self, model: Translating) -> None:
        super().__init__()
        self.model = model
        self.source_vocabulary, self.target_vocabulary = model.source_vocabulary, model.target_vocabulary
        self.max_length = model.max_length
        network = cast(nn.Module, model)
        projection = network.get_submodule("projection")  # its weight may be the embeddings' table: that one stays
        assert isinstance(projection, nn.Linear)
        self.projection = int8_linear(projection)
        for parent in list(network.modules()):
            for name, child in parent.named_children():
                if type(child) is nn.Linear and child is not projection:
                    parent.register_module(name, int8_linear(child))

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        return self.model.encode(source, mask)

    def decode(self, tokens: Tensor, encoded: Encoded, alignment: bool = False) -> Output:
        return self._projected(self.model.decode(tokens, encoded, alignment))

    def begin(self, encoded: Encoded) -> State:
        return self.model.begin(encoded)

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        return self._projected(self.model.step(tokens, state, alignment))

    def _projected(self, output: Output) -> Output:
        return replace(output, project=self.projection)


def int8(model: Translating) -> Int8 | Int8Transformer:
    """The fastest that there is for the model, which must not be used for anything else any more."""
    if reason := trouble():
        _log.warning("int8 goes without its kernels, several times slower: %s", reason)
    return Int8Transformer(model) if fits(model) else Int8(model)
