"""HTML in, segments out; translations in, the same HTML out with its tags around their words.

A document or a fragment, as it comes: what is not translated comes back byte for byte. Block elements part segments;
every other element is a tag within one. Left alone: attributes, comments, declarations, elements that hold no prose
(`code`, `script`; also `address` and `time`, as LibreTranslate does), `translate="no"` and the class `notranslate`.
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kakehashi.serving.markup.html_pieces import Piece, pieces
from kakehashi.serving.markup.inline import Atom, Close, Inline, Open, Text, Token, Translated

_BLOCKS = frozenset(
    "address article aside base blockquote body caption center col colgroup dd details dialog dir div dl dt fieldset"
    " figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li link main"
    " menu meta nav noframes noscript ol optgroup option p pre script search section select style summary table tbody"
    " td template textarea tfoot th thead title tr ul".split()
)
_LEFT_ALONE = frozenset(
    "address applet audio canvas code embed iframe kbd math object pre samp script style svg template textarea time tt"
    " var video".split()
)
_VOID = frozenset("area base br col embed frame hr img input link meta param source track wbr".split())
_SPACE = " \t\n\f\r"  # a no-break space is none to HTML


@dataclass(frozen=True)
class _Prose:
    """A run of inline content: as written, and as tokens."""

    raw: str
    inline: Inline[str]


class Markup:
    """The `segments` of a text in HTML, and the text again with translations in their places."""

    def __init__(self, text: str) -> None:
        self._parts = [*_parts(pieces(text))]
        proses = (part for part in self._parts if isinstance(part, _Prose))
        self.segments = [prose.inline.segment for prose in proses if prose.inline.segment]

    def render(self, translations: Sequence[Translated]) -> str:
        """One translation for each segment, in their order; a segment whose text did not change is as it was."""
        remaining = iter(translations)
        return "".join(part if isinstance(part, str) else _rendered(part, next(remaining)) for part in self._parts)


def _rendered(prose: _Prose, translated: Translated) -> str:
    assert prose.inline.segment
    if translated.text == prose.inline.segment.text:
        return prose.raw
    before = prose.raw[: len(prose.raw) - len(prose.raw.lstrip(_SPACE))]
    after = prose.raw[len(prose.raw.rstrip(_SPACE)) :]
    return before + "".join(map(_written, prose.inline.render(translated))).strip(_SPACE) + after


def _written(token: Token[str]) -> str:
    if isinstance(token, Text):
        return html.escape(token.text, quote=False).replace("\xa0", "&nbsp;")
    return token.payload


def _parts(found: Iterator[Piece]) -> Iterator[str | _Prose]:
    """What is left as it is, and the runs of inline content with words in them."""
    run: list[Piece | list[Piece]] = []  # a list is an element that is left alone
    for piece in _grouped(found):
        first = piece[0] if isinstance(piece, list) else piece
        if first.name in _BLOCKS:
            yield from _run(run)
            run = []
            yield _raw(piece)
        else:
            run.append(piece)
    yield from _run(run)


def _grouped(found: Iterator[Piece]) -> Iterator[Piece | list[Piece]]:
    """The pieces, with those of each element that is left alone in a list.

    One that does not end goes as far as the next block, or to the end of the text if it is a block itself.
    """
    group: list[Piece] = []
    depth = 0
    for piece in found:
        if group and piece.name in _BLOCKS and group[0].name not in _BLOCKS:
            yield group
            group = []
        if group:
            group.append(piece)
            if piece.name == group[0].name:
                depth += {"open": 1, "close": -1}[piece.kind]
            if depth == 0:
                yield group
                group = []
        elif piece.kind == "open" and _is_left_alone(piece) and not _is_empty(piece):
            group, depth = [piece], 1
        else:
            yield piece
    if group:
        yield group


def _is_left_alone(piece: Piece) -> bool:
    attributes = dict(piece.attributes)
    return (
        piece.name in _LEFT_ALONE
        or attributes.get("translate", "").lower() == "no"
        or "notranslate" in attributes.get("class", "").split()
    )


def _is_empty(piece: Piece) -> bool:
    return piece.name in _VOID or piece.raw.endswith("/>")


def _run(run: Sequence[Piece | list[Piece]]) -> Iterator[str | _Prose]:
    if run:
        raw = "".join(map(_raw, run))
        inline = Inline([*map(_token, run)])
        yield _Prose(raw, inline) if inline.segment else raw


def _raw(piece: Piece | list[Piece]) -> str:
    return piece.raw if isinstance(piece, Piece) else "".join(part.raw for part in piece)


def _token(piece: Piece | list[Piece]) -> Token[str]:
    if isinstance(piece, list):
        return Atom(_raw(piece), "".join(_visible(part.raw) for part in piece if part.kind == "text").strip())
    if piece.kind == "text":
        return Text(_visible(piece.raw))
    if piece.kind == "close":
        return Close(piece.name, piece.raw)
    if piece.kind == "other" or _is_empty(piece):
        return Atom(piece.raw, "\n" if piece.name == "br" else "")
    return Open(piece.name, piece.raw)


def _visible(raw: str) -> str:
    """Text as a reader sees it: entities resolved, white space in one piece."""
    return re.sub(f"[{_SPACE}]+", " ", html.unescape(raw))
