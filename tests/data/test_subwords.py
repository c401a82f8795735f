import hashlib
import os
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from kakehashi.data.corpus import Corpus, Pair, read_pairs
from kakehashi.data.subwords import (
    BEGIN,
    BPE,
    END,
    PAD,
    UNKNOWN,
    Segmenter,
    SegmenterPair,
    Subwords,
    Unigram,
    load_pair,
    save_pair,
    train_subwords,
)
from kakehashi.errors import UserError

NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
ZAHLEN = "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf".split()
KANJI = "〇一二三四五六七八九"


def english_german():
    return [
        Pair(
            f"I have {NUMBERS[i]} apples and {NUMBERS[j]} pears.", f"Ich habe {ZAHLEN[i]} Äpfel und {ZAHLEN[j]} Birnen."
        )
        for i in range(13)
        for j in range(13)
    ]


def english_japanese():
    return [
        Pair(
            f"I bought {NUMBERS[i]} apples, not {NUMBERS[j]}.", f"リンゴを{KANJI[j]}個ではなく{KANJI[i]}個買いました。"
        )
        for i in range(10)
        for j in range(10)
    ]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def config(request):
    return TypeAdapter(Subwords).validate_python(request.param)


@pytest.fixture(scope="module")
def segmenter(config):
    return train_subwords(config, english_japanese()).target


SPACES = [chr(i) for i in range(0x110000) if unicodedata.category(chr(i)) in ("Zs", "Zl", "Zp")]
CONTROLS = [chr(i) for i in (*range(32), *range(127, 160)) if chr(i) != "\n"]
OTHERS = [
    *("\u2581", "\ufffd", "\u0301", "\u200b", "\u200d", "\ufeff", "\u2585", "\ue000", "\uf8ff", "\ufffe", "\uffff"),
    *("\U000f2581", "\U000f25810", "\U000f25811", "\U0010ffff", "😀", "👨‍👩‍👧", "が", "か\u3099", "ﬁ", "Ａ", "①"),
    *("<s>", "</s>", "<unk>", "<pad>", "<0x41>", "𠮷", "ภาษา", "עברית", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢"),
]


@pytest.mark.parametrize("character", [*SPACES, *CONTROLS, *OTHERS], ids=ascii)
def test_nothing_is_lost(segmenter, character):
    c = character
    for text in (c, c + c, f" {c}", f"{c} ", f"apples{c}買い", f"two {c}  {c} apples", f"\u2581{c}", f"{c}\u2581"):
        ids = segmenter.encode(text)
        assert segmenter.decode(ids) == text
        assert not {PAD, BEGIN, END, UNKNOWN} & set(ids)


@pytest.mark.parametrize("text", ["", " ", "   ", " a", "  a", "a ", "a  b", "\ta", " 林檎  "], ids=repr)
def test_spaces_are_kept(segmenter, text):
    assert segmenter.decode(segmenter.encode(text)) == text


@given(st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\u2581 \U000f258101リンゴapples"))))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_round_trip_of_any_text(segmenter, text):
    assert segmenter.decode(segmenter.encode(text)) == text


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 2**40))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_round_trip_of_a_sampled_segmentation(segmenter, text, seed):
    assert segmenter.decode(segmenter.sample(text, seed, 0.2)) == text


def test_half_a_surrogate_pair_is_refused(segmenter):
    with pytest.raises(UserError, match=r"U\+D83D is half a surrogate pair"):
        segmenter.encode("a\ud83d")


def test_any_ids_decode(segmenter):
    """What an untrained model emits: special ids, broken bytes, an escape without its digit."""
    everything = list(range(segmenter.size))
    assert isinstance(segmenter.decode(everything), str)
    assert segmenter.decode([BEGIN, *segmenter.encode("apples"), END, PAD]) == "apples"
    assert segmenter.decode([*segmenter.encode("三個"), 4 + 0xE3]).endswith("\ufffd")


# Spans


def assert_spans_cover(spans, text):
    """In order, within the text, without a gap."""
    covered = 0
    for (start, end), (before, until) in zip(spans, [(0, 0), *spans], strict=False):
        assert before <= start <= covered and start <= end and until <= end
        covered = end
    assert covered == len(text)


MIXED = [
    "apples 二個 apples",
    "  two",
    "e\u0301 \u0301e",
    "👨‍👩‍👧 🌉\u2581買",
    "\U000f2581\u2581\u2581a",
    "",
    " ",
    "𠮷リンゴ",
]


@pytest.mark.parametrize("text", MIXED, ids=ascii)
def test_spans_of_a_text(segmenter, text):
    spans, ids = segmenter.spans(text), segmenter.encode(text)
    assert len(spans) == len(ids)
    assert_spans_cover(spans, text)
    assert segmenter.decoded_spans(ids) == spans
    for i, (id, (start, end)) in enumerate(zip(ids, spans, strict=True)):
        piece = segmenter.piece(id)
        if piece.startswith("<0x") or "\u2581" in text:
            continue
        assert piece.replace("\u2581", " ") == (" " if i == 0 else "") + text[start:end]


@given(st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\u2581 \U000f258101リンゴapples"))))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_spans_cover_any_text_and_survive_a_round_trip(segmenter, text):
    spans = segmenter.spans(text)
    assert_spans_cover(spans, text)
    assert segmenter.decoded_spans(segmenter.encode(text)) == spans


@given(st.lists(st.integers(0, 299), max_size=20))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_spans_cover_what_any_ids_give(segmenter, ids):
    ids = [id % segmenter.size for id in ids]
    spans = segmenter.decoded_spans(ids)
    assert len(spans) == len(ids)
    assert_spans_cover(spans, segmenter.decode(ids))


def test_the_bytes_of_a_character_share_its_span(segmenter):
    text = "apples 🌉!"
    spans = [span for id, span in zip(segmenter.encode(text), segmenter.spans(text), strict=True) if id < 260]
    assert spans[:4] == [(7, 8)] * 4


def test_spans_are_those_of_the_text_before_it_is_normalized():
    segmenter = train_subwords(Unigram(normalization="nfkc"), english_japanese()).target
    text = "ﬁve ㌔ 買い①e\u0301"
    spans = segmenter.spans(text)
    assert_spans_cover(spans, text)
    assert len(spans) == len(segmenter.encode(text))
    assert {text[slice(*span)].strip() for span in spans} >= {"㌔"}


def test_encode_all_is_encode(segmenter):
    texts = [text for pair in english_japanese() for text in pair] + ["", "\u2581", " x"]
    assert segmenter.encode_all(texts) == [segmenter.encode(text) for text in texts]


def test_special_ids_and_pieces(segmenter):
    assert [segmenter.piece(i) for i in (PAD, BEGIN, END, UNKNOWN, 4, 259)] == [
        *("<pad>", "<s>", "</s>", "<unk>"),
        *("<0x00>", "<0xFF>"),
    ]
    assert "".join(segmenter.piece(i) for i in segmenter.encode("two apples")) == "▁two▁apples"


TRAIN = """
import hashlib, os, sys
sys.path.insert(0, os.environ["TESTS"])
from test_subwords import english_german
from kakehashi.data.subwords import BPE, Unigram, train_subwords
for config in (Unigram(), BPE()):
    print(hashlib.sha256(train_subwords(config, english_german()).source.model).hexdigest())
"""


def test_same_text_same_bytes():
    """In another process, with another hash seed, and once more in this one."""
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TESTS": str(Path(__file__).parent)}
    elsewhere = subprocess.run(
        [sys.executable, "-c", TRAIN], env=environment, capture_output=True, text=True, check=True
    )
    assert elsewhere.stderr == ""  # SentencePiece's log is off
    here = [train_subwords(config, english_german()).source for config in (Unigram(), BPE(), Unigram(), BPE())]
    assert [each.model for each in here[:2]] == [each.model for each in here[2:]]
    assert elsewhere.stdout.split() == [hashlib.sha256(each.model).hexdigest() for each in here[:2]]


def test_joint_is_one_and_separate_are_two(config, tmp_path):
    joint = train_subwords(config, english_german())
    assert joint.source is joint.target
    assert joint.source.encode("Ich habe apples")
    separate = train_subwords(config.model_copy(update={"vocabulary": "separate"}), english_german())
    assert len(separate.source.encode("apples")) < len(separate.target.encode("apples"))

    for name, pair, files in (
        ("joint", joint, ["subwords.model"]),
        ("separate", separate, ["source.model", "target.model"]),
    ):
        folder = tmp_path / name
        folder.mkdir()
        save_pair(pair, folder)
        assert sorted(path.name for path in folder.iterdir()) == files
        loaded = load_pair(folder)
        assert (loaded.source is loaded.target) == (name == "joint")
        assert [each.model for each in loaded] == [each.model for each in pair]
        assert loaded.target.encode("drei Äpfel") == pair.target.encode("drei Äpfel")


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(UserError, match=r"has neither subwords\.model nor source\.model"):
        load_pair(tmp_path)
    segmenter = train_subwords(BPE(), english_german()).source
    save_pair(SegmenterPair(segmenter, Segmenter(segmenter.model)), tmp_path)
    (tmp_path / "target.model").write_bytes(segmenter.model[:1000])
    with pytest.raises(UserError, match=r"target\.model: not a whole SentencePiece model"):
        load_pair(tmp_path)
    (tmp_path / "target.model").unlink()
    with pytest.raises(UserError, match=r"cannot read .*target\.model"):
        load_pair(tmp_path)
    (tmp_path / "target.model").write_bytes(b"")
    with pytest.raises(UserError, match=r"target\.model"):
        load_pair(tmp_path)


def test_sampling_follows_from_the_seed_alone(segmenter):
    text = "I bought seven apples, not three. リンゴを三個ではなく七個買いました。"
    drawn = [segmenter.sample(text, seed, 0.05) for seed in range(30)]
    assert len({tuple(ids) for ids in drawn}) > 5
    assert [segmenter.sample(text, seed, 0.05) for seed in reversed(range(30))] == drawn[::-1]
    big = [segmenter.sample(text, seed, 0.05) for seed in (2**32 - 1, 2**32, 2**70)]
    assert [segmenter.sample(text, seed, 0.05) for seed in (2**32 - 1, 2**32, 2**70)] == big
    assert segmenter.sample(text, 5, 0.0) == segmenter.encode(text)


def test_sampling_from_many_threads(segmenter):
    text = "I bought seven apples, not three."
    expected = [segmenter.sample(text, seed, 0.3) for seed in range(100)]
    drawn: dict[int, list[list[int]]] = {}

    def draw(name):
        drawn[name] = [segmenter.sample(text, seed, 0.3) for seed in range(100)]

    threads = [threading.Thread(target=draw, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(drawn.values()) == [expected] * 4


def test_sampling_strength():
    text = "I have three apples and seven pears."
    unigram, bpe = (train_subwords(config, english_german()).source for config in (Unigram(), BPE()))

    def mean(segmenter, alpha):
        return sum(len(segmenter.sample(text, seed, alpha)) for seed in range(100)) / 100

    assert mean(unigram, 0.01) > mean(unigram, 1.0) >= mean(unigram, 0.0)
    assert mean(bpe, 1.0) > mean(bpe, 0.5) > mean(bpe, 0.1) > mean(bpe, 0.0)


def test_normalization_is_what_it_says():
    text = "Ｉ have  ﬁve apples"
    outcomes = {
        name: (s := train_subwords(Unigram(normalization=name), english_german()).source).decode(s.encode(text))
        for name in ("identity", "nfkc", "nmt_nfkc_cf")
    }
    assert outcomes == {"identity": text, "nfkc": "I have  five apples", "nmt_nfkc_cf": "i have  five apples"}


def test_size_as_asked_or_a_message():
    assert train_subwords(BPE(size=330), english_german()).source.size == 330
    for config in (Unigram(size=5000), BPE(size=5000)):
        with pytest.raises(
            UserError, match=r"a vocabulary of size = 5000 is more than this text can fill: it yields \d+"
        ):
            train_subwords(config, english_german())
        with pytest.raises(UserError, match=r"a vocabulary of size = 265 has no room .* at least \d+ is needed"):
            train_subwords(config.model_copy(update={"size": 265}), english_german())


@pytest.mark.parametrize(
    "pairs", [[], [Pair("", "")], [Pair("a" * 70_000, "b" * 70_000)]], ids=["none", "empty", "long"]
)
def test_no_text(config, pairs):
    with pytest.raises(UserError, match="no text to train subwords on"):
        train_subwords(config, pairs)


def test_automatic_size_needs_little_text(config):
    assert 260 < train_subwords(config, [Pair("a", "あ")]).source.size < 400
    assert 260 < train_subwords(config, english_german()).source.size < 700


def test_configuration_is_strict():
    validate = TypeAdapter(Subwords).validate_python
    assert validate({"kind": "bpe", "sampling": 0.1, "size": 8000}) == BPE(sampling=0.1, size=8000)
    for wrong in ({"kind": "bpe", "sampling": 1.5}, {"kind": "unigram", "size": 200}, "wordpiece"):
        with pytest.raises(ValidationError):
            validate(wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "low", "high"), [("multi30k/train.{en,de}.gz", 6000, 8000), ("tatoeba_enja/train.{en,ja}.gz", 6000, 8500)]
)
@pytest.mark.skipif("KAKEHASHI_DATA" not in os.environ, reason="needs the real data: set KAKEHASHI_DATA")
def test_real_text(files, low, high):
    pairs = list(read_pairs(Corpus(files=str(Path(os.environ["KAKEHASHI_DATA"]) / files))))
    segmenter = train_subwords(BPE(), pairs).source
    assert low < segmenter.size < high
    texts = [text for pair in pairs for text in pair]
    ids = segmenter.encode_all(texts)
    assert [segmenter.decode(each) for each in ids] == texts


def test_a_tag_is_an_id_that_no_text_gives_and_that_gives_no_text(config):
    pair = train_subwords(config, english_german(), ["de", "bt"])
    ids = {name: pair.source.tag(name) for name in ("de", "bt")}
    assert len(set(ids.values())) == 2 and min(ids.values()) > 3
    for name, id in ids.items():
        for text in (f"<tag:{name}>", f"a <tag:{name}> b", name):
            encoded = pair.source.encode(text)
            assert id not in encoded and pair.source.decode([id, *encoded]) == text
    with pytest.raises(UserError, match="no tag 'fr'"):
        pair.source.tag("fr")
    separate = train_subwords(config.model_copy(update={"vocabulary": "separate"}), english_german(), ["de"])
    separate.source.tag("de")
    with pytest.raises(UserError, match="no tag 'de'"):
        separate.target.tag("de")
