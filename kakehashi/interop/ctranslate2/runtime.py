"""The library CTranslate2 as one side of a comparison."""

from collections.abc import Callable, Sequence
from pathlib import Path

import ctranslate2
import torch

from kakehashi.data.listed import processor
from kakehashi.interop.ctranslate2.vocabulary import Vocabularies
from kakehashi.interop.protocol import BATCH, LONGEST, Limits, Pieces


class Runtime:
    """Satisfies `System`. source: the SentencePiece model of the source; text: how the target's pieces become one."""

    def __init__(
        self,
        directory: Path,
        vocabularies: Vocabularies,
        source: bytes,
        text: Callable[[Pieces], str],
        longest: int,
        limits: Limits,
    ) -> None:
        self._longest, self._limits = longest, limits
        self.name = f"CTranslate2 {ctranslate2.__version__}"
        self._text = text
        self._translator = ctranslate2.Translator(str(directory), intra_threads=torch.get_num_threads())
        self._processor = processor(source)
        self._vocabularies, self._known = vocabularies, frozenset(vocabularies.source)

    @property
    def longest(self) -> int:
        return self._longest

    @property
    def limits(self) -> Limits:
        return self._limits

    def segment(self, text: str) -> Pieces:
        pieces: Pieces = self._processor.encode(text, out_type=str)
        return [piece if piece in self._known else self._vocabularies.unknown for piece in pieces]

    def text(self, pieces: Pieces) -> str:
        return self._text(pieces)

    def translate(self, sources: Sequence[Pieces], beam: int) -> list[Pieces]:
        found = self._translator.translate_batch(
            self._ended(sources),
            max_batch_size=BATCH,
            beam_size=beam,
            length_penalty=0,
            max_input_length=0,
            max_decoding_length=LONGEST,
            min_decoding_length=0,
            suppress_sequences=[[piece] for piece in self._vocabularies.silent],
        )
        return [each.hypotheses[0] for each in found]

    def score(self, sources: Sequence[Pieces], targets: Sequence[Pieces]) -> list[list[float]]:
        found = self._translator.score_batch(
            self._ended(sources), list(targets), max_batch_size=BATCH, max_input_length=0
        )
        return [each.log_probs for each in found]

    def _ended(self, sources: Sequence[Pieces]) -> list[Pieces]:
        """With the end that whoever feeds the model must add, where the model does not do it."""
        return [[*pieces, *self._vocabularies.ending] for pieces in sources]
