"""Multi-head attention against the paper's formula in plain loops; in blocks, in steps, with all position hooks."""

import math
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from kakehashi.nn import kernels
from kakehashi.nn.mixers import attention
from kakehashi.nn.mixers.attention import Attention, MultiHeadAttention
from kakehashi.nn.mixers.protocol import Context, Encoded
from kakehashi.nn.patterns import Window
from kakehashi.nn.positions import Index, Mode, Position
from kakehashi.nn.scores import Additive, AdditiveScore, Score
from kakehashi.nn.state import State

WIDTH, HEADS = 16, 4
SIZES = [
    Attention(),
    Attention(key_size=5),
    Attention(value_size=2),
    Attention(key_size=2, value_size=7),
    Attention(kv_heads=1),
    Attention(kv_heads=2, key_size=3, value_size=2),
    Attention(values="keys"),
    Attention(values="keys", key_size=5, kv_heads=2),
    Attention(score=Additive()),
    Attention(score=Additive(), kv_heads=2, value_size=2),
]


def build(config: Attention, mode: Mode) -> MultiHeadAttention:
    torch.manual_seed(1)
    module = config.build(WIDTH, HEADS, mode, "a").double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) / 2)
    return module


def numbers(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def places(length: int) -> Tensor:
    return torch.arange(length)[None]


def score(module: Score, head: int, q: Tensor, k: Tensor) -> float:
    """Of one query and one key: Vaswani et al. 2017, equation 1; Bahdanau et al. 2015, appendix A.1.2."""
    if isinstance(module, AdditiveScore):
        return sum(float(v) * math.tanh(float(a) + float(b)) for v, a, b in zip(module.vector[head], q, k, strict=True))
    return float(q @ k) / math.sqrt(len(q))


@torch.no_grad()
def by_formula(module: MultiHeadAttention, x: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
    """Vaswani et al. 2017, section 3.2, a head and a query at a time; `allowed` [R, Q, K]."""
    c, v, share = module.sizes.key, module.sizes.value, HEADS // module.sizes.kv_heads
    rows: list[Tensor] = []
    for r in range(len(x)):
        heads: list[Tensor] = []
        for h in range(HEADS):
            g = h // share
            q = x[r] @ module.query.weight[h * c : h * c + c].T + module.query.bias[h * c : h * c + c]
            k = keys[r] @ module.key.weight[g * c : g * c + c].T + module.key.bias[g * c : g * c + c]
            values = keys[r] @ module.value.weight[g * v : g * v + v].T + module.value.bias[g * v : g * v + v]
            outputs: list[Tensor] = []
            for i in range(len(q)):
                seen = allowed[r, i].nonzero()[:, 0].tolist()
                scores = [math.exp(score(module.score, h, q[i], k[j])) for j in seen]
                mixed = [s / sum(scores) * values[j] for s, j in zip(scores, seen, strict=True)]
                outputs.append(torch.stack(mixed).sum(0))
            heads.append(torch.stack(outputs))
        rows.append(torch.cat(heads, -1) @ module.output.weight.T + module.output.bias)
    return torch.stack(rows)


@pytest.mark.parametrize("config", SIZES, ids=lambda c: repr(c.model_dump(exclude_defaults=True)))
@pytest.mark.parametrize("mode", ["bidirectional", "causal", "cross"])
def test_it_equals_the_formula(mode: Mode, config: Attention) -> None:
    module, x = build(config, mode), numbers(2, 5, WIDTH)
    source = numbers(2, 7, WIDTH, seed=3) if mode == "cross" else x
    mask = torch.ones(2, source.shape[1], dtype=torch.bool)
    mask[0, 4:] = False
    allowed = mask[:, None].expand(2, 5, -1)
    context = Context(positions=places(5), mask=mask)
    if mode == "cross":
        context = Context(positions=places(5), memory=Encoded(source, mask))
    elif mode == "causal":
        allowed, context = torch.ones(2, 5, 5).tril().bool(), Context(positions=places(5))
    torch.testing.assert_close(module(x, context), by_formula(module, x, source, allowed), atol=1e-12, rtol=0)


def test_sizes_of_a_head() -> None:
    module = Attention(key_size=5, value_size=2).build(WIDTH, HEADS, "causal", "a")
    shapes = [tuple(part.weight.shape) for part in (module.query, module.key, module.value, module.output)]
    assert shapes == [(20, 16), (20, 16), (8, 16), (16, 8)]
    with pytest.raises(ValueError, match="width 16 is not a multiple of heads 5"):
        Attention(key_size=3).build(WIDTH, 5, "causal", "a")
    assert Attention(key_size=3, value_size=2).build(WIDTH, 5, "causal", "a").sizes.heads == 5


def test_what_does_not_go_together() -> None:
    for config, message in (
        (Attention(kv_heads=3), "heads 4 is not a multiple of kv_heads 3"),
        (Attention(kv_heads=8), "heads 4 is not a multiple of kv_heads 8"),
        (Attention(values="keys", value_size=5), "have their size: value_size 5, key_size 4"),
    ):
        with pytest.raises(ValueError, match=message):
            config.build(WIDTH, HEADS, "causal", "a")
    with pytest.raises(ValueError, match="sees the whole source: it takes no pattern window"):
        Attention(pattern=Window()).build(WIDTH, HEADS, "cross", "a")


# Shared heads and shared values are ordinary attention with equal weights


def context_of(mode: Mode) -> Context:
    memory = Encoded(numbers(2, 7, WIDTH, seed=3), torch.ones(2, 7, dtype=torch.bool))
    return Context(places(5), memory=memory if mode == "cross" else None)


@pytest.mark.parametrize("mode", ["bidirectional", "causal", "cross"])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_shared_heads_are_repeated_weights(kv_heads: int, mode: Mode) -> None:
    """Ainslie et al. 2023, figure 2: one group is multi-query attention, as many groups as heads multi-head."""
    grouped, plain = build(Attention(kv_heads=kv_heads), mode), build(Attention(), mode)
    weights = grouped.state_dict()
    for name in ("key.weight", "key.bias", "value.weight", "value.bias"):
        heads = weights[name].unflatten(0, (kv_heads, -1))
        weights[name] = heads.repeat_interleave(HEADS // kv_heads, 0).flatten(0, 1)
    plain.load_state_dict(weights)
    x = numbers(2, 5, WIDTH)
    torch.testing.assert_close(grouped(x, context_of(mode)), plain(x, context_of(mode)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("mode", ["bidirectional", "causal", "cross"])
def test_values_that_are_keys_are_copied_weights(mode: Mode) -> None:
    tied, separate = build(Attention(values="keys"), mode), build(Attention(), mode)
    separate.load_state_dict(tied.state_dict())
    assert len(list(separate.parameters())) - len(list(tied.parameters())) == 2
    x, hooks = numbers(2, 5, WIDTH), Content()
    one, other = (
        module(x, replace(context_of(mode), position=hooks, position_context=hooks.prepare(places(5), places(5))))
        for module in (tied, separate)
    )
    torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("mode", ["causal", "cross"])
def test_the_cache_shrinks_by_what_is_shared(mode: Mode) -> None:
    def cached(config: Attention, position: type[Position] = Position) -> int:
        state, hooks = State(2, torch.device("cpu")), position()
        prepared = hooks.prepare(places(5), places(5))
        context = replace(context_of(mode), state=state, position=hooks, position_context=prepared)
        build(config, mode)(numbers(2, 5, WIDTH), context)
        held = {**state.sentence, **state.hypothesis}
        return sum(tensor.numel() for name, tensor in held.items() if name.endswith((".key", ".value")))

    whole = cached(Attention())
    assert whole == 4 * cached(Attention(kv_heads=1)) == 2 * cached(Attention(kv_heads=2))
    assert whole == 2 * cached(Attention(values="keys")) == 8 * cached(Attention(values="keys", kv_heads=1))
    if mode == "causal":
        assert whole == cached(Attention(values="keys"), Content), "keys that are rotated are no values"


# Order


def test_without_positions_it_does_not_see_the_order() -> None:
    """Vaswani et al. 2017, section 3.5: why there are positions. Permuted inputs give permuted outputs."""
    module, x, order = build(Attention(), "bidirectional"), numbers(2, 6, WIDTH), torch.tensor([3, 0, 5, 1, 4, 2])
    expected = module(module(x, Context(places(6))), Context(places(6)))[:, order]
    found = module(module(x[:, order], Context(places(6))), Context(places(6)))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_a_causal_layer_sees_a_bag_and_two_of_them_see_order() -> None:
    """The last token sees the same set; but what a second layer reads of the earlier ones depends on their order."""
    module, x, order = build(Attention(), "causal"), numbers(2, 6, WIDTH), torch.tensor([3, 0, 4, 1, 2, 5])
    once, permuted = module(x, Context(places(6))), module(x[:, order], Context(places(6)))
    torch.testing.assert_close(permuted[:, -1], once[:, -1], atol=1e-12, rtol=0)
    twice, permuted = module(once, Context(places(6))), module(permuted, Context(places(6)))
    assert ((permuted - twice)[:, -1].abs() > 1e-3).any(-1).all()


# The scale


@pytest.mark.parametrize("size", [16, 64, 256])
def test_without_the_scale_the_variance_of_scores_is_the_key_size(size: int) -> None:
    """Vaswani et al. 2017, footnote 4: why scores are divided by sqrt(d_k)."""
    q, k = (numbers(1, 1, 600, size, seed=s) for s in (1, 2))
    scores = q @ k.transpose(-1, -2)
    assert scores.var().item() == pytest.approx(size, rel=0.05)
    assert (scores / size**0.5).var().item() == pytest.approx(1, rel=0.05)


def test_attention_itself_has_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of unit queries and keys have unit variance, whatever the size of a head."""
    seen: list[float] = []
    plain = kernels.weights

    def spy(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
        seen.append((q @ k.transpose(-1, -2)).var().item())
        return plain(q, k, bias)

    monkeypatch.setattr(kernels, "weights", spy)
    for size in (8, 128):
        module = Attention().build(size, 1, "cross", "a").double()
        with torch.no_grad():
            for part in (module.query, module.key):
                part.weight.copy_(torch.eye(size))
                part.bias.zero_()
        memory = Encoded(numbers(4, 300, size, seed=3), torch.ones(4, 300, dtype=torch.bool))
        module(numbers(4, 300, size), Context(positions=places(300), memory=memory))
    assert seen == pytest.approx([1, 1], rel=0.05)


def test_the_keys_bias_changes_nothing() -> None:
    """It adds the same to all scores of a query: soft-max does not see it, and its gradient is zero."""
    module, x = build(Attention(), "bidirectional"), numbers(1, 4, WIDTH)
    before = module(x, Context(positions=places(4)))
    with torch.no_grad():
        module.key.bias.add_(numbers(WIDTH))
    torch.testing.assert_close(module(x, Context(positions=places(4))), before, atol=1e-12, rtol=0)


class Every(Position):
    """All hooks at once, each of them dependent on positions: a rotation, a bias and values of the distance."""

    has_values: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.directions = torch.nn.Parameter(numbers(2 * 40, WIDTH // HEADS, seed=5))

    def prepare(self, query_BQ: Tensor, key_BK: Tensor) -> dict[str, Tensor]:
        return {"query": query_BQ, "key": key_BK}

    def rotate(self, context: dict[str, Tensor], q_BHQC: Tensor, k_BHKC: Tensor) -> tuple[Tensor, Tensor]:
        angle = context["query"][:, None, :, None] * 0.3  # of new tokens: keys that are cached are not seen again

        def turn(x: Tensor) -> Tensor:
            one, two = x.chunk(2, -1)
            return torch.cat((one * angle.cos() - two * angle.sin(), one * angle.sin() + two * angle.cos()), -1)

        return turn(q_BHQC), turn(k_BHKC)

    def distance(self, context: dict[str, Tensor], rows: Index, columns: Index) -> Tensor:
        return context["query"][:, rows, None] - context["key"][:, None, columns]

    def bias(self, context: dict[str, Tensor], q_BHQC: Tensor, rows: Index, columns: Index) -> Tensor | None:
        slopes = torch.arange(1.0, HEADS + 1, dtype=torch.float64)[:, None, None]
        return -0.1 * slopes * self.distance(context, rows, columns)[:, None].abs()


class Content(Every):
    """Without values, so that attention takes its fast way."""

    has_values: ClassVar[bool] = False


class Valued(Every):
    def values(self, context: dict[str, Tensor], weights_BHQK: Tensor, rows: Index, columns: Index) -> Tensor | float:
        table = self.directions[self.distance(context, rows, columns) + 40]
        return torch.einsum("bhqk,bqkc->bhqc", weights_BHQK, table.expand(len(weights_BHQK), -1, -1, -1))


POSITIONS = [Position, Content, Valued]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("chunks", [[1] * 9, [3, 1, 5], [9]], ids=str)
def test_steps_equal_the_whole(position: type[Position], chunks: list[int]) -> None:
    """Rotation, bias and values see the right positions when keys come from the cache."""
    module, x, hooks = build(Attention(), "causal"), numbers(2, 9, WIDTH), position()
    whole = module(x, Context(places(9), position=hooks, position_context=hooks.prepare(places(9), places(9))))
    state, parts = State(2, torch.device("cpu")), list[Tensor]()
    for part in x.split(chunks, 1):
        count = part.shape[1]
        prepared = hooks.prepare(state.positions(count), state.slots(count))
        parts.append(
            module(part, Context(state.positions(count), state=state, position=hooks, position_context=prepared))
        )
        state.advance(count)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize("position", [Position, Content])
@pytest.mark.parametrize("mode", ["bidirectional", "causal"])
@pytest.mark.parametrize("block", [1, 4])
def test_blocks_equal_the_whole(
    block: int, mode: Mode, position: type[Position], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, x, hooks = build(Attention(), mode), numbers(2, 10, WIDTH), position()
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[1, 6:] = False
    context = Context(places(10), mask, position=hooks, position_context=hooks.prepare(places(10), places(10)))
    whole = module(x, context)
    monkeypatch.setattr(attention, "_BLOCK", block)
    torch.testing.assert_close(module(x, context), whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize("block", [2, 3])
def test_blocks_equal_the_whole_behind_ragged_caches(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module, first, more = build(Attention(), "causal"), numbers(3, 6, WIDTH), numbers(3, 7, WIDTH, seed=3)
    results: list[Tensor] = []
    for size in (1024, block):
        monkeypatch.setattr(attention, "_BLOCK", size)
        state = State(3, torch.device("cpu"))
        module(first, Context(state.positions(6), state=state))
        state.advance(6)
        state.rewind(torch.tensor([6, 1, 4]))
        results.append(module(more, Context(state.positions(7), state=state)))
    torch.testing.assert_close(results[1], results[0], atol=1e-12, rtol=0)
    for row, length in enumerate([6, 1, 4]):
        joined = torch.cat((first[row, :length], more[row]))[None]
        whole = module(joined, Context(places(length + 7)))[0, length:]
        torch.testing.assert_close(results[1][row], whole, atol=1e-12, rtol=0)


def test_a_causal_block_leaves_out_the_keys_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []

    def spy(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        sizes.append((q.shape[2], k.shape[2]))
        return q

    monkeypatch.setattr(attention, "_BLOCK", 4)
    monkeypatch.setattr(kernels, "attend", spy)
    build(Attention(), "causal")(numbers(1, 10, WIDTH), Context(places(10)))
    assert sizes == [(4, 4), (4, 8), (2, 10)]


def test_a_beam_shares_the_keys_of_its_sentence() -> None:
    module = build(Attention(), "cross")
    memory = Encoded(numbers(2, 5, WIDTH), torch.tensor([[True] * 5, [True] * 3 + [False] * 2]))
    x = numbers(6, 4, WIDTH, seed=4)
    state = State(2, torch.device("cpu"))
    state.repeat(3)
    context = Context(places(4), memory=memory, state=state, alignments=[])
    found = module(x, context)
    copied = memory.select(torch.arange(2).repeat_interleave(3))
    apart = Context(places(4), memory=copied, alignments=[])
    torch.testing.assert_close(found, module(x, apart), atol=1e-12, rtol=0)
    torch.testing.assert_close(found, module(x, Context(places(4), memory=copied)), atol=1e-12, rtol=0)
    assert {name: len(value) for name, value in state.sentence.items()} == {"a.key": 2, "a.value": 2, "a.bias": 2}
    assert context.alignments is not None and apart.alignments is not None
    assert context.alignments[0].shape == (6, HEADS, 4, 5)
    torch.testing.assert_close(context.alignments[0], apart.alignments[0], atol=1e-12, rtol=0)
    assert not context.alignments[0][3:, ..., 3:].any()
