"""Many processes that train one model, as torchrun starts them; one process alone is a group of itself, at no cost.

    torchrun --nproc-per-node 2 -m kakehashi train RECIPE run=DIR

Each process learns from its part of every step, and all parts cost about the same (`Sampler.divide`); the sums of
gradients and of tokens are exchanged, and the same update follows in all. So the batch, the loss and the weights are
those of one process, to rounding. The first process (`main`) alone writes, judges and speaks. Each holds the whole
model, or a part of it (sharding.py), whose gradients are added up there and not here.

The gradients are added up in fp32, where the masters hold them, in buckets, after the last backward. torch's
DistributedDataParallel would exchange those of the bf16 model, and each piece of an accumulated step anew, to hide the
exchange behind the backward: docs/scaling.md says from where on that would pay.
"""

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.rendezvous import rendezvous

from kakehashi.errors import UserError

BUCKET = 1 << 23  # numbers that are sent at once: 32 MiB, where the bandwidth is reached and a copy is still small
# How long a process waits for another one, which may be preparing a large corpus or judging the model. One that died
# is known at once: torchrun ends the others.
PATIENCE = timedelta(hours=3)


@dataclass(frozen=True)
class Group:
    """The processes of a run, seen from one of them: number `rank` of `size`, number `local_rank` on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def main(self) -> bool:
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", self.local_rank) if torch.cuda.is_available() else torch.device("cpu")

    def seed(self, seed: int, step: int) -> None:
        """Has the processes draw different dropout.

        The main one draws on, from the state that checkpoints hold; the others draw by (seed, step, rank), so that they
        have nothing to save and their number may change.
        """
        if not self.main:
            torch.manual_seed(int(np.random.SeedSequence((seed, step, self.rank)).generate_state(1)[0]))

    def sum(self, number: float) -> float:
        """Over all processes."""
        return self._total([number])[0]

    def any(self, *flags: bool) -> list[bool]:
        """Each flag: whether it is set in any process."""
        return [total > 0 for total in self._total([float(flag) for flag in flags])]

    def wait(self) -> None:
        """Until all processes are here."""
        self._total([0.0])

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Adds up the gradients of all processes, in all of them; one that is missing here takes part as zeros."""
        if self.size == 1:
            return
        for bucket in _buckets(parameters):
            for parameter in bucket:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            gradients = [parameter.grad for parameter in bucket if parameter.grad is not None]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            _add_up(flat)
            for gradient, total in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(total.view_as(gradient))

    @contextmanager
    def main_first(self) -> Generator[None]:
        """The main process runs the block, then all others do, who find what it has left on the disk.

        Where it fails, they end quietly, for it says why.
        """
        if not self.main and self.any(False)[0]:
            raise SystemExit(0)
        try:
            yield
        except BaseException:
            if self.main:
                self.any(True)
            raise
        if self.main:
            self.any(False)

    def _total(self, numbers: Sequence[float]) -> list[float]:
        if self.size == 1:
            return list(numbers)
        totals = torch.tensor(numbers, dtype=torch.float64)
        _add_up(totals)
        return totals.tolist()


ALONE = Group()


@contextmanager
def processes() -> Generator[Group]:
    """The processes that torchrun has started, or this one alone; within another `processes()` those of that one.

    Raises UserError where a machine has fewer GPUs than processes.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    group = Group(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    if dist.is_initialized():
        yield group
        return
    gpus = torch.cuda.device_count()
    if gpus:
        if group.local_rank >= gpus:
            raise UserError(f"there are more processes than GPUs on this machine: use torchrun --nproc-per-node {gpus}")
        torch.cuda.set_device(group.local_rank)
    # single numbers go by gloo in any case: to read one from a GPU, all its work would have to be waited for
    backend, store = "cpu:gloo,cuda:nccl" if gpus else "gloo", _fresh_store(group)
    dist.init_process_group(backend, store=store, rank=group.rank, world_size=group.size, timeout=PATIENCE)
    try:
        yield group
    finally:
        dist.destroy_process_group()


def _fresh_store(group: Group) -> Store:
    """Where the processes find each other.

    torchrun keeps the place when it starts them again, and with it the addresses of those that have ended: some would
    call there (pytorch issue 135712). On one machine all know how often that was, and leave the old ones alone.
    """
    store, *_ = next(rendezvous("env://", timeout=PATIENCE))
    if os.environ["LOCAL_WORLD_SIZE"] == str(group.size):
        return PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
    return store


def _add_up(tensor: Tensor) -> None:
    """Replaces a tensor by its sum over all processes. All of them get the same bits: each part is added up once."""
    try:
        dist.all_reduce(tensor)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"another process of this run has ended, and should have said why ({reason})") from error


def _buckets(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters of together at most BUCKET numbers; a larger one by itself."""
    bucket: list[Tensor] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket
