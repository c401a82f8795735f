"""Linear and average attention against the squares that they avoid; what they cost."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kakehashi.nn.mixers import linear_attention
from kakehashi.nn.mixers.linear_attention import AverageAttention, LinearAttention, phi
from kakehashi.nn.positions import Mode
from tests.nn.mixing import HEADS, WIDTH, build, close, in_steps, masked, numbers, started, whole


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_attention, "_BLOCK", 4)


def by_square(module: nn.Module, x: Tensor, allowed: Tensor) -> Tensor:
    """phi(Q) phi(K)^T, hidden where not allowed [R, L, L], each row over its sum."""
    q, k, v = (
        module.get_submodule(name)(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for name in ("query", "key", "value")
    )
    scores = ((nn.functional.elu(q) + 1) @ (nn.functional.elu(k) + 1).mT) * allowed[:, None]
    mixed = scores / scores.sum(-1, keepdim=True) @ v
    return module.get_submodule("output")(mixed.transpose(1, 2).flatten(2))


@torch.no_grad()
def test_a_bidirectional_one_equals_its_square() -> None:
    module, x = build(LinearAttention(), "bidirectional"), numbers(2, 7, WIDTH)
    context = masked(x, [7, 4])
    assert context.mask is not None
    close(module(x, context), by_square(module, x, context.mask[:, None].expand(2, 7, 7)))
    close(module(x, whole(x)), by_square(module, x, torch.ones(2, 7, 7)))


@pytest.mark.parametrize("length", [3, 4, 11])
@pytest.mark.usefixtures("_small_blocks")
@torch.no_grad()
def test_a_causal_one_equals_its_square(length: int) -> None:
    module, x = build(LinearAttention(), "causal"), numbers(2, length, WIDTH)
    expected = by_square(module, x, torch.ones(2, length, length).tril())
    close(module(x, whole(x)), expected)
    close(in_steps(module, x, [2, length - 2])[0], expected)


def test_phi_is_elu_plus_one_and_above_zero() -> None:
    x = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0], requires_grad=True)
    assert torch.allclose(phi(x), nn.functional.elu(x) + 1)
    (slope,) = torch.autograd.grad(phi(x).sum(), x)
    assert torch.allclose(slope, torch.tensor([-3.0, -0.5, 0.0, 0.0, 0.0]).exp())
    assert phi(torch.tensor(-50.0)) > 0


def test_a_row_without_tokens_is_a_number() -> None:
    module, x = build(LinearAttention(), "bidirectional"), numbers(2, 3, WIDTH).requires_grad_()
    y = module(x, masked(x, [3, 0]))
    y.sum().backward()
    assert x.grad is not None and y.isfinite().all() and x.grad.isfinite().all()


def test_heads_share_out_the_width() -> None:
    with pytest.raises(ValueError, match="12 is not a multiple of heads 5"):
        LinearAttention().build(12, 5, "causal", "m")


@pytest.mark.parametrize("mode", ["bidirectional", "causal"])
def test_operations_and_scores_are_linear_in_the_length(mode: Mode) -> None:
    module, counts = started(LinearAttention(), mode), list[int]()
    largest = 0

    def watch(tensor: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    for length in (512, 1024, 1536):
        x = numbers(1, length, WIDTH).float()
        with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(watch, lambda t: t):
            module(x, whole(x)).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[2] - counts[1] == counts[1] - counts[0]
    assert largest < 1536 * 1536 / 10


@torch.no_grad()
def test_average_attention_equals_the_triangular_form() -> None:
    """Zhang et al. 2018, section 3.2: the averages are a triangular matrix, rows 1/j, times the sequence."""
    module, x = build(AverageAttention(size=5), "causal"), numbers(2, 7, WIDTH)
    triangle = torch.ones(7, 7, dtype=torch.float64).tril() / torch.arange(1, 8)[:, None]
    g = module.outer(module.inner(triangle @ x).relu())
    both = (torch.cat((x, g), -1) @ module.gates.weight.T + module.gates.bias).sigmoid()
    expected = both[..., :WIDTH] * x + both[..., WIDTH:] * g
    close(module(x, whole(x)), expected)
    close(in_steps(module, x, [1, 4, 2])[0], expected)
