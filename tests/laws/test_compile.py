"""Every variant can be compiled: torch's own tracer and autograd see in it what Python does."""

import shutil
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.laws.test_models import sources, targets
from tests.laws.zoo import VARIANTS, build

pytestmark = pytest.mark.slow


def answers(model: Any, backend: str | None = None) -> tuple[Tensor, list[Tensor]]:
    """The logits, and the gradient of each parameter."""

    def logits() -> Tensor:
        return model.decode(targets(), model.encode(*sources())).logits

    torch.compiler.reset()
    # A length that is not known when it is traced is beyond the ranges of sparse patterns: each has its own graph.
    found = (torch.compile(logits, backend=backend, dynamic=False) if backend else logits)()
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(found.square().sum(), parameters, allow_unused=True, materialize_grads=True)
    return found.detach(), list(gradients)


@pytest.mark.filterwarnings("ignore")  # torch warns of its own internals while it traces
@pytest.mark.parametrize("name", VARIANTS)
def test_traced_it_answers_the_same(name: str) -> None:
    model = build(name)
    torch.testing.assert_close(answers(model, "aot_eager"), answers(model), atol=1e-9, rtol=1e-7)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("c++") is None, reason="compiling needs a C++ compiler")
def test_compiled_it_answers_the_same() -> None:
    model = build("defaults").float()
    torch.testing.assert_close(answers(model, "inductor"), answers(model), atol=1e-4, rtol=1e-4)
