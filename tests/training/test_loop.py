"""The training loop: resuming gives the same bits, pieces give the same gradient, alarms, the best model is kept."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kakehashi.errors import UserError
from kakehashi.tasks.protocol import Sums
from kakehashi.training import loop
from kakehashi.training.loop import Interrupted, Trainer
from kakehashi.training.parallel import Group
from kakehashi.translator import Translator

from .conftest import Workshop, assert_same_run, log_of, newest

At = Callable[[Trainer, int, Callable[[], None]], None]

SAMPLED = "task.subwords={kind: unigram, size: 340, sampling: 0.3}"
VARIANTS = [
    ("training.precision=fp32", "training.averaging=none"),
    ("training.precision=bf16", "training.averaging={kind: last, count: 2}"),
    ("training.precision=bf16", "training.averaging={kind: ema, decay: 0.9}", "training.optimizer=adam"),
    ("training.precision=fp32", "training.averaging={kind: last, count: 2}", SAMPLED, "training.batch.accumulate=3"),
    ("training.precision=bf16", "training.averaging=ema", SAMPLED, "training.batch.accumulate=2"),
    ("training.optimizer=muon", "training.schedule={kind: wsd, warmup: 2}", "training.precision=bf16"),
    ("training.batch.growth={kind: linear, start: 0.5, epochs: 1}", "task.consistency={kind: simcut, share: 0.3}"),
    ("task.consistency=r_drop", "training.batch.accumulate=2"),
]


@pytest.fixture(autouse=True)
def frequent_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 5)


class Killed(BaseException):
    """The process dies: nothing is saved any more."""


def kill() -> None:
    raise Killed


@pytest.fixture(scope="module")
def whole(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...]], Path]:
    """The directory of an uninterrupted run, of which there is one for each set of overrides."""
    runs: dict[tuple[str, ...], Path] = {}

    def run(overrides: tuple[str, ...]) -> Path:
        if overrides not in runs:
            runs[overrides] = tmp_path_factory.mktemp("whole")
            trainer = workshop.trainer(workshop.recipe(*overrides), runs[overrides])
            trainer.run()
            assert trainer.progress.epoch > 0, "an epoch's end should be among the steps"
        return runs[overrides]

    return run


@pytest.mark.parametrize("overrides", VARIANTS, ids=" ".join)
def test_stopped_and_resumed_gives_the_same_bits(
    overrides: tuple[str, ...], workshop: Workshop, tmp_path: Path, at_step: At, whole: Callable[..., Path]
) -> None:
    recipe = workshop.recipe(*overrides)
    first = workshop.trainer(recipe, tmp_path)
    at_step(first, 7, first.stop)
    with pytest.raises(Interrupted):
        first.run()
    assert newest(tmp_path).name == "checkpoint-00000007"
    torch.manual_seed(99)  # whatever happens between the two
    workshop.trainer(recipe, tmp_path, resume=True).run()
    assert_same_run(tmp_path, whole(overrides))


@pytest.mark.parametrize("overrides", [VARIANTS[0], VARIANTS[4]], ids=" ".join)
def test_killed_and_resumed_gives_the_same_bits(
    overrides: tuple[str, ...], workshop: Workshop, tmp_path: Path, at_step: At, whole: Callable[..., Path]
) -> None:
    recipe = workshop.recipe(*overrides)
    first = workshop.trainer(recipe, tmp_path)
    at_step(first, 11, kill)
    with pytest.raises(Killed):
        first.run()
    assert newest(tmp_path).name == "checkpoint-00000008", "the last validation's"
    assert log_of(tmp_path, "train")[-1]["step"] == 10, "a line that the resumed run must write anew"
    workshop.trainer(recipe, tmp_path, resume=True).run()
    assert_same_run(tmp_path, whole(overrides))


def test_a_stop_between_two_epochs_loses_nothing(
    workshop: Workshop, tmp_path: Path, at_step: At, whole: Callable[..., Path]
) -> None:
    recipe = workshop.recipe(*VARIANTS[0])
    trainer = workshop.trainer(recipe, tmp_path)
    at_step(trainer, len(trainer.sampler.plan(0)), trainer.stop)
    with pytest.raises(Interrupted):
        trainer.run()
    workshop.trainer(recipe, tmp_path, resume=True).run()
    assert_same_run(tmp_path, whole(VARIANTS[0]))


def test_a_finished_run_resumes_to_itself(workshop: Workshop, whole: Callable[..., Path]) -> None:
    run = whole(VARIANTS[0])
    trainer = workshop.trainer(workshop.recipe(*VARIANTS[0]), run, resume=True)
    assert trainer.run().step == 12
    assert trainer.progress.taken == 12, "no step was taken again"


def test_recomputed_layers_give_the_same_run(workshop: Workshop, whole: Callable[..., Path], tmp_path: Path) -> None:
    trainer = workshop.trainer(workshop.recipe(*VARIANTS[0], "training.recompute=layers"), tmp_path)
    trainer.run()
    assert_same_run(tmp_path, whole(VARIANTS[0]))


def test_resuming_on_other_data_is_refused(workshop: Workshop, whole: Callable[..., Path]) -> None:
    run = whole(VARIANTS[0])
    with pytest.raises(UserError, match=r"the training text.*has changed"):
        workshop.trainer(workshop.recipe(*VARIANTS[0], "task.max_tokens=63"), run, resume=True)


# One step in pieces


def first_step(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Tensor], float]:
    """The gradient of the first step before it is clipped, and its summed -log p."""
    gradients: dict[str, Tensor] = {}
    clip = trainer.masters.clip

    def watched(norm: float) -> float:
        gradients.update({n: m.grad.clone() for n, m in trainer.masters._masters.items() if m.grad is not None})
        return clip(norm)

    monkeypatch.setattr(trainer.masters, "clip", watched)
    trainer._take_step(trainer.sampler.plan(0)[0])
    return gradients, trainer.progress.window_likelihood


@pytest.mark.parametrize("pieces", [2, 5, 1000])
def test_pieces_give_the_gradient_of_the_whole(
    pieces: int, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[dict[str, Tensor], float]] = []
    for count in (1, pieces):  # 1000 is more than the step has pairs
        recipe = workshop.recipe("model.dropout=0", f"training.batch.accumulate={count}")
        found.append(first_step(workshop.trainer(recipe, tmp_path / str(count)), monkeypatch))
    (one, likelihood), (several, likelihood_of_pieces) = found
    assert likelihood_of_pieces == pytest.approx(likelihood, rel=1e-5)
    assert one.keys() == several.keys() != set()
    size = torch.stack([gradient.norm() for gradient in one.values()]).norm()
    for name, gradient in one.items():
        assert (several[name] - gradient).norm() < 1e-5 * max(gradient.norm(), 0.01 * size), name


def test_the_next_batch_is_made_while_this_one_is_at_work(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU still computes when the backward is asked for; the norm of the gradient has to be waited for. What other
    processes have to say of the loss is asked when the optimiser is at work again."""
    trainer = workshop.trainer(workshop.recipe("training.steps=3", "training.validation.every=9"), tmp_path)
    order: list[str] = []
    for of, name in [(trainer.task, "batch"), (trainer, "_backward"), (trainer.masters, "clip"), (Group, "sum")]:
        called = getattr(of, name)
        monkeypatch.setattr(of, name, lambda *a, n=name, c=called: (order.append(n.strip("_")), c(*a))[1])
    step = trainer.masters.step
    monkeypatch.setattr(trainer.masters, "step", lambda rate: (order.append("step"), step(rate))[1])
    trainer.run()
    assert order == ["batch", *["sum", "backward", "batch", "clip", "step", "sum"] * 3]


# Alarms


def spoil(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, steps: dict[int, float]) -> None:
    """Multiplies the loss at some steps."""
    loss = trainer.task.loss

    def spoilt(*arguments: Any) -> Sums:
        sums = loss(*arguments)
        factor = steps.get(trainer.progress.step, 1.0) if trainer.model.training and sums.loss.requires_grad else 1.0
        return Sums(sums.loss * factor, sums.likelihood, sums.tokens)

    monkeypatch.setattr(trainer.task, "loss", spoilt)


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_step_that_is_not_finite_is_skipped_and_counted(
    factor: float, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = workshop.trainer(workshop.recipe("training.precision=bf16"), tmp_path)
    spoil(trainer, monkeypatch, {3: factor, 4: factor, 7: factor})
    plans = trainer.sampler.plan(0)
    for step in range(1, 8):
        before = {name: weight.clone() for name, weight in trainer.masters.weights().items()}
        trainer.progress.step = step
        trainer._take_step(plans[step % len(plans)])
        same = all(torch.equal(before[name], weight) for name, weight in trainer.masters.weights().items())
        assert same == (step in (3, 4, 7))
    assert (trainer.progress.taken, trainer.progress.skipped, trainer.progress.skipped_in_a_row) == (4, 3, 1)
    assert all(weight.isfinite().all() for weight in trainer.masters.weights().values())
    notes = [line["message"] for line in log_of(tmp_path, "note")]
    assert [note.split(":")[0] for note in notes] == [f"step {step} skipped" for step in (3, 4, 7)]


def test_an_exploding_gradient_is_skipped_once_the_usual_is_known(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = workshop.trainer(
        workshop.recipe("training.steps=70", "training.validation.every=70", "training.batch.tokens=256"), tmp_path
    )
    spoil(trainer, monkeypatch, {5: 1e6, 60: 1e6, 65: 2.0})
    trainer.run()
    assert trainer.progress.skipped == 1, "in the first steps nothing is usual yet, and twice the usual is no alarm"
    (note,) = [line["message"] for line in log_of(tmp_path, "note") if "skipped" in line["message"]]
    assert note.startswith("step 60 skipped: gradient norm")
    assert log_of(tmp_path, "train")[-1]["skipped"] == 1


def test_several_in_a_row_end_the_run(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = workshop.trainer(workshop.recipe("training.alarm.patience=3"), tmp_path)
    spoil(trainer, monkeypatch, {3: math.nan, 4: math.nan} | dict.fromkeys(range(9, 13), math.nan))
    with pytest.raises(UserError, match=r"diverged: 3 steps in a row .*training\.schedule\.peak"):
        trainer.run()
    assert trainer.progress.step == 11, "two in a row were no reason"
    assert newest(tmp_path).name == "checkpoint-00000008"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
    ],
    ids=["cpu", "cuda", "python"],
)
def test_out_of_memory_names_what_to_lower(
    error: Exception, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = workshop.trainer(workshop.recipe("training.batch.accumulate=3"), tmp_path)

    def fail(*arguments: Any) -> Sums:
        raise error

    monkeypatch.setattr(trainer.task, "loss", fail)
    with pytest.raises(UserError, match=r"768 tokens in 3 .*training\.batch\.accumulate=6.*training\.batch\.tokens"):
        trainer.run()


def test_other_runtime_errors_pass(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = workshop.trainer(workshop.recipe(), tmp_path)

    def fail(*arguments: Any) -> Sums:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(trainer.task, "loss", fail)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        trainer.run()


def test_the_log_tells_how_experts_are_used(workshop: Workshop, tmp_path: Path) -> None:
    mixed = "model.decoder.layers=[{feedforward: {kind: experts, experts: 2, expert: {kind: relu, size: 8}}}]"
    workshop.trainer(workshop.recipe(mixed, "training.steps=5"), tmp_path).run()
    lines = map(json.loads, (tmp_path / "log.jsonl").read_text("utf-8").splitlines())
    figures = next(line for line in lines if line["kind"] == "train")
    busiest = [value for name, value in figures.items() if name.endswith(".feedforward.busiest")]
    assert len(busiest) == 1 and 0.5 <= busiest[0] <= 1


# Judging


def judge(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, metric: str, values: list[float]
) -> list[dict[str, Tensor]]:
    """Has the development set score these values in turn; returns the weights that were judged, as they come."""
    judged: list[dict[str, Tensor]] = []
    scores = iter(values)

    def evaluate(model: torch.nn.Module, device: torch.device) -> dict[str, float]:
        judged.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"loss": 1.0, "bleu": 1.0, "chrf": 1.0} | {metric: next(scores)}

    monkeypatch.setattr(trainer.task, "evaluate", evaluate)
    return judged


def weights(directory: Path) -> dict[str, Tensor]:
    model = Translator.load(directory).model
    assert isinstance(model, torch.nn.Module)
    return model.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [("bleu", [1.0, 3.0, 2.0, 3.0], 1), ("loss", [3.0, 2.0, 1.0, 2.5], 2), ("chrf", [9.0, 9.0, 8.0, 7.0], 0)],
)
def test_the_best_and_the_last_are_kept(
    metric: str, values: list[float], best: int, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("training.steps=7", "training.validation.every=2", f"training.validation.metric={metric}")
    trainer = workshop.trainer(workshop.recipe(*settings, "training.averaging=ema"), tmp_path)
    judged = judge(trainer, monkeypatch, metric, values)
    progress = trainer.run()
    assert [line["step"] for line in log_of(tmp_path, "validation")] == [2, 4, 6, 7], "and at the last step, once"
    assert (progress.best, progress.best_step) == (values[best], (2, 4, 6, 7)[best])
    assert same(weights(tmp_path / "model"), judged[best])
    assert same(weights(tmp_path / "last"), judged[-1])
    assert not same(judged[best], judged[-1]) and not progress.early
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2, "training.keep"


def test_training_stops_early(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ("training.steps=40", "training.validation={every: 2, metric: bleu, patience: 2}")
    recipe = workshop.recipe(*settings)
    trainer = workshop.trainer(recipe, tmp_path)
    judge(trainer, monkeypatch, "bleu", [1.0, 2.0, 1.5, 3.0, 2.9, 3.0, 99.0])
    progress = trainer.run()
    assert (progress.early, progress.step, progress.best, progress.best_step) == (True, 12, 3.0, 8)
    assert [line["message"] for line in log_of(tmp_path, "note")][-1] == "stopped early: no better bleu since step 8"
    again = workshop.trainer(recipe, tmp_path, resume=True)
    assert asdict(again.run()) == asdict(progress), "a run that stopped early is finished"


def test_a_full_disk_is_no_crash(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = workshop.trainer(workshop.recipe(), tmp_path)

    def fail(self: Translator, directory: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Translator, "save", fail)
    with pytest.raises(UserError, match=r"model cannot be written: .*No space left.*--resume"):
        trainer.run()
