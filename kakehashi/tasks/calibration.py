"""What translations beside a human's say of a model's confidence: how to calibrate it, and how far to believe it.

A sentence came true to the share that its chrF tells. A piece came true if it stands in the human translation, cut by
the same vocabulary, and as often (Blatz et al. 2004, section 4, for words).

Shapes: N sentences of which something can be seen, P such pieces.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from kakehashi.alignment import Token
from kakehashi.confidence import FILE, Calibration, Curve
from kakehashi.data.subwords import AnySegmenter
from kakehashi.directory import replaced
from kakehashi.evaluation.metrics import measure
from kakehashi.evaluation.reliability import Reliability, draw
from kakehashi.translator import Translation, Translator

FIGURE = "reliability.svg"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Observed:
    """Log-probabilities, of sentences as the mean over their tokens, and what came true."""

    sentences_N: Floats
    chrf_N: Floats
    pieces_P: Floats
    standing_P: Floats

    def calibration(self) -> Calibration:
        """What makes confidence the mean of what came true."""
        return Calibration(
            sentence=Curve.fitted(self.sentences_N, self.chrf_N), piece=Curve.fitted(self.pieces_P, self.standing_P)
        )

    def reliability(self, calibration: Calibration) -> list[Reliability]:
        """Of sentences and of pieces."""
        raw = Calibration()
        told = raw.sentence(self.sentences_N), calibration.sentence(self.sentences_N)
        told_of_pieces = raw.piece(self.pieces_P), calibration.piece(self.pieces_P)
        return [
            Reliability("sentences", "chrF", *told, self.chrf_N),
            Reliability("pieces", "share that stands in the reference", *told_of_pieces, self.standing_P),
        ]


def observe(translator: Translator, found: Sequence[Translation], references: Sequence[str]) -> Observed | None:
    """Translations with their tokens (`detail="tokens"`), beside as many references; None where all are empty."""
    segmenter = translator.segmenters.target
    told = [pair for pair in zip(found, references, strict=True) if any(map(_seen, pair[0].tokens))]
    if not told:
        return None
    texts = [each.text for each, _ in told]
    (chrf,) = measure(texts, [reference for _, reference in told], translator.config.target, ["chrf"])
    pieces = [piece for each, reference in told for piece in _standing(each, reference, segmenter)]
    return Observed(
        np.array([fmean(token.log_probability for token in each.tokens) for each, _ in told]),
        np.array([chrf.value_of(row) / 100 for row in chrf.counts]),
        np.array([log_probability for log_probability, _ in pieces]),
        np.array([float(stands) for _, stands in pieces]),
    )


def _standing(found: Translation, reference: str, segmenter: AnySegmenter) -> list[tuple[float, bool]]:
    """Of each piece that can be seen its log-probability, and whether it stands in the reference."""
    left = Counter(map(segmenter.piece, segmenter.encode(reference)))
    pieces: list[tuple[float, bool]] = []
    for token in found.tokens:
        if _seen(token):
            pieces.append((token.log_probability, left[token.piece] > 0))
            left[token.piece] -= 1
    return pieces


def _seen(token: Token) -> bool:
    return token.span[0] < token.span[1]


def keep(directory: Path, calibration: Calibration, shown: Observed, title: str) -> None:
    """Into a model directory, with a diagram of how far what is `shown` can be believed."""
    with replaced(directory / FILE) as new:
        calibration.write(new)
    with replaced(directory / FIGURE) as new:
        draw(shown.reliability(calibration), title, new)
