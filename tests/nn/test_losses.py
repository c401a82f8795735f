"""Chunked cross-entropy against torch's, which holds all logits."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kakehashi.nn import losses
from kakehashi.nn.losses import cross_entropy
from tests.nn.largest import Largest

TOKENS, VOCABULARY, WIDTH = 37, 50, 12


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_CHUNK", 8)  # four whole ones and a rest


def inputs(*, bias: bool = False, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(TOKENS, WIDTH, generator=generator).to(dtype).requires_grad_()
    projection = torch.randn(VOCABULARY, WIDTH, generator=generator).to(dtype).requires_grad_()
    extra = torch.randn(VOCABULARY, generator=generator).to(dtype).requires_grad_()
    return hidden, projection, extra if bias else None, torch.randint(VOCABULARY, (TOKENS,), generator=generator)


def reference(hidden: Tensor, projection: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float) -> Tensor:
    logits = functional.linear(hidden.double(), projection.double(), None if bias is None else bias.double())
    return functional.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")


def gradients(loss: Tensor, *parameters: Tensor | None) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [p for p in parameters if p is not None]))


@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_value_and_gradients_equal_torch(smoothing: float, bias: bool) -> None:
    hidden, projection, extra, targets = inputs(bias=bias)
    loss, likelihood = cross_entropy(hidden, projection, extra, targets, smoothing)
    expected = reference(hidden, projection, extra, targets, smoothing)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert likelihood.item() == pytest.approx(reference(hidden, projection, extra, targets, 0).item(), rel=1e-5)
    found = gradients(loss / TOKENS, hidden, projection, extra)
    torch.testing.assert_close(
        found, gradients(expected / TOKENS, hidden, projection, extra), atol=1e-5, rtol=1e-5, check_dtype=False
    )


def test_the_gradient_is_the_slope() -> None:
    """By central differences, with no formula of anyone's; float64 is summed in fp32, hence the wide step."""
    hidden, projection, extra, targets = inputs(bias=True, dtype=torch.float64)
    assert extra is not None
    whole = (hidden, projection, extra)
    found = gradients(cross_entropy(*whole, targets, 0.1)[0], *whole)
    for i, (parameter, gradient) in enumerate(zip(whole, found, strict=True)):
        direction = torch.randn_like(parameter, generator=torch.Generator().manual_seed(i))
        ends: list[float] = []
        with torch.no_grad():
            for side in (1e-2, -1e-2):
                a, b, c = (p + side * direction if j == i else p for j, p in enumerate(whole))
                ends.append(cross_entropy(a, b, c, targets, 0.1)[0].item())
        assert (gradient * direction).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=2e-3)


def test_without_gradients_the_value_is_the_same() -> None:
    hidden, projection, extra, targets = inputs(bias=True)
    loss, likelihood = cross_entropy(hidden, projection, extra, targets, 0.1)
    with torch.no_grad():
        same = cross_entropy(hidden, projection, extra, targets, 0.1)
    assert (loss.item(), likelihood.item()) == (same[0].item(), same[1].item())
    assert not same[0].requires_grad and loss.requires_grad and not likelihood.requires_grad


def test_the_size_of_a_chunk_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[list[Tensor]] = []
    for chunk in (1, TOKENS, 1000):
        monkeypatch.setattr(losses, "_CHUNK", chunk)
        hidden, projection, extra, targets = inputs(bias=True)
        loss, likelihood = cross_entropy(hidden, projection, extra, targets, 0.1)
        results.append([loss.detach(), likelihood, *gradients(loss, hidden, projection, extra)])
    torch.testing.assert_close(results[0], results[1], atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(results[1], results[2], atol=0, rtol=0)


def test_gradients_of_pieces_add_up() -> None:
    """As in accumulation: the upstream gradient of each piece counts, and so does a second use of the projection."""
    hidden, projection, _, targets = inputs()
    cross_entropy(hidden, projection, None, targets, 0.1)[0].mul(0.5).backward()
    (0.5 * cross_entropy(hidden, projection, None, targets, 0.1)[0] + projection.sum()).backward()
    expected = gradients(reference(hidden, projection, None, targets, 0.1) + projection.sum(), hidden, projection)
    torch.testing.assert_close([hidden.grad, projection.grad], expected, atol=1e-4, rtol=1e-4, check_dtype=False)


def test_bf16_is_close() -> None:
    narrow = inputs(bias=True, dtype=torch.bfloat16)
    loss, _ = cross_entropy(*narrow, 0.1)
    expected = reference(*narrow, 0.1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-2)
    for found, exact in zip(gradients(loss, *narrow[:3]), gradients(expected, *narrow[:3]), strict=True):
        assert found.dtype == torch.bfloat16
        assert (found - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("scale", [1e-3, 300.0], ids=["flat", "peaked"])
def test_extreme_logits(scale: float) -> None:
    hidden, projection, _, targets = inputs()
    wide = (hidden * scale).detach().requires_grad_()
    loss, _ = cross_entropy(wide, projection, None, targets, 0.1)
    expected = reference(wide, projection, None, targets, 0.1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(
        gradients(loss, wide), gradients(expected, wide), atol=1e-3, rtol=1e-4, check_dtype=False
    )


def test_a_hopeless_token_is_no_infinity_in_bf16() -> None:
    hidden, projection, _, targets = inputs(dtype=torch.bfloat16)
    wide = hidden * 300
    loss, likelihood = cross_entropy(wide, projection, None, targets, 0.1)
    assert likelihood.item() / TOKENS > -math.log(losses._TINY)
    assert loss.item() == pytest.approx(reference(wide, projection, None, targets, 0.1).item(), rel=1e-2)


def test_no_token_at_all() -> None:
    hidden, projection, _, targets = inputs()
    loss, likelihood = cross_entropy(hidden[:0], projection, None, targets[:0], 0.1)
    assert loss.item() == likelihood.item() == 0
    assert torch.equal(gradients(loss, projection)[0], torch.zeros_like(projection))


def test_no_tensor_of_all_logits_exists() -> None:
    hidden, projection, extra, targets = inputs(bias=True)
    with Largest() as ours:
        cross_entropy(hidden, projection, extra, targets, 0.1)[0].backward()
    with Largest() as theirs:
        reference(hidden, projection, extra, targets, 0.1).backward()
    assert theirs.elements == TOKENS * VOCABULARY
    assert ours.elements == VOCABULARY * WIDTH  # the projection's gradient; a chunk has 8 * VOCABULARY
