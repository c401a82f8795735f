"""What training knows of a task. A task never steps and never owns the optimiser.

A task has two halves: its settings, a part of the recipe, and what they build, the task with its data opened.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeVar

import torch
from rich.console import Console
from torch import Tensor, nn

from kakehashi.config import Config
from kakehashi.data.batching import Indices
from kakehashi.decoding import Decoding
from kakehashi.evaluation.card import TrainingCorpus
from kakehashi.evaluation.metrics import Score
from kakehashi.models import ModelConfig
from kakehashi.models.protocol import Output, Vocabulary
from kakehashi.nn.losses import cross_entropy

Metric = Literal["loss", "bleu", "chrf", "perplexity", "bits_per_character", "accuracy"]
LOWER_IS_BETTER: frozenset[str] = frozenset({"loss", "perplexity", "bits_per_character"})


def better(metric: str, new: float, best: float | None) -> bool:
    """Whether a look is the best so far; a score that is not a number is beaten by any that is."""
    if best is None or best != best:
        return True
    return new < best if metric in LOWER_IS_BETTER else new > best


@dataclass
class Sums:
    """A loss as sums and counts, so that averages are right under accumulation and over many processes.

    loss: what is minimised, summed over tokens, with its gradient; likelihood: -log p of the targets, summed;
    tokens: how many.
    """

    loss: Tensor
    likelihood: Tensor
    tokens: int


def sums(output: Output, targets: Tensor, pad: int, smoothing: float = 0.0) -> Sums:
    """Cross-entropy of an output [R, L] with targets [R, L]; where these are `pad` nothing is asked."""
    asked = asked_places(targets, pad)
    hidden, wanted = output.hidden.flatten(0, 1)[asked], targets.flatten()[asked]
    loss, likelihood = cross_entropy(hidden, output.projection, output.bias, wanted, smoothing)
    return Sums(loss + further(output, len(asked)), likelihood, len(asked))


def asked_places(targets: Tensor, pad: int) -> Tensor:
    """Where among targets [R, L], flattened, something is asked: [M]. A GPU is waited for, once: how many are they?"""
    return (targets != pad).flatten().nonzero()[:, 0]


def further(output: Output, tokens: int) -> Tensor | int:
    """The model's own losses, which are means over tokens, weighted by their parts: summed over so many tokens."""
    return sum(loss * tokens for loss in output.losses.values())


def content_hash(paths: Sequence[Path]) -> str:
    """Of files, by what is in them."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"


class Batch(Protocol):
    """What a step learns from."""

    @property
    def target_tokens(self) -> int:
        """Tokens to predict, padding not counted."""
        ...

    def to(self, device: torch.device | str) -> Self: ...


class Sampler(Protocol):
    """Which examples meet in a step, and in each part of it."""

    def plan(self, epoch: int) -> Sequence[Indices]:
        """The examples of every step of the epoch."""
        ...

    def divide(self, step: Indices, parts: int) -> Sequence[Indices]:
        """The examples of a step, each in one of the parts, which cost about the same; some may be empty."""
        ...


@dataclass(frozen=True)
class Finished:
    """What is known of a model at the end of its run.

    scores: by test set, "valid" among them; corpus: what it learnt from; languages: of source and target, where the
    task has them; sentences_per_second: how fast it wrote what was scored, if it wrote anything.
    """

    scores: dict[str, list[Score]]
    corpus: TrainingCorpus
    languages: tuple[str, str] | None = None
    sentences_per_second: float | None = None


M = TypeVar("M", contravariant=True)
B = TypeVar("B", bound=Batch)


class Task(Protocol[M, B]):
    """A task with its data opened, for models of type M and in batches of type B.

    fingerprint: a hash of the training data and of all that was done to them.
    """

    @property
    def source_vocabulary(self) -> Vocabulary: ...

    @property
    def target_vocabulary(self) -> Vocabulary: ...

    @property
    def fingerprint(self) -> str: ...

    def introduction(self) -> list[str]:
        """What the user should know of the data before the first step."""
        ...

    def start(self, model: nn.Module, directory: Path) -> None:
        """Fills a model with the weights of a model directory, from which its settings took the vocabulary (`adopt`).

        Raises UserError when they do not fit.
        """
        ...

    def sampler(self, tokens: int, seed: int) -> Sampler:
        """Steps of at most `tokens` tokens, padding counted."""
        ...

    def batch(self, indices: Indices, epoch: int, seed: int) -> B: ...

    def loss(self, model: M, batch: B) -> Sums: ...

    def evaluate(self, model: M, device: torch.device) -> Mapping[str, float]:
        """On the development set, by name of metric; `loss` is -log p a token."""
        ...

    def save(self, model: nn.Module, config: ModelConfig, decoding: Decoding, directory: Path) -> None:
        """Writes a model directory that holds all that the model needs for use."""
        ...

    def finish(self, directory: Path, console: Console) -> Finished:
        """Scores the model directory on the test sets."""
        ...


class TaskSettings(Config):
    """The base of a task's settings."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """By what its models can be judged on the development set, the usual one first."""

    @abstractmethod
    def longest(self, model: ModelConfig) -> int:
        """Tokens of the longest sequence that such a model reads in training, special ones counted."""

    @abstractmethod
    def fits(self, model: ModelConfig) -> None:
        """Raises ValueError where the task cannot train such a model."""

    @abstractmethod
    def adopt(self, model: Path, directory: Path) -> None:
        """Takes over the vocabulary of a model directory, extended where the settings say so, for `build` to read from
        the run's `directory`.

        Raises UserError when it is damaged, or the model is for another task.
        """

    def check(self) -> None:
        """Raises UserError where something is missing that is neither data nor model, before anything is written."""

    @abstractmethod
    def build(self, directory: Path, cache: Path) -> Task[Any, Any]:
        """Opens the data. What belongs to the run goes into `directory`, or is read from there, so that a resumed run
        keeps its own; what runs may share goes into `cache`.

        Raises UserError for what the user can mend.
        """
