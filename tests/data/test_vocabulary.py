"""Characters as a vocabulary: lossless, never unknown, saved as JSON; and both kinds lay out their ids alike."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kakehashi.data.subwords import UNKNOWN, Unigram
from kakehashi.data.vocabulary import (
    FIRST_BYTE,
    FIRST_PIECE,
    Characters,
    CharacterSegmenter,
    load_vocabulary,
    save_vocabulary,
    train_vocabulary,
)
from kakehashi.errors import UserError

TEXTS = ["To be, or not to be:\nthat is the question.\n", "架け橋"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_nothing_is_lost(text: str) -> None:
    segmenter = CharacterSegmenter("abcé 架\n")
    ids = segmenter.encode(text)
    assert segmenter.decode(ids) == text
    assert all(FIRST_BYTE <= id < segmenter.size for id in ids), "no special id, UNKNOWN neither"


def test_a_character_is_one_token_and_a_strange_one_its_bytes() -> None:
    segmenter = train_vocabulary(Characters(), TEXTS)
    assert len(segmenter.encode(TEXTS[0])) == len(TEXTS[0]) and min(segmenter.encode("be架")) >= FIRST_PIECE
    assert segmenter.encode("é") == [FIRST_BYTE + byte for byte in "é".encode()]
    assert segmenter.decode([0, 1, 2, UNKNOWN, *segmenter.encode("be")]) == "be"
    assert segmenter.decode(segmenter.encode("é")[:1]) == "\ufffd"


@pytest.mark.parametrize("config", [Characters(), Unigram()], ids=lambda config: config.kind)
def test_it_is_saved_and_loaded(config: Characters | Unigram, tmp_path: Path) -> None:
    texts = [f"{text} {i}" for i in range(50) for text in TEXTS]
    segmenter = train_vocabulary(config, texts)
    save_vocabulary(segmenter, tmp_path)
    loaded = load_vocabulary(config, tmp_path)
    assert loaded.size == segmenter.size
    assert loaded.encode(TEXTS[0]) == segmenter.encode(TEXTS[0])
    assert loaded.decode(loaded.encode(TEXTS[0])) == TEXTS[0], "a line break too"
    assert min(loaded.encode("To be")) >= FIRST_PIECE


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    save_vocabulary(train_vocabulary(Characters(), ["bab架"]), tmp_path)
    assert json.loads((tmp_path / "vocabulary.json").read_text("utf-8")) == {"characters": "ab架"}


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b'{"characters": 3}', b"\xff"])
def test_a_damaged_file_is_told(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "vocabulary.json").write_bytes(content)
    with pytest.raises(UserError, match=r"vocabulary\.json holds no characters"):
        load_vocabulary(Characters(), tmp_path)


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(UserError, match="surrogate"):
        CharacterSegmenter("ab").encode("a\udc80")
