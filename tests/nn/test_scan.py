"""The scan against a loop; its gradient; what it costs."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kakehashi.nn.scan import scan, widen
from tests.nn.mixing import close, numbers


def gates(*shape: int) -> Tensor:
    return numbers(*shape, seed=5).sigmoid()


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 13, 64, 67])
@pytest.mark.parametrize("begun", ["from zero", "from a state"])
def test_it_equals_the_loop(length: int, begun: str) -> None:
    a, b = gates(2, length, 3), numbers(2, length, 3)
    initial = numbers(2, 3, seed=7) if begun == "from a state" else None
    h = torch.zeros(2, 3, dtype=torch.float64) if initial is None else initial
    expected: list[Tensor] = []
    for t in range(length):
        h = a[:, t] * h + b[:, t]
        expected.append(h)
    close(scan(a, b, initial), torch.stack(expected, 1))


@pytest.mark.parametrize("length", [1, 2, 7])
def test_its_gradient_is_that_of_the_formula(length: int) -> None:
    inputs = gates(2, length, 3), numbers(2, length, 3), numbers(2, 3, seed=7)
    assert torch.autograd.gradcheck(scan, [x.requires_grad_() for x in inputs])


def test_gates_of_zero_and_one_are_no_danger() -> None:
    """Forms that divide by products of gates, or take their logarithms, fail here."""
    a = torch.zeros(1, 4096, 2)
    a[..., 1] = 1
    h = scan(a.requires_grad_(), torch.ones(1, 4096, 2))
    assert torch.equal(h[0, :, 0], torch.ones(4096)) and torch.equal(h[0, :, 1], torch.arange(1.0, 4097))
    h.sum().backward()
    assert a.grad is not None and a.grad.isfinite().all()


def test_it_is_at_least_fp32() -> None:
    assert [widen(torch.ones(1, dtype=d)).dtype for d in (torch.bfloat16, torch.float32, torch.float64)] == [
        torch.float32,
        torch.float32,
        torch.float64,
    ]


class Sizes(TorchDispatchMode):
    """The elements of every tensor that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.seen.append(result.numel())
        return result


def test_work_is_linear_in_the_length_and_steps_in_its_logarithm() -> None:
    sizes: dict[int, list[int]] = {}
    for length in (2048, 4096):
        a, b = gates(1, length, 2).requires_grad_(), numbers(1, length, 2).requires_grad_()
        with Sizes() as spy:
            scan(a, b).sum().backward()
        sizes[length] = spy.seen
    assert max(sizes[4096]) == 4096 * 2, "nothing is ever larger than the sequence itself"
    assert 1.9 < sum(sizes[4096]) / sum(sizes[2048]) < 2.1
    assert len(sizes[4096]) - len(sizes[2048]) < 80 and len(sizes[4096]) < 900
