"""Fully sharded: the losses, gradients and files of one process, from parts that share the memory between them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor

from kakehashi.config import ConfigError
from kakehashi.training import loop
from kakehashi.training.loop import Trainer
from kakehashi.training.parallel import Group
from kakehashi.training.run import train
from kakehashi.training.sharding import gathered, part

from .conftest import Workshop, log_of, newest, quiet
from .together import EXACT, gradients_of, losses, stop_at, together

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

SHORT = (*EXACT, "training.steps=6", "training.validation.every=3")
SHARD = "training.data_parallel=shard"
EXPERTS = "{depth: 2, layers: [{feedforward: {kind: experts, experts: 4, expert: {kind: relu, size: 8}}}]}"


@pytest.fixture(autouse=True)
def frequent_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)


def trained(prepared: Workshop, run: Path, size: int, *overrides: str) -> None:
    """One run to its end, in so many processes."""
    recipe = prepared.recipe(*SHORT, *overrides)
    if size == 1:
        prepared.trainer(recipe, run).run()
        return
    assert together(lambda group: prepared.trainer(recipe, run, group=group).run() and None, size) == [0] * size


@pytest.mark.parametrize(
    ("size", "overrides"),
    [
        (2, ("training.averaging={kind: ema, decay: 0.9}",)),
        (3, ("training.averaging={kind: last, count: 2}", "training.batch.accumulate=2")),
        (2, ("training.recompute=layers", "model.encoder.position=t5", "model.embeddings.bias=learned")),
        (2, ("model={kind: lstm, width: 16, dropout: 0}",)),
    ],
    ids=["ema", "last", "recompute", "lstm"],
)
def test_parts_have_the_losses_of_one_process(
    size: int, overrides: tuple[str, ...], prepared: Workshop, tmp_path: Path
) -> None:
    trained(prepared, tmp_path / "one", 1, *overrides)
    trained(prepared, tmp_path / "parts", size, *overrides, SHARD)
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    for name in ("model", "last"):
        one, parts = (load_file(tmp_path / run / name / "model.safetensors") for run in ("one", "parts"))
        assert one.keys() == parts.keys()
        for key in one.keys() - {each for each in one if each.endswith("key.bias")}:  # their gradient is noise
            torch.testing.assert_close(parts[key], one[key], atol=1e-3, rtol=1e-3, msg=key)


@pytest.mark.parametrize(
    ("overrides", "tolerance"),
    [
        (("training.precision=bf16", "training.batch.accumulate=2"), 3e-4),  # begins rounded, sums are fp32
        (("training.precision=bf16", "model.encoder.layers=[{mixer: lsh}]"), 1e-2),  # its buffers are bf16 too
        ((f"model.encoder={EXPERTS}", f"model.decoder={EXPERTS}", "training.recompute=layers"), 1e-5),
    ],
    ids=["bf16", "buffers", "experts"],
)
def test_parts_have_the_losses_of_as_many_wholes(
    overrides: tuple[str, ...], tolerance: float, prepared: Workshop, tmp_path: Path
) -> None:
    """What differs between one process and many, differs in the same way: the formats, the balance of experts."""
    trained(prepared, tmp_path / "wholes", 2, *overrides)
    trained(prepared, tmp_path / "parts", 2, *overrides, SHARD)
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "wholes"), rel=tolerance)


@pytest.mark.parametrize("rows", [64, 1])
def test_the_gradients_are_those_of_one_process(rows: int, prepared: Workshop, tmp_path: Path) -> None:
    """Of one row the second process has none, and takes part all the same."""
    alone = prepared.trainer(prepared.recipe(*EXACT), tmp_path / "one")
    indices = alone.sampler.plan(0)[0][:rows]

    def work(group: Group) -> None:
        trainer = prepared.trainer(prepared.recipe(*EXACT, SHARD), tmp_path / "parts", group=group)
        save_file(gradients_of(trainer, indices), tmp_path / f"{group.rank}.safetensors")

    assert together(work) == [0, 0]
    one, first, second = gradients_of(alone, indices), *(load_file(tmp_path / f"{r}.safetensors") for r in (0, 1))
    assert one.keys() == first.keys() == second.keys() != set()
    size = torch.stack([gradient.norm() for gradient in one.values()]).norm()
    for name, gradient in one.items():
        assert torch.equal(first[name], second[name]), name
        assert (first[name] - gradient).norm() < 1e-5 * max(gradient.norm(), 0.01 * size), name


def held(trainer: Trainer) -> int:
    """Bytes of parameters, gradients, moments and averages in this process."""
    masters = list(trainer.masters._masters.values())
    gradients = [master.grad for master in masters if master.grad is not None]
    states = [*trainer.masters.state_tensors().values(), *trainer.averager.state_tensors().values()]
    local = [x.to_local() if isinstance(x, DTensor) else x for x in (*masters, *gradients, *states)]
    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in local}
    return sum(storages.values())


def test_each_process_holds_its_part_alone(prepared: Workshop, tmp_path: Path) -> None:
    """Between two steps; of two processes each holds half, but for rows that do not come out even."""

    def bytes_of(trainer: Trainer) -> int:
        trainer._take_step(trainer.sampler.plan(0)[0])
        gradients_of(trainer, trainer.sampler.plan(0)[1])
        for master in trainer.masters._masters.values():
            master.grad = torch.zeros_like(master)
        return held(trainer)

    def work(group: Group) -> None:
        trainer = prepared.trainer(prepared.recipe(*EXACT, SHARD, "training.averaging=ema"), tmp_path, group=group)
        (tmp_path / str(group.rank)).write_text(str(bytes_of(trainer)))

    assert together(work) == [0, 0]
    alone = bytes_of(prepared.trainer(prepared.recipe(*EXACT, "training.averaging=ema"), tmp_path))
    parts = [int((tmp_path / rank).read_text()) for rank in "01"]
    assert all(0.49 < each / alone < 0.52 for each in parts), parts


def test_a_checkpoint_loads_in_either_setting(prepared: Workshop, tmp_path: Path) -> None:
    """In parts until step 3, whole in two processes until 5, in one until 7, and in parts of three to the end."""
    overrides = (*EXACT, "training.averaging={kind: ema, decay: 0.9}")
    whole, parts = prepared.recipe(*overrides), prepared.recipe(*overrides, SHARD)
    prepared.trainer(whole, tmp_path / "one").run()
    run = tmp_path / "many"

    def first(group: Group) -> None:
        stop_at(prepared.trainer(parts, run, group=group), 3, group.rank == 1)

    def second(group: Group) -> None:
        stop_at(prepared.trainer(whole, run, resume=True, group=group), 5, group.rank == 1)

    def last(group: Group) -> None:
        prepared.trainer(parts, run, resume=True, group=group).run()

    assert together(first) == [0, 0]
    assert newest(run).name == "checkpoint-00000003"
    assert together(second) == [0, 0]
    stop_at(prepared.trainer(whole, run, resume=True), 7, True)
    assert together(last, 3) == [0, 0, 0]
    assert losses(run) == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_a_run_from_the_data_to_the_card(prepared: Workshop, tmp_path: Path) -> None:
    recipe = prepared.recipe("training.steps=4", SHARD)
    run = tmp_path / "run"

    def work(group: Group) -> None:
        train(recipe, run, cache=prepared.cache, console=quiet())

    assert together(work) == [0, 0]
    assert (run / "model" / "card.json").exists()
    assert [line["step"] for line in log_of(run, "train")] == [1, 2, 3, 4]


def test_what_is_whole_stays_as_it_is() -> None:
    tensor = torch.arange(3.0)
    assert part(tensor, of=torch.zeros(3)) is tensor
    assert gathered({"a": tensor}, wanted=True)["a"] is tensor and gathered({"a": tensor}, wanted=False) == {}


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("training.optimizer=muon", "whole matrices.*take optimizer=adamw, or data_parallel=replicate"),
        ("model.embeddings.pad=frozen", "pad=frozen is not possible with training.data_parallel=shard"),
    ],
)
def test_what_needs_the_whole_is_refused(override: str, reason: str, workshop: Workshop) -> None:
    with pytest.raises(ConfigError, match=reason):
        workshop.recipe(override, SHARD)
