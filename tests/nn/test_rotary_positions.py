"""Rotary positions: complex numbers that turn; scores that know the distance only; keys that turn once."""

import cmath

import pytest
import torch
from torch import Tensor

from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.mixers.protocol import Context
from kakehashi.nn.positions import Position, Rope
from kakehashi.nn.positions.protocol import HeadSizes
from kakehashi.nn.positions.rotary import rotate, rotations
from kakehashi.nn.state import State

SIZES = HeadSizes(width=12, heads=2, key=6, value=6)


def numbers(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turned(position: Position, q: Tensor, k: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    return position.rotate(position.prepare(places, places), q, k)


def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("theta", [10000.0, 100.0])
@pytest.mark.parametrize("places", [[[0, 1, 2, 50]], [[4, 5, 6, 7], [0, 1, 2, 3]]], ids=["one row", "ragged"])
def test_it_equals_the_formula(places: list[list[int]], theta: float) -> None:
    """Su et al. 2021, equation 16: pair i, as a complex number, times e^(i m theta^(-2i/C)); fewer heads of keys."""
    q, k = numbers(2, 4, 4, 6), numbers(2, 1, 4, 6, seed=3)
    for x, found in zip(
        (q, k), turned(Rope(theta=theta).build(SIZES, "causal"), q, k, torch.tensor(places)), strict=True
    ):
        for b, row in enumerate(places * (2 // len(places))):
            for h in range(x.shape[1]):
                for n, m in enumerate(row):
                    pairs = [complex(x[b, h, n, i], x[b, h, n, i + 3]) for i in range(3)]
                    z = [pair * cmath.exp(1j * m * theta ** (-2 * i / 6)) for i, pair in enumerate(pairs)]
                    expected = torch.tensor([c.real for c in z] + [c.imag for c in z], dtype=torch.float64)
                    assert_equal(found[b, h, n], expected)


def test_scores_depend_on_the_distance_only() -> None:
    """One query and one key, anywhere: all scores of one distance are one number, and each distance has its own."""
    q, k = (numbers(1, 1, 1, 6, seed=s).expand(-1, -1, 30, -1) for s in (1, 2))
    q, k = turned(Rope().build(SIZES, "causal"), q, k, torch.arange(30)[None])
    scores = (q @ k.transpose(-1, -2))[0, 0]
    seen = [scores.diagonal(distance) for distance in range(-29, 30)]
    for diagonal in seen:
        assert_equal(diagonal, diagonal[:1].expand_as(diagonal))
    assert len({round(diagonal[0].item(), 6) for diagonal in seen}) == 59


def test_lengths_stay() -> None:
    q, k = numbers(1, 2, 9, 6), numbers(1, 2, 9, 6, seed=3)
    for x, found in zip((q, k), turned(Rope().build(SIZES, "causal"), q, k, torch.arange(9)[None]), strict=True):
        assert_equal(found.norm(dim=-1), x.norm(dim=-1))


def test_far_positions_are_exact_in_fp32() -> None:
    q = numbers(1, 1, 1, 6)
    far = torch.tensor([[1_000_001]])
    found, _ = turned(Rope().build(SIZES, "causal"), q.float(), q.float(), far)
    expected = rotate(q, rotations(far, 6, 10000.0))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("chunks", [[1] * 7, [3, 1, 3]], ids=str)
def test_a_cached_key_turns_once(chunks: list[int]) -> None:
    """After any steps the cache holds each key turned by its own position, no more."""
    torch.manual_seed(1)
    position, module = Rope().build(SIZES, "causal"), Attention().build(12, 2, "causal", "a").double()
    x, state = numbers(2, 7, 12), State(2, torch.device("cpu"))
    for part in x.split(chunks, 1):
        places = state.positions(part.shape[1])
        prepared = position.prepare(places, state.slots(part.shape[1]))
        module(part, Context(places, state=state, position=position, position_context=prepared))
        state.advance(part.shape[1])
    keys = module.key(x).unflatten(-1, (2, 6)).transpose(1, 2)
    expected = rotate(keys, rotations(torch.arange(7)[None], 6, 10000.0))
    assert_equal(state.hypothesis["a.key"][:, :, :7], expected)


def test_an_odd_head_is_refused_when_the_model_is_built() -> None:
    def build(width: int, attention: Attention) -> None:
        stack = Stack.model_validate({"depth": 1, "position": "rope", "layers": [{"mixer": attention}]})
        EncoderDecoder(width=width, heads=2, encoder=stack).build(Vocabulary(9), Vocabulary(9))

    build(10, Attention(key_size=4))
    for width, attention, size in ((10, Attention(), 5), (8, Attention(key_size=3), 3)):
        with pytest.raises(ValueError, match=f"even size in a head, not {size}"):
            build(width, attention)
