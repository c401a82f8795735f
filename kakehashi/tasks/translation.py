"""Translation: pairs of sentences; label-smoothed cross-entropy; BLEU and chrF of greedy output."""

import random
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Annotated, Literal, Self, cast

import numpy as np
import torch
from pydantic import Field, PositiveInt, model_validator
from rich.console import Console
from torch import Tensor, nn

from kakehashi.data.batching import Batch, BatchSampler, Indices, collate
from kakehashi.data.check import overlap
from kakehashi.data.corpus import Corpora, Pair, read_pairs
from kakehashi.data.extension import Origins, extend, origins
from kakehashi.data.shards import Shards, build_shards
from kakehashi.data.subwords import (
    Extended,
    SegmenterPair,
    Subwords,
    Unigram,
    load_pair,
    save_pair,
    train_subwords,
)
from kakehashi.decoding import Decoding, Greedy, search
from kakehashi.directory import load_weights, read_config
from kakehashi.errors import UserError
from kakehashi.evaluation.card import TrainingCorpus
from kakehashi.evaluation.metrics import Score, build_metric, default_metrics, score
from kakehashi.models import ModelConfig
from kakehashi.models.decoder_only import DecoderOnly
from kakehashi.models.encoder_only import EncoderOnly
from kakehashi.models.protocol import Translating, Vocabulary
from kakehashi.nn.variant import broken
from kakehashi.tasks.calibration import Observed, keep, observe
from kakehashi.tasks.consistency import Consistency, NoConsistency, RDrop
from kakehashi.tasks.protocol import Finished, Metric, Sums, TaskSettings, content_hash
from kakehashi.translator import ModelDirectory, Translator

_BATCH = 4096  # tokens (source + target) of a batch of evaluation
_SEED = 1  # of what new pieces are learnt from
_TABLE = re.compile(r"(?:(?:source_|target_)?embedding\.table\.weight|projection\.(?:weight|bias))")


class Translation(TaskSettings):
    """From one language to another, learnt from pairs.

    source, target: language codes (ISO 639-1 where there is one). max_tokens: longer pairs are dropped from training
    and counted. test: named sets that are scored when training is done.
    """

    kind: Literal["translation"] = "translation"
    source: str
    target: str
    train: Corpora
    valid: Corpora
    test: dict[str, Corpora] = Field(default_factory=dict)
    subwords: Subwords = Unigram()
    max_tokens: PositiveInt = 256
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    consistency: Consistency = NoConsistency()

    @model_validator(mode="after")
    def _untagged_where_judged(self) -> Self:
        for name, corpora in {
            "valid": self.valid,
            **{f"test.{name}": each for name, each in self.test.items()},
        }.items():
            if any(corpus.tag is not None for corpus in corpora):
                raise ValueError(
                    f"{name}: only training corpora take a tag; a model is judged on what it does untagged"
                )
        if all(corpus.tag is not None for corpus in self.train):
            raise ValueError("train: leave one corpus without a tag: it is what the model will be used for")
        return self

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return "bleu", "chrf", "loss"

    def longest(self, model: ModelConfig) -> int:
        side = self.max_tokens + 1  # the end, or the beginning
        return 2 * side if isinstance(model, DecoderOnly) else side

    def fits(self, model: ModelConfig) -> None:
        if isinstance(model, EncoderOnly):
            raise ValueError("model.kind=encoder_only generates nothing, so that it cannot translate")
        if isinstance(self.consistency, RDrop) and model.dropout == 0:
            raise ValueError("task.consistency=r_drop compares two dropouts: set model.dropout above 0, or take simcut")
        if isinstance(model, DecoderOnly) and (reason := broken(model).get("rewind")):
            raise ValueError(
                f"model.kind=decoder_only cannot translate sources of unlike lengths with these layers: {reason}"
            )
        if isinstance(model, DecoderOnly) and self.subwords.vocabulary == "separate":
            raise ValueError("model.kind=decoder_only needs one vocabulary: set task.subwords.vocabulary=joint")
        if self.subwords.vocabulary == "separate" and model.embeddings.tie == "all":
            raise ValueError(
                "model.embeddings.tie=all needs one vocabulary for both sides: "
                "set task.subwords.vocabulary=joint or model.embeddings.tie=target"
            )

    def check(self) -> None:
        for metric in default_metrics(self.target):
            build_metric(metric, self.target)

    def adopt(self, model: Path, directory: Path) -> None:
        read_config(model, ModelDirectory, "translation")
        segmenters = load_pair(model)
        if isinstance(self.subwords, Extended):
            segmenters = extend(segmenters, _of_an_epoch(self.train), self.subwords.pieces)
        _keep(segmenters, directory)

    def build(self, directory: Path, cache: Path) -> "TranslationTask":
        """Subwords into `directory` (or read from there, so that a resumed run keeps its own), shards into `cache`."""
        folder = directory / "subwords"
        if folder.exists():
            segmenters = load_pair(folder)
        else:
            tags = sorted({corpus.tag for corpus in self.train if corpus.tag is not None})
            segmenters = train_subwords(self.subwords, pairs_of(self.train), tags)
            _keep(segmenters, directory)
        shards = build_shards(self.train, self.subwords, segmenters, self.max_tokens, cache)
        return TranslationTask(self, segmenters, shards, list(pairs_of(self.valid)))


def _keep(segmenters: SegmenterPair, directory: Path) -> None:
    """Into the run's `subwords`, which is there when it is whole, or not at all."""
    whole = Path(tempfile.mkdtemp(prefix=".subwords-", dir=directory))
    save_pair(segmenters, whole)
    whole.rename(directory / "subwords")


def pairs_of(corpora: Corpora) -> Iterator[Pair]:
    """All pairs of some corpora, in order."""
    for corpus in corpora:
        yield from read_pairs(corpus)


def _of_an_epoch(corpora: Corpora) -> Iterator[Pair]:
    """All pairs as often as their weights say, a fraction by lot: what mixing adds counts for as much as it is seen."""
    lot = random.Random(_SEED)
    for corpus in corpora:
        for pair in read_pairs(corpus):
            yield from repeat(pair, int(corpus.weight + lot.random()))


def _grown(new: tuple[Origins, Origins], name: str, stored: Tensor) -> Tensor:
    """A tensor with a row a piece gets those of the new pieces: the mean of the rows in whose place each stands."""
    if not _TABLE.fullmatch(name):
        return stored
    side = 0 if name.startswith("source") else 1
    return torch.cat([stored, *(stored[old].mean(0, keepdim=True) for old in new[side])])


class TranslationTask:
    """A translation task with its data opened."""

    def __init__(self, config: Translation, segmenters: SegmenterPair, shards: Shards, valid: Sequence[Pair]) -> None:
        self.config, self.segmenters, self.shards = config, segmenters, shards
        self.valid = valid
        self.special = segmenters.source.special, segmenters.target.special
        self.source_vocabulary = Vocabulary(segmenters.source.size, *segmenters.source.special)
        self.target_vocabulary = Vocabulary(segmenters.target.size, *segmenters.target.special)
        if not valid:
            raise UserError("task.valid holds no pair: training needs a development set")

    @property
    def fingerprint(self) -> str:
        return self.shards.path.stem

    def introduction(self) -> list[str]:
        """How much there is to learn from, and where lines of other sets occur in it."""
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in self.shards.dropped.items() if count)
        sizes = " and ".join(f"{size:,}" for size in {segmenter.size for segmenter in self.segmenters})
        config = self.config
        sets = {"the development set": config.valid, **config.test}
        found = {name: overlap(pairs_of(config.train), pairs_of(corpora)) for name, corpora in sets.items()}
        return [
            f"{len(self.shards):,} training pairs" + (f" (dropped: {dropped})" if dropped else ""),
            f"{sizes} subwords",
            *(f"{name}: {line}" for name, overlaps in found.items() for line in overlaps.lines()),
        ]

    def start(self, model: nn.Module, directory: Path) -> None:
        load_weights(model, directory, partial(_grown, origins(load_pair(directory), self.segmenters)))

    def sampler(self, tokens: int, seed: int) -> BatchSampler:
        return BatchSampler(
            self.shards.source_lengths, self.shards.target_lengths, tokens, seed, weights=self.shards.weights
        )

    def batch(self, indices: Indices, epoch: int, seed: int) -> Batch:
        return collate([self.shards.pair(int(i), epoch, seed) for i in indices], indices, *self.special)

    def loss(self, model: Translating, batch: Batch) -> Sums:
        return self.config.consistency.loss(model, batch, self.config.label_smoothing)

    @torch.inference_mode()
    def evaluate(self, model: Translating, device: torch.device) -> dict[str, float]:
        """On the development set: `loss` (-log p a token, without smoothing), `bleu` and `chrf` of greedy output."""
        likelihood, tokens = 0.0, 0
        texts = [""] * len(self.valid)
        for batch in (each.to(device) for each in self._valid_batches()):
            found = NoConsistency().loss(model, batch, smoothing=0.0)
            likelihood, tokens = likelihood + found.likelihood.item(), tokens + found.tokens
            hypotheses = search(model, batch.source, batch.source_mask, Greedy())
            for i, (best, *_) in zip(batch.indices, hypotheses, strict=True):
                texts[int(i)] = self.segmenters.target.decode(best.tokens)
        scores = score(texts, [pair.target for pair in self.valid], self.config.target, ["bleu", "chrf"])
        return {"loss": likelihood / tokens, **{s.name: s.value for s in scores}}

    def _valid_batches(self) -> Iterator[Batch]:
        """The development set in batches of like lengths; no pair is left out, whatever its length."""
        source, target = self.segmenters
        examples = [
            (np.asarray(source.encode(s), np.int32), np.asarray(target.encode(t), np.int32)) for s, t in self.valid
        ]
        lengths = [np.array([len(example[side]) for example in examples], np.int32) for side in (0, 1)]
        budget = max(_BATCH, int(sum(side.max() for side in lengths)) + 2)
        for indices in BatchSampler(*lengths, tokens=budget, seed=0).plan(0):
            yield collate([examples[i] for i in indices], indices, *self.special)

    def save(self, model: nn.Module, config: ModelConfig, decoding: Decoding, directory: Path) -> None:
        task = self.config
        whole = ModelDirectory(
            source=task.source, target=task.target, model=config, subwords=task.subwords, decoding=decoding
        )
        Translator(whole, cast(Translating, model), self.segmenters).save(directory)

    def finish(self, directory: Path, console: Console) -> Finished:
        """With the decoding of the model directory, not greedily. Its confidence is calibrated on the development set,
        and the diagram shows the first test set, if there is one."""
        translator = Translator.load(directory)
        scores: dict[str, list[Score]] = {}
        observed: dict[str, Observed] = {}
        sentences, seconds = 0, 0.0
        for name, corpora in {"valid": self.config.valid, **self.config.test}.items():
            with console.status(f"Translating {name} ..."):
                started = time.perf_counter()
                pairs = list(pairs_of(corpora))
                found = list(translator.stream([pair.source for pair in pairs], detail="tokens"))
                sentences, seconds = sentences + len(pairs), seconds + time.perf_counter() - started
            references = [pair.target for pair in pairs]
            scores[name] = score([each.text for each in found], references, self.config.target, confidence=True)
            if seen := observe(translator, found, references):
                observed[name] = seen
        if "valid" in observed:
            shown = next((name for name in self.config.test if name in observed), "valid")
            keep(directory, observed["valid"].calibration(), observed[shown], shown)
        return Finished(scores, self._corpus(), (self.config.source, self.config.target), sentences / seconds)

    def _corpus(self) -> TrainingCorpus:
        paths = [path for corpus in self.config.train for path in corpus.paths]
        return TrainingCorpus(
            files=tuple(path.name for path in paths),
            pairs=len(self.shards) + sum(self.shards.dropped.values()),
            dropped=self.shards.dropped,
            content_hash=content_hash(paths),
        )
