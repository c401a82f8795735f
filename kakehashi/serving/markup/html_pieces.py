"""HTML cut into text, tags and the rest, each as it was written: the pieces joined are the text again.

The rules are those of the HTML standard's tokenizer (section 13.2.5), also for what is broken. Parsers that build trees
(libxml2, Lexbor) forget how a tag was written; the standard library's tells where it stands, but takes quadratic time
over hostile text and raises on some. This takes linear time and never fails.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_MARKUP = re.compile(
    r"<(?:(?P<comment>!--)|(?P<bogus>[!?]|/[^A-Za-z>]|/>)|(?P<slash>/?)(?P<name>[A-Za-z][^\t\n\f\r />]*))"
)
_SHORT_COMMENT = re.compile("-?>")
_COMMENT_END = re.compile("--!?>")
_BETWEEN = re.compile(r"[\t\n\f\r /]*")
_NAME = re.compile(r"[^\t\n\f\r />][^\t\n\f\r />=]*")
_EQUALS = re.compile(r"[\t\n\f\r ]*=[\t\n\f\r ]*")
_VALUE = re.compile(r""""([^"]*)"|'([^']*)'|((?!["'])[^\t\n\f\r >]*)""")
_TEXT_ALONE = frozenset("iframe noembed noframes script style textarea title xmp".split())  # hold no tags


@dataclass(frozen=True, slots=True)
class Piece:
    """`raw`: as written; `name`: of a tag, in small letters; `attributes`: likewise, the first of each name."""

    kind: Literal["text", "open", "close", "other"]
    raw: str
    name: str = ""
    attributes: tuple[tuple[str, str], ...] = ()


def pieces(text: str) -> Iterator[Piece]:
    """Every character of `text` is in one piece. A tag or comment that does not end goes to the end of the text."""
    done = place = 0
    while markup := _MARKUP.search(text, place):
        start = markup.start()
        if start > done:
            yield Piece("text", text[done:start])
        piece = _tag(text, markup) if markup["name"] else _other(text, markup)
        yield piece
        done = place = start + len(piece.raw)
        if piece.kind == "open" and piece.name in _TEXT_ALONE:
            end = re.compile(rf"</{piece.name}(?=[\t\n\f\r />])", re.IGNORECASE).search(text, place)
            place = end.start() if end else len(text)
    if done < len(text):
        yield Piece("text", text[done:])


def _other(text: str, markup: re.Match[str]) -> Piece:
    """A comment; or a declaration, a processing instruction, `</>`, which are comments to the standard."""
    start, after = markup.span()
    if not markup["comment"]:
        end = text.find(">", start + 2) + 1
    else:
        found = _SHORT_COMMENT.match(text, after) or _COMMENT_END.search(text, after)
        end = found.end() if found else 0
    return Piece("other", text[start : end or len(text)])


def _tag(text: str, markup: re.Match[str]) -> Piece:
    attributes: dict[str, str] = {}
    place = markup.end()
    while True:
        place = _BETWEEN.match(text, place).end()  # pyright: ignore[reportOptionalMemberAccess]
        name = _NAME.match(text, place)
        if not name:  # at ">" or the end
            break
        place = name.end()
        value = ""
        if equals := _EQUALS.match(text, place):
            found = _VALUE.match(text, equals.end())
            if not found:  # a quote that does not end
                return Piece("other", text[markup.start() :])
            place = found.end()
            value = next(group for group in found.groups() if group is not None)
        attributes.setdefault(name[0].lower(), value)
    if place == len(text):
        return Piece("other", text[markup.start() :])
    raw = text[markup.start() : place + 1]
    return Piece("close" if markup["slash"] else "open", raw, markup["name"].lower(), tuple(attributes.items()))
