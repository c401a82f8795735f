"""Every variant can be trained in parts (training/sharding.py): what FSDP does around each layer changes nothing.

One process is enough for that: it holds the only part.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from kakehashi.tasks.protocol import Sums
from kakehashi.training.sharding import Learner, shard, whole
from tests.laws.test_models import sources, targets
from tests.laws.zoo import VARIANTS, build

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    place = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=place.as_uri(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def loss(model: Any, batch: Any) -> Sums:
    output = model.decode(targets(), model.encode(*sources()))
    total = output.logits.square().sum() + sum(output.losses.values())
    return Sums(total, total.detach(), 1)


def gradients(learner: Learner) -> dict[str, Tensor]:
    learner(cast(Any, None)).loss.backward()
    return {name: whole(p.grad).clone() for name, p in learner.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", VARIANTS)
def test_in_parts_it_has_the_same_gradients(name: str) -> None:
    if VARIANTS[name].embeddings.pad == "frozen":
        pytest.skip("refused by the recipe: what freezes it is a hook on the whole gradient")
    task: Any = SimpleNamespace(loss=loss)
    expected = gradients(Learner(build(name).float(), task))
    size = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
    learner = Learner(build(name).float(), task)
    shard(learner, torch.device("cpu"))
    for found in (gradients(learner), {n: g / 2 for n, g in gradients(learner).items()}):  # the second time they add up
        for parameter, gradient in found.items():
            other = expected.get(parameter, torch.zeros_like(gradient))  # what nobody used has zeros here
            assert (gradient - other).norm() < 1e-5 * max(other.norm(), 0.01 * size), parameter
        assert expected.keys() <= found.keys()
