"""Texts into sentences and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kakehashi.serving.engine.sentences import BLOCK, LONGEST, TOGETHER, gap_between, split, split_around, stretches

SPACES = [" ", "  ", "\t", "\n", "\r\n", "\r", "\n\n", "\u00a0", "\u3000", "\u2028", "\x85", "\x1c", ""]
PARTS = [
    "Hello",
    "Mr.",
    "good.",
    "Really?!",
    "3.5",
    "e.g.",
    "…",
    "「はい。」",
    "元気ですか？",
    "مرحبا؟",
    "👩‍👩‍👧",
    "(a)",
    "- b",
    '"',
    "\ud800",
]


def rejoined(text: str, language: str) -> str:
    return "".join(piece.gap + piece.text for piece in split(text, language))


@given(st.lists(st.sampled_from(SPACES + PARTS)).map("".join), st.sampled_from(["en", "ja", "ar", "de-AT", "x-own"]))
def test_nothing_is_lost(text: str, language: str) -> None:
    pieces = list(split(text, language))
    assert "".join(piece.gap + piece.text for piece in pieces) == text
    assert all(text.startswith(piece.text, piece.start) for piece in pieces)
    assert all(piece.text == piece.text.strip() != "" for piece in pieces[:-1])
    assert pieces[-1].text == "" and all(piece.gap.strip() == "" for piece in pieces)


@given(st.text())
def test_nothing_is_lost_of_any_text(text: str) -> None:
    assert rejoined(text, "en") == text


@given(st.lists(st.sampled_from(SPACES + PARTS)).map("".join), st.data())
def test_nothing_is_lost_around_what_is_known(text: str, data: st.DataObject) -> None:
    parts = [*stretches(text, "en")]
    known = data.draw(st.sets(st.sampled_from(parts))) if parts else set[str]()
    pieces = list(split_around(text, "en", known))
    assert "".join(piece.gap + piece.text for piece in pieces) == text and pieces[-1].text == ""
    assert all(text.startswith(piece.text, piece.start) for piece in pieces)
    assert {piece.text for piece in pieces} <= {*known, *(piece.text for piece in split(text, "en"))}
    assert list(split_around(text, "en", ())) == list(split(text, "en"))


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"Two!"}, ["One!", "Two!", "Three!", "Four!", "Five!"]),
        ({"Two!", "One!  Two!"}, ["One!  Two!", "Three!", "Four!", "Five!"]),
        ({"One! Two!", "Two!\nThree!"}, ["One!", "Two!\nThree!", "Four!", "Five!"]),
        ({"One!  Two!\nThree! Four!", "One!"}, ["One!  Two!\nThree! Four!", "Five!"]),
        ({"One!", "One!  Two!\nThree! Four! Five!"}, ["One!  Two!\nThree! Four! Five!"]),
    ],
)
def test_what_is_known_is_one_piece(known: set[str], expected: list[str]) -> None:
    pieces = list(split_around(" One!  Two!\nThree! Four! Five!\n", "en", known))
    assert [piece.text for piece in pieces][:-1] == expected
    assert (pieces[0].gap, pieces[-1].gap) == (" ", "\n")


def test_stretches() -> None:
    found = list(stretches(" One! Two!\nThree! Four! Five! Six! ", "en"))
    assert {"One!", "Six!", "Two!\nThree!", "Three! Four! Five! Six!"} <= set(found)
    assert len(found) == 6 * TOGETHER - sum(range(TOGETHER)) and "Two!\nThree! Four! Five! Six!" not in found


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Hello Mr. Smith. How are you?", "en", ["Hello Mr. Smith.", "How are you?"]),
        ("Am 3. Mai kam z. B. er. Ja.", "de", ["Am 3. Mai kam z. B. er.", "Ja."]),
        ("こんにちは。元気ですか？はい", "ja", ["こんにちは。", "元気ですか？", "はい"]),
        ("مرحبا. كيف حالك؟ بخير", "ar", ["مرحبا.", "كيف حالك؟", "بخير"]),
        ("One\nline\r\neach  ", "en", ["One", "line", "each"]),
        ("", "en", []),
        (" \n ", "en", []),
    ],
)
def test_sentences(text: str, language: str, expected: list[str]) -> None:
    assert [piece.text for piece in split(text, language)][:-1] == expected


@pytest.mark.parametrize("unit", ["a", "word ", "a, b ", "あ", "あ。", "(", "? "])
def test_long_lines_are_cut(unit: str) -> None:
    text = unit * (2 * BLOCK // len(unit))
    pieces = list(split(text, "en"))
    assert "".join(piece.gap + piece.text for piece in pieces) == text
    assert max(len(piece.text) for piece in pieces) <= LONGEST
    assert len(pieces) < 20 * len(text) / LONGEST or "。" in unit or "?" in unit


def test_it_is_lazy() -> None:
    """The first sentence of a long text comes without the others being looked for."""
    text = "This is one. " * 1_000_000
    assert next(split(text, "en")).text == "This is one."
    lines = "This is one.\n" * 1_000_000
    assert next(split(lines, "en")).text == "This is one."


def test_gaps_between_sentences() -> None:
    assert gap_between("", "ja", "en") == " " and gap_between(" ", "en", "zh-Hant") == ""
    for gap in ("  ", "\n", "\t", "\u3000"):
        assert gap_between(gap, "ja", "en") == gap_between(gap, "en", "ja") == gap
    for source, target in (("en", "de"), ("ja", "zh")):
        assert gap_between("", source, target) == "" and gap_between(" ", source, target) == " "
