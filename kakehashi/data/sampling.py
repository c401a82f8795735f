"""Segmentations drawn at random, as regularization, by the pieces of a SentencePiece model.

Notable:
- the seed alone decides. SentencePiece draws too, but stirs its thread's address into every seed: the same call gives
  something else in the next process, so that a run that was killed could not be repeated;
- text is normalized by SentencePiece, and what no piece spells becomes bytes or the unknown piece as it would have it;
- two neighbouring characters that no piece holds are in two words, each drawn by itself: that is the same distribution,
  and what is known of a frequent word is kept.
"""

import math
import random
import re
import struct
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby, pairwise
from operator import add
from typing import Any, Protocol

from kakehashi.errors import UserError

WORDS = 1 << 15  # whose ways are kept, of at most
LONGEST = 24  # characters, some 300 bytes each of unigram's: tens of megabytes in all; longer ones hardly come again
_UNIGRAM, _BPE = 1, 2
_NORMAL, _USER_DEFINED, _BYTE = 1, 4, 6
# SentencePiece's own: how far an unknown character is below the rarest piece; what a piece that was asked for has.
_UNKNOWN_PENALTY, _USER_DEFINED_SCORE = 10.0, -0.1


class Sampler:
    """Draws segmentations with a SentencePiece model, of which `processor` is the loaded one.

    Raises UserError when its pieces are neither unigram's nor BPE's.
    """

    def __init__(self, model: bytes, processor: Any) -> None:
        self._processor, pieces = processor, Pieces.of(model)
        if pieces.kind not in (_UNIGRAM, _BPE):
            raise UserError("task.subwords.sampling: only unigram and BPE subwords can be sampled; set it to 0")
        self._cutter: _Cutter = Lattice(pieces) if pieces.kind == _UNIGRAM else Merges(pieces)
        self._known, self._spells = pieces.scores.keys(), pieces.spells
        self._joined = {pair for piece in pieces.scores for pair in map(add, piece, piece[1:])}

    def draw(self, text: str, seed: int, strength: float) -> list[str]:
        """The pieces of the text as SentencePiece writes them; `strength`: the config's `sampling`."""
        normalized, lot = self._processor.normalize(text), random.Random(seed).random
        drawn = [piece for word in self._words(normalized) for piece in self._cutter.cut(word, strength, lot)]
        return drawn if all(piece in self._known for piece in drawn) else list(self._spelled(drawn))

    def _words(self, text: str) -> list[str]:
        joined = map(self._joined.__contains__, map(add, text, text[1:]))
        starts = [i for i, inside in enumerate(joined, 1) if not inside]
        return [text[start:end] for start, end in pairwise([0, *starts, len(text)])]

    def _spelled(self, drawn: list[str]) -> Iterator[str]:
        """With characters that are no pieces in bytes, or a run of them as one unknown piece."""
        for known, pieces in groupby(drawn, self._known.__contains__):
            if known:
                yield from pieces
            elif self._spells:
                yield from (f"<0x{byte:02X}>" for byte in "".join(pieces).encode())
            else:
                yield "".join(pieces)


_Ways = tuple[tuple[float, ...], tuple[int, ...]]


class _Cutter(Protocol):
    def cut(self, word: str, strength: float, lot: Callable[[], float]) -> list[str]:
        """A word in pieces, and in characters where there are none; `lot`: numbers from [0, 1)."""
        ...


class Lattice:
    """x with a probability in proportion to P(x)^alpha, of all segmentations x of a word; P(x) is the product of the
    pieces' probabilities (Kudo 2018, arXiv 1804.10959, section 3.3).

    Forward filtering and backward sampling (Scott 2002), mirrored to give the pieces in their order: B(i), the sum of
    P(x)^alpha over the segmentations x of what follows place i, is the sum of p(piece)^alpha B(i + its length) over the
    pieces at i, and each term's share of it the piece's probability there.
    """

    def __init__(self, pieces: "Pieces") -> None:
        normal = {piece: score for piece, score in pieces.scores.items() if piece not in pieces.user_defined}
        self._unknown = min(normal.values(), default=0.0) - _UNKNOWN_PENALTY
        self._scores = {**dict.fromkeys(pieces.user_defined, _USER_DEFINED_SCORE), **normal}
        self._longest = max(map(len, self._scores), default=1)
        self._kept = lru_cache(WORDS)(self._ways)

    def cut(self, word: str, strength: float, lot: Callable[[], float]) -> list[str]:
        ways = (self._kept if len(word) <= LONGEST else self._ways)(word, strength)
        drawn, start = list[str](), 0
        while start < len(word):
            shares, ends = ways[start]
            end = ends[bisect(shares, lot())]
            drawn.append(word[start:end])
            start = end
        return drawn

    def _ways(self, word: str, alpha: float) -> list[_Ways]:
        """At each place of a word where the pieces end that may begin there, with their cumulative probabilities."""
        ways, logs = list[_Ways]([((), ())]) * len(word), [0.0] * (len(word) + 1)  # logs: log B
        for start in reversed(range(len(word))):
            longer = range(start + 2, min(len(word), start + self._longest) + 1)
            ends = start + 1, *[end for end in longer if word[start:end] in self._scores]
            terms = [alpha * self._scores.get(word[start:end], self._unknown) + logs[end] for end in ends]
            most = max(terms)
            sums = list(accumulate([math.exp(term - most) for term in terms]))
            logs[start] = most + math.log(sums[-1])
            ways[start] = tuple([each / sums[-1] for each in sums]), ends
        return ways


class Merges:
    """BPE-dropout (Provilkov et al. 2020, arXiv 1910.13267, section 3): of all merges that are possible the one first
    learnt is next, and is left out with probability p.

    As in SentencePiece, what was left out stays so. The paper's algorithm 1 draws it again with each later merge of its
    word, so that a text without spaces, which is one long word, would hardly be touched.
    """

    def __init__(self, pieces: "Pieces") -> None:
        self._order = {piece: -score for piece, score in pieces.scores.items()}
        longest_first = sorted(pieces.user_defined, key=len, reverse=True)
        self._unmerged = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None
        self._best = lru_cache(WORDS)(lambda word: self._merged(word, math.inf, lambda: math.inf))

    def cut(self, word: str, strength: float, lot: Callable[[], float]) -> list[str]:
        rate = math.log1p(-strength) if strength < 1 else -math.inf

        def made() -> float:
            """How many merges until one is left out: a geometric distribution."""
            return math.log1p(-lot()) // rate

        if self._unmerged is None:
            return self._drawn(word, made)
        parts = self._unmerged.split(word)
        return [p for i, part in enumerate(parts) for p in ([part] if i % 2 else self._drawn(part, made))]

    def _drawn(self, word: str, made: Callable[[], float]) -> list[str]:
        best, first = self._best(word) if len(word) <= LONGEST else None, made()
        return best if best and first >= len(word) - len(best) else self._merged(word, first, made)

    def _merged(self, word: str, made: float, again: Callable[[], float]) -> list[str]:
        """Merges so many, leaves one out, and so on."""
        symbols, ranks = list(word), self._ranks(word)
        while (first := min(ranks, default=math.inf)) < math.inf:
            i = ranks.index(first)
            if made:
                self._merge(symbols, ranks, i)
                made -= 1
            else:
                ranks[i] = math.inf
                made = again()
        return symbols

    def _ranks(self, word: str) -> list[float]:
        """The place of each two neighbours in the order of merges; inf: they are not merged."""
        return [self._order.get(pair, math.inf) for pair in map(add, word, word[1:])]

    def _merge(self, symbols: list[str], ranks: list[float], i: int) -> None:
        symbols[i : i + 2] = [merged := symbols[i] + symbols[i + 1]]
        del ranks[i]
        if i > 0:
            ranks[i - 1] = self._order.get(symbols[i - 1] + merged, math.inf)
        if i < len(ranks):
            ranks[i] = self._order.get(merged + symbols[i + 1], math.inf)


@dataclass(frozen=True)
class Pieces:
    """What a SentencePiece model file says of its pieces (sentencepiece_model.proto).

    kind: TrainerSpec.ModelType. scores: of the pieces that can stand for text; user_defined: those that were asked for.
    spells: in bytes, for which there are pieces.
    """

    kind: int
    scores: Mapping[str, float]
    user_defined: frozenset[str]
    spells: bool

    @classmethod
    def of(cls, model: bytes) -> "Pieces":
        kind, found = _UNIGRAM, list[tuple[str, float, int]]()
        for number, value in _fields(model):
            if number == 1:  # ModelProto.pieces = {piece: 1, score: 2, type: 3}
                piece = dict(_fields(value))
                found.append((piece[1].decode(), *struct.unpack("<f", piece.get(2, bytes(4))), piece.get(3, _NORMAL)))
            elif number == 2:  # ModelProto.trainer_spec = {..., model_type: 3, ...}
                kind = dict(_fields(value)).get(3, kind)
        return cls(
            kind,
            {piece: score for piece, score, type in found if type in (_NORMAL, _USER_DEFINED)},
            frozenset(piece for piece, _, type in found if type == _USER_DEFINED),
            any(type == _BYTE for _, _, type in found),
        )


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message of Protocol Buffers: number, and value, an int or what it has of bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        match key & 7:
            case 0:
                value, place = _varint(message, place)
                yield key >> 3, value
                continue
            case 2:
                size, place = _varint(message, place)
            case wire:
                size = 4 if wire == 5 else 8
        yield key >> 3, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return value, place
