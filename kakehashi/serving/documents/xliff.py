""".xliff and .xlf (OASIS XLIFF 1.2, and 2.0 to 2.2): units without a target get one, others keep theirs.

`translate="no"` is kept. A new target says that nobody has looked at it: its state is `needs-review-translation` from a
`mt-suggestion` in 1.2; in 2.0 its segment's is `translated`, which comes before `reviewed`.
"""

from collections.abc import Iterator, Sequence

from lxml import etree

from kakehashi.errors import UserError
from kakehashi.serving.documents.codes import fill, tokens
from kakehashi.serving.markup.inline import Inline, Token, Translated, rendered, segments_of
from kakehashi.serving.xml import Element, add_after, empty, local_name, parse, write

_NAMESPACE = "urn:oasis:names:tc:xliff:document:"
_UNTRANSLATED = {"new", "needs-translation", "initial"}  # states of a target that is a copy of the source


class Xliff:
    """`language`: that of the targets. Raises UserError where the file says that they are in another."""

    def __init__(self, data: bytes, language: str | None) -> None:
        self._data, self._language = data, language
        root = self._read()
        self._inlines = [Inline([*tokens(source)]) for source in _sources(root)]
        self.segments = segments_of(self._inlines)

    def _read(self) -> Element:
        root = parse(self._data)
        namespace = etree.QName(root).namespace or ""
        if local_name(root) != "xliff" or namespace not in {_NAMESPACE + v for v in ("1.2", "2.0", "2.2")}:
            raise UserError("the file is no XLIFF of version 1.2 or 2")
        places = [(root, "trgLang")] if namespace[-3] == "2" else [(f, "target-language") for f in root.iter("{*}file")]
        for element, attribute in places:
            said = element.get(attribute)
            if self._language and said and _primary(said) != _primary(self._language):
                raise UserError(
                    f"the file's targets are in {said!r}, not in {self._language!r}: translate it to {said!r}"
                )
            if self._language and not said:
                element.set(attribute, self._language)
        return root

    def render(self, translations: Sequence[Translated]) -> bytes:
        root = self._read()
        for source, inline, found in zip(
            [*_sources(root)], self._inlines, rendered(self._inlines, translations), strict=True
        ):
            if inline.segment:
                _set_target(source, [*found])
        return write(root)


def _primary(language: str) -> str:
    return language.replace("_", "-").split("-")[0].lower()


def _sources(root: Element) -> Iterator[Element]:
    """The sources whose targets are missing."""
    for source in root.iter("{*}source"):
        holder = source.getparent()
        if holder is None or local_name(holder) not in ("trans-unit", "segment"):
            continue
        said = (element.get("translate") for element in (holder, *holder.iterancestors()))
        target = holder.find("{*}target")
        state = holder.get("state") if target is None else target.get("state", holder.get("state"))
        has_target = target is not None and (len(target) or (target.text or "").strip())
        if next((value for value in said if value), "yes") != "no" and (not has_target or state in _UNTRANSLATED):
            yield source


def _set_target(source: Element, found: Sequence[Token[Element]]) -> None:
    holder = source.getparent()
    assert holder is not None
    target = holder.find("{*}target")
    if target is None:
        target = etree.Element(f"{{{etree.QName(source).namespace}}}target")
        before = holder.find("{*}seg-source")
        add_after(source if before is None else before, target)
    empty(target)
    fill(target, found)
    if local_name(holder) == "segment":
        holder.set("state", "translated")
    else:
        target.set("state", "needs-review-translation")
        target.set("state-qualifier", "mt-suggestion")
