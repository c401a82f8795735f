"""New pieces for an old vocabulary: what stays, what is learned, and in whose place it stands."""

import io
import unicodedata
from collections import Counter
from typing import Any

import pytest
import sentencepiece

from kakehashi.data.corpus import Pair
from kakehashi.data.extension import LEAST, LONGEST, WIDEST, Origins, _with, extend, origins
from kakehashi.data.listed import ListedSegmenter, Special
from kakehashi.data.phrasebook import generate
from kakehashi.data.subwords import BPE, UNKNOWN, AnySegmenter, SegmenterPair, Unigram, train_subwords
from kakehashi.errors import UserError

OLD = generate("de", 300, seed=1)
NEW = [
    Pair(f"{verb} the {name} network{plural} in Settings → Privacy.", f"Netzwerk{ende} {name} unter Datenschutz {tat}.")
    for verb, tat in (("Configure", "konfigurieren"), ("Disable", "deaktivieren"), ("Screenshot", "fotografieren"))
    for name in ("Bluetooth", "wireless", "Thunderbolt")
    for plural, ende in (("", "verbindung"), ("s", "verbindungen"))
]
LINES = [line for pair in (*OLD, *NEW) for line in pair]


@pytest.fixture(scope="module", params=[Unigram(size=450), BPE(size=450)], ids=lambda config: config.kind)
def old(request: pytest.FixtureRequest) -> AnySegmenter:
    return train_subwords(request.param, OLD).source


@pytest.fixture(scope="module")
def new(old: AnySegmenter) -> AnySegmenter:
    return extend(SegmenterPair(old, old), NEW, 60).source


def back(ids: list[int], old: AnySegmenter, instead: Origins) -> list[int]:
    """With the old pieces in the place of new ones."""
    return [each for id in ids for each in ([id] if id < old.size else instead[id - old.size])]


def test_old_ids_stay(old: AnySegmenter, new: AnySegmenter) -> None:
    assert old.size + 15 < new.size <= old.size + 60
    assert [new.piece(id) for id in range(old.size)] == [old.piece(id) for id in range(old.size)]
    assert len({new.piece(id) for id in range(new.size)}) == new.size
    assert new.special == old.special


def test_new_pieces_stand_for_old_ones_and_nothing_else_changes(old: AnySegmenter, new: AnySegmenter) -> None:
    instead, _ = origins(SegmenterPair(old, old), SegmenterPair(new, new))
    assert [back(ids, old, instead) for ids in new.encode_all(LINES)] == old.encode_all(LINES)
    assert [new.decode(new.encode(line)) for line in LINES] == LINES
    assert any(max(new.encode(pair.source)) < old.size for pair in OLD)


def test_the_new_text_takes_fewer_tokens(old: AnySegmenter, new: AnySegmenter) -> None:
    before, after = (sum(len(each.encode(side)) for pair in NEW for side in pair) for each in (old, new))
    assert after < 0.6 * before
    assert len(old.encode("→")) == 4, "it has no piece and is spelled in bytes"
    assert new.encode("→")[-1] >= old.size and len(new.encode("→")) <= 2


def test_pieces_are_frequent_parts_of_words(old: AnySegmenter, new: AnySegmenter) -> None:
    found = [new.piece(id) for id in range(old.size, new.size)]
    text = "\n".join(f"▁{side.replace(' ', '▁')}" for pair in NEW for side in pair)
    for piece in found:
        assert text.count(piece) >= LEAST and len(piece) <= LONGEST
        kinds = {unicodedata.category(character)[0] for character in piece.removeprefix("▁")}
        assert kinds in ({"L"}, {"S"}, {"P"}), piece


def test_no_piece_is_idle(old: AnySegmenter, new: AnySegmenter) -> None:
    """A unigram model uses all of them; in a BPE model one may be there for the sake of a longer one."""
    used = {new.piece(id) for pair in NEW for side in pair for id in new.encode(side)}
    idle = {new.piece(id) for id in range(old.size, new.size)} - used
    if old.id("▁") < old.size // 2:  # characters come last in BPE's order
        assert idle == set()
    assert all(any(piece in longer for longer in used) for piece in idle)


def test_no_other_piece_would_save_more() -> None:
    """Of one piece: tried out for all parts of words that stand for up to four pieces."""
    old = train_subwords(Unigram(size=450), OLD).source

    def tokens(segmenter: AnySegmenter) -> int:
        return sum(len(segmenter.encode(side)) for pair in NEW for side in pair)

    words = [f"▁{word}" for pair in NEW for side in pair for word in side.replace(".", " ").split()]
    parts = Counter(word[i:j] for word in words for i in range(len(word)) for j in range(i + 2, i + LONGEST + 1))
    alone = [_with(old, [part], []) for part, seen in parts.items() if seen >= LEAST and old.id(part) == UNKNOWN]
    pairs = [(SegmenterPair(old, old), SegmenterPair(each, each)) for each in alone]
    narrow = [both[1].source for both in pairs if len(origins(*both)[0][0]) <= WIDEST]
    best = extend(SegmenterPair(old, old), NEW, 1).source
    assert best.size == old.size + 1
    assert tokens(best) == min(map(tokens, narrow)) < tokens(old)


def test_the_same_text_gives_the_same_pieces_and_none_gives_none(old: AnySegmenter, new: AnySegmenter) -> None:
    pair = SegmenterPair(old, old)
    assert extend(pair, NEW, 60).source.fingerprint == new.fingerprint
    assert extend(pair, [], 60).source.fingerprint == old.fingerprint
    assert extend(pair, [*NEW[:1], Pair("", "")], 60).source.size == old.size, "too rare"


def test_it_can_be_extended_again(old: AnySegmenter, new: AnySegmenter) -> None:
    more = [Pair("Flatpak repository", "Flatpak-Paketquelle")] * LEAST
    again = extend(SegmenterPair(new, new), more, 20).source
    assert new.size < again.size and again.piece(new.size - 1) == new.piece(new.size - 1)
    instead, _ = origins(SegmenterPair(new, new), SegmenterPair(again, again))
    for pair in (*NEW, *more):
        assert back(again.encode(pair.source), new, instead) == new.encode(pair.source)


def test_each_side_learns_from_its_own_text() -> None:
    old = train_subwords(Unigram(size=420, vocabulary="separate"), OLD)
    new = extend(old, NEW, 60)
    assert "▁Bluetooth" in {new.source.piece(id) for id in range(old.source.size, new.source.size)}
    german = {new.target.piece(id) for id in range(old.target.size, new.target.size)}
    assert "▁Datenschutz" in german and not german & {"▁Privacy", "▁network"}
    rows = origins(old, new)
    assert [len(side) for side in rows] == [new[i].size - old[i].size for i in (0, 1)]


SPECIAL = Special(pad=-1, begin=-1, end=0, unknown=1)


def spm(lines: list[str], **options: Any) -> bytes:
    """As Marian's: without bytes, spaces at the ends taken away."""
    written = io.BytesIO()
    trainer: Any = sentencepiece.SentencePieceTrainer
    options = {"vocab_size": 160, **options}
    trainer.train(sentence_iterator=iter(lines), model_writer=written, minloglevel=2, **options)
    return written.getvalue()


@pytest.fixture(scope="module")
def marian() -> SegmenterPair:
    """Two models that write ids of one list, which ends with the padding."""
    models = [spm([pair[side] for pair in OLD]) for side in (0, 1)]
    found: dict[str, None] = dict.fromkeys(["</s>", "<unk>"])
    for model in models:
        loaded: Any = sentencepiece.SentencePieceProcessor()
        loaded.LoadFromSerializedProto(model)
        found |= {loaded.id_to_piece(i): None for i in range(3, loaded.vocab_size())}
    pieces = [*found, ">>deu<<", "<pad>"]
    special = SPECIAL._replace(pad=len(pieces) - 1, begin=len(pieces) - 1)
    source, target = (ListedSegmenter(model, pieces, special) for model in models)
    return SegmenterPair(source, target)


def test_two_models_of_one_list_share_the_new_pieces(marian: SegmenterPair) -> None:
    new = extend(marian, NEW, 40)
    source, target = new
    assert isinstance(source, ListedSegmenter) and isinstance(target, ListedSegmenter)
    assert source.pieces == target.pieces and source.special == marian.source.special
    assert all(source.piece(id) == marian.source.piece(id) for id in range(marian.source.size))
    rows = origins(marian, new)
    assert rows[0] == rows[1] or len(rows[0]) == len(rows[1]) == source.size - marian.source.size
    for side in (0, 1):
        before, after = marian[side], new[side]
        for pair in (*OLD, *NEW):
            assert back(after.encode(pair[side]), before, rows[side]) == before.encode(pair[side])
        assert sum(len(after.encode(pair[side])) < len(before.encode(pair[side])) for pair in NEW) == len(NEW)
    assert source.encode(">>deu<< Bluetooth")[0] == marian.source.tag("deu")


def test_what_the_list_has_already_gets_no_second_id(marian: SegmenterPair) -> None:
    """A piece of the German model that the English one learns."""
    english, german = (each.encode for each in marian)
    words = [word for pair in OLD for word in pair.target.split() if word.isalpha()]
    word = next(word for word in words if len(german(word)) == 1 and 1 < len(english(word)) <= 4)
    new = extend(marian, [Pair(f"{word} {word}", "")] * LEAST, 40)
    assert new.source.encode(word) == german(word)
    assert new.source.size == marian.source.size


def test_a_model_of_characters_has_no_room_for_longer_pieces() -> None:
    model = spm([pair.source for pair in OLD], vocab_size=60, model_type="char", hard_vocab_limit=False)
    loaded: Any = sentencepiece.SentencePieceProcessor()
    loaded.LoadFromSerializedProto(model)
    pieces = [loaded.id_to_piece(i) for i in range(loaded.vocab_size())]
    one = ListedSegmenter(model, pieces, Special(pad=2, begin=1, end=2, unknown=0))
    with pytest.raises(UserError, match="neither unigram nor BPE"):
        extend(SegmenterPair(one, one), NEW, 20)
