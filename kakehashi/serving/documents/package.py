"""Office documents: archives in which some XML members hold paragraphs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from kakehashi.serving.documents.archive import Archive
from kakehashi.serving.markup.inline import Inline, Token, Translated
from kakehashi.serving.xml import Element, parse, write


class Paragraph(Protocol):
    """A run of inline content somewhere in a tree, and how to replace it there."""

    @property
    def inline(self) -> Inline[Any]: ...

    def fill(self, tokens: Iterable[Token[Any]]) -> None: ...


class Package:
    """The paragraphs of some members. Trees are built to read and again to render, and not held in between.

    `members`: names of those that hold text; `paragraphs`: those of a member's tree, inner ones after outer ones.
    """

    def __init__(
        self, archive: Archive, members: Sequence[str], paragraphs: Callable[[Element], Iterator[Paragraph]]
    ) -> None:
        self._archive, self._members, self._paragraphs = archive, members, paragraphs
        found = (p.inline.segment for member in members for p in paragraphs(parse(archive.read(member), member)))
        self.segments = [segment for segment in found if segment]

    def render(self, translations: Sequence[Translated]) -> bytes:
        remaining = iter(translations)
        contents: dict[str, bytes] = {}
        for member in self._members:
            root = parse(self._archive.read(member), member)
            for paragraph in [*self._paragraphs(root)]:
                segment = paragraph.inline.segment
                if segment and (translated := next(remaining)).text != segment.text:
                    paragraph.fill([*paragraph.inline.render(translated)])
            contents[member] = write(root)
        return self._archive.replaced(contents)
