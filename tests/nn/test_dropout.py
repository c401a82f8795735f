"""Dropout: the rate, the expectation, the gradient, and the same numbers from the same seed."""

import pytest
import torch

from kakehashi.nn.dropout import Dropout

RATES = [0.1, 0.25, 0.3, 0.5, 0.9]


@pytest.mark.parametrize("rate", RATES)
def test_rate_and_expectation(rate: float) -> None:
    torch.manual_seed(1)
    count = 400_000
    y = Dropout(rate)(torch.ones(count))
    share = round(rate * 256) / 256  # what a byte can express
    assert abs(share - rate) <= 1 / 512
    assert (y == 0).float().mean().item() == pytest.approx(share, abs=4 * (share * (1 - share) / count) ** 0.5)
    assert y.unique().tolist() == pytest.approx([0.0, 1 / (1 - share)], rel=1e-6)
    assert y.mean().item() == pytest.approx(1, abs=4 * (share / (1 - share) / count) ** 0.5)


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (3, 5, 11)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    x = torch.rand(shape) + 1
    y = Dropout(0.5)(x)
    assert y.shape == x.shape
    assert torch.all((y == 0) | (y == 2 * x))


def test_neighbours_are_independent() -> None:
    """The bytes of one random word must not repeat each other."""
    torch.manual_seed(1)
    words = (Dropout(0.5)(torch.ones(80_000)) > 0).float().view(-1, 8)
    assert (torch.corrcoef(words.T) - torch.eye(8)).abs().max() < 0.05
    assert torch.corrcoef(torch.stack([words[:-1].flatten(), words[1:].flatten()]))[0, 1].abs() < 0.02


def test_the_seed_decides() -> None:
    dropout, x = Dropout(0.3), torch.ones(1000)
    draws = [(torch.manual_seed(seed), dropout(x), dropout(x))[1:] for seed in (1, 1, 2)]
    assert torch.equal(draws[0][0], draws[1][0]) and torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[0][1])
    assert not torch.equal(draws[0][0], draws[2][0])


def test_the_gradient_has_the_mask_of_the_output() -> None:
    torch.manual_seed(1)
    x = torch.rand(50, 9).T.requires_grad_()  # not contiguous
    y = Dropout(0.4)(x)
    upstream = torch.rand_like(y)
    (gradient,) = torch.autograd.grad(y, x, upstream)
    torch.testing.assert_close(gradient, upstream * y.detach() / x.detach())


def test_evaluation_and_rate_zero_are_the_identity() -> None:
    x = torch.rand(5)
    before = torch.get_rng_state()
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_type_stays(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    y = Dropout(0.1)(torch.ones(1000, dtype=dtype))
    assert y.dtype == dtype
    assert y.max().item() == pytest.approx(256 / 230, rel=5e-3)


def test_a_rate_just_below_one() -> None:
    torch.manual_seed(1)
    y = Dropout(0.999)(torch.ones(100_000))
    assert y.isfinite().all() and y.mean().item() == pytest.approx(1, abs=0.2)
