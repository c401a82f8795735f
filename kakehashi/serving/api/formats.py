"""The ways in which a text may be written (`format`): as it is, or in HTML. Another way is one class in `FORMATS`."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from kakehashi.serving.api.segments import translate_segments
from kakehashi.serving.api.turns import Turns
from kakehashi.serving.engine.protocol import Answer, Request
from kakehashi.serving.markup.html import Markup
from kakehashi.serving.markup.inline import Translated


class Written(Protocol):
    """A text in one of the ways. To make one means to read it, and may take long."""

    @property
    def texts(self) -> Sequence[str]:
        """What of it the memory may know."""
        ...

    async def translate(self, turns: Turns, request: Request) -> Answer:
        """The answer to the request for this text."""
        ...


class Plain:
    def __init__(self, text: str) -> None:
        self.texts = (text,)

    async def translate(self, turns: Turns, request: Request) -> Answer:
        """Where all of it is known, what the engine would have said is the first alternative."""
        answer, whole = await turns.translate(request), request.text.strip()
        if not request.alternatives or whole not in request.known:
            return answer
        parts = {text: translation for text, translation in request.known.items() if text != whole}
        own = await turns.translate(replace(request, known=parts))
        return replace(answer, alternatives=(own.text, *own.alternatives))


class Html:
    """Known may be its blocks and their sentences, without tags; or all of it, if it holds markup, and then with it."""

    def __init__(self, text: str) -> None:
        self._markup = Markup(text)
        blocks = [segment.text for segment in self._markup.segments]
        self._with_markup = text.strip() if text.strip() not in blocks else ""
        self.texts = (*blocks, self._with_markup)

    async def translate(self, turns: Turns, request: Request) -> Answer:
        """Its notes are those of all segments, and its confidence the least sure one's. There are no alternatives,
        words or links: these would be places in markup."""
        if (whole := self._with_markup) in request.known:
            before, _, after = request.text.partition(whole)
            return Answer(before + request.known[whole] + after, known=(whole,))
        answers = await translate_segments(turns, request, self._markup.segments)
        text = await asyncio.to_thread(self._markup.render, [Translated(each.text, each.links) for each in answers])
        sure = [each.confidence for each in answers if each.confidence is not None]
        notes = dict.fromkeys(note for each in answers for note in each.notes)
        known = dict.fromkeys(part for each in answers for part in each.known)
        return Answer(text, confidence=min(sure, default=None), notes=tuple(notes), known=tuple(known))


FORMATS: dict[str, Callable[[str], Written]] = {"text": Plain, "html": Html}
