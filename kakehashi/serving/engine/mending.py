"""Translates sentences, and again where something is amiss.

Notable: most sentences are searched once. Again, all that are alike in one batch, are
- lines in capitals, which few models know well: as they are and in sentence case; the translation is put in capitals;
- single words, which few models know without a sentence: as they are and with a stop, which is then taken off;
- translations that go round in circles: with a search that says no n-gram of tokens twice;
- translations that lack what is kept letter by letter, or a number that stands by itself, as in brackets: without it,
  and it is put back where its neighbours went;
- translations that lack another number: with a search that must say it (dynamic beam allocation).
Of several ways to ask, that with the likeliest translation is taken. A search that had to say a number is believed only
if what it says besides is about as likely as the first draft: else the number stands amid nonsense. What cannot be
mended gets a note.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

from kakehashi.data.languages import unsubtagged
from kakehashi.data.terms import Wording
from kakehashi.errors import UserError
from kakehashi.serving.engine.apart import apart
from kakehashi.serving.engine.integrity import Item, kept_apart, loops, missing, ungoverned
from kakehashi.serving.engine.wire import Found, Job, Place, Seen
from kakehashi.translator import Translation, Translator

_ONE_WORD = re.compile(r"\S{0,19}\w")
_STOPS = {"ja": "。", "zh": "。", "yue": "。", "hi": "।", "bn": "।", "ur": "۔"}  # of the others: "."
_DOTTED = ("tr", "az")  # languages in which i and ı are two letters
_DOUBT = 0.4  # nats a token by which all but a forced number may be less likely than in the draft (docs/log.md)
_BEAM = 4  # hypotheses, where the model's own search keeps too few


@dataclass(frozen=True)
class _Draft:
    """`asked`: what the model was given for the `text`: itself, or in sentence case, or with a stop; `languages`: those
    of text and translation."""

    text: str
    asked: str
    translation: Translation
    languages: tuple[str, str]

    @cached_property
    def missing(self) -> list[Item]:
        return missing(self.asked, self.translation.text, self.languages)

    @cached_property
    def loses_ungoverned(self) -> bool:
        """Whether it lacks anything that no word of the sentence governs."""
        parts = ungoverned(self.asked) if self.missing else ()
        return any(missing(part, self.translation.text, self.languages) for part in parts)

    @cached_property
    def loops(self) -> bool:
        return loops(self.asked, self.translation.text)

    @cached_property
    def log_probability(self) -> float:
        return math.fsum(token.log_probability for token in self.translation.tokens)

    def likelihood(self, besides: Sequence[str] = ()) -> float:
        """Mean log-probability of the tokens that are not of these phrases."""
        text = self.translation.text
        phrases = [match.span() for phrase in besides for match in re.finditer(re.escape(phrase), text)]
        own = [
            token.log_probability
            for token in self.translation.tokens
            if not any(start < token.span[1] and token.span[0] < end for start, end in phrases)
        ]
        return fmean(own) if own else -math.inf


def translate(translator: Translator, job: Job, texts: Sequence[str]) -> list[Found]:
    """Raises UserError where the job's wording cannot be followed with this model."""
    return _Mending(translator, job).translate(texts)


class _Mending:
    def __init__(self, translator: Translator, job: Job) -> None:
        self.translator, self.job = translator, job
        self.source, self.target = translator.config.source, translator.config.target

    def translate(self, texts: Sequence[str]) -> list[Found]:
        drafts = self._drafts(texts, list(map(self._ways, texts)))
        joined = self._joined([draft for draft in drafts if draft.loses_ungoverned])
        whole = iter(self._mended([draft for draft in drafts if not draft.loses_ungoverned]))
        return [self._found(next(joined if draft.loses_ungoverned else whole)) for draft in drafts]

    def _drafts(self, texts: Sequence[str], ways: Sequence[Sequence[str]]) -> list[_Draft]:
        """Each text's translation, of the best of the ways to ask for it."""
        languages = self.source, self.target
        found = self._stream([asked for each in ways for asked in each], self.job.wording)
        return [
            max((_Draft(text, asked, next(found), languages) for asked in each), key=lambda each: each.log_probability)
            for text, each in zip(texts, ways, strict=True)
        ]

    def _mended(self, drafts: list[_Draft]) -> list[_Draft]:
        return self._complete(self._without_loops(drafts))

    def _joined(self, drafts: Sequence[_Draft]) -> Iterator[_Draft]:
        """In their place, translations without what no word governs, and that put back by their links.

        Nothing is left out twice: of {{{x}}} something to keep would remain each time, as often as somebody likes.
        """
        parted = [apart(draft.asked, ungoverned(draft.asked), draft.languages) for draft in drafts]
        texts = [each.text for each in parted]
        ways = [[text] for text in texts]
        try:
            aligning = _Mending(self.translator, replace(self.job, alignment=True))
            found = aligning._mended(aligning._drafts(texts, ways))
        except UserError:  # the model cannot align
            found = self._mended(self._drafts(texts, ways))
        for draft, each, translated in zip(drafts, parted, found, strict=True):
            yield replace(draft, translation=each.joined(translated.translation))

    def _stream(self, asked: Sequence[str], wording: Wording | None, **overrides: Any) -> Iterator[Translation]:
        needed = max(self.job.count, 2 if wording and (wording.terms or wording.required) else 1)
        if self.translator.config.decoding.build().size < needed:
            overrides |= {"kind": "beam", "size": max(_BEAM, needed)}
        detail = "links" if self.job.alignment else "tokens"
        return self.translator.stream(asked, self.job.count, wording=wording, detail=detail, **overrides)

    def _ways(self, text: str) -> list[str]:
        """What the model is given."""
        ways = [text, _sentence_case(text, self.source)] if self._in_capitals(text) else [text]
        if _ONE_WORD.fullmatch(text):
            ways.append(ways[-1] + _stop(self.source))
        return ways

    def _in_capitals(self, text: str) -> bool:
        """Whether case may be changed here and there; the case of a wording may not."""
        own = "".join(part for part, kept in kept_apart(text) if not kept)
        return own.isupper() and sum(map(str.isalpha, own)) >= 2 and self.job.wording is None

    def _without_loops(self, drafts: list[_Draft]) -> list[_Draft]:
        for size in (3, 2):
            places = [i for i, draft in enumerate(drafts) if draft.loops]
            asked = [drafts[i].asked for i in places]
            again = self._stream(asked, self.job.wording, processors=[_no_repeat(size)])
            drafts = _replaced(drafts, places, again, lambda old, new: not new.loops)
        return drafts

    def _complete(self, drafts: list[_Draft]) -> list[_Draft]:
        """Everything lacking is a term of the sentences that have it, so that one search serves them all."""
        places = [i for i, draft in enumerate(drafts) if draft.missing]
        lacking = [(drafts[i].asked, item) for i in places for item in drafts[i].missing if self._can(item)]
        terms = {_word(asked, item): item.wanted for asked, item in lacking}
        if not terms:
            return drafts
        job = self.job
        wording = Wording({**terms, **dict(job.terms)}, job.required, job.forbidden)
        again = list(self._stream([drafts[i].asked for i in places], wording))
        loop = [i for i, each in zip(places, again, strict=True) if loops(drafts[i].asked, each.text)]
        drafts = _replaced(drafts, places, again, _more_complete)
        another = self._stream([drafts[i].asked for i in loop], wording, processors=[_no_repeat(3)])
        return _replaced(drafts, loop, another, _more_complete)

    def _can(self, item: Item) -> bool:
        """Whether the model's vocabulary can write it."""
        segmenter = self.translator.segmenters.target
        return segmenter.decode(segmenter.encode(item.wanted)) == item.wanted

    def _found(self, draft: _Draft) -> Found:
        best, calibration = draft.translation, self.translator.calibration
        texts = tuple(dict.fromkeys(self._finished(draft, each.text) for each in (best, *best.alternatives)))
        notes = [each for each in [best.note] if each]
        notes += ["the translation repeats itself"] if draft.loops else []
        notes += [f"{item.text} is missing" for item in draft.missing]
        words: list[Seen] = []
        links: list[Place] = []
        if _as_long(draft.text, draft.asked) and _as_long(texts[0], best.text):
            ends = (len(draft.text), len(texts[0]))
            seen = (token for token in best.tokens if token.span[0] < token.span[1] <= ends[1])
            words = [(*token.span, calibration.of_piece(token.log_probability)) for token in seen]
            linked = best.links if self.job.alignment else ()
            own = (link for link in linked if link.source[1] <= ends[0] and link.target[1] <= ends[1])
            links = [(*link.source, *link.target, link.weight) for link in own]
        count = len(best.tokens)
        confidence = calibration.of_sentence(draft.log_probability, count) if count else 0.0
        return Found(texts, confidence, count, tuple(words), tuple(links), tuple(notes))

    def _finished(self, draft: _Draft, text: str) -> str:
        text = text.strip()
        if self._in_capitals(draft.text):
            text = _changed(text, lambda part: _upper(part, self.target))
        stop = _stop(self.target)
        if _ONE_WORD.fullmatch(draft.text) and text.endswith(stop) and not text.endswith(2 * stop):
            text = text.removesuffix(stop)
        return text


def _more_complete(old: _Draft, new: _Draft) -> bool:
    """Whether the new one, which was made to say what the old one lacks, has more of it and still makes sense."""
    likely = new.likelihood([item.wanted for item in old.missing]) >= old.likelihood() - _DOUBT
    return likely and len(new.missing) < len(old.missing) and (old.loops or not new.loops)


def _replaced(
    drafts: list[_Draft],
    places: Sequence[int],
    again: Iterable[Translation],
    better: Callable[[_Draft, _Draft], bool],
) -> list[_Draft]:
    """The drafts, those at `places` with their other translations where these are better."""
    drafts = list(drafts)
    for place, translation in zip(places, again, strict=True):
        other = replace(drafts[place], translation=translation)
        if better(drafts[place], other):
            drafts[place] = other
    return drafts


def _no_repeat(size: int) -> dict[str, Any]:
    """A setting of the search: no n-gram of so many tokens twice."""
    return {"kind": "no_repeat_ngram", "size": size}


def _stop(language: str) -> str:
    return _STOPS.get(unsubtagged(language), ".")


def _as_long(short: str, long: str) -> bool:
    """Whether places in one text are the same places in the other, which goes on where it ends."""
    return long.lower().startswith(short.lower())


def _word(text: str, item: Item) -> str:
    """The item in its text with the letters and digits that it touches: terms are whole words ("3rd" for 3)."""
    before, after = (r"(?<!\d)", r"(?!\d)") if item.text[0].isdigit() else ("", "")
    found = re.search(rf"\w*{before}{re.escape(item.text)}{after}\w*", text)
    return found[0] if found else item.text


def _changed(text: str, change: Callable[[str], str]) -> str:
    """The text, changed but for what is kept letter by letter."""
    return "".join(part if kept else change(part) for part, kept in kept_apart(text))


def _sentence_case(text: str, language: str) -> str:
    lower = [(part if kept else _lower(part, language), kept) for part, kept in kept_apart(text)]
    written = "".join(part for part, _ in lower)
    blanked = "".join(" " * len(part) if kept else part for part, kept in lower)
    first = next((i for i, sign in enumerate(blanked) if sign.isalpha()), 0)
    return written[:first] + _upper(written[first : first + 1], language) + written[first + 1 :]


def _lower(text: str, language: str) -> str:
    return (text.replace("İ", "i").replace("I", "ı") if unsubtagged(language) in _DOTTED else text).lower()


def _upper(text: str, language: str) -> str:
    return (text.replace("i", "İ") if unsubtagged(language) in _DOTTED else text).upper()
