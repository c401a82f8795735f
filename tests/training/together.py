"""Processes that train one model, forked from a test, and what they are compared by."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from kakehashi.data.batching import Indices
from kakehashi.training.loop import Interrupted, Trainer
from kakehashi.training.parallel import Group, processes
from kakehashi.training.sharding import whole

from .conftest import log_of

EXACT = ("model.dropout=0", "training.steps=10", "training.validation.every=5")
Work = Callable[[Group], None]


def as_rank(rank: int, size: int, port: int, work: Work) -> None:
    """What torchrun tells a process."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {name: str(value) for name, value in names.items()} | place
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_RESTART_COUNT": "0"}
    with processes() as group:
        work(group)


def together(work: Work, size: int = 2) -> list[int | None]:
    """Runs `work` in so many forked processes; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=as_rank, args=(rank, size, port, work)) for rank in range(size)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=120)
        child.kill()
    return [child.exitcode for child in children]


def losses(run: Path) -> list[float]:
    """All that was logged of the losses, and of the gradients' norms."""
    lines = log_of(run, "train", "validation")
    return [line[name] for line in lines for name in ("loss", "gradient_norm") if name in line]


def gradients_of(trainer: Trainer, indices: Indices) -> dict[str, Tensor]:
    """Those of one step, as they are clipped."""
    found: dict[str, Tensor] = {}
    clip = trainer.masters.clip

    def watched(max_norm: float) -> float:
        found.update({n: whole(m.grad).clone() for n, m in trainer.masters._masters.items() if m.grad is not None})
        return clip(max_norm)

    trainer.masters.clip = watched
    trainer._take_step(indices)
    return found


def stop_at(trainer: Trainer, step: int, asked: bool) -> None:
    """Runs until the user interrupts at `step`: this process, or another."""
    take = trainer._take_step

    def watched(indices: Indices, following: Indices | None = None) -> None:
        if asked and trainer.progress.step == step:
            trainer.stop()
        take(indices, following)

    trainer._take_step = watched
    with pytest.raises(Interrupted):
        trainer.run()
