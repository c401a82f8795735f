"""Kakehashi as one side of a comparison. Shapes: B sentences, L tokens, V vocabulary."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kakehashi.data.subwords import SegmenterPair
from kakehashi.decoding import Beam, Greedy, search
from kakehashi.interop.protocol import BATCH, EXACT, LONGEST, Limits, Pieces
from kakehashi.models.protocol import Translating


class Translates(Protocol):
    """A model with its segmenters: a `Translator`, or one that is made of something else."""

    @property
    def model(self) -> Translating: ...

    @property
    def segmenters(self) -> SegmenterPair: ...

    @property
    def device(self) -> torch.device: ...


@dataclass(frozen=True)
class Ours:
    """Satisfies `System`: our search over any model of our protocol."""

    translator: Translates
    name: str = "kakehashi"
    limits: Limits = EXACT

    @property
    def longest(self) -> int:
        return self.translator.model.max_length or sys.maxsize

    def segment(self, text: str) -> Pieces:
        segmenter = self.translator.segmenters.source
        return [segmenter.piece(id) for id in segmenter.encode(text)]

    def text(self, pieces: Pieces) -> str:
        segmenter = self.translator.segmenters.target
        return segmenter.decode([segmenter.id(piece) for piece in pieces])

    def translate(self, sources: Sequence[Pieces], beam: int) -> list[Pieces]:
        greedy = Greedy(max_length=LONGEST, extra_length=LONGEST)
        decoding = (
            greedy if beam == 1 else Beam(size=beam, length_penalty=0.0, max_length=LONGEST, extra_length=LONGEST)
        )
        target, found = self.translator.segmenters.target, list[Pieces]()
        for start in range(0, len(sources), BATCH):
            for best, *_ in search(self.translator.model, *self._source(sources[start : start + BATCH]), decoding):
                found.append([target.piece(id) for id in best.tokens])
        return found

    @torch.inference_mode()
    def score(self, sources: Sequence[Pieces], targets: Sequence[Pieces]) -> list[list[float]]:
        model, segmenter = self.translator.model, self.translator.segmenters.target
        vocabulary, found = model.target_vocabulary, list[list[float]]()
        for source, target in zip(sources, targets, strict=True):
            ids = torch.tensor([vocabulary.begin, *map(segmenter.id, target), vocabulary.end])[None]
            ids = ids.to(self.translator.device)
            output = model.decode(ids[:, :-1], model.encode(*self._source([source])))
            log_probabilities_LV = output.logits[0].float().log_softmax(-1)
            found.append(log_probabilities_LV.gather(1, ids[0, 1:, None])[:, 0].tolist())
        return found

    def _source(self, sources: Sequence[Pieces]) -> tuple[Tensor, Tensor]:
        """Ids [B, L] and where there is a token."""
        segmenter, vocabulary = self.translator.segmenters.source, self.translator.model.source_vocabulary
        rows = [torch.tensor([*map(segmenter.id, pieces), vocabulary.end]) for pieces in sources]
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=vocabulary.pad)
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        return ids.to(self.translator.device), mask.to(self.translator.device)
