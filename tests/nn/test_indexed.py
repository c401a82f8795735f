"""Indexed attention against brute force over all keys; what it costs."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kakehashi.nn.mixers import indexed
from kakehashi.nn.mixers.indexed import Indexed, IndexedAttention
from kakehashi.nn.mixers.protocol import Context
from kakehashi.nn.positions import Index, Mode, Position
from kakehashi.nn.state import State
from tests.nn.mixing import largest_saved

WIDTH, HEADS, LENGTH = 12, 3, 9


def build(config: Indexed, mode: Mode) -> IndexedAttention:
    torch.manual_seed(1)
    return config.build(WIDTH, HEADS, mode, "a").double()


def numbers(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def places(length: int) -> Tensor:
    return torch.arange(length)[None]


class Hooks(Position):
    """All hooks at once, each of them dependent on positions: a rotation, a bias and values of the distance."""

    has_values: ClassVar[bool] = True

    def prepare(self, query_BQ: Tensor, key_BK: Tensor) -> dict[str, Tensor]:
        return {"query": query_BQ, "key": key_BK}

    def rotate(self, context: dict[str, Tensor], q_BHQC: Tensor, k_BHKC: Tensor) -> tuple[Tensor, Tensor]:
        angle = context["query"][:, None, :, None] * 0.3

        def turn(x: Tensor) -> Tensor:
            one, two = x.chunk(2, -1)
            return torch.cat((one * angle.cos() - two * angle.sin(), one * angle.sin() + two * angle.cos()), -1)

        return turn(q_BHQC), turn(k_BHKC)

    def distance(self, context: dict[str, Tensor], rows: Index, columns: Index) -> Tensor:
        return (context["query"][:, rows, None] - context["key"][:, None, columns])[:, None].double()

    def bias(self, context: dict[str, Tensor], q_BHQC: Tensor, rows: Index, columns: Index) -> Tensor | None:
        slopes = torch.arange(1.0, q_BHQC.shape[1] + 1, dtype=torch.float64)[:, None, None]
        return -0.2 * slopes * self.distance(context, rows, columns).abs()

    def values(self, context: dict[str, Tensor], weights_BHQK: Tensor, rows: Index, columns: Index) -> Tensor | float:
        return (weights_BHQK * self.distance(context, rows, columns)).sum(-1, keepdim=True)


class WithoutValues(Hooks):
    has_values: ClassVar[bool] = False


POSITIONS = [Position, WithoutValues, Hooks]


def context_of(hooks: Position, mask: Tensor | None = None, state: State | None = None, count: int = LENGTH) -> Context:
    positions, keys = (places(count), places(count)) if state is None else (state.positions(count), state.slots(count))
    return Context(positions, mask, state=state, position=hooks, position_context=hooks.prepare(positions, keys))


@torch.no_grad()
def by_formula(module: IndexedAttention, x: Tensor, hooks: Position, allowed: Tensor) -> Tensor:
    """A row, a head and a query at a time; `allowed` [R, Q, K]."""
    everything, prepared = slice(0, x.shape[1]), hooks.prepare(places(x.shape[1]), places(x.shape[1]))

    def pair(query: Tensor, key: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        q, k = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (query, key))
        return hooks.rotate(prepared, q / q.shape[-1] ** 0.5, k)

    q, k = pair(module.query(x), module.key(x), HEADS)
    index_q, index_k = pair(module.index_query(x), module.index_key(x), 1)
    v = module.value(x).unflatten(-1, (HEADS, -1))
    bias = hooks.bias(prepared, q, everything, everything)
    bias = torch.zeros(len(x), HEADS, *allowed.shape[1:]).double() if bias is None else bias.expand(len(x), -1, -1, -1)
    weights = torch.zeros(len(x), HEADS, *allowed.shape[1:], dtype=torch.float64)
    for r in range(len(x)):
        for i in range(x.shape[1]):
            scores = {j: float(index_q[r, 0, i] @ index_k[r, 0, j]) for j in allowed[r, i].nonzero()[:, 0].tolist()}
            kept = sorted(scores, key=lambda j: scores[j] + float(bias[r, :, i, j].mean()))[-module.keep :]
            for h in range(HEADS):
                logits = torch.stack([q[r, h, i] @ k[r, h, j] + scores[j] + bias[r, h, i, j] for j in kept])
                weights[r, h, i, kept] = logits.softmax(-1)
    mixed = torch.einsum("rhqk,rkhc->rhqc", weights, v)
    if hooks.has_values:
        mixed = mixed + hooks.values(prepared, weights, everything, everything)
    return module.output(mixed.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("keep", [1, 3, 20])
@pytest.mark.parametrize("mode", ["bidirectional", "causal"])
def test_it_equals_brute_force(
    mode: Mode, keep: int, position: type[Position], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexed, "_BLOCK", 4)
    module, x = build(Indexed(keep=keep, index_size=4), mode), numbers(2, LENGTH, WIDTH)
    mask = torch.ones(2, LENGTH, dtype=torch.bool)
    mask[0, 6:] = False
    allowed = mask[:, None].expand(-1, LENGTH, -1)
    if mode == "causal":
        mask, allowed = None, torch.ones(2, LENGTH, LENGTH).tril().bool()
    hooks = position()
    expected = by_formula(module, x, hooks, allowed)
    torch.testing.assert_close(module(x, context_of(hooks, mask)), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("chunks", [[1] * 9, [3, 1, 5]], ids=str)
def test_steps_equal_the_whole(position: type[Position], chunks: list[int]) -> None:
    module, x, hooks = build(Indexed(keep=3, index_size=4), "causal"), numbers(2, LENGTH, WIDTH), position()
    state, parts = State(2, torch.device("cpu")), list[Tensor]()
    for part in x.split(chunks, 1):
        parts.append(module(part, context_of(hooks, state=state, count=part.shape[1])))
        state.advance(part.shape[1])
    torch.testing.assert_close(torch.cat(parts, 1), module(x, context_of(hooks)), atol=1e-12, rtol=0)


def test_the_index_learns_from_the_task() -> None:
    """A key that helps is to be found again: the gradient raises its index score."""
    module, x = build(Indexed(keep=2), "bidirectional"), numbers(1, LENGTH, WIDTH)
    module(x, context_of(Position())).sum().backward()
    for parameter in (module.index_query.weight, module.index_query.bias, module.index_key.weight):
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-6


def test_it_counts_as_many_operations_as_it_says() -> None:
    keep, size = 8, 4
    module = build(Indexed(keep=keep, index_size=size), "bidirectional")
    for n in (150, 300):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(numbers(1, n, WIDTH), context_of(Position(), count=n))
        projections = n * WIDTH * (4 * WIDTH + 2 * size)
        assert counter.get_total_flops() == 2 * (projections + n * n * size + 2 * n * keep * WIDTH)


def test_training_holds_no_square_and_no_gathered_keys() -> None:
    module, n = build(Indexed(keep=16, index_size=4), "causal"), 300
    assert largest_saved(lambda: module(numbers(1, n, WIDTH), context_of(Position(), count=n))) == n * WIDTH


class Learned(Hooks):
    """Hooks that hand on what they computed, as `Position.prepare` allows."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def bias(self, context: dict[str, Tensor], q_BHQC: Tensor, rows: Index, columns: Index) -> Tensor | None:
        if "slope" not in context:
            context["slope"] = self.slope.exp()
        return -context["slope"] * self.distance(context, rows, columns).abs()


@pytest.mark.parametrize("keep", [2, 20])
def test_gradients_are_those_of_one_block(keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the backward pass computes again is what it was, whatever hooks have added to their context since."""
    module, x, hooks = build(Indexed(keep=keep, index_size=4), "causal"), numbers(2, LENGTH, WIDTH), Learned()
    found: list[list[Tensor]] = []
    for size in (LENGTH, 4):
        monkeypatch.setattr(indexed, "_BLOCK", size)
        context = context_of(hooks)
        output = module(x, context)
        hooks.bias(context.position_context, x[:, None], slice(0, 1), slice(0, 1))
        parameters = [p for p in module.parameters() if p is not module.key.bias] + [hooks.slope]
        found.append(list(torch.autograd.grad(output.square().sum(), parameters)))
    torch.testing.assert_close(found[0], found[1], atol=1e-10, rtol=0)
    assert all(gradient.abs().max() > 1e-6 for gradient in found[0])
