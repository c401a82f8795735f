"""A text in lines that one can read at a glance, of nearly the same width."""

import itertools
import math
import re
import unicodedata

from kakehashi.serving.markup.words import is_unspaced, words

_CHUNK = re.compile(r"(?:<[^<>]*>|\{\\[^{}]*\}|\S)+")  # a tag may have spaces in it
_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_NEVER_FIRST = set("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶー々")  # of a line; signs are not either
_OPENING = set("「『（【〈《([{“‘")


def broken(text: str, width: int) -> str:
    """The text in as few lines as fit into `width` columns, as evenly as they come; tags take none."""
    total = _columns(text)
    if total <= width:
        return text
    count = math.ceil(total / width)
    pieces = [piece for chunk in _CHUNK.finditer(text) for piece in _pieces(chunk[0])]
    tries = (_filled(pieces, narrow) for narrow in range(math.ceil(total / count), width + 1))
    return "\n".join(next((lines for lines in tries if len(lines) <= count), None) or _filled(pieces, width))


def _pieces(chunk: str) -> list[tuple[str, str]]:
    """What may not be broken, with what stands before it in a line: a space, or nothing within a chunk."""
    places = range(len(chunk))
    cuts = [
        start
        for start, _ in words(chunk, soft_cuts=set(places))
        if start
        and (is_unspaced(chunk[start]) or chunk[start] in _OPENING)
        and chunk[start] not in _NEVER_FIRST
        and (is_unspaced(chunk[start - 1]) or chunk[start - 1] in "。、！？）」』")
    ]
    edges = [0, *cuts, len(chunk)]
    return [(chunk[left:right], "" if left else " ") for left, right in itertools.pairwise(edges)]


def _filled(pieces: list[tuple[str, str]], width: int) -> list[str]:
    lines: list[str] = []
    for piece, before in pieces:
        if lines and _columns(lines[-1] + before + piece) <= width:
            lines[-1] += before + piece
        else:
            lines.append(piece)
    return lines


def _columns(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in _TAG.sub("", text))
