"""Text with tags in it, of any format, as what a translator gets, and back: a `Segment`, and tags around translations.

A format hands over a run of tokens: `Text`, `Open` and `Close` of a tag, and `Atom`, something that stands in the text
in one piece (an image; code that is not translated). It gets back tokens in the order of the translation, with its own
payloads in them, each once. A tag whose partner is missing, or lies across another, goes its way like an atom: the
result is as sound as the source was.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from kakehashi.serving.engine.protocol import Link
from kakehashi.serving.markup.tags import Span, project
from kakehashi.serving.markup.words import Place

_DEEPEST = 32  # tags within tags; a deeper one goes its way like an atom
_LONGEST = 80  # characters of an atom that a translator gets to see

Payload = TypeVar("Payload", covariant=True)


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Open(Generic[Payload]):
    """`name`: that of the `Close` which ends it."""

    name: str
    payload: Payload


@dataclass(frozen=True)
class Close(Generic[Payload]):
    name: str
    payload: Payload


@dataclass(frozen=True)
class Atom(Generic[Payload]):
    """`text`: what a reader sees in its place, for the translator's eyes alone; "\\n" for a line break."""

    payload: Payload
    text: str = ""


Token = Text | Open[Payload] | Close[Payload] | Atom[Payload]


@dataclass(frozen=True)
class Segment:
    """A text to be translated, without its tags.

    `spans`: where they are; `verbatim`: phrases of it that should be in the translation as they are (code, names).
    """

    text: str
    spans: tuple[Span, ...] = ()
    verbatim: tuple[str, ...] = ()


@dataclass(frozen=True)
class Translated:
    """The translation of a segment; `links` are those of the answer to it. Without them tags are placed by guess."""

    text: str
    links: Sequence[Link] = ()


class Inline(Generic[Payload]):
    """A run of tokens, and its `segment`: None where there is nothing to translate.

    White space and tags at its ends are no part of the segment, if their partners are at the ends too.
    """

    def __init__(self, tokens: Sequence[Token[Payload]]) -> None:
        self.tokens = tokens
        self._partners = _partners(tokens)
        self._core = _core(tokens, self._partners)
        self._tags: list[Sequence[Token[Payload]]] = []  # of each span: what opens and closes it, or the one atom
        self._spaced: list[tuple[bool, bool]] = []  # whether spaces stood before and behind it
        text, spans = self._read()
        margin = len(text) - len(text.lstrip())
        bare = text.strip()
        self._margins = text[:margin], text[margin + len(bare) :]
        self.segment: Segment | None = None
        if any(isinstance(token, Text) and any(map(str.isalpha, token.text)) for token in tokens):
            self.segment = Segment(
                bare,
                tuple(
                    replace(span, start=_within(bare, span.start - margin), end=_within(bare, span.end - margin))
                    for span in spans
                ),
                tuple(dict.fromkeys(text[s.start : s.end] for s in spans if s.kept and text[s.start : s.end].strip())),
            )

    def _read(self) -> tuple[str, list[Span]]:
        """The text between the ends, and its spans. Of the spaces around an atom that is not seen one is left."""
        text = ""
        spans: list[Span] = []
        around = [-1]
        for place in range(*self._core):
            token = self.tokens[place]
            if isinstance(token, Text):
                unseen = place > self._core[0] and isinstance(self.tokens[place - 1], Atom) and text.endswith(" ")
                text += token.text.removeprefix(" ") if unseen else token.text
            elif isinstance(token, Close) and place in self._partners:
                opened = spans[around[-1]]
                spans[around.pop()] = Span(opened.start, len(text), opened.parent)
            else:
                seen = _seen(token)
                spans.append(Span(len(text), len(text) + len(seen), around[-1], bool(seen)))
                self._tags.append([token])
                self._spaced.append((text[-1:].isspace(), _seen_after(self.tokens, place)[:1].isspace()))
                text += seen
                if place in self._partners:
                    around.append(len(spans) - 1)
                    self._tags[-1] = token, self.tokens[self._partners[place]]
        return text, spans

    def render(self, translated: Translated) -> Iterator[Token[Payload]]:
        """The tokens around and in a translation; as they were if that is the segment's own text."""
        assert self.segment is not None
        if translated.text == self.segment.text:
            return iter(self.tokens)
        start, end = self._core
        before, after = self._margins
        return itertools.chain(
            self.tokens[:start], _text(before), self._woven(translated), _text(after), self.tokens[end:]
        )

    def _woven(self, translated: Translated) -> Iterator[Token[Payload]]:
        assert self.segment is not None
        source, target, spans = self.segment.text, translated.text, self.segment.spans
        places = project(spans, source, target, translated.links)
        inner: list[list[int]] = [[] for _ in range(len(spans) + 1)]  # the last is that of the parent -1
        for span in sorted(range(len(spans)), key=lambda span: (places[span], span)):
            inner[spans[span].parent].append(span)

        def between(start: int, end: int, parent: int) -> Iterator[Token[Payload]]:
            for span in inner[parent]:
                left, right = places[span]
                yield from _text(target[start:left])
                if len(self._tags[span]) == 2:
                    opened, closed = self._tags[span]
                    yield opened
                    yield from between(left, right, span)
                    yield closed
                else:
                    before, after = spaces(self._spaced[span], target, places[span])
                    yield from itertools.chain(_text(before), self._tags[span], _text(after))
                start = right
            yield from _text(target[start:end])

        return between(0, len(target), -1)


def segments_of(inlines: Iterable[Inline[Payload]]) -> list[Segment]:
    return [inline.segment for inline in inlines if inline.segment]


def rendered(
    inlines: Iterable[Inline[Payload]], translations: Iterable[Translated]
) -> Iterator[Iterator[Token[Payload]]]:
    """The tokens of each run, with the next of the translations if it has a segment."""
    remaining = iter(translations)
    for inline in inlines:
        yield inline.render(next(remaining)) if inline.segment else iter(inline.tokens)


def _within(text: str, place: int) -> int:
    return min(max(0, place), len(text))


def _text(text: str) -> Iterator[Text]:
    if text:
        yield Text(text)


def _seen(token: Text | Open[Payload] | Close[Payload] | Atom[Payload]) -> str:
    """What a translator sees of a token."""
    if isinstance(token, Atom):
        return token.text if len(token.text) <= _LONGEST else ""
    return token.text if isinstance(token, Text) else ""


def _seen_after(tokens: Sequence[Token[Payload]], place: int) -> str:
    return _seen(tokens[place + 1]) if place + 1 < len(tokens) else ""


def spaces(wanted: tuple[bool, bool], target: str, place: Place) -> tuple[str, str]:
    """The spaces that an atom needs before and behind it, so that words keep as far from it as in the source."""
    if place[0] < place[1]:
        return "", ""
    at = place[0]
    there = not target[max(0, at - 1) : at].strip(), not target[at : at + 1].strip()
    before, after = wanted[0] and not there[0], wanted[1] and not there[1]
    return " " * (before and (wanted[1] or not there[1])), " " * (after and (wanted[0] or not there[0]))


def _partners(tokens: Sequence[Token[Payload]]) -> dict[int, int]:
    """Place of an `Open` -> that of its `Close`, and back; a close ends the last open of its name."""
    partners: dict[int, int] = {}
    open_tags: list[tuple[str, int]] = []
    names = Counter[str]()
    for place, token in enumerate(tokens):
        if isinstance(token, Open):
            open_tags.append((token.name, place))
            names[token.name] += 1
        elif isinstance(token, Close) and names[token.name]:
            while True:
                name, opened = open_tags.pop()
                names[name] -= 1
                if name == token.name:
                    break
            if len(open_tags) < _DEEPEST:
                partners[opened], partners[place] = place, opened
    return partners


def _core(tokens: Sequence[Token[Payload]], partners: dict[int, int]) -> tuple[int, int]:
    """The tokens from the first word to the last, and the tags at either end that end, or began, in between."""
    seen = [place for place, token in enumerate(tokens) if _seen(token).strip()]
    if not seen:
        return 0, 0
    first, last = seen[0], seen[-1]
    start = next((place for place in range(first) if first < partners.get(place, -1) <= last), first)
    end = next(
        (place + 1 for place in range(len(tokens) - 1, last, -1) if start <= partners.get(place, -1) <= last), last + 1
    )
    return start, end
