"""The one place that computes attention: every way gives the same numbers."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kakehashi.nn import kernels


def tensors(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """q [2, 3, 5, 8], k [2, 3, 7, 8], v [2, 3, 7, 4]: key and value size differ."""
    generator = torch.Generator().manual_seed(1)
    sizes = ((5, 8), (7, 8), (7, 4))
    q, k, v = (torch.randn(2, 3, *size, generator=generator, dtype=dtype) for size in sizes)
    return q, k, v


def biases() -> dict[str, Tensor | None]:
    generator = torch.Generator().manual_seed(2)
    allowed = torch.rand(2, 1, 5, 7, generator=generator) < 0.6
    allowed[..., 0] = True
    return {
        "none": None,
        "hidden keys": kernels.hide(allowed[:, :, :1], torch.float32),
        "hidden pairs": kernels.hide(allowed, torch.float32),
        "a number a head": torch.randn(1, 3, 5, 7, generator=generator),
    }


@pytest.mark.parametrize("name", biases())
def test_the_formula_equals_torch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = tensors()
    bias = biases()[name]
    formula = kernels.attend(q, k, v, bias)
    expected = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
    torch.testing.assert_close(formula, expected, atol=1e-6, rtol=1e-6)
    monkeypatch.setattr(kernels, "_SHORT", 5 * 7 - 1)
    torch.testing.assert_close(kernels.attend(q, k, v, bias), formula, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", biases())
def test_gradients_of_both_ways_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gradients: list[tuple[Tensor, ...]] = []
    for short in (10_000, 0):
        monkeypatch.setattr(kernels, "_SHORT", short)
        q, k, v = (x.requires_grad_() for x in tensors())
        gradients.append(torch.autograd.grad(kernels.attend(q, k, v, biases()[name]).square().sum(), (q, k, v)))
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", biases())
@pytest.mark.parametrize("short", [0, 10_000], ids=["fused", "formula"])
def test_heads_that_share_keys_equal_repeated_keys(short: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Query head h looks at the keys of group h // 3: in the output and in the gradients."""
    monkeypatch.setattr(kernels, "_SHORT", short)
    (q, k, v), bias = tensors(torch.float64), biases()[name]
    q, k, v = (
        x.requires_grad_() for x in (q.repeat(1, 2, 1, 1) + torch.arange(6.0)[:, None, None], k[:, :2], v[:, :2])
    )
    if bias is not None:
        bias = bias.double().repeat(1, 6 // 3 if bias.shape[1] == 3 else 1, 1, 1)
    found = kernels.attend(q, k, v, bias)
    expected = kernels.attend(q, k.repeat_interleave(3, 1), v.repeat_interleave(3, 1), bias)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    gradients = [torch.autograd.grad(y.square().sum(), (q, k, v)) for y in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-11, rtol=0)


@pytest.mark.parametrize("name", biases())
def test_hidden_keys_that_fill_a_vector_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[Tensor, ...]] = []
    for many in (1, 10_000):
        monkeypatch.setattr(kernels, "_MANY", many)
        q, k, v = (x.requires_grad_() for x in tensors(torch.float64))
        bias = biases()[name]
        mixed = kernels.attend(q, k, v, None if bias is None else bias.double())
        found.append((mixed, *torch.autograd.grad(mixed.square().sum(), (q, k, v))))
    torch.testing.assert_close(*found, atol=1e-12, rtol=0)


def test_a_query_that_sees_nothing_is_no_nan() -> None:
    q, k, v = (x[:1].expand(200, -1, -1, -1) for x in tensors())
    mixed = kernels.attend(q, k, v, kernels.hide(torch.zeros(5, 7, dtype=torch.bool), torch.float32))
    assert q.shape[:3].numel() > kernels._MANY and mixed.isfinite().all()


@pytest.mark.parametrize("keys", [7, kernels._NARROW + 1])
def test_bf16_is_close(keys: int) -> None:
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(40, 4, n, 8, generator=generator) for n in (9, keys, keys))
    narrow, wide = kernels.attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), None), kernels.attend(q, k, v, None)
    assert narrow.dtype == torch.bfloat16
    assert (narrow.float() - wide).norm() < 0.02 * wide.norm()


def test_pieces_may_overlap() -> None:
    x = torch.randn(2, 3, 9, 4, dtype=torch.float64, requires_grad=True)
    indices = [slice(0, 5), torch.tensor([0, 4, 8]), slice(3, 9), torch.tensor([7])]
    found, expected = kernels.pieces(x, indices), [x[:, :, index] for index in indices]
    torch.testing.assert_close(list(found), expected, atol=0, rtol=0)
    one, other = (
        torch.autograd.grad(torch.cat([i * y.sin() for i, y in enumerate(pieces)], 2).sum(), x)
        for pieces in (found, expected)
    )
    torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    assert kernels.pieces(x, [slice(0, 9)])[0] is x


def test_long_sequences_never_hold_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise AssertionError("the formula, at a length that it is not for")

    monkeypatch.setattr(kernels, "weights", refuse)
    q = torch.zeros(1, 1, 513, 2)
    assert kernels.attend(q, q, q, None).shape == q.shape
    with pytest.raises(AssertionError, match="the formula"):
        kernels.attend(q[:, :, :512], q[:, :, :512], q[:, :, :512], None)


def test_weights_are_a_distribution_over_the_keys_that_are_not_hidden() -> None:
    q, k, _ = tensors()
    bias = biases()["hidden pairs"]
    assert bias is not None
    found = kernels.weights(q, k, bias)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 3, 5))
    assert torch.equal(found == 0, bias.expand(2, 3, 5, 7) < -1e30)


def test_the_bias_is_left_alone() -> None:
    q, k, v = tensors()
    bias = biases()["a number a head"]
    assert bias is not None
    before = bias.clone()
    kernels.attend(q, k, v, bias)
    assert torch.equal(bias, before)


def test_hide() -> None:
    found = kernels.hide(torch.tensor([[True, False]]), torch.bfloat16)
    assert found.tolist() == [[0.0, torch.finfo(torch.bfloat16).min]] and found.dtype == torch.bfloat16
