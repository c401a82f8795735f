"""Attention with sparse patterns: in groups it computes the same as under a mask, and its cost grows as claimed."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kakehashi.nn import kernels, patterns, scores
from kakehashi.nn.mixers import attention
from kakehashi.nn.mixers.attention import Attention, MultiHeadAttention
from kakehashi.nn.mixers.protocol import Context
from kakehashi.nn.patterns import (
    Both,
    Causal,
    Either,
    Fixed,
    Full,
    Global,
    Pattern,
    PatternConfig,
    Random,
    Strided,
    Window,
)
from kakehashi.nn.positions import Mode, Position
from kakehashi.nn.scores import Additive
from kakehashi.nn.state import State
from tests.nn.test_attention import Content, Valued, build, numbers, places

BIGBIRD = Either(patterns=(Window(size=1), Global(count=2), Random(block=2, count=1)))
PATTERNS: list[PatternConfig] = [
    Full(),
    Window(size=2),
    Strided(stride=3),
    Fixed(stride=4, summary=1),
    Global(count=2),
    Random(block=3, count=1),
    Both(patterns=(Window(size=6), Strided(stride=2))),
    BIGBIRD,
]
WIDTH = 16


def whole(module: MultiHeadAttention, x: Tensor, context: Context) -> Tensor:
    """As one group: under a mask over the full square."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patterns, "_GRAIN", 1000)
        patch.setattr(attention, "_BLOCK", 1000)
        return module(x, context)


@pytest.fixture
def finely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of one query where a pattern has no others, and of three at most."""
    monkeypatch.setattr(patterns, "_GRAIN", 1)
    monkeypatch.setattr(attention, "_BLOCK", 3)


@pytest.mark.usefixtures("finely")
@pytest.mark.parametrize("position", [Position, Content, Valued])
@pytest.mark.parametrize("mode", ["bidirectional", "causal"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_groups_equal_the_whole(pattern: PatternConfig, mode: Mode, position: type[Position]) -> None:
    """And their gradients too."""
    module, x, hooks = build(Attention(pattern=pattern, kv_heads=2), mode), numbers(2, 14, WIDTH), position()
    mask = torch.ones(2, 14, dtype=torch.bool)
    mask[1, 9:] = False
    context = Context(places(14), mask, position=hooks, position_context=hooks.prepare(places(14), places(14)))
    parameters = list(module.parameters())
    found, expected = module(x, context), whole(module, x, context)
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-12, rtol=0)
    gradients = [torch.autograd.grad((y * mask[..., None]).square().sum(), parameters) for y in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-9, rtol=0)


@pytest.mark.usefixtures("finely")
@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_only_the_pattern_is_seen(pattern: Pattern) -> None:
    """What a query may not look at changes nothing; what it may does."""
    module, x = build(Attention(pattern=pattern), "bidirectional"), numbers(1, 14, WIDTH)
    allowed = pattern.allowed(places(14), places(14))
    before = module(x, Context(places(14)))
    for key in range(14):
        other = x.clone()
        other[:, key] += 1
        changed = (module(other, Context(places(14))) - before).abs().amax((0, 2)) > 1e-9
        assert changed.tolist() == ([True] * 14 if allowed is None else allowed[0, :, key].tolist())


@pytest.mark.usefixtures("finely")
@pytest.mark.parametrize("position", [Position, Valued])
@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_steps_equal_the_whole(pattern: PatternConfig, position: type[Position]) -> None:
    """In chunks, and where rows stand at different places: a row that was rewound goes on from its own."""
    module, hooks = build(Attention(pattern=pattern), "causal"), position()
    first, more = numbers(3, 9, WIDTH), numbers(3, 7, WIDTH, seed=3)
    state, found = State(3, torch.device("cpu")), list[Tensor]()

    def step(x: Tensor) -> None:
        prepared = hooks.prepare(state.positions(x.shape[1]), state.slots(x.shape[1]))
        context = Context(state.positions(x.shape[1]), state=state, position=hooks, position_context=prepared)
        found.append(module(x, context))
        state.advance(x.shape[1])

    step(first[:, :5])
    step(first[:, 5:])
    state.rewind(torch.tensor(lengths := [9, 2, 6]))
    step(more[:, :6])
    step(more[:, 6:])
    for row, length in enumerate(lengths):
        joined = torch.cat((first[row, :length], more[row]))[None]
        prepared = hooks.prepare(places(length + 7), places(length + 7))
        context = Context(places(length + 7), position=hooks, position_context=prepared)
        expected = whole(module, joined, context)[0]
        torch.testing.assert_close(torch.cat(found[2:], 1)[row], expected[length:], atol=1e-12, rtol=0)


# Cost


class Cost(TorchDispatchMode):
    """How many numbers all operations write (views write none): in sum, as time goes, and in the largest tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            written = args[3] if func is torch.ops.aten.index_add_.default else result  # it returns the whole tensor
            sizes = [
                y.numel() for y in (written if isinstance(written, tuple) else (written,)) if isinstance(y, Tensor)
            ]
            self.total += sum(sizes)
            self.largest = max([self.largest, *sizes])
        return result


def growth(pattern: PatternConfig, longer: PatternConfig, mode: Mode, lengths: tuple[int, int]) -> tuple[float, float]:
    """By how much sum and largest tensor grow, forward and backward, from a length to a longer one."""
    costs: list[Cost] = []
    for length, chosen in zip(lengths, (pattern, longer), strict=True):
        module, x = Attention(pattern=chosen).build(4, 1, mode, "a"), torch.randn(1, length, 4)
        with Cost() as cost:
            module(x, Context(places(length))).sum().backward()
        costs.append(cost)
    return costs[1].total / costs[0].total, costs[1].largest / costs[0].largest


LARGE = Either(patterns=(Window(size=64), Global(count=2), Random(block=64, count=2)))


@pytest.mark.parametrize("mode", ["bidirectional", "causal"])
@pytest.mark.parametrize(
    ("pattern", "longer", "most"),
    [
        pytest.param(Window(size=16), Window(size=16), 4.1, id="window"),
        pytest.param(Global(), Global(), 4.3, id="global"),
        pytest.param(LARGE, LARGE, 5.3, id="BigBird"),  # among 16 blocks more draws coincide than among 64
        pytest.param(Strided(stride=32), Strided(stride=64), 8.1, id="strided"),
        pytest.param(Fixed(stride=32, summary=2), Fixed(stride=64, summary=2), 8.1, id="fixed"),
    ],
)
def test_sparse_patterns_are_cheap(pattern: PatternConfig, longer: PatternConfig, most: float, mode: Mode) -> None:
    """At four times the length: four times the cost where linear, eight times where it is length^1.5; never sixteen."""
    total, largest = growth(pattern, longer, mode, (1024, 4096))
    assert total < most and largest < 4.1, f"{total:.2f}, {largest:.2f}"


@contextmanager
def scores_seen() -> Generator[list[int]]:
    """How many scores each call of the kernel computes."""
    sizes: list[int] = []

    def spy(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        sizes.append(q.shape[2] * k.shape[2])
        return q

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "attend", spy)
        yield sizes


@pytest.mark.parametrize(
    ("pattern", "total", "largest"),
    [
        (Full(), 4096 * 4096, 1024 * 4096),
        (Both(patterns=(Causal(), Full())), 4096 * 4096 * 5 / 8, 1024 * 4096),  # in four blocks of 1,024 queries
        (Window(size=64), 4096 * 192, 64 * 192),
        (Both(patterns=(Window(size=64), Strided(stride=4))), 4096 * 192, 64 * 192),
        (Strided(stride=64), 4096 * 64, 64 * 64),
        (Fixed(stride=64, summary=4), 4096 * (64 + 4 * 64), 64 * (64 + 4 * 64)),
        (Either(patterns=(Window(size=64), Global(count=2))), 4096 * (192 + 2) + 64 * 4096, 64 * 4096),
    ],
    ids=repr,
)
def test_as_many_scores_as_the_pattern_needs(pattern: PatternConfig, total: int, largest: int) -> None:
    """In all, and at once."""
    with scores_seen() as sizes:
        Attention(pattern=pattern).build(4, 1, "bidirectional", "a")(torch.randn(1, 4096, 4), Context(places(4096)))
    assert 0.9 * total <= sum(sizes) <= total and 0.9 * largest <= max(sizes) <= largest


def test_a_step_of_a_window_looks_at_the_window() -> None:
    state = State(1, torch.device("cpu"))
    module = Attention(pattern=Window(size=5)).build(4, 1, "causal", "a")
    with scores_seen() as sizes:
        for count in (3, 1, 20, 1):
            module(torch.randn(1, count, 4), Context(state.positions(count), state=state))
            state.advance(count)
    assert sizes == [3 * 3, 4, 20 * 24, 6]


@pytest.mark.parametrize("short", [0, 10**9], ids=["fused", "formula"])
def test_no_key_is_repeated_for_its_heads(short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One query of eight heads on 4,096 shared keys: no more than the scores is ever written."""
    monkeypatch.setattr(kernels, "_SHORT", short)
    q, k = torch.randn(1, 8, 1, 64), torch.randn(1, 1, 4096, 64)
    with Cost() as cost:
        kernels.attend(q, k, k, torch.randn(1, 8, 1, 4096))
    assert cost.largest <= 8 * 4096


@pytest.mark.parametrize(("groups", "value_size"), [(8, 4), (2, 4), (1, 32), (2, 16)])
def test_no_square_is_held_whatever_the_sizes(groups: int, value_size: int) -> None:
    """Neither where heads share keys, nor where the sizes of keys and values differ."""
    q, k, v = torch.randn(1, 8, 1024, 16), torch.randn(1, groups, 1024, 16), torch.randn(1, groups, 1024, value_size)
    q.requires_grad_()
    with Cost() as cost:
        kernels.attend(q, k, v, None).sum().backward()
    assert cost.largest <= 8 * 1024 * max(16, value_size)


def test_additive_scores_come_in_bounded_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """[Q, K, C] would be 2^21 numbers; training keeps none of the blocks."""
    monkeypatch.setattr(scores, "_BLOCK", 2**14)
    module = Attention(score=Additive()).build(64, 2, "bidirectional", "a")
    module.score.get_parameter("vector").data.normal_()
    kept: list[int] = []
    with Cost() as cost, torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        module(torch.randn(1, 128, 64), Context(places(128))).sum().backward()
    assert cost.largest <= 2 * 128 * 128 and max(kept) <= 2 * 128 * 128, "the scores are the largest"
