"""Terms of a glossary: which lines they stand in, and how they are read."""

from pathlib import Path

import pytest

from kakehashi.data.terms import Wording, read_glossary
from kakehashi.errors import UserError


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("the bank, please", ["Bank"]),
        ("bank", ["Bank"]),
        ("banks and a riverbank", []),
        ("The Bank", []),
        ("C++ at the bank by the river bank", ["Bank", "Cpp"]),
        ("C++17", []),
    ],
)
def test_terms_stand_as_whole_words_in_their_case(line: str, expected: list[str]) -> None:
    assert Wording({"bank": "Bank", "C++": "Cpp"}).terms_in(line, spaced=True) == expected


def test_terms_stand_anywhere_where_there_are_no_spaces() -> None:
    assert Wording({"銀行": "bank", "橋": "bridge"}).terms_in("あの銀行へ", spaced=False) == ["bank"]


def test_a_target_that_two_terms_share_is_asked_for_once() -> None:
    assert Wording({"car": "Auto", "auto": "Auto"}).terms_in("car or auto", spaced=True) == ["Auto"]


def test_a_blank_phrase_is_refused() -> None:
    for wording in ({"terms": {"a": " "}}, {"required": [""]}, {"forbidden": ["\t"]}):
        with pytest.raises(UserError, match="blank"):
            Wording(**wording)


def test_a_glossary_is_read(tmp_path: Path) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text("river bank\tUfer\n\nbridge \t Brücke\nbridge\tBrücke\n", encoding="utf-8")
    assert read_glossary(path) == {"river bank": "Ufer", "bridge": "Brücke"}


@pytest.mark.parametrize(
    ("text", "message"),
    [("a\tb\nbridge\n", "line 2: a glossary's line"), ("a\tb\tc\n", "line 1"), ("a\tb\na\tc\n", "line 2: 'a' is 'b'")],
)
def test_a_wrong_glossary_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_glossary(path)
