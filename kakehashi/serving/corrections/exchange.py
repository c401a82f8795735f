"""Corrections in and out of files: TMX 1.4b for other translation tools, TSV for `kakehashi train`.

TMX keeps texts as they are, and their state (`<prop type="x-state">`). TSV is a corpus: one language pair, a source, a
TAB and a target a line; a TAB inside a text becomes a space; a text of many lines becomes as many pairs where its
translation has as many, else one line. XML is read without entities and without the network, unit by unit, so that its
tree is never whole in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import IO
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from kakehashi.data.corpus import BYTE_ORDER_MARK
from kakehashi.data.languages import language_code
from kakehashi.errors import UserError
from kakehashi.serving.corrections.memory import Correction, Entry, tidy
from kakehashi.serving.xml import LANGUAGE, Element, refuse_entities

_CODES_OF_FORMAT = {"bpt", "ept", "it", "ph", "ut"}  # what they hold is markup of the program that wrote the file


def write_tmx(corrections: Iterable[Correction]) -> Iterator[str]:
    """A TMX document, piece by piece."""
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">\n'
        '<header creationtool="kakehashi" creationtoolversion="1" segtype="block" o-tmf="kakehashi" adminlang="en"'
        ' srclang="*all*" datatype="plaintext"/>\n<body>\n'
    )
    for correction in corrections:
        entry = correction.entry
        yield (
            f'<tu tuid="{correction.id}" srclang={quoteattr(entry.source_language)}'
            f' creationdate="{_date(correction.created)}" changedate="{_date(correction.changed)}">'
            f'<prop type="x-state">{correction.state}</prop>'
            f"{_variant(entry.source_language, entry.source)}{_variant(entry.target_language, entry.target)}</tu>\n"
        )
    yield "</body>\n</tmx>\n"


def _variant(language: str, text: str) -> str:
    return f"<tuv xml:lang={quoteattr(language)}><seg>{escape(text)}</seg></tuv>"


def _date(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")


def write_tsv(corrections: Iterable[Correction]) -> Iterator[str]:
    """Lines of a corpus."""
    for correction in corrections:
        sources, targets = (
            [line.replace("\t", " ").strip() for line in text.split("\n")]
            for text in (correction.entry.source, correction.entry.target)
        )
        if len(sources) != len(targets):
            sources, targets = [" ".join(sources)], [" ".join(targets)]
        for source, target in zip(sources, targets, strict=True):
            if source and target:
                yield f"{source}\t{target}\n"


def read_tmx(file: IO[bytes], languages: Sequence[str] = ()) -> Iterator[Entry]:
    """The units, each translation of each as an entry. Raises UserError for what is no TMX or holds no text.

    A language that is none of `languages` but has the first subtag of one is taken for that: en-US for en.
    """
    header, root = "*all*", None
    try:
        for event, element in _events(file):
            if root is None:
                root = _root(element)
            if event == "start":
                continue
            if element.tag == "header":
                header = element.get("srclang", header)
            elif element.tag == "tu":
                yield from (_renamed(entry, languages) for entry in _entries(element, header))
                _forget(element)
    except etree.XMLSyntaxError as error:
        raise UserError(f"not a TMX file that can be read: {error}") from error


def _events(file: IO[bytes]) -> Iterator[tuple[str, Element]]:
    yield from etree.iterparse(
        file, events=("start", "end"), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )


def _root(element: Element) -> Element:
    """Raises UserError where it is no TMX, or declares entities."""
    if element.tag != "tmx":
        raise UserError("not a TMX file: its root is no <tmx>")
    refuse_entities(element, "this TMX file")
    return element


def _forget(unit: Element) -> None:
    """What was read is not needed any more, nor is what stands before it."""
    unit.clear()
    parent = unit.getparent()
    while parent is not None and unit.getprevious() is not None:
        del parent[0]


def _renamed(entry: Entry, languages: Sequence[str]) -> Entry:
    source, target = (_meant(code, languages) or code for code in (entry.source_language, entry.target_language))
    return replace(entry, source_language=source, target_language=target)


def _meant(code: str, known: Sequence[str]) -> str | None:
    """The same code among those known, or else one with the same first subtag."""
    relatives = (each for each in known if each.split("-")[0] == code.split("-")[0])
    return code if code in known else next(relatives, None)


def _entries(unit: Element, header: str) -> Iterator[Entry]:
    """The source is in the language that the unit or the header says; where neither says one, it is the first."""
    variants = [(variant.get(LANGUAGE) or variant.get("lang"), variant.find("seg")) for variant in unit.iter("tuv")]
    texts = {
        language_code(language.replace("_", "-")): _text(segment)
        for language, segment in reversed(variants)  # of two in one language the first
        if language is not None and segment is not None
    }
    codes = [*reversed(texts)]
    source = _meant(unit.get("srclang", header).lower().replace("_", "-"), codes) or next(iter(codes), "")
    for target in codes:
        if target != source:
            try:
                yield Entry(source, target, tidy(texts[source]), tidy(texts[target]))
            except ValueError as error:
                raise UserError(f"unit {unit.get('tuid', 'without a tuid')}: a text {error}") from error


def _text(segment: Element) -> str:
    """Its words: without what is markup of the program that wrote the file, and without comments."""
    inner = (
        ("" if callable(child.tag) or child.tag in _CODES_OF_FORMAT else _text(child)) + (child.tail or "")
        for child in segment
    )
    return (segment.text or "") + "".join(inner)


def read_tsv(file: IO[bytes], source_language: str, target_language: str) -> Iterator[Entry]:
    """A source, a TAB and a target a line. Raises UserError for another line; blank ones are skipped."""
    for number, line in enumerate(file, 1):
        try:
            text = line.decode("utf-8").removeprefix(BYTE_ORDER_MARK if number == 1 else "").rstrip("\r\n")
            if not text.strip():
                continue
            source, target = text.split("\t")
            yield Entry(source_language, target_language, tidy(source), tidy(target))
        except UnicodeDecodeError as error:
            raise UserError(f"line {number}: byte {error.start + 1} is not UTF-8") from error
        except ValueError as error:
            raise UserError(f"line {number} is not a text, a TAB and its translation") from error
