"""What translations beside a human's say of a model's confidence."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kakehashi.alignment import Token
from kakehashi.confidence import Calibration, Curve
from kakehashi.data.corpus import Pair
from kakehashi.data.subwords import Unigram, train_subwords
from kakehashi.evaluation.metrics import score
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.tasks.calibration import FIGURE, keep, observe
from kakehashi.translator import ModelDirectory, Translation, Translator

WORDS = "ein zwei drei vier Hund Katze Maus".split()


@pytest.fixture(scope="module")
def translator() -> Translator:
    """Its model is never asked."""
    segmenters = train_subwords(Unigram(), [Pair(word, " ".join(WORDS)) for word in WORDS] * 20)
    config = EncoderDecoder(width=8, heads=2)
    model = config.build(*(Vocabulary(each.size, *each.special) for each in segmenters))
    return Translator(ModelDirectory(source="en", target="de", model=config, subwords=Unigram()), model, segmenters)


def told(translator: Translator, text: str, log_probabilities: Sequence[float]) -> Translation:
    segmenter = translator.segmenters.target
    ids = segmenter.encode(text)
    spans = segmenter.decoded_spans(ids)
    tokens = [Token(segmenter.piece(i), p, s) for i, p, s in zip(ids, log_probabilities, spans, strict=True)]
    return Translation("source", text, tokens=tuple(tokens))


def test_a_piece_stands_as_often_as_in_the_reference(translator: Translator) -> None:
    found = told(translator, "Hund Hund Maus", [-0.1, -0.2, -0.6])
    seen = observe(translator, [found, Translation("empty", "")], ["ein Hund Katze", "Maus"])
    assert seen is not None
    assert seen.sentences_N == pytest.approx([-0.3])
    (chrf,) = score(["Hund Hund Maus"], ["ein Hund Katze"], "de", ["chrf"])
    assert seen.chrf_N == pytest.approx([chrf.value / 100])
    assert seen.pieces_P.tolist() == [-0.1, -0.2, -0.6] and seen.standing_P.tolist() == [1, 0, 0]
    assert observe(translator, [Translation("empty", "")], ["Maus"]) is None


def test_confidence_becomes_what_came_true(translator: Translator, tmp_path: Path) -> None:
    """A model that is sure, and right every other time."""
    found = [told(translator, "Hund", [math.log(0.9)])] * 400
    seen = observe(translator, found, ["Hund", "Katze"] * 200)
    assert seen is not None
    calibration = seen.calibration()
    assert calibration.of_piece(math.log(0.9)) == pytest.approx(0.5, abs=0.01)
    assert calibration.of_sentence(math.log(0.9), 1) == pytest.approx(np.mean(seen.chrf_N), abs=0.01)
    assert [each.errors()[1] < 0.02 for each in seen.reliability(calibration)] == [True, True]
    keep(tmp_path, calibration, seen, "valid")
    assert Calibration.read(tmp_path) == calibration and "valid" in (tmp_path / FIGURE).read_text("utf-8")


def test_a_saved_model_keeps_its_calibration(translator: Translator, tmp_path: Path) -> None:
    calibration = Calibration(sentence=Curve(slope=2.0))
    replace(translator, calibration=calibration).save(tmp_path / "model")
    assert Translator.load(tmp_path / "model", device="cpu").calibration == calibration
    translator.save(tmp_path / "plain")
    assert {path.name for path in (tmp_path / "model").iterdir()} - {
        path.name for path in (tmp_path / "plain").iterdir()
    } == {"calibration.json"}
