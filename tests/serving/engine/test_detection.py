"""Languages of texts."""

import pytest

from kakehashi.serving.engine.detection import THOROUGH, Detector
from kakehashi.serving.engine.protocol import Detection


def test_many_languages_are_told_apart() -> None:
    languages = ["en", "de", "fr", "es", "it", "ja", "zh", "ar", "ru", "pt-BR", "nl"]
    assert len(languages) > THOROUGH
    detector = Detector(languages)
    for text, code in (
        ("今日はいい天気ですね。", "ja"),
        ("今天天气很好。", "zh"),
        ("الطقس جميل اليوم.", "ar"),
        ("Сегодня хорошая погода.", "ru"),
        ("Het weer is vandaag erg mooi, vind je niet?", "nl"),
        ("O tempo está muito bom hoje, não acha?", "pt-BR"),
        ("Das Wetter ist heute sehr schön. " * 10_000, "de"),
    ):
        best, *others = detector.detect(text)
        assert best.language == code and 0 < best.confidence <= 1
        assert sum(each.confidence for each in (best, *others)) == pytest.approx(1, abs=0.01)


def test_where_there_is_no_choice_there_is_no_doubt() -> None:
    for code in ("en", "x-own"):
        assert Detector([code]).detect("some text") == [Detection(code, 1.0)]
        assert Detector([code]).detect("12 + 5") == []
