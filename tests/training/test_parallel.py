"""Many processes: the losses, gradients and weights of one; who stops, fails or is killed takes none with them."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kakehashi.config import dump
from kakehashi.errors import UserError
from kakehashi.tasks.protocol import Sums
from kakehashi.training import loop, parallel
from kakehashi.training.parallel import ALONE, Group, processes

from .conftest import Workshop, assert_same_run, log_of, newest
from .together import EXACT, gradients_of, losses, stop_at, together

# Forked children hold no thread of ours that matters; Python warns of any.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(autouse=True)
def frequent_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)


def test_one_process_is_a_group_of_itself() -> None:
    with processes() as group, processes() as inner:
        assert group == inner == ALONE and group.main
    before = torch.get_rng_state()
    group.seed(1, 2)
    assert torch.equal(torch.get_rng_state(), before), "it draws on from the state that checkpoints hold"
    assert (group.sum(3), group.any(True, False)) == (3, [True, False])


@pytest.mark.parametrize("size", [2, 3])
def test_many_processes_have_the_losses_of_one(size: int, prepared: Workshop, tmp_path: Path) -> None:
    recipe = prepared.recipe(*EXACT, "training.averaging={kind: ema, decay: 0.9}")
    pieces = prepared.recipe(*EXACT, "training.averaging={kind: ema, decay: 0.9}", "training.batch.accumulate=2")
    prepared.trainer(recipe, tmp_path / "one").run()

    def work(group: Group) -> None:
        trainer = prepared.trainer(pieces, tmp_path / "many", group=group)
        trainer.run()
        save_file(trainer.masters.weights(), tmp_path / f"{group.rank}.safetensors")

    assert together(work, size) == [0] * size
    assert losses(tmp_path / "many") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    assert log_of(tmp_path / "many", "train")[-1]["tokens"] == log_of(tmp_path / "one", "train")[-1]["tokens"]
    weights = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(size)]
    for other in weights[1:]:
        assert all(torch.equal(other[name], weight) for name, weight in weights[0].items()), "they drift apart"


@pytest.mark.parametrize("rows", [64, 1])
def test_the_gradients_are_those_of_one_process(
    rows: int, prepared: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one row the second process has none, and in small buckets too."""
    monkeypatch.setattr(parallel, "BUCKET", 2000)
    recipe = prepared.recipe(*EXACT)
    alone = prepared.trainer(recipe, tmp_path / "one")
    indices = alone.sampler.plan(0)[0][:rows]

    def work(group: Group) -> None:
        found = gradients_of(prepared.trainer(recipe, tmp_path / "many", group=group), indices)
        save_file(found, tmp_path / f"{group.rank}.safetensors")

    assert together(work) == [0, 0]
    one, first, second = gradients_of(alone, indices), *(load_file(tmp_path / f"{r}.safetensors") for r in (0, 1))
    assert one.keys() == first.keys() == second.keys() != set()
    size = torch.stack([gradient.norm() for gradient in one.values()]).norm()
    for name, gradient in one.items():
        assert torch.equal(first[name], second[name]), name
        assert (first[name] - gradient).norm() < 1e-5 * max(gradient.norm(), 0.01 * size), name


def test_the_number_of_processes_may_change(prepared: Workshop, tmp_path: Path) -> None:
    """One of two is asked to stop at step 3, the run goes on alone until step 6, and by two to its end."""
    recipe = prepared.recipe(*EXACT)
    prepared.trainer(recipe, tmp_path / "one").run()

    def begin(group: Group) -> None:
        trainer = prepared.trainer(recipe, tmp_path / "many", group=group)
        stop_at(trainer, 3, group.rank == 1)

    def end(group: Group) -> None:
        prepared.trainer(recipe, tmp_path / "many", resume=True, group=group).run()

    assert together(begin) == [0, 0]
    assert newest(tmp_path / "many").name == "checkpoint-00000003"
    stop_at(prepared.trainer(recipe, tmp_path / "many", resume=True), 6, True)
    assert newest(tmp_path / "many").name == "checkpoint-00000006"
    assert together(end) == [0, 0]
    assert losses(tmp_path / "many") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.averaging=ema"],
        ["training.averaging={kind: last, count: 2}", "training.data_parallel=shard"],
    ],
    ids=["replicate", "shard"],
)
def test_stopped_and_resumed_by_as_many_gives_the_same_bits(
    overrides: list[str], prepared: Workshop, tmp_path: Path
) -> None:
    recipe = prepared.recipe("training.precision=bf16", *overrides, "training.steps=8")

    def work(group: Group) -> None:
        prepared.trainer(recipe, tmp_path / "whole", group=group).run()
        stop_at(prepared.trainer(recipe, tmp_path / "parts", group=group), 5, group.main)
        torch.manual_seed(99)
        prepared.trainer(recipe, tmp_path / "parts", resume=True, group=group).run()

    assert together(work) == [0, 0]
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_gradient_that_is_not_finite_in_one_process_is_skipped_by_all(prepared: Workshop, tmp_path: Path) -> None:
    recipe = prepared.recipe("training.steps=4")

    def work(group: Group) -> None:
        trainer = prepared.trainer(recipe, tmp_path / "run", group=group)
        loss = trainer.task.loss

        def spoilt(model: Any, batch: Any) -> Sums:
            sums = loss(model, batch)
            bad = group.rank == 1 and trainer.progress.step == 2 and model.training
            return Sums(sums.loss * math.nan, sums.likelihood, sums.tokens) if bad else sums

        trainer.task.loss = spoilt
        progress = trainer.run()
        assert (progress.taken, progress.skipped) == (3, 1)

    assert together(work) == [0, 0]
    assert log_of(tmp_path / "run", "train")[-1]["skipped"] == 1


def test_an_early_stop_is_one_for_all(prepared: Workshop, tmp_path: Path) -> None:
    recipe = prepared.recipe("training.steps=9", "training.validation={every: 1, metric: loss, patience: 2}")

    def work(group: Group) -> None:
        trainer = prepared.trainer(recipe, tmp_path / "run", group=group)
        trainer.task.evaluate = lambda model, device: {"loss": 1.0}
        progress = trainer.run()
        assert (progress.step, progress.early) == (3, True)

    assert together(work) == [0, 0]


def test_processes_draw_different_dropout_by_step_alone(tmp_path: Path) -> None:
    def draws(rank: int, step: int) -> list[float]:
        torch.manual_seed(7)
        Group(rank, 3).seed(1, step)
        return torch.rand(4).tolist()

    assert draws(1, 5) == draws(1, 5)
    assert len({tuple(draws(rank, step)) for rank in (1, 2) for step in (5, 6)} | {tuple(draws(0, 5))}) == 5


def test_the_main_process_prepares_and_the_others_find_it(tmp_path: Path) -> None:
    def work(group: Group) -> None:
        with group.main_first():
            if group.main:
                (tmp_path / "prepared").write_text("")
            assert (tmp_path / "prepared").exists()

    assert together(work, 3) == [0, 0, 0]


def test_where_the_main_process_fails_the_others_end_quietly(tmp_path: Path) -> None:
    def work(group: Group) -> None:
        with group.main_first():
            if group.main:
                raise SystemExit(2)
            (tmp_path / "begun").write_text("")

    assert together(work, 3) == [2, 0, 0]
    assert not (tmp_path / "begun").exists()


def test_a_process_that_is_killed_leaves_no_other_waiting() -> None:
    def work(group: Group) -> None:
        group.wait()
        if not group.main:
            os.kill(os.getpid(), signal.SIGKILL)
        with pytest.raises(UserError, match="another process of this run has ended"):
            group.sum(1)

    assert together(work) == [0, -signal.SIGKILL]


def test_processes_that_are_started_again_do_not_see_where_the_old_ones_were(monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    stores: list[Any] = []
    for count in ("0", "1"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
        stores.append(parallel._fresh_store(Group()))
        monkeypatch.setenv("MASTER_PORT", str(stores[0].underlying_store.port))
    stores[0].set("address", "old")
    assert stores[0].check(["address"]) and not stores[1].check(["address"])
    assert stores[1].underlying_store.check(["0/address"]), "both are in one place"


# The command under torchrun

KILLED = """
import os, signal, sys
from pathlib import Path
from kakehashi import cli
from kakehashi.training import loop
loop.LOG_EVERY = 1
number, once = getattr(signal, sys.argv.pop()), Path(sys.argv.pop())
take = loop.Trainer._take_step
def killed(trainer, *indices):
    if trainer.progress.step == 7 and trainer.group.rank == 1 and not once.exists():
        once.touch()
        os.kill(os.getppid() if number == signal.SIGTERM else os.getpid(), number)
    take(trainer, *indices)
loop.Trainer._take_step = killed
cli.main()
"""


def torchrun(workshop: Workshop, directory: Path, restarts: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = directory / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [f"--max-restarts={restarts}", str(script), *arguments]
    environment = os.environ | {"KAKEHASHI_CACHE": str(workshop.cache), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["replicate", "shard"])
def test_the_command_survives_that_one_process_is_killed(setting: str, workshop: Workshop, tmp_path: Path) -> None:
    """`--resume` starts the run, torchrun starts both processes again, and the run goes on from step 4."""
    chosen = workshop.recipe("model.dropout=0", f"training.data_parallel={setting}")
    (recipe := tmp_path / "recipe.yaml").write_text(dump(chosen), "utf-8")
    run, once = tmp_path / "run", tmp_path / "once"
    killed = torchrun(workshop, tmp_path, 1, "train", str(recipe), f"run={run}", "--resume", str(once), "SIGKILL")
    assert killed.returncode == 0, killed.stderr
    assert once.exists() and killed.stdout.count("kakehashi translate") == 1, "the main process alone speaks"
    assert [line["step"] for line in log_of(run, "train")] == list(range(1, 13))
    workshop.trainer(workshop.recipe("model.dropout=0"), tmp_path / "one").run()
    assert losses(run) == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    card = json.loads((run / "model" / "card.json").read_text("utf-8"))
    assert card["training"]["steps"] == 12 and card["training"]["device"].startswith("2 processes, each ")


@pytest.mark.slow
def test_the_command_is_stopped_saves_and_goes_on(workshop: Workshop, tmp_path: Path) -> None:
    (recipe := tmp_path / "recipe.yaml").write_text(dump(workshop.recipe()), "utf-8")
    run, once = tmp_path / "run", tmp_path / "once"
    arguments = ("train", str(recipe), f"run={run}")
    stopped = torchrun(workshop, tmp_path, 0, *arguments, str(once), "SIGTERM")
    assert stopped.returncode != 0 and newest(run).name in {"checkpoint-00000007", "checkpoint-00000008"}
    refused = torchrun(workshop, tmp_path, 0, *arguments, str(once), "SIGTERM")
    assert refused.returncode != 0 and refused.stderr.count("holds a run already: add --resume") == 1
    resumed = torchrun(workshop, tmp_path, 0, *arguments, "--resume", str(once), "SIGTERM")
    assert resumed.returncode == 0, resumed.stderr
    assert log_of(run, "train")[-1]["step"] == 12
