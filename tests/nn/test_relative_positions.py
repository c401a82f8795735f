"""Relative positions against their formulas in plain loops; what they cost; what they promise."""

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kakehashi.nn import kernels
from kakehashi.nn.positions import T5, Alibi, Index, Mode, Position, Shaw
from kakehashi.nn.positions.protocol import HeadSizes
from kakehashi.nn.positions.relative import alibi_slopes, t5_buckets

SIZES = HeadSizes(width=12, heads=3, key=4, value=5)
CONFIGS = [Shaw(clip=3), T5(buckets=8, max_distance=9), Alibi(), Alibi(slopes="learned")]
MODES: list[Mode] = ["bidirectional", "causal"]
# Positions of the queries: of a whole sequence of 10, of its end, and of rows of different lengths.
QUERIES = [torch.arange(10)[None], torch.arange(6, 10)[None], torch.tensor([[6, 7, 8], [1, 2, 3]])]
KEYS = torch.arange(10)[None]


def numbers(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(config: Shaw | T5 | Alibi, mode: Mode, sizes: HeadSizes = SIZES) -> Position:
    torch.manual_seed(1)
    return config.build(sizes, mode).double()


def block(position: Position, queries: Tensor, rows: Index, columns: Index) -> tuple[Tensor, Tensor | float]:
    """Bias and values of a block, as attention asks for them."""
    context = position.prepare(queries, KEYS)
    q = numbers(2, 3, queries.shape[1], 4)[:, :, rows]
    weights = numbers(2, 3, queries.shape[1], 10, seed=3).softmax(-1)[:, :, rows][..., columns]
    bias = position.bias(context, q, rows, columns)
    assert bias is not None and bias.dtype == torch.float64
    return bias.expand(2, 3, *weights.shape[2:]), position.values(context, weights, rows, columns)


def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("queries", QUERIES, ids=["whole", "end", "ragged"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_block_is_a_part_of_the_whole(config: Shaw | T5 | Alibi, mode: Mode, queries: Tensor) -> None:
    position, every = build(config, mode), slice(0, 10)
    bias, values = block(position, queries, every, every)
    rows, columns = torch.tensor([2, 0]), torch.tensor([7, 0, 3, 9])
    for r in (slice(1, 3), rows):
        found, mixed = block(position, queries, r, every)
        assert_equal(found, bias[:, :, r])
        if isinstance(mixed, Tensor) and isinstance(values, Tensor):
            assert_equal(mixed, values[:, :, r])
        for c in (slice(2, 9), columns):
            assert_equal(block(position, queries, r, c)[0], bias[:, :, r][..., c])
    halves = [block(position, queries, every, c)[1] for c in (columns, torch.tensor([1, 2, 4, 5, 6, 8]))]
    assert_equal(torch.as_tensor(sum(halves)), torch.as_tensor(values))


class Largest(TorchDispatchMode):
    """Remembers how many elements the largest new tensor has; views are not new."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not func.is_view:
            self.elements = max(self.elements, result.numel())
        return result


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("config", [Shaw(), T5(), Alibi(), Alibi(slopes="learned")], ids=str)
def test_a_block_costs_its_own_size(config: Shaw | T5 | Alibi, mode: Mode) -> None:
    """Neither the square of all scores nor a vector for each pair: the heads are 64 wide."""
    position = config.build(HeadSizes(128, 2, 64, 64), mode)
    rows, columns, places = slice(4000, 4032), slice(3900, 4000), torch.arange(4096)[None]
    q, weights = torch.randn(1, 2, 32, 64), torch.rand(1, 2, 32, 100)
    with torch.no_grad(), Largest() as largest:
        context = position.prepare(places, places)
        position.bias(context, q, rows, columns)
        position.values(context, weights, rows, columns)
    assert largest.elements <= 2 * 32 * 100


# Shaw et al. 2018


@pytest.mark.parametrize("queries", QUERIES, ids=["whole", "end", "ragged"])
@pytest.mark.parametrize("mode", MODES)
def test_shaw_equals_the_formula(mode: Mode, queries: Tensor) -> None:
    """Equations 3 and 4, a query at a time, with a vector for each pair of tokens."""
    position, clip = build(Shaw(clip=3), mode), 3
    q, k, v = numbers(2, 3, queries.shape[1], 4), numbers(2, 3, 10, 4, seed=3), numbers(2, 3, 10, 5, seed=4)
    context, every = position.prepare(queries, KEYS), slice(0, 10)
    weights = kernels.weights(q, k, position.bias(context, q, every, every))
    found = weights @ v + position.values(context, weights, every, every)
    key_table, value_table = position.get_parameter("keys.weight"), position.get_parameter("vectors.weight")
    assert len(key_table) == len(value_table) == (2 * clip + 1 if mode == "bidirectional" else clip + 1)
    ahead = clip if mode == "bidirectional" else 0
    for b, row in enumerate(queries.expand(2, -1).tolist()):
        for i, place in enumerate(row):
            index = [max(-clip, min(ahead, j - place)) + clip for j in range(10)]
            a_key, a_value = key_table[index], value_table[index]  # [K, C], [K, V]
            for h in range(3):
                e = torch.stack([q[b, h, i] @ (k[b, h, j] + a_key[j]) for j in range(10)]).softmax(0)
                expected = sum((e[j] * (v[b, h, j] + a_value[j]) for j in range(10)), torch.zeros(()))
                assert_equal(found[b, h, i], expected)


def test_shaw_equals_the_skew_of_music_transformer() -> None:
    """Huang et al. 2018, section 3.4.1: for distances that no clip touches, Q E^T [L, L] skewed, its lower half."""
    length, position = 10, build(Shaw(clip=20), "causal")
    q = numbers(1, 1, length, 4)
    relative = q @ position.get_parameter("keys.weight")[-length:].T  # distances 1 - L .. 0
    skewed = torch.nn.functional.pad(relative, (1, 0)).reshape(1, 1, length + 1, length)[:, :, 1:]
    found = position.bias(position.prepare(KEYS, KEYS), q, slice(0, 10), slice(0, 10))
    assert found is not None
    assert_equal(found.tril(), skewed.tril())


def test_shaw_adds_up_small_weights_in_bf16() -> None:
    """4,096 weights of 1/4096 behind the clip: a sum in bf16 would stall far below 1."""
    position = Shaw(clip=2).build(SIZES, "causal").bfloat16()
    places = torch.arange(4100)[None]
    weights = torch.full((1, 1, 1, 4096), 1 / 4096, dtype=torch.bfloat16)
    context = position.prepare(places, places)
    found = position.values(context, weights, torch.tensor([4099]), slice(0, 4096))
    assert isinstance(found, Tensor) and found.dtype == torch.bfloat16
    torch.testing.assert_close(found[0, 0, 0], position.get_parameter("vectors.weight")[0], rtol=0.01, atol=0)


# Raffel et al. 2020


def bucket(distance: int, buckets: int, max_distance: int, mode: Mode) -> int:
    """In exact integers: bucket exact + m begins at exact (max_distance / exact)^(m / more)."""
    start = 0
    if mode == "bidirectional":
        buckets //= 2
        start = buckets if distance > 0 else 0
        distance = -abs(distance)
    behind = max(0, -distance)
    exact = buckets // 2
    more = buckets - exact
    if behind < exact:
        return start + behind
    steps = [m for m in range(more) if behind**more * exact**m >= exact**more * max_distance**m]
    return start + exact + steps[-1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (6, 5), (8, 1000), (64, 33)])
def test_t5_buckets_equal_the_formula(buckets: int, max_distance: int, mode: Mode) -> None:
    reach = range(-200, 201)
    found = t5_buckets(torch.tensor(reach), buckets, max_distance, mode).tolist()
    assert found == [bucket(d, buckets, max_distance, mode) for d in reach]


def test_t5_buckets_begin_where_those_of_the_paper_do() -> None:
    """32 buckets up to 128, derived on paper: 8 of one distance, then from 8 sqrt(2)^m on (16 buckets a side)."""
    behind = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]
    distances = torch.arange(-200, 201)
    found = t5_buckets(distances, 32, 128, "bidirectional").tolist()
    for distance, b in zip(distances.tolist(), found, strict=True):
        expected = max(i for i, first in enumerate(behind) if first <= abs(distance))
        assert b == expected + (16 if distance > 0 else 0)
    causal = [*range(16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]
    for distance, b in zip(distances.tolist(), t5_buckets(distances, 32, 128, "causal").tolist(), strict=True):
        assert b == max(i for i, first in enumerate(causal) if first <= max(0, -distance))


@pytest.mark.parametrize("queries", QUERIES, ids=["whole", "end", "ragged"])
@pytest.mark.parametrize("mode", MODES)
def test_t5_bias_equals_the_formula(mode: Mode, queries: Tensor) -> None:
    position = build(T5(buckets=8, max_distance=6), mode)
    table = position.get_parameter("table.weight")
    bias, values = block(position, queries, slice(0, 10), slice(0, 10))
    assert values == 0
    for b, row in enumerate(queries.expand(2, -1).tolist()):
        for i, place in enumerate(row):
            expected = torch.stack([table[bucket(j - place, 8, 6, mode)] for j in range(10)], 1)
            assert_equal(bias[b, :, i], expected)


def test_t5_gradients_add_up_in_bf16() -> None:
    """The last bucket of a long sequence: a million small terms, which bf16 would lose."""
    position = T5().build(SIZES, "causal").bfloat16()
    places = torch.arange(1200)[None]
    bias = position.bias(
        position.prepare(places, places), torch.ones(1, dtype=torch.bfloat16), slice(0, 1200), slice(0, 1000)
    )
    assert bias is not None and bias.dtype == torch.bfloat16
    bias.float().sum().backward()
    counts = t5_buckets(places[:, :1000] - places.T, 32, 128, "causal").flatten().bincount(minlength=32)
    gradient = position.get_parameter("table.weight").grad
    assert gradient is not None
    torch.testing.assert_close(gradient[:, 0].float(), counts.float(), rtol=0.01, atol=0)


@pytest.mark.parametrize("wrong", [{"buckets": 3}, {"buckets": 7}, {"buckets": 32, "max_distance": 16}])
def test_t5_refuses_what_makes_no_buckets(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="buckets"):
        T5(**wrong)


# Press et al. 2022


def test_alibi_slopes_of_eight_heads() -> None:
    assert alibi_slopes(8).tolist() == [1 / 2**h for h in range(1, 9)]


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 6, 12, 16, 20])
def test_alibi_slopes_equal_those_of_the_authors(heads: int) -> None:
    def slopes(n: int) -> list[float]:
        """A geometric sequence that starts at its ratio 2^(-8/n); else that of the power below, filled up."""
        if math.log2(n).is_integer():
            ratio = 2 ** (-(2 ** -(math.log2(n) - 3)))
            return [ratio * ratio**i for i in range(n)]
        below = 2 ** math.floor(math.log2(n))
        return slopes(below) + slopes(2 * below)[0::2][: n - below]

    assert alibi_slopes(heads).tolist() == pytest.approx(slopes(heads), rel=1e-12)


@pytest.mark.parametrize("queries", QUERIES, ids=["whole", "end", "ragged"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("config", [Alibi(), Alibi(slopes="learned")], ids=str)
def test_alibi_equals_the_formula(config: Alibi, mode: Mode, queries: Tensor) -> None:
    bias, values = block(build(config, mode), queries, slice(0, 10), slice(0, 10))
    assert values == 0
    for b, row in enumerate(queries.expand(2, -1).tolist()):
        for h, slope in enumerate((1 / 16, 1 / 256, 1 / 4)):  # three heads: those of two, then the first of four
            expected = torch.tensor([[-slope * abs(j - i) for j in range(10)] for i in row], dtype=torch.float64)
            assert_equal(bias[b, h], expected)


def test_learned_slopes_are_parameters_and_fixed_ones_are_not() -> None:
    learned = build(Alibi(slopes="learned"), "causal")
    bias, _ = block(learned, KEYS, slice(0, 10), slice(0, 10))
    bias[0].sum().backward()
    slopes = learned.get_parameter("slopes")
    assert slopes.grad is not None and slopes.grad.tolist() == [-330.0] * 3  # sum of |i - j| below 10
    assert not build(Alibi(), "causal").state_dict()


def test_alibi_is_exact_far_away_in_bf16() -> None:
    """Slope times distance is rounded once: bf16 knows no distance of 1,001."""
    position = Alibi().build(HeadSizes(8, 8, 1, 1), "causal").bfloat16()
    context = position.prepare(torch.tensor([[1001]]), torch.arange(1002)[None])
    bias = position.bias(context, torch.ones(1, 8, 1, 1, dtype=torch.bfloat16), slice(0, 1), slice(0, 1002))
    expected = -torch.tensor([[1 / 2**h for h in range(1, 9)]]).T * torch.arange(1001, -1, -1)
    assert bias is not None and torch.equal(bias[0, :, 0], expected.bfloat16())
