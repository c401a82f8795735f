"""The loss of two views against its formula with all logits in float64, gradients included."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kakehashi.nn import consistency
from kakehashi.nn.consistency import ViewWeights, consistent_cross_entropy
from kakehashi.nn.losses import cross_entropy
from tests.nn.largest import Largest

TOKENS, VOCABULARY, WIDTH = 21, 50, 12
SYMMETRIC = ViewWeights((0.5, 0.5), (1.25, 1.25))
ONE_SIDED = ViewWeights((1.0, 0.0), (3.0, 0.0))
UNLIKE = ViewWeights((0.7, 0.2), (0.3, 1.9))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consistency, "_CHUNK", 8)  # two whole ones and a rest


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((2, TOKENS, WIDTH), (VOCABULARY, WIDTH), (VOCABULARY,))
    hidden, projection, bias = (torch.randn(s, generator=generator).to(dtype).requires_grad_() for s in shapes)
    return hidden, projection, bias, torch.randint(VOCABULARY, (TOKENS,), generator=generator)


def reference(
    hidden: Tensor, projection: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float, weights: ViewWeights
) -> Tensor:
    logits = [
        functional.linear(h.double(), projection.double(), None if bias is None else bias.double()) for h in hidden
    ]
    log_p, log_q = (each.log_softmax(-1) for each in logits)
    divergence = (log_p.exp() * (log_p - log_q)).sum(), (log_q.exp() * (log_q - log_p)).sum()
    likelihood = (functional.cross_entropy(z, targets, label_smoothing=smoothing, reduction="sum") for z in logits)
    terms = [*zip(weights.likelihood, likelihood, strict=True), *zip(weights.divergence, divergence, strict=True)]
    return torch.stack([weight * term for weight, term in terms]).sum()


def gradients(loss: Tensor, *parameters: Tensor | None) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [p for p in parameters if p is not None]))


@pytest.mark.parametrize("with_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [SYMMETRIC, ONE_SIDED, UNLIKE], ids=["symmetric", "one-sided", "unlike"])
def test_value_and_gradients_equal_the_formula(weights: ViewWeights, smoothing: float, with_bias: bool) -> None:
    hidden, projection, bias, targets = inputs()
    parameters = hidden, projection, bias if with_bias else None
    loss, likelihood = consistent_cross_entropy(*parameters, targets, smoothing, weights)
    expected = reference(*parameters, targets, smoothing, weights)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss / 7, *parameters), gradients(expected / 7, *parameters))
    first = reference(*parameters, targets, 0, ViewWeights((1, 0), (0, 0)))
    torch.testing.assert_close(likelihood, first.detach())
    assert not likelihood.requires_grad


def test_equal_views_cost_their_cross_entropy() -> None:
    hidden, projection, bias, targets = inputs(torch.float32)
    same = hidden[:1].expand(2, -1, -1)
    loss, likelihood = consistent_cross_entropy(same, projection, bias, targets, 0.1, SYMMETRIC)
    expected, known = cross_entropy(hidden[0], projection, bias, targets, 0.1)
    torch.testing.assert_close((loss, likelihood), (expected, known))


def test_without_gradients_and_without_tokens() -> None:
    hidden, projection, bias, targets = inputs()
    with torch.no_grad():
        alone, _ = consistent_cross_entropy(hidden, projection, bias, targets, 0.1, SYMMETRIC)
    loss, _ = consistent_cross_entropy(hidden, projection, bias, targets, 0.1, SYMMETRIC)
    assert torch.equal(alone, loss) and not alone.requires_grad
    nothing, likelihood = consistent_cross_entropy(hidden[:, :0], projection, bias, targets[:0], 0.1, SYMMETRIC)
    assert nothing.item() == likelihood.item() == 0
    assert not gradients(nothing, projection)[0].any()


def test_bf16_is_close_and_its_sums_are_fp32() -> None:
    hidden, projection, bias, targets = inputs(torch.bfloat16)
    near = (hidden.detach() * torch.tensor([1.0, 1.05])[:, None, None]).bfloat16().requires_grad_()
    parameters = near, projection, bias
    loss, _ = consistent_cross_entropy(*parameters, targets, 0.1, SYMMETRIC)
    expected = reference(*parameters, targets, 0.1, SYMMETRIC)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-2)
    for found, exact in zip(gradients(loss, *parameters), gradients(expected, *parameters), strict=True):
        assert found.dtype == torch.bfloat16
        assert (found - exact).norm() < 0.03 * exact.norm()


def test_no_tensor_of_all_logits_exists() -> None:
    hidden, projection, bias, targets = inputs()
    with Largest() as ours:
        consistent_cross_entropy(hidden, projection, bias, targets, 0.1, SYMMETRIC)[0].backward()
    assert ours.elements == 2 * 8 * VOCABULARY < 2 * TOKENS * VOCABULARY
