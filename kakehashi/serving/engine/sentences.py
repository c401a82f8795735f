"""A text as sentences and what stands between them, and back.

Notable: nothing is lost. Line breaks of every kind, tabs, and spaces before, between and behind sentences come back as
they were. Sentences are found line by line, lazily, by sentencex (Wikimedia; rules for some 300 languages), which
rather leaves two sentences together than cut one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import sentencex

from kakehashi.data.languages import is_unspaced, unsubtagged
from kakehashi.data.splitting import split_text

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
