"""Language codes, in and out."""

import pytest

from kakehashi.serving.api.codes import Codes, shown
from kakehashi.serving.engine.protocol import Language


def codes(*known: str) -> Codes:
    return Codes([Language(code, code.title(), known) for code in known])


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("en", "en"),
        ("ain", "ain"),
        ("pt-br", "pt-BR"),
        ("zh", "zh-Hans"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("x-pirate", "x-pirate"),
    ],
)
def test_out(code: str, expected: str) -> None:
    assert shown(code) == expected
    assert codes(code).read(expected) == code


@pytest.mark.parametrize(
    ("known", "text", "expected"),
    [
        ("pt-br", "pb", "pt-br"),
        ("pt-br", "PT_BR", "pt-br"),
        ("zh-hant", "zt", "zh-hant"),
        ("zh", "zh-Hans", "zh"),
        ("zh-hans", "ZH", "zh-hans"),
        ("en", "EN", "en"),
        ("en", "e", None),
        ("pt", "pb", None),
    ],
)
def test_in(known: str, text: str, expected: str | None) -> None:
    assert codes(known).read(text) == expected


def test_what_is_known_itself_is_no_other_name() -> None:
    assert codes("zh", "zh-hans").read("zh") == "zh"
    assert codes("zh", "zh-hans").read("zh-hans") == "zh-hans"


def test_detection_may_mean_a_relative() -> None:
    assert codes("en", "pt-br").nearest("pt") == "pt-br"
    assert codes("en", "zh-hant").nearest("zh") == "zh-hant"
    assert codes("en", "pt").nearest("pt-br") == "pt"
    assert codes("en").nearest("pt") is None
