"""What no word governs, out of a sentence that a model is given and back into the translation.

A model that has seen few addresses, placeholders or numbers in brackets writes nonsense around them, all the more where
a search must have them. So the sentence is translated without them, and each goes where the words around it went, as a
tag without text does (`markup.tags`). Several with nothing but signs between them go as one; so do the brackets around
them.
"""

import itertools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kakehashi.alignment import Link
from kakehashi.serving.engine import protocol
from kakehashi.serving.engine.integrity import rewritten
from kakehashi.serving.markup.inline import spaces
from kakehashi.serving.markup.tags import Span, project
from kakehashi.translator import Translation

Place = tuple[int, int]


@dataclass(frozen=True)
class Apart:
    """A sentence, `whole`, and its `text` without what is at `kept` in it; `written`: that, for the translation;
    `places`: where it is missing in the text; `spaced`: whether spaces stood before and behind it; `origins`: where
    each character of the text was."""

    whole: str
    text: str
    kept: tuple[Place, ...]
    written: tuple[str, ...]
    places: tuple[int, ...]
    spaced: tuple[tuple[bool, bool], ...]
    origins: tuple[int, ...]

    def joined(self, translation: Translation) -> Translation:
        """The translation of the text, and its alternatives, as those of the whole."""
        others = tuple(map(self.joined, translation.alternatives))
        target = translation.text
        spans = [Span(place, place) for place in self.places]
        links = [protocol.Link(link.source, link.target, link.weight) for link in translation.links]
        found = project(spans, self.text, target, links)
        order = sorted(range(len(spans)), key=lambda i: (found[i], i))
        pieces = [self._piece(i, target, found[i]) for i in order]
        edges = [0, *(found[i][0] for i in order), len(target)]
        parts = [target[start:end] for start, end in itertools.pairwise(edges)]
        text = parts[0] + "".join(piece + part for piece, part in zip(pieces, parts[1:], strict=True))
        longer = [0, *itertools.accumulate(map(len, pieces))]

        def moved(span: Place) -> Place:
            start, end = span
            begin = start + longer[bisect_right(edges[1:-1], start)]
            return begin, max(begin, end + longer[bisect_left(edges[1:-1], end)])

        tokens = [replace(token, span=moved(token.span)) for token in translation.tokens]
        linked = [Link(self._origin(link.source), moved(link.target), link.weight) for link in translation.links]
        for i, edge, before, piece in zip(order, edges[1:-1], longer[:-1], pieces, strict=True):
            start = edge + before + len(piece) - len(piece.lstrip())
            linked.append(Link(self.kept[i], (start, start + len(piece.strip())), 1.0))
        linked.sort(key=lambda link: link.target)
        return replace(
            translation, source=self.whole, text=text, alternatives=others, tokens=tuple(tokens), links=tuple(linked)
        )

    def _piece(self, number: int, target: str, place: Place) -> str:
        before, after = spaces(self.spaced[number], target, place)
        return before + self.written[number] + after

    def _origin(self, span: Place) -> Place:
        return self.origins[span[0]], self.origins[span[1] - 1] + 1


def apart(whole: str, phrases: Sequence[str], languages: tuple[str, str]) -> Apart:
    """The sentence without some phrases of it. languages: of the sentence and of its translation.

    There is one way to part a run into phrases and signs: of many, as of emoji, which are signs too, the search would
    try them all.
    """
    one = "(?>" + "|".join(map(re.escape, sorted(phrases, key=len, reverse=True))) + ")"
    run = rf"{one}(?:(?:(?!{one})[^\w(\[{{])*+{one})*"
    pattern = re.compile(rf"(\s*)(\({run}\)|\[{run}\]|^{run}:|{run})(\s*)")
    text, end = "", 0
    kept, places, spaced, origins = list[Place](), list[int](), list[tuple[bool, bool]](), list[int]()
    for match in pattern.finditer(whole):
        origins += range(end, match.start())
        text += whole[end : match.start()]
        end = match.end()
        around = bool(match[1]) or match.start() == 0, bool(match[3]) or end == len(whole)
        if (match[1] or match[3]) and text and whole[end : end + 1].isalnum():
            origins.append(match.start() if match[1] else match.start(3))
            text += " "
        kept.append(match.span(2))
        places.append(len(text))
        spaced.append(around)
    origins += range(end, len(whole))
    written = tuple(rewritten(whole[start:stop], languages) for start, stop in kept)
    return Apart(whole, text + whole[end:], tuple(kept), written, tuple(places), tuple(spaced), tuple(origins))
