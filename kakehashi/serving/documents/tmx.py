""".tmx (TMX 1.4b): units without a translation into the language get one, others keep theirs.

A unit's source is its variant in the language that the unit or the header names (`srclang`), else its first.
"""

from collections.abc import Iterator, Sequence

from lxml import etree

from kakehashi.errors import UserError
from kakehashi.serving.documents.codes import fill, tokens
from kakehashi.serving.markup.inline import Inline, Translated, rendered, segments_of
from kakehashi.serving.xml import LANGUAGE, Element, add_after, parse, write


class Tmx:
    """`language`: that of the new variants. Raises UserError where there is none, or the file is no TMX."""

    def __init__(self, data: bytes, language: str | None) -> None:
        if not language:
            raise UserError("a .tmx needs the language of its translations")
        self._data, self._language = data, language
        self._inlines = [Inline([*tokens(source)]) for source in self._sources(parse(data))]
        self.segments = segments_of(self._inlines)

    def render(self, translations: Sequence[Translated]) -> bytes:
        root = parse(self._data)
        for source, inline, found in zip(
            [*self._sources(root)], self._inlines, rendered(self._inlines, translations), strict=True
        ):
            if inline.segment:
                variant = source.getparent()
                assert variant is not None
                new = etree.Element("tuv", {LANGUAGE: self._language})
                fill(etree.SubElement(new, "seg"), found)
                add_after(variant, new)
        return write(root)

    def _sources(self, root: Element) -> Iterator[Element]:
        """The `seg` elements that want a translation."""
        header = root.find("header")
        if root.tag != "tmx" or header is None:
            raise UserError("the file is no TMX: it does not begin with <tmx> and <header>")
        for unit in root.iter("tu"):
            source_language = (unit.get("srclang") or header.get("srclang", "")).lower()
            variants = [
                (_language(variant), seg) for variant in unit.iter("tuv") if (seg := variant.find("seg")) is not None
            ]
            wanted = self._language.lower()
            if variants and all(language.split("-")[0] != wanted.split("-")[0] for language, _ in variants):
                yield next((seg for language, seg in variants if language == source_language), variants[0][1])


def _language(variant: Element) -> str:
    return (variant.get(LANGUAGE) or variant.get("lang", "")).replace("_", "-").lower()
