"""The recipe: the root of a run's configuration."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from kakehashi.config import Config, FilePath, load
from kakehashi.decoding import Beam, Decoding
from kakehashi.models import ModelConfig
from kakehashi.tasks import TaskConfig
from kakehashi.tasks.protocol import Metric
from kakehashi.training.averaging import Averaging, ExponentialMovingAverage
from kakehashi.training.growth import Growth, NoGrowth
from kakehashi.training.optimizers import AdamW, Muon, Optimizer
from kakehashi.training.schedules import InverseSqrt, Schedule

PRESETS = Path(__file__).parent.parent / "presets"


class BatchBudget(Config):
    """tokens: source + target (or the sequences) of one optimiser step, padding counted, over all processes.

    accumulate: in how many pieces a step is computed; more pieces need less memory and give the same gradient.
    growth: how the first steps come to have fewer tokens.
    """

    tokens: PositiveInt = 8192
    accumulate: PositiveInt = 1
    growth: Growth = NoGrowth()


class Validation(Config):
    """every: steps between two looks at the development set; each also writes a checkpoint.

    metric: what decides which model is the best; auto: what is usual for the task. patience: looks without a better
    one after which training stops (0 = never before the last step).
    """

    every: PositiveInt = 500
    metric: Metric | Literal["auto"] = "auto"
    patience: NonNegativeInt = 0


class Alarm(Config):
    """When a step is skipped instead of taken: its gradient is not finite, or `explode` times the running mean norm.

    patience: so many skipped steps in a row end the run.
    """

    explode: PositiveFloat = 50.0
    patience: PositiveInt = 5


class Training(Config):
    """How the model is trained.

    clip: the largest norm of the gradient. keep: checkpoints kept for `--resume`. recompute: `layers` keeps of each
    layer its input alone and computes the rest again in the backward pass: the same gradients in less memory, for
    about a quarter more time. data_parallel: what each of many processes holds of the model and its optimiser: all, or
    (`shard`, for models that do not fit) one part of each parameter; the losses are the same.
    """

    steps: PositiveInt = 10_000
    seed: NonNegativeInt = 1
    batch: BatchBudget = BatchBudget()
    optimizer: Optimizer = AdamW()
    schedule: Schedule = InverseSqrt()
    clip: PositiveFloat = 1.0
    precision: Literal["bf16", "fp32"] = "bf16"
    recompute: Literal["none", "layers"] = "none"
    data_parallel: Literal["replicate", "shard"] = "replicate"
    averaging: Averaging = ExponentialMovingAverage(decay=0.998)
    validation: Validation = Validation()
    alarm: Alarm = Alarm()
    keep: PositiveInt = 2

    @model_validator(mode="after")
    def _has_whole_matrices(self) -> Self:
        if self.data_parallel == "shard" and isinstance(self.optimizer, Muon):
            raise ValueError(
                "optimizer=muon works on whole matrices, and data_parallel=shard leaves each process a part of them: "
                "take optimizer=adamw, or data_parallel=replicate"
            )
        return self


class Recipe(Config):
    """All that a run depends on.

    initial_model: a model directory to go on from (fine-tuning): its weights, whose names and shapes must be those of
    `model`, and its vocabulary, whatever `task` says of one. None: from random numbers.
    """

    task: TaskConfig
    model: ModelConfig
    training: Training = Training()
    decoding: Annotated[Decoding, Field()] = Beam()
    initial_model: FilePath | None = None

    @model_validator(mode="after")
    def _possible(self) -> "Recipe":
        self.task.fits(self.model)
        if self.training.data_parallel == "shard" and self.model.embeddings.pad == "frozen":
            raise ValueError("model.embeddings.pad=frozen is not possible with training.data_parallel=shard")
        if self.metric not in self.task.metrics:
            raise ValueError(
                f"training.validation.metric={self.metric}: a task of kind {self.task.kind} is judged by "
                f"{', '.join(self.task.metrics[:-1])} or {self.task.metrics[-1]}"
            )
        return self

    @property
    def metric(self) -> Metric:
        """What decides which model is the best."""
        asked = self.training.validation.metric
        return self.task.metrics[0] if asked == "auto" else asked


def load_recipe(path: Path, overrides: tuple[str, ...] | list[str] = ()) -> Recipe:
    """Reads a recipe with its presets and overrides. Raises ConfigError."""
    return load(path, Recipe, overrides, PRESETS)
