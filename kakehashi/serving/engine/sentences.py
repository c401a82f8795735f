"""A text as sentences and what stands between them, and back.

Notable: nothing is lost. Line breaks of every kind, tabs, and spaces before, between and behind sentences come back as
they were. Sentences are found line by line, lazily, by sentencex (Wikimedia; rules for some 300 languages), which
rather leaves two sentences together than cut one.
"""

import re
from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import islice

import sentencex

from kakehashi.data.languages import is_unspaced, unsubtagged
from kakehashi.data.splitting import split_text

TOGETHER = 4  # sentences side by side whose translation may be known as that of one
LONGEST = 1000  # characters of a sentence; a longer one is cut at a clause's end, else at a space, else anywhere
BLOCK = 20_000  # characters of a line that are looked at together

_LINE = re.compile("[^\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029]+")
_BLOCK = re.compile(rf"(?s).{{1,{BLOCK}}}(?!\S)|.{{1,{BLOCK}}}")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Piece:
    """A sentence, with the white space before it; `start`: its place in the text. The last of a text says nothing."""

    gap: str
    text: str
    start: int


def split(text: str, language: str) -> Iterator[Piece]:
    """The sentences of a text and, last, an empty one: `gap + text` of all, one after the other, is the text."""
    end = 0
    for start, stop in _places(text, unsubtagged(language)):
        yield Piece(text[end:start], text[start:stop], start)
        end = stop
    yield Piece(text[end:], "", len(text))


def stretches(text: str, language: str) -> Iterator[str]:
    """What of a text a translation may be known of: each sentence, and up to TOGETHER of them side by side."""
    starts = deque[int](maxlen=TOGETHER)
    for piece in split(text, language):
        if piece.text:
            starts.append(piece.start)
            yield from (text[start : piece.start + len(piece.text)] for start in starts)


def split_around(text: str, language: str, known: Container[str]) -> Iterator[Piece]:
    """The same as `split`, but what is `known` is one piece: the whole text, else as many sentences as can be."""
    whole = text.strip()
    if whole in known:
        start = text.index(whole)
        yield Piece(text[:start], whole, start)
        yield Piece(text[start + len(whole) :], "", len(text))
        return
    pieces = split(text, language)
    ahead = deque(islice(pieces, TOGETHER))
    while ahead:
        first = ahead[0]
        ends = [piece.start + len(piece.text) for piece in ahead if piece.text]
        taken = next((n for n in range(len(ends), 1, -1) if text[first.start : ends[n - 1]] in known), 1)
        yield Piece(first.gap, text[first.start : ends[taken - 1]] if ends else "", first.start)
        for _ in range(taken):
            ahead.popleft()
        ahead.extend(islice(pieces, taken))


def gap_between(gap: str, source: str, target: str) -> str:
    """What stands between two sentences of a line in the target language: only where one of the two languages puts no
    space between sentences is it another than in the source.

    >>> gap_between("", "ja", "en"), gap_between(" ", "en", "ja"), gap_between("  ", "en", "ja")
    (' ', '', '  ')
    """
    from_unspaced, to_unspaced = map(is_unspaced, (source, target))
    if from_unspaced and not to_unspaced and gap == "":
        return " "
    if to_unspaced and not from_unspaced and gap == " ":
        return ""
    return gap


def _places(text: str, language: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence, white space around it left out."""
    for line in _LINE.finditer(text):
        for block in _BLOCK.finditer(text, line.start(), line.end()):
            start, plain = block.start(), _SURROGATE.sub("\ufffd", block[0])
            for sentence in sentencex.segment(language, plain):  # pyright: ignore[reportAttributeAccessIssue]
                yield from _short(text, start, start + len(sentence))
                start += len(sentence)


def _short(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """A sentence in pieces of at most LONGEST characters."""
    for piece in split_text(text[start:stop], lambda piece: len(piece) <= LONGEST):
        if piece := piece.strip():
            start = text.index(piece, start, stop)
            yield start, start + len(piece)
            start += len(piece)
