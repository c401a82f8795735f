"""The training loop of one run: a pure function of (recipe, data, seed, processes, threads, library versions).

Notable:
* all that the next step depends on is in the checkpoint: weights, optimiser, averages, random states, and the place in
  the epoch's plan; a run that was stopped and resumed gives the same bits as one that was not;
* the development set is judged on the averaged weights, in fp32: they are what the model directory will hold;
* a step whose gradient is not finite, or far larger than usual, is skipped and counted, and many in a row end the run;
* a GPU is waited for before its gradient is judged, and the next batch is made by then; and in each piece of a step
  once, for the places of its targets.
"""

import math
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from kakehashi.data.batching import Indices
from kakehashi.errors import UserError
from kakehashi.models.stack import recompute_layers
from kakehashi.nn.feedforward import use_of_experts
from kakehashi.tasks.protocol import Batch, Sums, Task, better
from kakehashi.training import checkpoint
from kakehashi.training.optimizers import MasterWeights
from kakehashi.training.parallel import ALONE, Group
from kakehashi.training.recipe import BatchBudget, Recipe
from kakehashi.training.report import Reporter
from kakehashi.training.sharding import Learner, gathered, shard

LOG_EVERY = 20  # steps between two lines of the log
_TYPICAL = 0.98  # memory of the running mean of gradient norms; it is trusted after 1 / (1 - 0.98) steps


@dataclass
class Progress:
    """Where a run stands; saved with each checkpoint.

    position: place in this epoch's plan. tokens: target tokens learnt from. taken, skipped: steps. mean_norm: decaying
    mean of gradient norms. window_*: since the last line of the log. early: stopped before the last step.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    looks_without_better: int = 0
    taken: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    mean_norm: float = 0.0
    window_likelihood: float = 0.0
    window_tokens: int = 0
    early: bool = False


class Interrupted(Exception):
    """The user stopped the run; it was saved and can be resumed."""


class Trainer:
    """Trains one model, in each process of a group. `run` returns at the last step, at an early stop, or raises
    Interrupted after `stop()` in any of them.

    `initial`: the model directory whose weights it starts from; None: from random ones.
    """

    def __init__(
        self,
        recipe: Recipe,
        task: Task[Any, Any],
        directory: Path,
        report: Reporter,
        group: Group = ALONE,
        initial: Path | None = None,
    ) -> None:
        training = recipe.training
        self.recipe, self.task, self.directory, self.report, self.group = recipe, task, directory, report, group
        self.device = group.device
        torch.manual_seed(training.seed)
        self.sharded = training.data_parallel == "shard" and group.size > 1
        self.learner = self._learner(initial)
        self.model = self.learner.model
        self.judged = self._model().eval() if group.main else None  # on the CPU while nobody looks
        self.masters = MasterWeights(self.model, training.optimizer)
        self.averager = training.averaging.build(self.masters.weights())
        self.sampler = task.sampler(training.batch.tokens, training.seed)
        self.schedule = training.schedule.shortened(training.steps)
        if self.schedule != training.schedule:
            report.note(f"the schedule's warmup is as long as the run: shortened to {self.schedule.warmup} steps")
        self.progress = Progress()
        self._stopping = False
        self._ready = list[tuple[Batch, int]]()  # the next step's pieces, where they are made

    def parameters(self) -> int:
        """How many numbers the model holds, shared ones once."""
        return sum(p.numel() for p in self.model.parameters())

    def stop(self) -> None:
        """Asks the run to save and end after the step at hand."""
        self._stopping = True

    def resume(self, path: Path) -> None:
        """Takes up the run where a checkpoint left it. Raises UserError when the training data have changed."""
        tensors, state = checkpoint.load(path)
        if state["data"] != self.task.fingerprint:
            raise UserError(
                f"the training text, or how it is prepared, has changed since {path} was written: put the old text "
                "back, or start a new run in another run=DIR"
            )
        groups: dict[str, dict[str, Tensor]] = {"optimizer": {}, "average": {}, "random": {}}
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = tensor
        self.masters.load_state_tensors(groups["optimizer"])
        self.averager.load_state_tensors(groups["average"])
        checkpoint.restore_random_state(groups["random"])
        self.progress = Progress(**cast(dict[str, Any], state["progress"]))

    def run(self) -> Progress:
        """The loop."""
        training, progress = self.recipe.training, self.progress
        for indices, following in self._steps():
            started = time.perf_counter()
            with _memory_watched(training.batch):
                self._take_step(indices, following)  # (1) forward, backward, update
            progress.seconds += time.perf_counter() - started
            if progress.step % LOG_EVERY == 0:
                self._log()  # (2) tell
            look = progress.step % training.validation.every == 0 or progress.step == training.steps
            if look and self._keeps:
                self._validate()  # (3) judge, keep the best
                self._save()  # (4) so that nothing is lost
            stopping, progress.early = self.group.any(self._stopping, progress.early)  # (5) all end, or none
            if stopping and not look and self._keeps:
                self._save()
            if stopping and progress.step < training.steps:
                self.group.wait()  # torchrun ends all when one has ended, and the main one may be saving
                raise Interrupted
            if progress.early:
                break
        return progress

    @property
    def _keeps(self) -> bool:
        """Whether this process has something to give for what is judged and saved."""
        return self.group.main or self.sharded

    def _model(self) -> nn.Module:
        return self.recipe.model.build(self.task.source_vocabulary, self.task.target_vocabulary)

    def _learner(self, initial: Path | None) -> Learner:
        """The model in the format that it computes in, or this process's parts of it."""
        training, model = self.recipe.training, self._model()
        if initial is not None:
            self.task.start(model, initial)
        if training.recompute == "layers":
            recompute_layers(model)
        learner = Learner(model.to(torch.bfloat16 if training.precision == "bf16" else torch.float32), self.task)
        if self.sharded:
            shard(learner, self.device)
        return learner.to(self.device).train()

    def _steps(self) -> Iterator[tuple[Indices, Indices | None]]:
        """The examples of each step still to take, epoch after epoch, and of the one that follows in the epoch."""
        progress, training = self.progress, self.recipe.training
        last = training.steps
        while progress.step < last and not progress.early:
            plan = training.batch.growth.grown(self.sampler.plan(progress.epoch), progress.epoch, training.seed)
            while progress.position < len(plan) and progress.step < last:
                indices = plan[progress.position]
                progress.position += 1
                progress.step += 1
                yield indices, plan[progress.position] if progress.position < len(plan) else None
            if progress.position >= len(plan):
                progress.epoch, progress.position = progress.epoch + 1, 0

    def _take_step(self, indices: Indices, following: Indices | None = None) -> None:
        training, progress = self.recipe.training, self.progress
        pieces = self._ready or self._pieces(indices)
        tokens = round(self.group.sum(sum(weight * batch.target_tokens for batch, weight in pieces)))
        self.group.seed(training.seed, progress.step)
        likelihoods = [self._backward(batch, weight, tokens) for batch, weight in pieces]
        self.masters.sum_gradients(self.group)
        self._ready = [] if following is None else self._pieces(following)  # while a GPU still computes,
        norm = self.masters.clip(training.clip)  # for which this waits
        likelihood = sum(each.item() for each in likelihoods)
        if self._alarming(norm):
            self.masters.zero_grad()
            return
        self.masters.step(self.schedule.rate(progress.step, training.steps, self.recipe.model.width))
        self.masters.zero_grad()
        self.averager.update_step()
        progress.tokens += tokens
        progress.window_tokens += tokens
        progress.window_likelihood += self.group.sum(likelihood)  # the optimiser is at work meanwhile

    def _pieces(self, indices: Indices) -> list[tuple[Batch, int]]:
        """This process's part of a step, and what each piece weighs: 1; or 0 where no row was left for this process,
        which learns then from the first, since all have to take part in what is exchanged.
        """
        size, seed = self.group.size, self.recipe.training.seed
        count = min(self.recipe.training.batch.accumulate, math.ceil(len(indices) / size))
        parts = self.sampler.divide(indices, count * size)[self.group.rank :: size]
        rows = [(part, 1) if len(part) else (indices[:1], 0) for part in parts]
        return [(self.task.batch(each, self.progress.epoch, seed), weight) for each, weight in rows]

    def _backward(self, batch: Batch, weight: int, tokens: int) -> Tensor:
        """Gradients of the loss a token; returns the piece's summed -log p."""
        sums: Sums = self.learner(batch.to(self.device))
        (weight * sums.loss / tokens).backward()
        self.masters.gather_gradients()
        return weight * sums.likelihood.detach()

    def _alarming(self, norm: float) -> bool:
        """Whether this step's gradient must not be taken; keeps count."""
        alarm, progress = self.recipe.training.alarm, self.progress
        usual, trusted = self._usual_norm(), progress.taken > 1 / (1 - _TYPICAL)
        if math.isfinite(norm) and not (trusted and norm > alarm.explode * usual):
            progress.mean_norm = _TYPICAL * progress.mean_norm + (1 - _TYPICAL) * norm
            progress.taken += 1
            progress.skipped_in_a_row = 0
            return False
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        self.report.note(f"step {progress.step} skipped: gradient norm {norm:.3g}, usually {usual:.3g}", progress.step)
        if progress.skipped_in_a_row >= alarm.patience:
            raise UserError(
                f"training diverged: {alarm.patience} steps in a row had to be skipped (last norm {norm:.3g}). "
                "Lower training.schedule.peak, lengthen its warmup, or set training.precision=fp32"
            )
        return True

    def _usual_norm(self) -> float:
        """The running mean of the gradient's norm, bias-corrected as Adam's moments."""
        return self.progress.mean_norm / (1 - _TYPICAL ** max(1, self.progress.taken))

    def _log(self) -> None:
        progress, training = self.progress, self.recipe.training
        metrics = {
            "loss": progress.window_likelihood / max(1, progress.window_tokens),
            "tokens": progress.tokens,
            "tokens_per_second": progress.tokens / max(progress.seconds, 1e-9),
            "learning_rate": self.schedule.rate(progress.step, training.steps, self.recipe.model.width),
            "gradient_norm": self._usual_norm(),
            "skipped": progress.skipped,
            "epoch": progress.epoch,
            **use_of_experts(self.model),
        }
        progress.window_likelihood, progress.window_tokens = 0.0, 0
        self.report.train(progress.step, metrics)

    @torch.no_grad()
    def _validate(self) -> None:
        """Judges the averaged weights on the development set, and keeps them when they are the best so far."""
        validation, progress = self.recipe.training.validation, self.progress
        self.averager.update_checkpoint()
        weights = gathered(self.averager.weights(), self.group.main)
        if self.judged is None:
            return
        for name, parameter in self.judged.named_parameters():
            parameter.copy_(weights[name])
        metrics = self.task.evaluate(self.judged.to(self.device), self.device)
        self.report.validation(progress.step, metrics)
        metric = self.recipe.metric
        if better(metric, metrics[metric], progress.best):
            progress.best, progress.best_step = metrics[metric], progress.step
            progress.looks_without_better = 0
            self._keep(self.judged, "model")
        else:
            progress.looks_without_better += 1
        self._keep(self.judged.cpu(), "last")
        if validation.patience and progress.looks_without_better >= validation.patience:
            progress.early = True
            self.report.note(f"stopped early: no better {metric} since step {progress.best_step}", progress.step)

    def _keep(self, judged: nn.Module, name: str) -> None:
        """The judged weights as a model directory."""
        path = self.directory / name
        try:
            self.task.save(judged, self.recipe.model, self.recipe.decoding, path)
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{path} cannot be written: {error}. The earlier checkpoints are whole: make room, then --resume"
            ) from error

    def _save(self) -> None:
        tensors = {
            **{f"optimizer/{k}": v for k, v in self.masters.state_tensors().items()},
            **{f"average/{k}": v for k, v in self.averager.state_tensors().items()},
            **{f"random/{k}": v for k, v in checkpoint.random_state().items()},
        }
        tensors = gathered(tensors, self.group.main)
        if not self.group.main:
            return
        state: dict[str, checkpoint.JSON] = {
            "progress": asdict(self.progress),
            "data": self.task.fingerprint,  # a hash of the text and of all that was done to it
        }
        checkpoint.save(self.directory / "checkpoints", self.progress.step, tensors, state)
        checkpoint.prune(self.directory / "checkpoints", self.recipe.training.keep)


@contextmanager
def _memory_watched(batch: BatchBudget) -> Generator[None]:
    """Says which setting to lower when memory runs out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise UserError(
            f"out of memory in a step of {batch.tokens} tokens in {batch.accumulate} piece(s): "
            f"set training.batch.accumulate={2 * batch.accumulate} (the same gradient, half the memory) and go on with "
            "--resume; or start anew with less in training.batch.tokens, or with shorter examples"
        ) from error


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """torch's CPU allocator says it in the text of a RuntimeError."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "not enough memory" in text
        or "can't allocate memory" in text
    )
