"""Scores. (Both against their formulas, inside attention: test_attention.py.)"""

import pytest
import torch
from torch import Tensor

from kakehashi.nn import scores
from kakehashi.nn.scores import Additive, AdditiveScore


def additive(heads: int, size: int) -> AdditiveScore:
    score = Additive().build(heads, size).double()
    assert isinstance(score, AdditiveScore)
    score.initialise(torch.Generator().manual_seed(1))
    return score


def tensors() -> tuple[Tensor, Tensor, Tensor]:
    """q [2, 4, 5, 3], k [2, 2, 7, 3] of two groups, bias [2, 1, 5, 7]."""
    generator = torch.Generator().manual_seed(2)
    q, k, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((2, 4, 5, 3), (2, 2, 7, 3), (2, 1, 5, 7))
    )
    return q.requires_grad_(), k.requires_grad_(), bias


@pytest.mark.parametrize("block", [1, 2 * 4 * 3 * 2, 2 * 4 * 3 * 7, 2 * 4 * 3 * 15])
def test_additive_scores_in_blocks_equal_the_whole(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair at a time, two, a whole row of keys, two rows: the same numbers and gradients."""
    score, (q, k, bias) = additive(4, 3), tensors()
    inner = (q[:, :, :, None] + k.repeat_interleave(2, 1)[:, :, None]).tanh()
    expected = (torch.einsum("bhqkc,hc->bhqk", inner, score.vector) + bias).softmax(-1)
    monkeypatch.setattr(scores, "_BLOCK", block)
    found = score.weights(q, k, bias)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    one, other = (torch.autograd.grad(y.square().sum(), (q, k, score.vector)) for y in (found, expected))
    torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_the_vector_starts_within_glorots_bound() -> None:
    vector = additive(8, 600).vector.detach()
    bound = (6 / 601) ** 0.5
    assert 0.99 * bound < float(vector.abs().max()) <= bound
    assert float(vector.mean()) == pytest.approx(0, abs=0.05 * bound)
    assert torch.equal(vector, additive(8, 600).vector)
