"""Language modelling: texts; cross-entropy of what follows, or of what was hidden; perplexity and exact answers."""

import hashlib
import math
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import PositiveInt, model_validator
from rich.console import Console
from torch import nn

from kakehashi.data.batching import Indices
from kakehashi.data.sequences import (
    LineSequences,
    SequenceBatch,
    SequenceSampler,
    StreamSequences,
    collate_sequences,
)
from kakehashi.data.subwords import PAD
from kakehashi.data.text import Stream, Text
from kakehashi.data.vocabulary import (
    Characters,
    TextSegmenter,
    Vocabulary,
    load_vocabulary,
    save_vocabulary,
    train_vocabulary,
)
from kakehashi.decoding import Decoding, Greedy, search
from kakehashi.directory import load_weights, read_config
from kakehashi.evaluation.card import TrainingCorpus
from kakehashi.evaluation.metrics import Score
from kakehashi.models import ModelConfig
from kakehashi.models import protocol as models
from kakehashi.tasks.objectives import Causal, Objective
from kakehashi.tasks.protocol import Finished, Metric, Sums, TaskSettings, sums
from kakehashi.text_generator import LanguageModelDirectory, TextGenerator

_BATCH = 8192  # tokens of a batch of evaluation

Sequences = StreamSequences | LineSequences


class LanguageModel(TaskSettings):
    """One language, learnt from text. length: tokens of the longest sequence that the model reads at once."""

    kind: Literal["language_model"] = "language_model"
    text: Text
    vocabulary: Vocabulary = Characters()
    objective: Objective = Causal()
    length: PositiveInt = 256

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if not isinstance(self.vocabulary, Characters):
            if self.vocabulary.vocabulary == "separate":
                raise ValueError("vocabulary: a language model has one text; leave out vocabulary=separate")
            if self.vocabulary.sampling:
                raise ValueError("sampling: texts are cut into sequences once, so that their segmentation is fixed")
        return self

    @property
    def metrics(self) -> tuple[Metric, ...]:
        causal = isinstance(self.objective, Causal)
        more: tuple[Metric, ...] = ("bits_per_character",) if causal else ()
        return ("loss", "perplexity", *more, "accuracy") if causal and self.text.asks else ("loss", "perplexity", *more)

    def longest(self, model: ModelConfig) -> int:
        return self.length

    def fits(self, model: ModelConfig) -> None:
        if not self.objective.fits(model):
            raise ValueError(
                f"task.objective={self.objective.kind} cannot train model.kind={model.kind}: "
                "causal goes with decoder_only, masked with encoder_only"
            )

    def adopt(self, model: Path, directory: Path) -> None:
        read_config(model, LanguageModelDirectory, "language_model")
        _keep(load_vocabulary(self.vocabulary, model), directory)

    def build(self, directory: Path, cache: Path) -> "LanguageModelTask":
        texts = self.text.read()
        folder = directory / "vocabulary"
        if folder.exists():
            segmenter = load_vocabulary(self.vocabulary, folder)
        else:
            segmenter = train_vocabulary(self.vocabulary, texts["train"])
            _keep(segmenter, directory)
        return LanguageModelTask(self, segmenter, texts)


def _keep(segmenter: TextSegmenter, directory: Path) -> None:
    """Into the run's `vocabulary`, which is there when it is whole, or not at all."""
    whole = Path(tempfile.mkdtemp(prefix=".vocabulary-", dir=directory))
    save_vocabulary(segmenter, whole)
    whole.rename(directory / "vocabulary")


class LanguageModelTask:
    """A language-modelling task with its data opened. Its texts are held in memory."""

    def __init__(self, config: LanguageModel, segmenter: TextSegmenter, texts: Mapping[str, Sequence[str]]) -> None:
        self.config, self.segmenter, self.texts = config, segmenter, texts
        self.source_vocabulary = self.target_vocabulary = models.Vocabulary(segmenter.size)
        self.train = sequences(config, segmenter, texts["train"], config.length)
        self.content_hash = hashlib.sha256("\0".join(texts["train"]).encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        settings = self.config.model_dump_json(include={"vocabulary", "length"})
        return hashlib.sha256(f"{self.content_hash} {self.segmenter.size} {settings}".encode()).hexdigest()

    def introduction(self) -> list[str]:
        """How much there is to learn from."""
        dropped = f" (dropped: {self.train.dropped:,} longer than length)" if self.train.dropped else ""
        count = int(self.train.lengths.sum())
        return [
            f"{len(self.train.lengths):,} training sequences of {count:,} tokens{dropped}",
            f"{self.segmenter.size:,} {self.config.vocabulary.kind}, the bytes included",
        ]

    def start(self, model: nn.Module, directory: Path) -> None:
        load_weights(model, directory)

    def sampler(self, tokens: int, seed: int) -> SequenceSampler:
        return SequenceSampler(self.train.lengths, tokens, seed)

    def batch(self, indices: Indices, epoch: int, seed: int) -> SequenceBatch:
        """A stream is cut at other places in each epoch."""
        offset = int(np.random.default_rng((seed, epoch)).integers(self.config.length))
        return collated(self.config.objective, self.train, indices, self.segmenter.size, (seed, epoch), offset)

    def loss(self, model: Any, batch: SequenceBatch) -> Sums:
        return sums(self.config.objective.output(model, batch.input), batch.output, PAD)

    def evaluate(self, model: Any, device: torch.device) -> dict[str, float]:
        return self.scores(model, self.texts["valid"], device)

    def scores(self, model: Any, texts: Sequence[str], device: torch.device) -> dict[str, float]:
        """By metric, as `figures` says; and `accuracy`: answers without a fault, in percent."""
        found = sequences(self.config, self.segmenter, texts, None)
        total, tokens = likelihood(self.config.objective, model, found, self.segmenter.size, device)
        known = figures(total, tokens, sum(len(text) + 1 for text in texts))
        if "accuracy" in self.config.metrics:
            known["accuracy"] = 100 * self._accuracy(model, texts, device)
        return {name: known[name] for name in self.config.metrics}

    def _accuracy(self, model: models.Translating, texts: Sequence[str], device: torch.device) -> float:
        """The share of questions that greedy search answers as the texts do; questions of one length share a batch."""
        encoded = [self.segmenter.encode(self.config.text.question(text)) for text in texts]
        longest = max(len(self.segmenter.encode(text)) for text in texts)
        greedy = Greedy(max_length=longest, extra_length=longest)
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
        right = 0
        for _, group in groupby(order, key=lambda i: len(encoded[i])):
            chosen = list(group)
            begin = model.target_vocabulary.begin
            start = torch.tensor([[begin, *encoded[i]] for i in chosen], device=device)
            empty = start[:, :0]
            answers = search(model, empty, empty.bool(), greedy, start=start)
            written = [self.segmenter.decode([*encoded[i], *a[0].tokens]) for i, a in zip(chosen, answers, strict=True)]
            right += sum(text == texts[i] for i, text in zip(chosen, written, strict=True))
        return right / len(texts)

    def save(self, model: nn.Module, config: ModelConfig, decoding: Decoding, directory: Path) -> None:
        whole = LanguageModelDirectory(
            model=config, vocabulary=self.config.vocabulary, length=self.config.length, decoding=decoding
        )
        TextGenerator(whole, model, self.segmenter).save(directory)

    def finish(self, directory: Path, console: Console) -> Finished:
        generator = TextGenerator.load(directory)
        score = partial(self.scores, generator.model, device=generator.device)
        found = {name: score(texts) for name, texts in self.texts.items() if name != "train"}
        corpus = TrainingCorpus(
            unit="sequences",
            files=self.config.text.names,
            pairs=len(self.train.lengths) + self.train.dropped,
            dropped={"longer than length": self.train.dropped},
            content_hash=f"sha256:{self.content_hash}",
        )
        objective = self.config.objective
        return Finished({name: signed(objective, self.config, scores) for name, scores in found.items()}, corpus)


def sequences(config: LanguageModel, segmenter: TextSegmenter, texts: Sequence[str], longest: int | None) -> Sequences:
    """Texts as the model reads them. A stream is cut; of other texts those longer than `longest` are dropped."""
    encoded = [segmenter.encode(text) for text in texts]
    if isinstance(config.text, Stream):
        return StreamSequences(encoded, config.length)
    return LineSequences(encoded, longest)


def collated(
    objective: Objective, found: Sequences, indices: Indices, size: int, seeds: tuple[int, int], offset: int = 0
) -> SequenceBatch:
    """A batch of these sequences; anything drawn is drawn by (seed, epoch) and the sequence's number."""
    numbers = [int(index) for index in indices]
    return collate_sequences([objective.example(found.sequence(i, offset), size, (*seeds, i)) for i in numbers])


@torch.inference_mode()
def likelihood(
    objective: Objective, model: Any, found: Sequences, size: int, device: torch.device
) -> tuple[float, int]:
    """-log p of all tokens that are asked, summed, and how many they are."""
    total, tokens = 0.0, 0
    for indices in SequenceSampler(found.lengths, max(_BATCH, int(found.lengths.max())), seed=0).plan(0):
        batch = collated(objective, found, indices, size, (0, 0)).to(device)
        part = sums(objective.output(model, batch.input), batch.output, PAD)
        total, tokens = total + part.likelihood.item(), tokens + part.tokens
    return total, tokens


def figures(total: float, tokens: int, characters: int) -> dict[str, float]:
    """`loss`: -log p a token; `perplexity`: its exponential; `bits_per_character`: -log2 p over the characters, among
    which each text's end counts as one."""
    loss = total / tokens
    perplexity = math.exp(min(loss, 700.0))  # of more, a float knows no exponential
    return {"loss": loss, "perplexity": perplexity, "bits_per_character": total / math.log(2) / characters}


def score_text(generator: TextGenerator, text: str) -> list[Score]:
    """How well a model knows a text, which it reads as in training: in sequences of its length, each by itself."""
    config = generator.config
    found = StreamSequences([generator.segmenter.encode(text)], config.length)
    total, tokens = likelihood(Causal(), generator.causal, found, generator.segmenter.size, generator.device)
    return signed(Causal(), config, figures(total, tokens, len(text) + 1))


def signed(
    objective: Objective, config: LanguageModel | LanguageModelDirectory, found: dict[str, float]
) -> list[Score]:
    """Scores with what makes them comparable."""
    signature = f"objective:{objective.kind}|vocabulary:{config.vocabulary.kind}|length:{config.length}"
    return [Score(name, value, signature) for name, value in found.items()]
