"""Inline tags moved from a text to its translation: spans over words, and the links of words, give spans over words.

One function, `project`, for every format. The words of the target vote: a word is for a span with the weight of its
links that lead into it, and against it with the weight of the others and whatever is missing to 1; the span becomes the
run of words with the largest sum. Of siblings the surest is placed first. A span without text goes to the boundary that
parts the words as its own place parts those of the source, the near ones counting most; such spans keep their order.
"""

import bisect
import itertools
import re
import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kakehashi.serving.engine.protocol import Link
from kakehashi.serving.markup.words import Place, is_telling, occurrences, same_words, words

_SURE = 4.0  # weight of a link between words that are the same letter by letter; the attention's are 1 at most
_WINDOW = 60  # characters to either side of a place, whose links say where it goes
_SOUGHT = 1_000  # texts of spans that are sought in the target: each takes as long as the target is
_SEARCHED = 16  # words to either side, of which one is taken by a span that no link places

Region = tuple[int, int]  # a run of words: the first, and the first after it


@dataclass(frozen=True)
class Span:
    """The characters `start` to `end` of a text that a tag holds; none where both are the same.

    `parent`: which of all spans is around it (an earlier one), or -1; `kept`: its text is not translated.
    """

    start: int
    end: int
    parent: int = -1
    kept: bool = False


def project(spans: Sequence[Span], source: str, target: str, links: Sequence[Link]) -> list[Place]:
    """Start and end of each span in `target`, in the order of `spans`.

    A span lies within its parent and beside its siblings; those at one place come in the order of `spans`. Without
    links, words are taken to come in the same order at the same pace.
    """
    placing = _Placing(spans, source, target, links)
    siblings = defaultdict[int, list[int]](list)
    for place, span in enumerate(spans):
        siblings[span.parent].append(place)
    for parent in (-1, *range(len(spans))):
        placing.place(siblings[parent], parent)
    return placing.found


class _Votes:
    """What the links say. Of S spans over a source and W words of its target:

    `inside[s][w]`: weight of word w's links into span s; `before[w]`: weight of all words before w, each
    that of its links, but 1 at least if it has any;
    `flow`: every link as (middle in the source, word, weight), sorted.
    """

    def __init__(self, spans: Sequence[Span], source: str, target_words: Sequence[Place], links: list[Link]) -> None:
        owner = [-1] * len(source)  # the innermost span of each character
        for place, span in enumerate(spans):
            owner[span.start : span.end] = [place] * (span.end - span.start)
        totals = [0.0] * len(target_words)
        led = [(link, word, link.weight * part) for link in links for word, part in _touched(link, target_words)]
        self.inside = [defaultdict[int, float](float) for _ in spans]
        for link, word, weight in led:
            totals[word] += weight
            owners = Counter(owner[at] for at in range(*link.source) if not source[at].isspace())
            for span, count in owners.items():
                part = weight * count / owners.total()
                while span >= 0:
                    self.inside[span][word] += part
                    span = spans[span].parent
        self.before = [*itertools.accumulate((total and max(1.0, total) for total in totals), initial=0.0)]
        self.flow = sorted((sum(link.source) / 2, word, weight) for link, word, weight in led)


def _touched(link: Link, target_words: Sequence[Place]) -> Iterator[tuple[int, float]]:
    """The words to which a link leads, with the share of each word's characters that it holds."""
    start, end = link.target
    first = bisect.bisect_right(target_words, start, key=lambda word: word[1])
    for word in range(first, len(target_words)):
        left, right = target_words[word]
        if left >= end:
            return
        if link.weight > 0:
            yield word, (min(end, right) - max(start, left)) / (right - left)


class _Placing:
    """Spans on their way into the target: `found` in characters, `regions` in words."""

    def __init__(self, spans: Sequence[Span], source: str, target: str, links: Sequence[Link]) -> None:
        self.spans, self.source, self.target = spans, source, target
        same = _same_texts(spans, source, target)
        pairs = [*same_words(source, target), *(((spans[k].start, spans[k].end), place) for k, place in same.items())]
        sure = [*_cut(pairs, sorted({edge for span in spans for edge in (span.start, span.end)}))]
        self.words = words(
            target,
            cuts={edge for link in sure for edge in link.target},
            soft_cuts={edge for link in links for edge in link.target},
        )
        self.guessed = not links
        self.votes = _Votes(spans, source, self.words, [*(_evened(links) or _at_the_same_pace(source, target)), *sure])
        self.exact = {span: region for span, place in same.items() if (region := self._region(place))}
        self.visible = [0]  # how many characters before each place are no white space
        for character in source:
            self.visible.append(self.visible[-1] + (not character.isspace()))
        self.found: list[Place] = [(0, 0)] * len(spans)
        self.regions: list[Region] = [(0, 0)] * len(spans)

    def place(self, siblings: Sequence[int], parent: int) -> None:
        """All spans right within a parent: the surest first, then those for which no words are found."""
        around = self.regions[parent] if parent >= 0 else (0, len(self.words))
        if around[0] == around[1]:
            at = self.found[parent][0] if parent >= 0 else 0
            for span in siblings:
                self.regions[span], self.found[span] = around, (at, at)
            return
        whole = self._text_within(self.spans[parent]) if parent >= 0 else self.visible[-1]
        scored: list[tuple[float, int]] = []
        bare: list[int] = []
        taken: list[Region] = []
        for span in siblings:
            text = self._text_within(self.spans[span])
            if text and text == whole:
                self._settle(span, around, taken)
            elif best := self._best(span, around, taken) if text or span in self.exact else None:
                scored.append((-best[0], span))
            else:
                bare.append(span)
        for _, span in sorted(scored):
            best = self._best(span, around, taken)
            if best:
                self._settle(span, best[1], taken)
            else:
                bare.append(span)
        self._place_bare(sorted(bare), around, parent, taken)

    def _settle(self, span: int, region: Region, taken: list[Region]) -> None:
        self.regions[span] = region
        self.found[span] = self.words[region[0]][0], self.words[region[1] - 1][1]
        bisect.insort(taken, region)

    def _best(self, span: int, around: Region, taken: Sequence[Region]) -> tuple[float, Region] | None:
        """The free run of words with the largest sum of votes, and the sum; None where no free word has a vote."""
        if span in self.exact:
            low, high = self.exact[span]
            free = around[0] <= low and high <= around[1] and not _crossed(low, high, taken)
            return (float("inf"), (low, high)) if free else None
        if self.spans[span].kept and self.guessed:  # it would stand in the place of a word that is perhaps another's
            return None
        inside, before = self.votes.inside[span], self.votes.before
        best: tuple[float, Region] | None = None
        total, start, last = 0.0, 0, -1
        for word in sorted(inside):
            if not around[0] <= word < around[1] or _crossed(word, word + 1, taken):
                continue
            if last >= 0 and not _crossed(last, word, taken):
                total -= before[word] - before[last + 1]
            else:
                total = 0.0
            if total <= 0:
                total, start = 0.0, word
            total += 2 * inside[word] - (before[word + 1] - before[word])
            last = word
            if best is None or total > best[0]:
                best = total, (start, word + 1)
        return best and (best[0], self._without_signs(span, best[1]))

    def _without_signs(self, span: int, region: Region) -> Region:
        """A run of words without the signs at an end at which the span has none in the source."""
        low, high = region
        text = self.source[self.spans[span].start : self.spans[span].end].strip()
        while low < high and text[0].isalnum() and not self._is_word(low):
            low += 1
        while low < high and text[-1].isalnum() and not self._is_word(high - 1):
            high -= 1
        return (low, high) if low < high else region

    def _is_word(self, word: int) -> bool:
        return self.target[self.words[word][0]].isalnum()

    def _place_bare(self, bare: Sequence[int], around: Region, parent: int, taken: list[Region]) -> None:
        """Spans without votes, in their order: on a word nearby, if they have words; at a boundary of words, if not."""
        wanted = {span: self._boundary(self.spans[span].start, around, parent) for span in bare}
        for span in bare:
            text = self.source[self.spans[span].start : self.spans[span].end]
            if not self.spans[span].kept and any(map(str.isalnum, text)):
                word = self._free_word(wanted[span], around, taken)
                if word is not None:
                    self._settle(span, (word, word + 1), taken)
                    del wanted[span]
        boundary, at = around[0], 0
        for span, free in wanted.items():
            boundary = _beside(max(boundary, free), boundary, taken)
            at = max(at, self._character(boundary, around, self.spans[span].start))
            self.regions[span], self.found[span] = (boundary, boundary), (at, at)

    def _boundary(self, place: int, around: Region, parent: int) -> int:
        """The boundary of the words `around` that parts them as `place` parts the source."""
        start, end = (self.spans[parent].start, self.spans[parent].end) if parent >= 0 else (0, len(self.source))
        low, high = around
        if self.visible[place] == self.visible[start]:
            return low
        if self.visible[place] == self.visible[end]:
            return high
        flow = self.votes.flow
        near = flow[bisect.bisect_left(flow, (place - _WINDOW,)) : bisect.bisect_left(flow, (place + _WINDOW,))]
        pulls = defaultdict[int, float](float)  # of each word: to stand before the boundary, if positive
        for middle, word, weight in near:
            if low <= word < high:
                pulls[word] += weight / (1 + abs(middle - place)) * (1 if middle < place else -1)
        if not pulls:
            return low + round((place - start) / (end - start) * (high - low))
        best, total, boundary = 0.0, 0.0, low
        for word in sorted(pulls):
            total += pulls[word]
            if total > best:
                best, boundary = total, word + 1
        if self.source[place - 1].isspace():
            while boundary < high and self._closes(boundary):
                boundary += 1
        return boundary

    def _closes(self, word: int) -> bool:
        """Whether a word is a sign that belongs to the word before it."""
        start = self.words[word][0]
        sign = unicodedata.category(self.target[start]) in ("Po", "Pe", "Pf")
        return sign and word > 0 and self.words[word - 1][1] == start

    def _character(self, boundary: int, around: Region, place: int) -> int:
        """Where a boundary of words lies: behind the space if the source has `place` behind one, else before it."""
        inside = boundary < around[1]
        if boundary == around[0] or (inside and self.source[max(0, place - 1) : place].isspace()):
            return self.words[boundary][0]
        return self.words[boundary - 1][1]

    def _free_word(self, boundary: int, around: Region, taken: Sequence[Region]) -> int | None:
        """The word nearest to a boundary that no sibling has, rather one without links. Signs are no words."""
        low, high = max(around[0], boundary - _SEARCHED), min(around[1], boundary + _SEARCHED)
        free = (word for word in range(low, high) if self._is_word(word) and not _crossed(word, word + 1, taken))
        before = self.votes.before
        return min(free, key=lambda word: (before[word + 1] - before[word], abs(word + 0.5 - boundary)), default=None)

    def _text_within(self, span: Span) -> int:
        return self.visible[span.end] - self.visible[span.start]

    def _region(self, place: Place) -> Region | None:
        """The words at a place in the target; None where it cuts one."""
        low = bisect.bisect_left(self.words, place[0], key=lambda word: word[0])
        high = bisect.bisect_left(self.words, place[1], key=lambda word: word[0])
        whole = low < high and (self.words[low][0], self.words[high - 1][1]) == place
        return (low, high) if whole else None


def _crossed(low: int, high: int, taken: Sequence[Region]) -> bool:
    """Whether any of the sorted, disjoint `taken` has a word from `low` on, before `high`."""
    place = bisect.bisect_left(taken, high, key=lambda region: region[0])
    return place > 0 and taken[place - 1][1] > low


def _beside(boundary: int, earliest: int, taken: Sequence[Region]) -> int:
    """The boundary nearest to `boundary`, from `earliest` on, that cuts none of the `taken`."""
    place = bisect.bisect_left(taken, boundary, key=lambda region: region[0])
    if place == 0 or taken[place - 1][1] <= boundary:
        return boundary
    start, end = taken[place - 1]
    return start if start >= earliest and boundary - start <= end - boundary else end


def _same_texts(spans: Sequence[Span], source: str, target: str) -> dict[int, Place]:
    """Spans whose text stands in the target too, and where; of others than the kept, telling texts alone.

    If a phrase is in both texts equally often, the first is the first; else the first kept one is.
    """
    phrases = defaultdict[str, list[int]](list)
    for place, span in enumerate(spans):
        if span.start < span.end:
            phrases[source[span.start : span.end]].append(place)
    found: dict[int, Place] = {}
    lowered = target.lower()
    for phrase, places in itertools.islice(phrases.items(), _SOUGHT):
        if phrase.lower() not in lowered:
            continue
        here = {place: rank for rank, place in enumerate(occurrences(phrase, source))}
        there = [*occurrences(phrase, target)] or [*occurrences(phrase, target, re.IGNORECASE)]
        for rank, place in enumerate(places):
            span = spans[place]
            if len(here) == len(there) and (span.kept or is_telling(phrase)):
                rank = here.get((span.start, span.end), rank)
            elif not span.kept:
                continue
            if rank < len(there):
                found[place] = there[rank]
    return found


def _cut(pairs: Sequence[tuple[Place, Place]], edges: Sequence[int]) -> Iterator[Link]:
    """Links of equal words, each in as many pieces as the edges of spans cut it into."""
    for (start, end), (there, _) in pairs:
        inner = edges[bisect.bisect_right(edges, start) : bisect.bisect_left(edges, end)]
        places = [start, *inner, end]
        for left, right in itertools.pairwise(places):
            yield Link((left, right), (left - start + there, right - start + there), _SURE)


def _evened(links: Sequence[Link]) -> list[Link]:
    """The links with weights such that those of the usual span of the target sum to 1, as a model's may not: it looks
    at other things too, and a little everywhere. A span with less than the usual stays with less."""
    totals = defaultdict[Place, float](float)
    for link in links:
        totals[link.target] += link.weight
    usual = statistics.median(totals.values()) if totals else 0.0
    return [replace(link, weight=link.weight / usual) for link in links] if usual else []


def _at_the_same_pace(source: str, target: str) -> list[Link]:
    pace = len(source) / max(1, len(target))
    there = words(target) if source else []
    return [
        Link((int(start * pace), max(int(start * pace) + 1, int(end * pace))), (start, end), 1.0)
        for start, end in there
    ]
