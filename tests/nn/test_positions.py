"""Absolute positions: sinusoids by the paper's formula and by what it promises, learned ones, and none."""

import math

import pytest
import torch

from kakehashi.nn.positions import Learned, NoPosition, Sinusoidal, sinusoids
from kakehashi.nn.positions.protocol import HeadSizes


def by_formula(position: int, width: int) -> list[float]:
    """Vaswani et al. 2017, section 3.5."""
    values: list[float] = []
    for i in range(width // 2):
        angle = position / 10000 ** (2 * i / width)
        values += [math.sin(angle), math.cos(angle)]
    return values


@pytest.mark.parametrize("width", [2, 6, 64])
def test_sinusoids_equal_the_formula(width: int) -> None:
    positions = [0, 1, 2, 49, 1000]
    expected = torch.tensor([[by_formula(p, width) for p in positions]], dtype=torch.float64)
    found = sinusoids(torch.tensor([positions]), width, torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_far_positions_are_exact_in_fp32() -> None:
    """In fp32 the angle of position 100,000 would be off by 0.004: it is computed in float64."""
    found = sinusoids(torch.tensor([[100_000, 1_000_001]]), 16)
    expected = torch.tensor([[by_formula(p, 16) for p in (100_000, 1_000_001)]])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("offset", [1, 7, 30])
def test_an_offset_is_a_linear_map(offset: int) -> None:
    """PE(pos + k) = M_k PE(pos), one matrix for all positions: what the authors chose sines for."""
    width = 8
    turn = torch.zeros(width, width, dtype=torch.float64)
    for i in range(0, width, 2):
        angle = offset / 10000 ** (i / width)
        turn[i : i + 2, i : i + 2] = torch.tensor(
            [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        )
    positions = torch.arange(40)[None]
    here, there = (sinusoids(p, width, torch.float64)[0] for p in (positions, positions + offset))
    torch.testing.assert_close(here @ turn.T, there, atol=1e-6, rtol=0)


def test_their_product_depends_on_the_distance_only() -> None:
    table = sinusoids(torch.arange(30)[None], 32, torch.float64)[0]
    products = table @ table.T
    for distance in range(0, 30, 7):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-9, rtol=0)


def test_embed_adds_each_rows_own_positions() -> None:
    position = Sinusoidal().build(HeadSizes(8, 2, 4, 4), "causal")
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
    ragged = torch.tensor([[4, 5, 6], [0, 1, 2]])
    found = position.embed(x, ragged) - x
    torch.testing.assert_close(found, torch.tensor([[by_formula(p, 8) for p in row] for row in ragged.tolist()]))
    shared = position.embed(x, ragged[1:])
    torch.testing.assert_close(shared[1], position.embed(x, ragged)[1])
    assert position.embed(x.bfloat16(), ragged).dtype == torch.bfloat16


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(ValueError, match="even width, not 7"):
        Sinusoidal().build(HeadSizes(7, 1, 7, 7), "causal")


def test_learned_positions_are_a_table() -> None:
    position = Learned(max_length=9).build(HeadSizes(8, 2, 4, 4), "causal")
    table = position.get_parameter("table.weight")
    assert table.shape == (9, 8) and position.limit == 9
    ragged = torch.tensor([[6, 7, 8], [0, 1, 2]])
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(position.embed(x, ragged), x + torch.stack((table[6:], table[:3])))
    assert torch.equal(position.embed(x, ragged[:1]), x + table[6:])


def test_no_position_does_nothing() -> None:
    position = NoPosition().build(HeadSizes(4, 1, 4, 4), "causal")
    x = torch.randn(1, 3, 4)
    q, k = torch.randn(2, 1, 1, 3, 4)
    assert position.embed(x, torch.arange(3)[None]) is x
    assert position.rotate({}, q, k) == (q, k)
    assert position.bias({}, q, slice(0, 3), slice(0, 3)) is None
    assert not position.has_values and position.prepare(torch.arange(3)[None], torch.arange(3)[None]) == {}
