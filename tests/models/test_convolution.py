"""Windows against torch's convolutions."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kakehashi.models.convolution import Window


def convolved(x_RLD: Tensor, weight_OW: Tensor, window: Window) -> Tensor:
    """torch's convolution with the weights of a matrix on windows."""
    weight_OKD = weight_OW.unflatten(1, (window.kernel, -1))
    reach = (window.kernel - 1) * window.dilation
    before = reach if window.mode == "causal" else (window.kernel - 1) // 2 * window.dilation
    padded = functional.pad(x_RLD.transpose(1, 2), (before, reach - before))
    return functional.conv1d(padded, weight_OKD.transpose(1, 2), dilation=window.dilation).transpose(1, 2)


@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 3), (3, 1), (3, 2), (5, 1)])
def test_a_matrix_on_windows_is_a_convolution(mode: str, kernel: int, dilation: int) -> None:
    torch.manual_seed(1)
    window = Window(kernel, dilation, "causal" if mode == "causal" else "bidirectional", "")
    x, weight = torch.randn(2, 7, 3, dtype=torch.float64), torch.randn(4, kernel * 3, dtype=torch.float64)
    torch.testing.assert_close(window.read(x) @ weight.T, convolved(x, weight, window), atol=1e-12, rtol=0)


def test_padding_is_zero() -> None:
    x, mask = torch.randn(2, 4, 3), torch.tensor([[True] * 4, [True, True, False, False]])
    window = Window(3, 1, "bidirectional", "")
    assert torch.equal(window.read(x, mask), window.read(x * mask[..., None]))
