"""Translation: pairs of sentences; label-smoothed cross-entropy; BLEU and chrF of greedy output."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt

from kakehashi.config import Config
from kakehashi.data.batching import Batch, BatchSampler, Indices, collate
from kakehashi.data.corpus import Corpora, Pair, read_pairs
from kakehashi.data.shards import Shards, build_shards
from kakehashi.data.subwords import PAD, SegmenterPair, Subwords, Unigram, load_pair, save_pair, train_subwords
from kakehashi.decoding import Greedy, search
from kakehashi.errors import UserError
from kakehashi.evaluation.metrics import score
from kakehashi.models.protocol import Translating, Vocabulary
from kakehashi.nn.losses import cross_entropy
from kakehashi.tasks.protocol import Sums

_BATCH = 4096  # tokens (source + target) of a batch of evaluation


class Translation(Config):
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

    def build(self, directory: Path, cache: Path) -> "TranslationTask":
        """Subwords into `directory` (or read from there, so that a resumed run keeps its own), shards into `cache`."""
        folder = directory / "subwords"
        if folder.exists():
            segmenters = load_pair(folder)
        else:
            segmenters = train_subwords(self.subwords, pairs_of(self.train))
            whole = Path(tempfile.mkdtemp(prefix=".subwords-", dir=directory))
            save_pair(segmenters, whole)
            whole.rename(folder)  # there when it is whole, or not at all
        shards = build_shards(self.train, self.subwords, segmenters, self.max_tokens, cache)
        return TranslationTask(self, segmenters, shards, list(pairs_of(self.valid)))


def pairs_of(corpora: Corpora) -> Iterator[Pair]:
    """All pairs of some corpora, in order."""
    for corpus in corpora:
        yield from read_pairs(corpus)


class TranslationTask:
    """A translation task with its data opened."""

    def __init__(self, config: Translation, segmenters: SegmenterPair, shards: Shards, valid: Sequence[Pair]) -> None:
        self.config, self.segmenters, self.shards = config, segmenters, shards
        self.valid = valid
        self.source_vocabulary = Vocabulary(segmenters.source.size)
        self.target_vocabulary = Vocabulary(segmenters.target.size)
        if not valid:
            raise UserError("task.valid holds no pair: training needs a development set")

    def sampler(self, tokens: int, seed: int) -> BatchSampler:
        return BatchSampler(
            self.shards.source_lengths, self.shards.target_lengths, tokens, seed, weights=self.shards.weights
        )

    def batch(self, indices: Indices, epoch: int, seed: int) -> Batch:
        return collate([self.shards.pair(int(i), epoch, seed) for i in indices], indices)

    def loss(self, model: Translating, batch: Batch) -> Sums:
        """Teacher forcing; padding takes no part."""
        output = model.decode(batch.target_input, model.encode(batch.source, batch.source_mask))
        real = batch.target_output != PAD
        loss, likelihood = cross_entropy(
            output.hidden[real],
            output.projection,
            output.bias,
            batch.target_output[real],
            self.config.label_smoothing,
        )
        count = int(real.sum())
        for further in output.losses.values():  # means over tokens, weighted by their parts
            loss = loss + further * count
        return Sums(loss, likelihood, count)

    @torch.inference_mode()
    def evaluate(self, model: Translating, device: torch.device) -> dict[str, float]:
        """On the development set: `loss` (-log p a token, without smoothing), `bleu` and `chrf` of greedy output."""
        likelihood, tokens = 0.0, 0
        texts = [""] * len(self.valid)
        for batch in (each.to(device) for each in self._valid_batches()):
            sums = self.loss(model, batch)
            likelihood, tokens = likelihood + sums.likelihood.item(), tokens + sums.tokens
            for i, found in zip(batch.indices, search(model, batch.source, batch.source_mask, Greedy()), strict=True):
                texts[int(i)] = self.segmenters.target.decode(found[0].tokens)
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
            yield collate([examples[i] for i in indices], indices)
