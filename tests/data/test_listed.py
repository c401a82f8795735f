"""Vocabularies of others: ids by a list."""

import io
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from kakehashi.data.listed import ListedSegmenter, Special
from kakehashi.data.subwords import Given, SegmenterPair, load_pair, save_pair, train_subwords
from kakehashi.errors import UserError

LINES = ["the cat sat on the mat", "a dog and a cat", "the dog ran"] * 20
SPECIAL = Special(pad=4, begin=4, end=0, unknown=1)


@pytest.fixture(scope="module")
def model() -> bytes:
    written = io.BytesIO()
    trainer: Any = sentencepiece.SentencePieceTrainer
    trainer.train(sentence_iterator=iter(LINES), model_writer=written, vocab_size=20, minloglevel=2)
    return written.getvalue()


@pytest.fixture(scope="module")
def segmenter(model: bytes) -> ListedSegmenter:
    processor: Any = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    pieces = [processor.id_to_piece(i) for i in range(3, 20)]
    return ListedSegmenter(model, ["</s>", "<unk>", ">>fra<<", "<unused>", "<pad>", *reversed(pieces)], SPECIAL)


def test_ids_are_places_in_the_list(segmenter: ListedSegmenter) -> None:
    ids = segmenter.encode("the cat sat")
    assert [segmenter.pieces[id] for id in ids] == [segmenter.piece(id) for id in ids]
    assert segmenter.decode([4, *ids, 0]) == "the cat sat"
    assert all(segmenter.id(segmenter.piece(id)) == id for id in range(segmenter.size))
    assert segmenter.id("nobody knows it") == 1


def test_the_unknown_and_the_empty(segmenter: ListedSegmenter) -> None:
    assert segmenter.encode("") == [] and segmenter.decode([]) == ""
    ids = segmenter.encode("the 👩 cat")
    assert 1 in ids and "cat" in segmenter.decode(ids)


def test_a_mark_of_the_language_is_one_piece(segmenter: ListedSegmenter) -> None:
    assert segmenter.encode(">>fra<< the cat") == [2, *segmenter.encode(" the cat")]
    assert segmenter.encode(">>xyz<< the cat")[0] == 1
    texts = [">>fra<< the cat", "a dog", ""]
    assert segmenter.encode_all(texts) == [segmenter.encode(text) for text in texts]
    assert segmenter.tag("fra") == 2
    with pytest.raises(UserError, match="no tag 'xyz'"):
        segmenter.tag("xyz")


def test_spans_count_the_mark_and_skip_special_ids(segmenter: ListedSegmenter) -> None:
    text = ">>fra<< the  cat 👩"
    spans, ids = segmenter.spans(text), segmenter.encode(text)
    assert len(spans) == len(ids) and spans[0] == (0, 7)
    assert "".join(text[start:end] for start, end in spans[1:]).split() == ["the", "cat", "👩"]
    ids = [4, *segmenter.encode("the cat"), 4, *segmenter.encode("dog"), 0]
    decoded, spans = segmenter.decode(ids), segmenter.decoded_spans(ids)
    assert len(spans) == len(ids)
    assert [decoded[slice(*span)] for span, id in zip(spans, ids, strict=True) if id in (4, 0)] == ["", "", ""]
    assert "".join(decoded[slice(*span)] for span in spans) == decoded


def test_a_sample_is_drawn_by_its_seed(segmenter: ListedSegmenter) -> None:
    text = LINES[0]
    drawn = [segmenter.sample(text, seed, 0.2) for seed in (*range(1, 33), 1)]
    assert drawn[0] == drawn[-1] and len({tuple(ids) for ids in drawn}) > 1
    assert {segmenter.decode(ids) for ids in drawn} == {text}
    assert segmenter.sample(text, 1, 0) == segmenter.encode(text)


def test_it_is_kept_beside_its_model(segmenter: ListedSegmenter, tmp_path: Path) -> None:
    other = ListedSegmenter(segmenter.model, segmenter.pieces, SPECIAL._replace(begin=0))
    save_pair(SegmenterPair(segmenter, other), tmp_path)
    source, target = load_pair(tmp_path)
    assert source.special == SPECIAL and target.special.begin == 0
    assert source.encode(LINES[0]) == segmenter.encode(LINES[0])
    assert source.fingerprint == segmenter.fingerprint != target.fingerprint
    (tmp_path / "target.vocabulary.json").write_text("{}")
    with pytest.raises(UserError, match=r"target\.vocabulary\.json"):
        load_pair(tmp_path)


def test_what_does_not_fit_is_refused(model: bytes) -> None:
    with pytest.raises(UserError, match="not a whole SentencePiece model"):
        ListedSegmenter(b"none", ["a"], Special(0, 0, 0, 0))
    with pytest.raises(UserError, match="vocabulary of 2 pieces"):
        ListedSegmenter(model, ["a", "b"], SPECIAL)


def test_given_subwords_are_not_trained() -> None:
    with pytest.raises(UserError, match="come with a model"):
        train_subwords(Given(), [])
