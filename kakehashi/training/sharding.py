"""Fully sharded data parallelism, by torch's FSDP2: each process holds one part of every parameter, and so of its
gradient, of the optimiser's moments and of the averages. Rajbhandari et al. 2020 (arXiv 1910.02054), stage 3 of ZeRO;
Zhao et al. 2023 (arXiv 2304.11277).

A layer's parameters are gathered just before they are used, forward and backward, and let go after it; the sums of
their gradients over all processes go to those that hold the parts. What is outside the layers (embeddings, the
projection, norms at the end) stays gathered from the forward to the end of the backward.

The parts are fp32 and gathered in the format that the model computes in: so a part is its own master (optimizers.py).
Parts are DTensors, which know the shape and the place of the whole: optimisers and averages work on them as on any
tensor, and only what is read or written as a whole asks for it here.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from kakehashi.models.stack import LayerModule
from kakehashi.tasks.protocol import Batch, Sums, Task


class Learner(nn.Module):
    """A model and its task, as one module whose forward is the loss: all that needs the parameters of the model."""

    def __init__(self, model: nn.Module, task: Task[Any, Any]) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, batch: Batch) -> Sums:
        return self.task.loss(self.model, batch)


def shard(learner: Learner, device: torch.device) -> None:
    """Leaves of each parameter this process's part, in fp32 on `device`; it computes in the format that it has.

    It may lie on the CPU: it is moved layer by layer, so that the device never holds all of it.
    """
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    (dtype,) = {parameter.dtype for parameter in learner.parameters()}
    for parameter in learner.parameters():
        parameter.data = parameter.data.float()
    policy = MixedPrecisionPolicy(dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    layers = [module for module in learner.modules() if isinstance(module, LayerModule)]
    for module in (*layers, learner):
        sharded = fully_shard(module, mesh=mesh, mp_policy=policy)
        sharded.set_gradient_divide_factor(1.0)  # sums, not means: the loss is a token's, over all processes
        sharded.set_force_sum_reduction_for_comms(True)  # gloo knows no other
        sharded.set_reduce_scatter_unused_params(True)  # an expert may have tokens in one process alone


def whole(tensor: Tensor) -> Tensor:
    """The whole of which a tensor may be this process's part. All processes must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part(tensor: Tensor, of: Tensor) -> Tensor:
    """What of a whole tensor belongs beside `of`: its part, where that is one."""
    if not isinstance(of, DTensor) or not tensor.ndim:  # a counter of steps has no parts
        return tensor
    return distribute_tensor(tensor.to(of.device), of.device_mesh, of.placements, src_data_rank=None)


def gathered(tensors: Mapping[str, Tensor], wanted: bool) -> dict[str, Tensor]:
    """The wholes where they are `wanted`, on the CPU if they were parts. All processes must ask.

    One after the other, so that no device holds more than one of them.
    """
    found = dict[str, Tensor]()
    for name, tensor in tensors.items():
        full = whole(tensor)
        if wanted:
            found[name] = full.cpu() if isinstance(tensor, DTensor) else full
    return found
