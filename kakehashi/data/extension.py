"""More pieces for an old vocabulary, so that text of another domain takes fewer tokens.

Notable:
- old ids stay what they are, the special ones too; new pieces have the ids behind them;
- a new piece is a run of old ones within a word, which the new text often has. In a unigram model its log-probability
  is the sum of theirs and 0.01 for each token that it saves: the best segmentation of before stays the best (but for
  ties as near as that), in the fewest tokens. In a BPE model it is a merge behind all others. Where no new piece
  stands, text is cut as before;
- characters that the old vocabulary spelled in bytes become pieces in the same way;
- the SentencePiece model itself grows, so that exports have the new pieces too. Models of others grow as ours do.
"""

import re
import struct
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from kakehashi.data.corpus import Pair
from kakehashi.data.listed import ListedSegmenter, processor
from kakehashi.data.subwords import AnySegmenter, Sample, Segmenter, SegmenterPair
from kakehashi.errors import UserError

LINES = 50_000  # of a side, to learn from: what is frequent shows in so many
ROUNDS = 16  # at most; each cuts the text anew and fills half of the room that is left
LEAST = 5  # times that a piece stands in the text: a rarer one would not learn its row
WIDEST, LONGEST = 4, 16  # pieces that a round joins (a character has as many bytes); characters, as SentencePiece's own
SAVED = 0.01  # nats a token: above what fp32 loses in a line's sum, below what tells two segmentations apart

Words = Counter[tuple[str, ...]]
Origins = list[list[int]]
"""Of each new id the old ids in whose place it stands."""

_BYTE = re.compile("<0x([0-9A-F]{2})>")


def extend(old: SegmenterPair, pairs: Iterable[Pair], pieces: int) -> SegmenterPair:
    """The same segmenters with up to `pieces` new pieces in each SentencePiece model, for the text of these pairs.

    Where two models write ids of one list, as Marian's do, both sides get the new pieces of either.
    Raises UserError for a SentencePiece model of characters.
    """
    texts = Sample(LINES), Sample(LINES)
    for pair in pairs:
        texts[0].add(pair.source)
        texts[1].add(pair.target)
    sources, targets = (text.lines for text in texts)
    if old.source is old.target:
        new = _learned(old.source, [*sources, *targets], pieces)
        joint = _with(old.source, new, new)
        return SegmenterPair(joint, joint)
    ours, theirs = _learned(old.source, sources, pieces), _learned(old.target, targets, pieces)
    if _listed(old.source) == _listed(old.target):
        both = [*ours, *theirs]
        return SegmenterPair(_with(old.source, ours, both), _with(old.target, theirs, both))
    return SegmenterPair(_with(old.source, ours, ours), _with(old.target, theirs, theirs))


def origins(old: SegmenterPair, new: SegmenterPair) -> tuple[Origins, Origins]:
    """Of the source's and of the target's new ids the old ones in whose place they stand.

    A new row starts as the mean of theirs (Gee et al. 2022, arXiv 2402.09977, section 3). The projection then gives it
    at most the mean of their probabilities, since exp(mean) <= mean(exp): no other token loses much, which is what
    Hewitt 2021 ("Initializing new word embeddings for pretrained language models") shows for the mean of all rows.
    """
    knowing = [processor(each.model) for each in new]
    cutting = [processor(each.model + _AS_IT_STANDS) for each in old]

    def of(side: int) -> Origins:
        found: Origins = []
        for id in range(old[side].size, new[side].size):
            piece = new[side].piece(id)
            known = knowing[side].piece_to_id(piece) != knowing[side].unk_id()
            who = side if known else 1 - side  # of one list for two models, each knows its own part
            found.append([old[who].id(part) for part in cutting[who].encode(piece, out_type=str)])
        return found

    return of(0), of(1)


def _learned(segmenter: AnySegmenter, lines: Sequence[str], pieces: int) -> list[str]:
    """New pieces for one SentencePiece model."""
    texts, unigram = _words(segmenter, lines), _is_unigram(segmenter.model)
    found = list[str]()
    for _ in range(ROUNDS):
        model = _grown(segmenter.model, found)
        words = _cut(model, texts)
        found = _standing(found, words) if unigram else found  # a merge of BPE may be needed by another
        best = _candidates(words, model) if unigram else _merges(words, model)
        room = pieces - len(found)
        found += best[: (room + 1) // 2]
        if not best or not room:
            break
    used = _standing(found, _cut(_grown(segmenter.model, found), texts))
    if found and not used:
        raise UserError("task.subwords.kind=extended: the model's subwords are neither unigram nor BPE; choose given")
    return used if unigram else found


def _words(segmenter: AnySegmenter, lines: Sequence[str]) -> Counter[str]:
    """What stands between spaces in more than one piece, and how often; without words of unknown characters."""
    words, unknown = Words(), segmenter.piece(segmenter.special.unknown)
    for ids in segmenter.encode_all(lines):
        pieces = [segmenter.piece(id) for id in ids]
        starts = [i for i, piece in enumerate(pieces) if piece.startswith("▁")]
        words.update(tuple(pieces[start:end]) for start, end in pairwise([0, *starts, len(pieces)]))
    return Counter({_spelled(word): seen for word, seen in words.items() if len(word) > 1 and unknown not in word})


def _cut(model: bytes, texts: Counter[str]) -> Words:
    words = Words()
    cut = processor(model + _AS_IT_STANDS).encode(list(texts), out_type=str)
    for pieces, seen in zip(cut, texts.values(), strict=True):
        words[tuple(pieces)] += seen
    return words


def _standing(pieces: Sequence[str], words: Words) -> list[str]:
    """Those that are still frequent: longer ones may have taken their place."""
    counts = Counter[str]()
    for word, seen in words.items():
        for piece in word:
            counts[piece] += seen
    return [piece for piece in pieces if counts[piece] >= LEAST]


def _candidates(words: Words, model: bytes) -> list[str]:
    """What could be a piece, what saves most tokens first."""
    saved = Counter[str]()
    for span, gain in _spans(words, model).items():
        saved[_spelled(span)] += gain
    return sorted(saved, key=lambda text: (-saved[text], not text.startswith("▁"), text))


def _merges(words: Words, model: bytes) -> list[str]:
    """As `_candidates`, but two pieces at once, or the bytes of a character, and each piece in one of them alone: what
    the next merges are shows when the text is cut by these."""
    spans = {span: gain for span, gain in _spans(words, model).items() if len(span) == 2 or len(_spelled(span)) == 1}
    taken, found = set[str](), dict[str, None]()
    for span in sorted(spans, key=lambda span: (-spans[span], span)):
        if taken.isdisjoint(span):
            taken.update(span)
            found[_spelled(span)] = None
    return list(found)


def _spans(words: Words, model: bytes) -> Words:
    """Runs of pieces that could be one piece, with the number of tokens that this would save."""
    counts = Words()
    for word, seen in words.items():
        for start in range(len(word) - 1):
            for end in range(start + 2, min(start + WIDEST, len(word)) + 1):
                counts[word[start:end]] += seen
    known, spans = processor(model), Words()
    for span, seen in counts.items():
        if seen < LEAST:
            continue
        text = _spelled(span)
        if _possible(text) and known.piece_to_id(text) == known.unk_id():
            spans[span] = seen * (len(span) - 1)
    return spans


def _spelled(pieces: Sequence[str]) -> str:
    """As text, bytes included; U+FFFD for half a character."""
    written = (bytes.fromhex(byte[1]) if (byte := _BYTE.fullmatch(each)) else each.encode() for each in pieces)
    return b"".join(written).decode(errors="replace")


def _possible(text: str) -> bool:
    """Whether it may be a piece: as SentencePiece does, we keep letters, digits and other signs apart."""
    kinds = {unicodedata.category(character)[0].replace("M", "L") for character in text.removeprefix("▁")}
    return len(text) <= LONGEST and len(kinds) == 1 and kinds != {"C"} and "\ufffd" not in text


def _with(segmenter: AnySegmenter, new: Sequence[str], listed: Sequence[str]) -> AnySegmenter:
    """`new` in the SentencePiece model; `listed` behind its list of pieces, where it has one that lacks them."""
    model = _grown(segmenter.model, new)
    if isinstance(segmenter, Segmenter):
        return Segmenter(model)
    known = set(segmenter.pieces)
    lacking = dict.fromkeys(piece for piece in listed if piece not in known)
    return ListedSegmenter(model, [*segmenter.pieces, *lacking], segmenter.special)


def _listed(segmenter: AnySegmenter) -> tuple[str, ...]:
    return segmenter.pieces if isinstance(segmenter, ListedSegmenter) else ()


def _grown(model: bytes, new: Sequence[str]) -> bytes:
    return model + b"".join(_entry(piece, score) for piece, score in zip(new, _scores(model, new), strict=True))


def _scores(model: bytes, new: Sequence[str]) -> list[float]:
    whole, cutting = processor(model), processor(model + _AS_IT_STANDS)
    if not _is_unigram(model):
        lowest = min(whole.get_score(list(range(whole.vocab_size()))))
        return [lowest - 1 - i for i in range(len(new))]
    return [sum(whole.get_score(ids)) + SAVED * (len(ids) - 1) for ids in cutting.encode(list(new), out_type=int)]


def _is_unigram(model: bytes) -> bool:
    """Whether pieces have log-probabilities: only then can SentencePiece rank several segmentations."""
    loaded: Any = processor(model)
    try:
        loaded.nbest_encode("a", nbest_size=1, out_type=int)
    except RuntimeError:
        return False
    return True


# A SentencePiece model is a message of Protocol Buffers, of which two in a row are one: what repeats is appended, what
# stands alone is replaced (protobuf.dev/programming-guides/encoding, "Last One Wins").

# ModelProto.normalizer_spec = {add_dummy_prefix: false, remove_extra_whitespaces: false}
_AS_IT_STANDS = b"\x1a\x04\x18\x00\x20\x00"


def _entry(piece: str, score: float) -> bytes:
    """One more of ModelProto.pieces = {piece: string, score: float}, of the usual type."""
    text = piece.encode()
    body = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", score)
    assert len(body) < 128, "lengths are one byte"
    return b"\x0a" + bytes([len(body)]) + body
