""".docx (ECMA-376, WordprocessingML): body, headers, footers, footnotes and endnotes.

In a paragraph, the format that most of its characters have is its own, and runs of any other are tags; so are
hyperlinks, insertions and the results of fields. Everything else in it (notes, pictures, bookmarks, deleted text, a
field's code) is one piece. Text boxes and content controls are paragraphs of their own.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass

from lxml import etree

from kakehashi.errors import UserError
from kakehashi.serving.documents.archive import Archive
from kakehashi.serving.documents.package import Package
from kakehashi.serving.markup.inline import Atom, Close, Inline, Open, Text, Token
from kakehashi.serving.xml import SPACE, Element, append, empty, parse

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MAIN = re.compile(r"/officeDocument$")  # the relation's type, transitional or strict
_BESIDE = r"(?:(?:header|footer)\d*|(?:foot|end)notes)\.xml"
_CONTAINERS = {_W + name for name in ("hyperlink", "ins", "moveTo", "smartTag", "fldSimple", "dir", "bdo")}
_DROPPED = {_W + name for name in ("proofErr", "lastRenderedPageBreak")}  # true of the old text alone
_UNSEEN = {_W + name for name in ("lang", "noProof", "webHidden")}  # of a run's format
_SEEN = {_W + "tab": "\t", _W + "br": "\n", _W + "cr": "\n", _W + "noBreakHyphen": "\u2011"}


@dataclass(frozen=True)
class _InRun:
    """What stands in a run beside text, and the run's format."""

    format: Element | None
    element: Element


@dataclass(frozen=True)
class _Format:
    """A format that is not the paragraph's usual one, as a tag; None: without any of its own."""

    properties: Element | None


Payload = Element | _InRun | _Format | list[Element]


def docx(data: bytes) -> Package:
    """Raises UserError where the archive has no main document of this kind."""
    archive = Archive(data)
    relations = parse(archive.read("_rels/.rels"), "_rels/.rels")
    targets = [
        relation.get("Target", "")
        for relation in relations.iter("{*}Relationship")
        if _MAIN.search(relation.get("Type", ""))
    ]
    if not targets or parse(archive.read(targets[0].lstrip("/"))).tag != f"{_W}document":
        raise UserError("the file is no .docx (transitional Office Open XML): save it as one")
    main = targets[0].lstrip("/")
    folder = re.escape(posixpath.join(posixpath.dirname(main), ""))
    return Package(archive, [main, *(n for n in archive.names if re.fullmatch(folder + _BESIDE, n))], _paragraphs)


def _paragraphs(root: Element) -> Iterator["_Paragraph"]:
    for element in root.iter(f"{_W}p", f"{_W}sdtContent"):
        if element.tag == f"{_W}p" or element.find(f"{_W}r") is not None:
            yield _Paragraph(element)


class _Paragraph:
    def __init__(self, element: Element) -> None:
        self._element = element
        self._format = _usual_format(element)
        self.inline = Inline([*_joined(_tokens(element, _look(self._format)))])

    def fill(self, tokens: Iterable[Token[Payload]]) -> None:
        properties = self._element.find(f"{_W}pPr")
        empty(self._element)
        if properties is not None:
            self._element.append(properties)
        places, formats = [self._element], [self._format]
        for token in tokens:
            if isinstance(token, Text):
                places[-1].append(_run(formats[-1], _text(token.text)))
                continue
            match token.payload:
                case _Format(properties) if isinstance(token, Open):
                    formats.append(properties)
                case _Format():
                    formats.pop()
                case _InRun(properties, element):
                    places[-1].append(_run(properties, element))
                case list() as runs:
                    places[-1].extend(runs)
                case element if isinstance(token, Close):
                    places.pop()
                case element:
                    append(places[-1], element)
                    if isinstance(token, Open):
                        empty(element)
                        places.append(element)


def _run(properties: Element | None, content: Element) -> Element:
    run = etree.Element(f"{_W}r")
    if properties is not None:
        run.append(deepcopy(properties))
    run.append(content)
    return run


def _text(text: str) -> Element:
    element = etree.Element(f"{_W}t", {SPACE: "preserve"})
    element.text = text
    return element


def _look(properties: Element | None) -> str:
    """A run's format as a name: the same for formats that look the same."""
    seen = (
        []
        if properties is None
        else [etree.tostring(part, method="c14n") for part in properties if part.tag not in _UNSEEN]
    )
    return b"".join(sorted(seen)).decode()


def _usual_format(paragraph: Element) -> Element | None:
    """The format of most characters of a paragraph."""
    counts = Counter[str]()
    formats: dict[str, Element | None] = {}
    for run in paragraph.iter(f"{_W}r"):
        properties = run.find(f"{_W}rPr")
        look = _look(properties)
        formats.setdefault(look, properties)
        counts[look] += sum(len(text.text or "") for text in run.iterchildren(f"{_W}t"))
    return formats[counts.most_common(1)[0][0]] if counts else None


def _tokens(element: Element, usual: str) -> Iterator[Token[Payload]]:
    """A paragraph's content, or that of a container in it. A field is a tag around its result, with the code in it."""
    head: list[Element] = []  # the runs of a field's code
    depth = 0
    for place, child in enumerate(element):
        mark = _field_mark(child)
        if head or mark == "begin":
            head.append(child)
            depth += {"begin": 1, "end": -1}.get(mark, 0)
            if mark == "separate" and depth == 1:
                yield Open("field", head)
            elif depth == 0:
                yield Atom(head)
            else:
                continue
            head, depth = [], 0
        elif mark == "end":
            yield Close("field", [child])
        elif child.tag == f"{_W}r" and not mark:
            yield from _run_tokens(child, usual)
        elif child.tag in _CONTAINERS:
            name = f"{child.tag} {place}"
            yield Open(name, child)
            yield from _tokens(child, usual)
            yield Close(name, child)
        elif child.tag not in _DROPPED:
            yield Atom(child)
    if head:
        yield Atom(head)


def _field_mark(child: Element) -> str:
    """ "begin", "separate", "end" or "code" for a run that is a part of a field; else ""."""
    if child.tag != f"{_W}r":
        return ""
    mark = child.find(f"{_W}fldChar")
    if mark is not None:
        return mark.get(f"{_W}fldCharType", "")
    return "code" if child.find(f"{_W}instrText") is not None else ""


def _run_tokens(run: Element, usual: str) -> Iterator[Token[Payload]]:
    properties = run.find(f"{_W}rPr")
    look = _look(properties)
    for child in run:
        if child.tag == f"{_W}t":
            text = child.text or ""
            token = Text(text if child.get(SPACE) == "preserve" else text.strip())
            yield from (
                [token] if look == usual else [Open(look, _Format(properties)), token, Close(look, _Format(properties))]
            )
        elif child.tag not in _DROPPED and child.tag != f"{_W}rPr":
            plain_break = child.get(f"{_W}type", "textWrapping") == "textWrapping"
            yield Atom(_InRun(properties, child), _SEEN.get(child.tag, "") if plain_break else "")


def _joined(tokens: Iterable[Token[Payload]]) -> Iterator[Token[Payload]]:
    """The tokens, with neighbouring runs of one format in one tag: editors cut runs anywhere."""
    closed: Close[Payload] | None = None
    for token in tokens:
        if closed and isinstance(token, Open) and token.name == closed.name and isinstance(token.payload, _Format):
            closed = None
            continue
        if closed:
            yield closed
            closed = None
        if isinstance(token, Close) and isinstance(token.payload, _Format):
            closed = token
        else:
            yield token
    if closed:
        yield closed
