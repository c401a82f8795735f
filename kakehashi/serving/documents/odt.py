""".odt (OpenDocument 1.3): paragraphs and headings of the text, of headers and of footers.

Spans, links and ruby are tags; notes, frames, fields and bookmarks stand in one piece, and the paragraphs in them are
paragraphs of their own.
"""

import re
from collections.abc import Iterable, Iterator

from lxml import etree

from kakehashi.errors import UserError
from kakehashi.serving.documents.archive import Archive
from kakehashi.serving.documents.package import Package
from kakehashi.serving.markup.inline import Atom, Close, Inline, Open, Text, Token
from kakehashi.serving.xml import Element, append, content, empty

_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_KIND = b"application/vnd.oasis.opendocument.text"
_CONTAINERS = {_TEXT + name for name in ("span", "a", "meta", "meta-field", "ruby", "ruby-base")}
_SEEN = {f"{_TEXT}tab": "\t", f"{_TEXT}line-break": "\n"}


def odt(data: bytes) -> Package:
    """Raises UserError where the archive is another kind of document, or encrypted."""
    archive = Archive(data)
    if archive.read("mimetype").strip() not in (_KIND, _KIND + b"-template"):
        raise UserError("the file is no .odt: it says that it is another kind of document")
    if b"encryption-data" in archive.read("META-INF/manifest.xml"):
        raise UserError("the file is encrypted: save it without a password")
    members = [name for name in ("content.xml", "styles.xml") if name in archive.names]
    return Package(archive, members, _paragraphs)


def _paragraphs(root: Element) -> Iterator["_Paragraph"]:
    for element in root.iter(f"{_TEXT}p", f"{_TEXT}h"):
        if next(element.iterancestors(f"{_TEXT}tracked-changes"), None) is None:  # what was deleted
            yield _Paragraph(element)


class _Paragraph:
    def __init__(self, element: Element) -> None:
        self._element = element
        self.inline = Inline([*_tokens(element)])

    def fill(self, tokens: Iterable[Token[Element]]) -> None:
        empty(self._element)
        places = [self._element]
        for token in tokens:
            match token:
                case Text(text):
                    for piece in _spaced(text):
                        append(places[-1], piece)
                case Open(_, element):
                    empty(element)
                    append(places[-1], element)
                    places.append(element)
                case Close(_, _):
                    places.pop()
                case Atom(element):
                    append(places[-1], element)


def _tokens(element: Element) -> Iterator[Token[Element]]:
    for place, piece in enumerate(content(element)):
        if isinstance(piece, str):
            yield Text(re.sub(r"[ \t\r\n]+", " ", piece))
        elif piece.tag == f"{_TEXT}s":
            yield Text(" " * _count(piece))
        elif piece.tag in _CONTAINERS:
            name = f"{piece.tag} {place}"
            yield Open(name, piece)
            yield from _tokens(piece)
            yield Close(name, piece)
        elif piece.tag != f"{_TEXT}soft-page-break":
            yield Atom(piece, _SEEN.get(piece.tag, ""))


def _count(spaces: Element) -> int:
    count = spaces.get(f"{_TEXT}c", "1")
    return int(count) if re.fullmatch("[0-9]{1,3}", count) else 1


def _spaced(text: str) -> Iterator[str | Element]:
    """Text as OpenDocument keeps it: of several spaces the first alone is a character."""
    for piece in re.split("(?<= )( +)", text):
        if piece.startswith(" ") and piece.isspace():
            yield etree.Element(f"{_TEXT}s", {f"{_TEXT}c": str(len(piece))})
        elif piece:
            yield piece
