"""Kernels against torch and against their formulas; without a compiler there is nothing to test."""

import pytest
import torch

from kakehashi.decoding import scores
from kakehashi.native import kernels
from kakehashi.native.library import library

pytestmark = pytest.mark.skipif(library() is None, reason="there are no kernels here")


@pytest.mark.parametrize("rows", [1, 11, 12, 13, 30])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 1), (48, 32), (64, 77), (4096, 96)])
def test_a_layer_is_exact_on_what_it_rounds(rows: int, inputs: int, outputs: int) -> None:
    torch.manual_seed(rows)
    weight, bias, x = torch.randn(outputs, inputs), torch.randn(outputs), torch.randn(rows, inputs) * 100
    x[-1] = 0.0
    found = kernels.Linear(weight, bias)(x)
    (whole_x, scale_x), (whole_w, scale_w) = kernels.rounded(x), kernels.rounded(weight)
    expected = (whole_x.double() @ whole_w.double().T) * scale_x * scale_w.T + bias
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-5)
    assert torch.equal(kernels.Linear(weight, bias)(x[:1])[0], found[0])


@pytest.mark.parametrize("amiss", [torch.nan, torch.inf])
def test_a_layer_hides_no_damage(amiss: float) -> None:
    x = torch.ones(2, 32)
    x[1, 20] = amiss
    found = kernels.Linear(torch.ones(3, 32), None)(x)
    assert found[0].isfinite().all() and not found[1].isfinite().any()


@pytest.mark.parametrize("size", [1, 15, 16, 1000])
def test_the_normaliser_is_torchs(size: int) -> None:
    torch.manual_seed(size)
    x = torch.randn(5, size) * 30
    x[1] -= 1000
    x[2, 0] = 500.0
    torch.testing.assert_close(kernels.log_sum_exp(x), x.double().logsumexp(1).float(), atol=1e-5, rtol=1e-6)
    x[3, -1], x[4, 0] = torch.nan, torch.inf
    assert not kernels.log_sum_exp(x)[3:].isfinite().any()


@pytest.mark.parametrize(("fanout", "size", "count"), [(1, 3, 1), (1, 8, 10), (5, 200, 10), (3, 64, 6)])
def test_the_best_are_torchs(fanout: int, size: int, count: int) -> None:
    torch.manual_seed(size)
    logits, totals = torch.randn(4 * fanout, size), torch.randn(4 * fanout)
    logits[:, 1] = -torch.inf
    normalizers = logits.logsumexp(1)
    found = kernels.best(logits, normalizers, totals, 4, count)
    expected = scores.best_in_torch(logits, normalizers, totals, 4, count)
    real = expected[3] > -torch.inf
    assert torch.equal(found[3] > -torch.inf, real)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours[real], theirs[real])


def test_equal_candidates_come_in_order() -> None:
    parents, tokens, _, totals = kernels.best(torch.zeros(4, 70), torch.zeros(4), torch.zeros(4), 2, 3)
    assert totals.tolist() == [[0.0] * 3] * 2
    assert tokens.tolist() == [[0, 1, 2]] * 2 and parents.tolist() == [[0, 0, 0]] * 2


def test_the_default_dtype_changes_nothing() -> None:
    torch.manual_seed(1)
    x, linear = torch.randn(4, 80), kernels.Linear(torch.randn(5, 80), None)
    normalizers, totals = kernels.log_sum_exp(x), torch.randn(4)
    expected = [normalizers, linear(x), *kernels.best(x, normalizers, totals, 2, 3)]
    torch.set_default_dtype(torch.float64)
    try:
        again = kernels.Linear(torch.randn(5, 80), None)
        found = [kernels.log_sum_exp(x), linear(x.double()), *kernels.best(x, normalizers, totals.double(), 2, 3)]
    finally:
        torch.set_default_dtype(torch.float32)
    assert again.bias_N.dtype == torch.float32
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
