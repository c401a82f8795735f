"""Over-long lines: where they may be split, best places first."""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence

SENTENCES = re.compile(r"""[.!?…]+["'”’»)\]]*\s+|[。！？]+[」』”’）]*\s*""")
CLAUSES = re.compile(r"[,;:]\s+|[、，；：]\s*|\s[–—-]\s+")
SPACES = re.compile(r"\s+")


def split_text(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Pieces of a text that fit: the text itself, else its sentences; of a sentence that does not fit, its clauses,
    then its words, then its characters, as many together as fit. Only spaces between pieces are lost."""
    if not text.strip():
        return [text]
    return [piece.strip() for piece in _split(text, fits, [SENTENCES, CLAUSES, SPACES]) if piece.strip()]


def _split(text: str, fits: Callable[[str], bool], places: Sequence[re.Pattern[str]]) -> list[str]:
    if fits(text):
        return [text]
    if not places:
        return _split_anywhere(text, fits)
    ends = [match.end() for match in places[0].finditer(text)]
    pieces = [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True) if start < end]
    if places[0] is not SENTENCES:
        pieces = _pack(pieces, fits)
    return [part for piece in pieces for part in _split(piece, fits, places[1:])]


def _pack(pieces: Sequence[str], fits: Callable[[str], bool]) -> list[str]:
    packed = [pieces[0]]
    for piece in pieces[1:]:
        if fits(packed[-1] + piece):
            packed[-1] += piece
        else:
            packed.append(piece)
    return packed


def _split_anywhere(text: str, fits: Callable[[str], bool]) -> list[str]:
    pieces: list[str] = []
    while text:
        size = 1
        while size < len(text) and fits(text[: 2 * size]):
            size *= 2
        longer = range(size + 1, min(2 * size, len(text)) + 1)
        size += bisect_left(longer, True, key=lambda end: not fits(text[:end]))
        pieces.append(text[:size])
        text = text[size:]
    return pieces
