"""Attention with a memory of the past against brute force; its gate; what learns and what it costs."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kakehashi.nn.mixers import knn
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.mixers.knn import KNN, KNNAttention
from kakehashi.nn.positions import Position
from tests.nn.mixing import largest_saved
from tests.nn.test_indexed import HEADS, LENGTH, POSITIONS, WIDTH, State, context_of, numbers, places


def build(config: KNN, gate: float | None = None) -> KNNAttention:
    torch.manual_seed(1)
    module = config.build(WIDTH, HEADS, "causal", "a").double()
    nn.init.normal_(module.gate) if gate is None else nn.init.constant_(module.gate, gate)
    return module


@torch.no_grad()
def by_formula(module: KNNAttention, x: Tensor, hooks: Position, window: int) -> Tensor:
    """A row, a head and a query at a time."""
    everything, prepared = slice(0, x.shape[1]), hooks.prepare(places(x.shape[1]), places(x.shape[1]))
    q, k, v = (part(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (module.query, module.key, module.value))
    q = q / q.shape[-1] ** 0.5
    turned_q, turned_k = hooks.rotate(prepared, q, k)
    bias = hooks.bias(prepared, turned_q, everything, everything)
    scores = turned_q @ turned_k.transpose(-1, -2) + (0 if bias is None else bias)
    near, far = torch.zeros_like(scores), torch.zeros_like(scores)
    for r in range(len(x)):
        for h in range(HEADS):
            for i in range(x.shape[1]):
                local = list(range(max(0, i - window + 1), i + 1))
                near[r, h, i, local] = scores[r, h, i, local].softmax(-1)
                memory = {j: float(q[r, h, i] @ k[r, h, j]) for j in range(i - window + 1)}
                found = sorted(memory, key=lambda j: memory[j])[-module.neighbours :]
                far[r, h, i, found] = torch.tensor([memory[j] for j in found], dtype=torch.float64).softmax(-1)
    local = near @ v
    if hooks.has_values:
        local = local + hooks.values(prepared, near, everything, everything)
    gate = module.gate.sigmoid()[:, None, None].repeat(1, x.shape[1], 1)
    gate[:, :window] = 0
    return module.output(((1 - gate) * local + gate * (far @ v)).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(("window", "neighbours"), [(1, 1), (2, 3), (4, 20), (20, 4)])
def test_it_equals_brute_force(
    window: int, neighbours: int, position: type[Position], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knn, "_BLOCK", 4)
    module, x, hooks = build(KNN(window=window, neighbours=neighbours)), numbers(2, LENGTH, WIDTH), position()
    expected = by_formula(module, x, hooks, window)
    torch.testing.assert_close(module(x, context_of(hooks)), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("chunks", [[1] * 9, [3, 1, 5]], ids=str)
def test_steps_equal_the_whole(position: type[Position], chunks: list[int]) -> None:
    module, x, hooks = build(KNN(window=2, neighbours=2)), numbers(2, LENGTH, WIDTH), position()
    state, parts = State(2, torch.device("cpu")), list[Tensor]()
    for part in x.split(chunks, 1):
        parts.append(module(part, context_of(hooks, state=state, count=part.shape[1])))
        state.advance(part.shape[1])
    torch.testing.assert_close(torch.cat(parts, 1), module(x, context_of(hooks)), atol=1e-12, rtol=0)


def test_where_the_window_holds_all_it_is_causal_attention() -> None:
    module, full = build(KNN(window=LENGTH)), Attention().build(WIDTH, HEADS, "causal", "b").double()
    for name in ("query", "key", "value", "output"):
        full.get_submodule(name).load_state_dict(module.get_submodule(name).state_dict())
    x = numbers(2, LENGTH, WIDTH)
    torch.testing.assert_close(module(x, context_of(Position())), full(x, context_of(Position())), atol=1e-12, rtol=0)


def test_no_gradient_flows_into_the_memory() -> None:
    """Wu et al. 2022, section 3: the last token reads the first ones, but they cannot learn from it."""
    module, x = build(KNN(window=2, neighbours=20), gate=40.0), numbers(1, LENGTH, WIDTH).requires_grad_()
    before = module(x, context_of(Position()))
    before[0, -1].sum().backward()
    assert x.grad is not None and not x.grad[0, :-2].any() and x.grad[0, -1].abs().max() > 1e-6
    with torch.no_grad():
        x[0, 0] += 1
        assert (module(x, context_of(Position())) - before)[0, -1].abs().max() > 1e-6


def test_training_holds_no_square() -> None:
    module, n = build(KNN(window=4, neighbours=8)), 300
    assert largest_saved(lambda: module(numbers(1, n, WIDTH), context_of(Position(), count=n))) == n * WIDTH


def test_operations() -> None:
    """What the search costs is squared, what attention costs is not."""
    module, size = build(KNN(window=4, neighbours=8)), 256
    counts: list[int] = []
    for blocks in (2, 4, 8):
        n = blocks * size
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(numbers(1, n, WIDTH), context_of(Position(), count=n))
        search = sum(size * (block * size - 4) for block in range(1, blocks + 1)) * WIDTH * 2
        counts.append(counter.get_total_flops() - search)
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])
