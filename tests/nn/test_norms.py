"""Norms against their formulas, written out number by number."""

import math

import pytest
import torch

from kakehashi.nn.norms import LayerNorm, NoNorm, RMSNorm


def rows() -> torch.Tensor:
    """[5, 7] in float64, away from mean 0 and variance 1."""
    return 3 + 2 * torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("epsilon", [1e-6, 0.5])
def test_rms_norm_is_its_formula(epsilon: float) -> None:
    norm, x = RMSNorm(epsilon=epsilon).build(7).double(), rows()
    gains = torch.nn.init.normal_(norm.get_parameter("weight"), generator=torch.Generator().manual_seed(2)).tolist()
    for row, found in zip(x.tolist(), norm(x).tolist(), strict=True):
        root = math.sqrt(sum(number**2 for number in row) / len(row) + epsilon)
        assert found == pytest.approx([number / root * gain for number, gain in zip(row, gains, strict=True)])


def test_layer_norm_is_its_formula() -> None:
    norm, x = LayerNorm(epsilon=0.5).build(7).double(), rows()
    for row, found in zip(x.tolist(), norm(x).tolist(), strict=True):
        mean = sum(row) / len(row)
        variance = sum((number - mean) ** 2 for number in row) / len(row)
        assert found == pytest.approx([(number - mean) / math.sqrt(variance + 0.5) for number in row])


def test_what_norms_hold_fixed() -> None:
    """Layer norm: mean 0 and variance 1, whatever shift and scale. RMS norm: a mean square of 1, whatever scale."""
    x = rows()
    layer, rms = (kind().build(7).double() for kind in (LayerNorm, RMSNorm))
    torch.testing.assert_close(layer(x).mean(-1), torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(layer(x).var(-1, correction=0), torch.ones(5, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(layer(9 * x - 5), layer(x), atol=1e-4, rtol=0)
    torch.testing.assert_close(rms(x).square().mean(-1), torch.ones(5, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(rms(9 * x), rms(x), atol=1e-5, rtol=0)
    assert (rms(x - 5) - rms(x)).abs().max() > 0.1


def test_parameters() -> None:
    sizes = [sum(p.numel() for p in kind().build(7).parameters()) for kind in (LayerNorm, RMSNorm, NoNorm)]
    assert sizes == [14, 7, 0]
    assert torch.equal(NoNorm().build(7)(rows()), rows())
