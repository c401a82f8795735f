"""Linformer against its formula; where it is attention itself; what it costs."""

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kakehashi.errors import UserError
from kakehashi.models.stack import Layer, Shared, Stack
from kakehashi.nn.feedforward import ReLU
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.mixers.linformer import Linformer, LinformerAttention
from kakehashi.nn.mixers.protocol import Context

WIDTH, HEADS, LENGTH = 12, 3, 7


def build(config: Linformer) -> LinformerAttention:
    torch.manual_seed(1)
    module = config.build(WIDTH, HEADS, "bidirectional", "encoder.0.mixer")
    module.initialise(None)
    return module.double()


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def context(length: int, mask: Tensor | None = None) -> Context:
    return Context(torch.arange(length)[None], mask)


@torch.no_grad()
def test_it_equals_the_formula() -> None:
    module, x = build(Linformer(rank=4, max_length=10)), numbers(2, LENGTH, WIDTH)
    lengths, size, rows = [LENGTH, 4], WIDTH // HEADS, list[Tensor]()
    for row, length in zip(x, lengths, strict=True):
        e, f = module.mix_keys[:, :length], module.mix_values[:, :length]
        heads: list[Tensor] = []
        for h in range(HEADS):
            q, k, v = (
                y @ part.weight[h * size : h * size + size].T + part.bias[h * size : h * size + size]
                for y, part in ((row, module.query), (row[:length], module.key), (row[:length], module.value))
            )
            heads.append((q @ (e @ k).T / size**0.5).softmax(-1) @ (f @ v))
        rows.append(module.output(torch.cat(heads, -1)))
    mask = torch.arange(LENGTH) < torch.tensor(lengths)[:, None]
    torch.testing.assert_close(module(x, context(LENGTH, mask)), torch.stack(rows), atol=1e-12, rtol=0)


@torch.no_grad()
def test_with_a_full_rank_and_no_mixing_it_is_attention() -> None:
    module, full = (
        build(Linformer(rank=LENGTH, max_length=LENGTH)),
        Attention().build(WIDTH, HEADS, "bidirectional", ""),
    )
    for name in ("query", "key", "value", "output"):
        full.double().get_submodule(name).load_state_dict(module.get_submodule(name).state_dict())
    module.mix_keys.copy_(torch.eye(LENGTH))
    module.mix_values.copy_(torch.eye(LENGTH))
    x = numbers(2, LENGTH, WIDTH)
    torch.testing.assert_close(module(x, context(LENGTH)), full(x, context(LENGTH)), atol=1e-12, rtol=0)


def test_a_stack_of_it_is_limited() -> None:
    layer = Layer(mixer=Linformer(rank=2, max_length=6), feedforward=ReLU(size=8))
    stack = Stack(depth=1, layers=(layer,)).build(Shared(WIDTH, HEADS, 0.0), "bidirectional", "encoder").double()
    assert stack.limit == 6
    stack(numbers(1, 6, WIDTH), context(6))
    with pytest.raises(UserError, match="encoder: a sequence of 7 tokens, and its parts know 6 places at most"):
        stack(numbers(1, 7, WIDTH), context(7))


def test_operations_grow_with_the_length_alone() -> None:
    module, counts = build(Linformer(rank=8, max_length=2048)), list[int]()
    for length in (1024, 2048):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(numbers(1, length, WIDTH), context(length))
        counts.append(counter.get_total_flops())
    assert counts[1] == 2 * counts[0]


def test_mixing_keeps_the_size_of_vectors() -> None:
    """Johnson and Lindenstrauss: |E x| is about |x|, whatever the length."""
    module = build(Linformer(rank=256, max_length=512))
    for length in (32, 512):
        x = numbers(length, 20)
        ratio = (module.mix_keys[:, :length] @ x).norm(dim=0) / x.norm(dim=0)
        assert ratio.min() > 0.8 and ratio.max() < 1.2
