""".srt (SubRip): a sentence that runs over several cues is translated as one, and cut again; times and numbers stay.

A cue is one line to the translator. The border of two cues is a tag without text, so that it comes to stand where the
alignment has it. Lines are broken anew, evenly, where they are too long to read.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kakehashi.errors import UserError
from kakehashi.serving.documents.encoding import decode
from kakehashi.serving.documents.lines import broken
from kakehashi.serving.documents.plain import written
from kakehashi.serving.documents.tagged import tagged
from kakehashi.serving.markup.inline import Atom, Inline, Text, Token, Translated, rendered, segments_of
from kakehashi.serving.markup.words import is_unspaced

_TIME = r"(\d{1,4}):(\d\d):(\d\d)[,.](\d{1,3})"
_TIMING = re.compile(rf"^[^\S\n]*{_TIME}[^\S\n]*-->[^\S\n]*{_TIME}[^\n]*(?:\n|\Z)", re.MULTILINE)
_BLANK = re.compile(r"(?:\A|\n)[^\S\n]*(?:\n|\Z)")
_NUMBER = re.compile(r"\n[^\S\n]*\d+[^\S\n]*\n\Z")
_SENTENCE_END = re.compile(r"[.?!…。？！♪][\"'”’»」』)\]\s]*\Z")
_SPEAKER = re.compile(r"(^[^\S\n]*[-–—][^\S\n]*)", re.MULTILINE)
_WIDTH = 42  # columns of a line
_TOGETHER = 4  # cues that a sentence may run over
_PAUSE = 2.0  # seconds after which a new sentence begins in any case
_BORDER = "\0"


@dataclass(frozen=True)
class _Cue:
    start: float  # seconds
    end: float
    text: str


@dataclass(frozen=True)
class _Run:
    """A text that is translated as one, and its cues; a cue of a dialogue is in a run for each speaker."""

    cues: range
    inline: Inline[str]


class Subtitles:
    def __init__(self, data: bytes) -> None:
        text, self._encoding = decode(data)
        self._crlf = "\r\n" in text
        self._between: list[str] = []  # what is around the cues' texts
        self._cues = [*self._read(text.replace("\r\n", "\n"))]
        if not self._cues:
            raise UserError("the file is no .srt: no line in it is a time like 00:00:01,000 --> 00:00:02,000")
        self._runs = [*_runs(self._cues)]
        self.segments = segments_of(run.inline for run in self._runs)

    def _read(self, text: str) -> Iterator[_Cue]:
        done = 0
        timings = [*_TIMING.finditer(text)]
        for place, timing in enumerate(timings):
            last = place + 1 == len(timings)
            body = text[timing.end() : len(text) if last else timings[place + 1].start()]
            end = _BLANK.search(body) or _NUMBER.search(body)
            body = body[: end.start()] if end and not (last and _NUMBER.match(end[0])) else body.rstrip("\n")
            self._between.append(text[done : timing.end()])
            done = timing.end() + len(body)
            yield _Cue(_seconds(timing.groups()[:4]), _seconds(timing.groups()[4:]), body)
        self._between.append(text[done:])

    def render(self, translations: Sequence[Translated]) -> bytes:
        texts: list[list[str]] = [[] for _ in self._cues]
        changed: set[int] = set()
        for run, tokens in zip(self._runs, rendered((run.inline for run in self._runs), translations), strict=True):
            before = _cut(run.inline.tokens)
            for cue, old, new in zip(run.cues, before, _without_gaps(before, _cut(tokens)), strict=True):
                texts[cue].append(broken(new, _WIDTH))
                changed.update([cue] if new != old else [])
        found = ["\n".join(lines) if cue in changed else self._cues[cue].text for cue, lines in enumerate(texts)]
        text = "".join(between + text for between, text in zip(self._between, [*found, ""], strict=True))
        return self._encoding.encode(text.replace("\n", "\r\n") if self._crlf else text)


def _seconds(parts: Sequence[str]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _runs(cues: Sequence[_Cue]) -> Iterator[_Run]:
    first = 0
    for place, cue in enumerate(cues):
        following = cues[place + 1] if place + 1 < len(cues) else None
        over = (
            following is None
            or _SENTENCE_END.search(re.sub("<[^<>]*>", "", cue.text))
            or following.start - cue.end > _PAUSE
            or place + 1 - first == _TOGETHER
            or any(_SPEAKER.search(each.text) for each in (cue, following))
        )
        if over and first == place and _SPEAKER.search(cue.text):
            silent, *speeches = _SPEAKER.split(cue.text)
            for dash, speech in zip(["", *speeches[::2]], [silent, *speeches[1::2]], strict=True):
                if dash or speech:
                    yield _Run(range(place, place + 1), Inline([Atom(dash), *_line(speech)]))
        elif over:
            tokens = [
                token for each in cues[first : place + 1] for token in (*_line(each.text), Text(" "), Atom(_BORDER))
            ]
            yield _Run(range(first, place + 1), Inline(tokens[:-2]))
        if over:
            first = place + 1


def _line(text: str) -> Iterator[Token[str]]:
    """A cue's lines as one; a space joins them, if their script has spaces."""
    joined = re.sub(r"(\S)\s*\n\s*(?=(\S))", _join, text.strip())
    return tagged(joined.replace("\n", " "))


def _join(ends: re.Match[str]) -> str:
    return ends[1] + ("" if is_unspaced(ends[1]) and is_unspaced(ends[2]) else " ")


def _cut(tokens: Iterable[Token[str]]) -> list[str]:
    """The texts of a run's cues."""
    return [text.strip() for text in written(tokens).split(_BORDER)]


def _without_gaps(before: Sequence[str], after: list[str]) -> list[str]:
    """The texts of a run's cues; if one has lost all its words, the words in proportion to the old texts' lengths."""
    if all(after) or any("<" in text for text in after):
        return after
    whole = " ".join(filter(None, after))
    places = [match.start() for match in re.finditer(r"\S+", whole)]
    edges, done = [0], 0
    for text in before[:-1]:
        done += len(text)
        wanted = len(whole) * done / max(1, sum(map(len, before)))
        edges.append(min((place for place in places if place >= edges[-1]), key=lambda place: abs(place - wanted)))
    return [whole[left:right].strip() for left, right in zip(edges, [*edges[1:], len(whole)], strict=True)]
