"""From what a client asked to what it gets: languages found, corrections looked up, the rest translated.

Another way to write a text than plain (`format`) is one function in `FORMATS`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from fastapi import Request as HttpRequest
from starlette.requests import ClientDisconnect

from kakehashi.data.terms import Wording
from kakehashi.errors import UserError
from kakehashi.serving.api.context import Admitted, Server
from kakehashi.serving.api.limits import Allowance
from kakehashi.serving.api.origins import AUTO, SHOWN, Origin, known, no_direction, origins, percent, require_direction
from kakehashi.serving.api.refusals import Refusal, busy, invalid
from kakehashi.serving.api.schemas import Translate
from kakehashi.serving.api.segments import translate_html
from kakehashi.serving.api.turns import Turns, together
from kakehashi.serving.corrections.memory import Correction, Match
from kakehashi.serving.engine.protocol import Answer, Broken, Busy, Request, TooLate, UnknownDirection, Word

T = TypeVar("T")

AGAIN = 1.0  # seconds after which to try again what failed by no fault of the client

FORMATS: dict[str, Callable[[Turns, Request], Awaitable[Answer]]] = {"text": Turns.translate, "html": translate_html}


@dataclass(frozen=True)
class Item:
    """A text's answer, the correction that it is, if any, and similar ones where they are asked for."""

    origin: Origin
    answer: Answer
    correction: Correction | None
    matches: Sequence[Match]


async def answered(server: Server, admitted: Admitted[Translate]) -> dict[str, Any]:
    """The response. Raises Refusal."""
    asked = admitted.asked
    _within_limits(server, asked, admitted.allowance)
    found = await origins(server, asked.texts, asked.source)
    target = known(server, asked.target)
    if asked.format not in FORMATS:
        raise Refusal(400, f"{asked.format[:SHOWN]} format is not supported")
    for language in dict.fromkeys(origin.language for origin in found):
        require_direction(server, language, target)
    corrections = await asyncio.to_thread(_corrections, server, asked.texts, found, target)
    with refusing(server):
        return _response(asked, await _Texts(server, asked, target).all(found, corrections))


@contextmanager
def refusing(server: Server) -> Generator[None]:
    """The engine's failures as Refusals."""
    try:
        yield
    except Busy as error:
        raise busy(error.retry_after) from error
    except (TooLate, Broken) as error:
        raise busy(AGAIN) from error
    except UnknownDirection as error:  # of the model that was asked for
        raise no_direction(server, error.source, error.target) from error
    except UserError as error:  # wording that a model cannot follow
        raise invalid(str(error)) from error


def _within_limits(server: Server, asked: Translate, allowance: Allowance) -> None:
    limits, longest = server.settings.limits, max(map(len, asked.texts))
    if asked.alternatives > limits.alternatives:
        raise invalid(f"alternatives parameter must be <= {limits.alternatives}")
    if limits.batch is not None and len(asked.texts) > limits.batch:
        raise invalid(f"request ({len(asked.texts)}) exceeds text limit ({limits.batch})")
    if allowance.characters is not None and longest > allowance.characters:
        raise invalid(f"request ({longest}) exceeds text limit ({allowance.characters})")
    if len(asked.glossary) > limits.glossary:
        raise invalid(f"glossary ({len(asked.glossary)}) exceeds limit ({limits.glossary})")
    if asked.model is not None and asked.model not in (models := server.engine.status().models):
        raise invalid(f"there is no such model; there are {', '.join(models)}")


def _corrections(server: Server, texts: Sequence[str], found: Sequence[Origin], target: str) -> list[Correction | None]:
    """What the memory answers, asked once for each source language."""
    corrections: list[Correction | None] = [None] * len(texts)
    for language in dict.fromkeys(origin.language for origin in found):
        places = [i for i, origin in enumerate(found) if origin.language == language]
        answers = server.memory.answers(language, target, [texts[i] for i in places])
        for i, answer in zip(places, answers, strict=True):
            corrections[i] = answer
    server.metrics.memory.inc(sum(correction is not None for correction in corrections))
    return corrections


class _Texts:
    """The texts of one request."""

    def __init__(self, server: Server, asked: Translate, target: str) -> None:
        self._server, self._asked, self._target = server, asked, target
        self._wording = Wording(asked.glossary) if asked.glossary else None
        self._turns = Turns(server.engine)

    async def all(self, found: Sequence[Origin], corrections: Sequence[Correction | None]) -> list[Item]:
        return await together(self._item(*each) for each in zip(self._asked.texts, found, corrections, strict=True))

    async def _item(self, text: str, origin: Origin, correction: Correction | None) -> Item:
        answer = await self._answer(text, origin, correction)
        matches: list[Match] = []
        if self._asked.matches:
            matches = await asyncio.to_thread(self._server.memory.similar, origin.language, self._target, text)
        return Item(origin, answer, correction, matches)

    async def _answer(self, text: str, origin: Origin, correction: Correction | None) -> Answer:
        """A correction in the engine's place; what the engine would have said is then the first alternative."""
        if correction is None:
            answer = await self._translated(text, origin)
        elif not self._asked.alternatives:
            return Answer(_within(text, correction.entry.target))
        else:
            own = await self._translated(text, origin)
            answer = Answer(_within(text, correction.entry.target), (own.text, *own.alternatives))
        others = dict.fromkeys(other for other in answer.alternatives if other != answer.text)
        return replace(answer, alternatives=tuple(others)[: self._asked.alternatives])

    async def _translated(self, text: str, origin: Origin) -> Answer:
        request = Request(
            text,
            origin.language,
            self._target,
            alternatives=self._asked.alternatives,
            alignment=self._asked.alignment,
            wording=self._wording,
            deadline=self._server.settings.deadline,
            model=self._asked.model,
        )
        return await FORMATS[self._asked.format](self._turns, request)


def _within(text: str, target: str) -> str:
    """A translation between the white space that surrounds its text."""
    start = len(text) - len(text.lstrip())
    return text[:start] + target + text[len(text.rstrip()) :]


def _response(asked: Translate, items: Sequence[Item]) -> dict[str, Any]:
    """One value of each kind that was asked for, or a list of them for a list."""
    parts: dict[str, list[Any]] = {"translatedText": [item.answer.text for item in items]}
    if asked.source.lower() == AUTO:
        parts["detectedLanguage"] = [item.origin.detected for item in items]
    if asked.alternatives:
        parts["alternatives"] = [item.answer.alternatives for item in items]
    if asked.confidence:
        shares = (item.answer.confidence for item in items)
        parts["confidence"] = [None if share is None else percent(share) for share in shares]
    if asked.words:
        parts["words"] = [[_word(word) for word in item.answer.words] for item in items]
    if asked.alignment:
        parts["alignment"] = [[asdict(link) for link in item.answer.links] for item in items]
    if asked.matches:
        parts["matches"] = [[_match(match, item.correction) for match in item.matches] for item in items]
    if asked.notes:
        parts["notes"] = [item.answer.notes for item in items]
    return {name: values if isinstance(asked.q, list) else values[0] for name, values in parts.items()}


def _word(word: Word) -> dict[str, Any]:
    return {"start": word.start, "end": word.end, "confidence": percent(word.confidence)}


def _match(match: Match, answer: Correction | None) -> dict[str, Any]:
    correction = match.correction
    return {
        "q": correction.entry.source,
        "s": correction.entry.target,
        "state": correction.state,
        "score": round(match.score, 1),
        "answered": correction == answer,
    }


async def unless_gone(request: HttpRequest, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; it is cancelled when its client goes away. Raises ClientDisconnect."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: HttpRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
