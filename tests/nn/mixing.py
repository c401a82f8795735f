"""What the tests of all mixers need: a module away from its start, numbers, contexts, and steps."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from kakehashi.models.initialisation import initialise
from kakehashi.nn.mixers.protocol import Context, MixerConfig
from kakehashi.nn.positions import Mode
from kakehashi.nn.state import State

WIDTH, HEADS = 12, 3


def build(config: MixerConfig, mode: Mode, dtype: torch.dtype = torch.float64) -> Any:
    """In float64, every parameter random."""
    torch.manual_seed(1)
    module = config.build(WIDTH, HEADS, mode, "m").to(dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) / 2)
    return module


def started(config: MixerConfig, mode: Mode = "causal") -> Any:
    """With the parameters that training begins with."""
    torch.manual_seed(1)
    module = config.build(WIDTH, HEADS, mode, "m")
    initialise(module)
    return module


def numbers(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(x: Tensor, mask: Tensor | None = None) -> Context:
    return Context(torch.arange(x.shape[1])[None], mask=mask)


def masked(x: Tensor, lengths: Sequence[int]) -> Context:
    return whole(x, torch.arange(x.shape[1]) < torch.tensor(lengths)[:, None])


def in_steps(module: Any, x: Tensor, chunks: list[int]) -> tuple[Tensor, State]:
    """The outputs of all steps, and the state behind the last."""
    state, parts = State(len(x), x.device), list[Tensor]()
    for part in x.split(chunks, 1):
        parts.append(module(part, Context(state.positions(part.shape[1]), state=state)))
        state.advance(part.shape[1])
    return torch.cat(parts, 1), state


def largest_saved(run: Callable[[], object]) -> int:
    """Elements of the largest tensor that a forward pass keeps for the backward one."""
    sizes: list[int] = []

    def seen(tensor: Tensor) -> Tensor:
        sizes.append(tensor.untyped_storage().nbytes() // tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(seen, lambda tensor: tensor):
        run()
    return max(sizes)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-10)
