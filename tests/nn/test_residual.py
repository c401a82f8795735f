"""Residual blocks against their formulas, and the constants of DeepNet."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from kakehashi.nn.residual import PLACEMENTS, Depth, Placement, deepnorm

DEPTH = Depth(layers=6, sublayers=2)
ALPHA = 12**0.25
FORMULAS: dict[Placement, Callable[[Tensor, float, Callable[[Tensor], Tensor]], Tensor]] = {
    "post": lambda x, skip, f: normed(skip * x + f(x)),
    "pre": lambda x, skip, f: skip * x + f(normed(x)),
    "sandwich": lambda x, skip, f: skip * x + normed(f(normed(x))),
    "deepnorm": lambda x, skip, f: normed(ALPHA * skip * x + f(x)),
}


def normed(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()


def norm() -> nn.Module:
    return nn.LayerNorm(8, dtype=torch.float64)


def test_every_placement_is_a_class() -> None:
    assert set(get_args(Placement)) == PLACEMENTS.keys() == FORMULAS.keys()


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("skip", [1.0, 0.0, 2.0])
def test_a_block_is_its_formula(placement: Placement, skip: float) -> None:
    torch.manual_seed(1)
    x, weight = torch.randn(3, 5, 8, dtype=torch.float64), torch.randn(8, 8, dtype=torch.float64)
    block = PLACEMENTS[placement](norm, 0.0, skip, DEPTH)
    expected = FORMULAS[placement](x, skip, lambda y: (y @ weight).tanh())
    torch.testing.assert_close(block(x, lambda y: (y @ weight).tanh()), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_output_is_normed_where_it_says_so(placement: Placement) -> None:
    torch.manual_seed(1)
    x = 5 * torch.randn(3, 5, 8, dtype=torch.float64)
    output = PLACEMENTS[placement](norm, 0.0, 1.0, DEPTH)(x, torch.sin)
    assert PLACEMENTS[placement].ends_normed == torch.allclose(output, normed(output), atol=1e-3)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_dropout_never_touches_the_skip(placement: Placement) -> None:
    """At the highest rate 255 of 256 elements of the update go, and x stays."""
    torch.manual_seed(1)
    x = torch.randn(100, 8, dtype=torch.float64)
    block = PLACEMENTS[placement](lambda: nn.Identity(), 0.999, 1.0, DEPTH)
    kept = (block(x, torch.ones_like) == block.skip * x).double().mean().item()
    assert kept == pytest.approx(255 / 256, abs=0.01)


@pytest.mark.parametrize(
    ("depth", "alpha", "beta"),
    [
        (Depth(6, sublayers=2, read_by=6), 1.41794, 0.49699),  # an encoder, N = M = 6
        (Depth(6, sublayers=3), 2.05977, 0.34329),  # its decoder
        (Depth(6, sublayers=2), 1.86121, 0.37992),  # a stack of its own
        (Depth(100, sublayers=2, read_by=20), 0.81 * 2e9 ** (1 / 16), 0.87 * 2e9 ** (-1 / 16)),
    ],
)
def test_the_constants_of_deepnet(depth: Depth, alpha: float, beta: float) -> None:
    assert deepnorm(depth) == pytest.approx((alpha, beta), abs=1e-5)
