from pathlib import Path

import pytest

from kakehashi.data.languages import NAMES, guess_language, guess_languages, language_code, unsubtagged
from kakehashi.errors import UserError


def test_the_table_is_iso_639_1() -> None:
    assert len(NAMES) == 183
    assert all(len(code) == 2 for code in NAMES)
    assert (NAMES["ja"], NAMES["de"], NAMES["se"]) == ("Japanese", "German", "Northern Sami")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("en", "en"),
        ("JA", "ja"),
        ("pt-BR", "pt-br"),
        ("zh-Hant", "zh-hant"),
        ("ain", "ain"),
        ("x-Klingon", "x-klingon"),
    ],
)
def test_codes_are_known_in_any_case(text: str, code: str) -> None:
    assert language_code(text) == code


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("jp", "ja"),
        ("cz", "cs"),
        ("jpn", "ja"),
        ("ger", "de"),
        ("deu", "de"),
        ("English", "en"),
        ("Japanes", "ja"),
        ("en_US", "en-us"),
        ("jpn_Jpan", "ja"),
    ],
)
def test_what_is_no_code_is_refused_with_what_was_meant(text: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"{text!r} is not a language code; did you mean {meant!r}"):
        language_code(text)


@pytest.mark.parametrize("text", ["", "q", "zz", "日本", "en--us", "e1", "x-", "en-us-"])
def test_what_is_like_no_code_is_refused_without_a_guess(text: str) -> None:
    with pytest.raises(UserError, match="is not a language code: Write"):
        language_code(text)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("train.en", "en"),
        ("train.EN.gz", "en"),
        ("train.ja.zst", "ja"),
        ("corpus.en-de.de", "de"),
        ("corpus.en-de.en.txt", "en"),
        ("data_en.txt", "en"),
        ("news-de.tok.gz", "de"),
        ("fr.txt", "fr"),
        ("train.pt-br", "pt-br"),
        ("train.zh-hant.gz", "zh-hant"),
        ("ja/train.txt", "ja"),
        ("train.txt", None),
        ("source", None),
        ("train.jp", None),
        ("train.src", None),  # the code of a language all the same
        ("my-corpus.txt", None),
        ("en-test.txt", None),
        (".gz", None),
    ],
)
def test_a_file_name_ends_with_its_language(name: str, code: str | None) -> None:
    assert guess_language(Path("texts") / name) == code


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("corpus.en-ja.tsv", ("en", "ja")),
        ("en_de.jsonl.gz", ("en", "de")),
        ("train.tsv", (None, None)),
        ("train.en.tsv", (None, None)),
    ],
)
def test_a_file_of_pairs_may_name_both(name: str, codes: tuple[str | None, str | None]) -> None:
    assert guess_languages(Path(name)) == codes


def test_the_language_of_a_code() -> None:
    assert [unsubtagged(code) for code in ("pt-BR", "zh_hant", "EN", "x-own")] == ["pt", "zh", "en", "x"]
