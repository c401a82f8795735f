"""From what a client asked to what it gets: languages found, corrections looked up, the rest translated."""

import asyncio
from collections.abc import Coroutine, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from fastapi import Request as HttpRequest
from starlette.requests import ClientDisconnect

from kakehashi.data.terms import Wording
from kakehashi.errors import UserError
from kakehashi.serving.api import messages
from kakehashi.serving.api.context import Admitted, Server
from kakehashi.serving.api.formats import FORMATS, Written
from kakehashi.serving.api.limits import Allowance
from kakehashi.serving.api.origins import AUTO, SHOWN, Origin, known, no_direction, origins, percent, require_direction
from kakehashi.serving.api.recall import Recalled, recall, translations
from kakehashi.serving.api.refusals import Refusal, busy, invalid
from kakehashi.serving.api.schemas import Translate
from kakehashi.serving.api.turns import Turns, together
from kakehashi.serving.corrections.memory import Correction, Match
from kakehashi.serving.engine.protocol import Answer, Broken, Busy, Request, TooLate, UnknownDirection, Word

T = TypeVar("T")

AGAIN = 1.0  # seconds after which to try again what failed by no fault of the client


@dataclass(frozen=True)
class Item:
    """A text's answer, the corrections in it and, where they are asked for, these and those of similar texts."""

    origin: Origin
    answer: Answer
    used: Sequence[Correction]
    matches: Sequence[Match]


async def answered(server: Server, admitted: Admitted[Translate]) -> dict[str, Any]:
    """The response. Raises Refusal."""
    asked = admitted.asked
    _within_limits(server, asked, admitted.allowance)
    found = await origins(server, asked.texts, asked.source)
    target = known(server, asked.target)
    if asked.format not in FORMATS:
        raise Refusal(400, messages.NO_FORMAT, format=asked.format[:SHOWN])
    for language in dict.fromkeys(origin.language for origin in found):
        require_direction(server, language, target)
    with refusing(server):
        return _response(asked, await _Texts(server, asked, target).all(found))


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
        raise Refusal(400, messages.TOO_MANY_ALTERNATIVES, most=limits.alternatives)
    if limits.batch is not None and len(asked.texts) > limits.batch:
        raise Refusal(400, messages.TOO_LONG, size=len(asked.texts), most=limits.batch)
    if allowance.characters is not None and longest > allowance.characters:
        raise Refusal(400, messages.TOO_LONG, size=longest, most=allowance.characters)
    if len(asked.glossary) > limits.glossary:
        raise Refusal(400, messages.TOO_MANY_TERMS, size=len(asked.glossary), most=limits.glossary)
    if asked.model is not None and asked.model not in (models := server.engine.status().models):
        raise Refusal(400, messages.NO_MODEL, models=", ".join(models))


class _Texts:
    """The texts of one request."""

    def __init__(self, server: Server, asked: Translate, target: str) -> None:
        self._server, self._asked, self._target = server, asked, target
        self._wording = Wording(asked.glossary) if asked.glossary else None
        self._turns = Turns(server.engine)

    async def all(self, found: Sequence[Origin]) -> list[Item]:
        """The memory is asked once for each source language."""
        asked = self._asked
        written = await asyncio.to_thread(lambda: list(map(FORMATS[asked.format], asked.texts)))
        texts: dict[str, list[str]] = {}
        for origin, each in zip(found, written, strict=True):
            texts.setdefault(origin.language, []).extend(each.texts)
        recalled = {
            language: await recall(self._server.memory, language, self._target, some, self._wording)
            for language, some in texts.items()
        }
        items = zip(asked.texts, written, found, strict=True)
        return await together(self._item(text, each, origin, recalled[origin.language]) for text, each, origin in items)

    async def _item(self, text: str, written: Written, origin: Origin, recalled: Recalled) -> Item:
        answer = await written.translate(self._turns, self._request(text, origin, recalled))
        others = dict.fromkeys(other for other in answer.alternatives if other != answer.text)
        answer = replace(answer, alternatives=tuple(others)[: self._asked.alternatives])
        self._server.metrics.memory.inc(bool(answer.known))
        used = list(dict.fromkeys(recalled[part] for part in answer.known))
        matches: list[Match] = []
        if self._asked.matches:
            similar = await asyncio.to_thread(self._server.memory.similar, origin.language, self._target, text)
            matches = [Match(correction, 100.0) for correction in used]
            matches += [match for match in similar if match.correction not in used]
        return Item(origin, answer, used, matches)

    def _request(self, text: str, origin: Origin, recalled: Recalled) -> Request:
        return Request(
            text,
            origin.language,
            self._target,
            alternatives=self._asked.alternatives,
            alignment=self._asked.alignment,
            wording=self._wording,
            deadline=self._server.settings.deadline,
            model=self._asked.model,
            known=translations(recalled),
        )


def _response(asked: Translate, items: Sequence[Item]) -> dict[str, Any]:
    """One value of each kind that was asked for, or a list of them for a list."""
    parts: dict[str, list[Any]] = {"translatedText": [item.answer.text for item in items]}
    if asked.source.lower() == AUTO:
        parts["detectedLanguage"] = [item.origin.detected for item in items]
    if asked.alternatives:
        parts["alternatives"] = [item.answer.alternatives for item in items]
    if asked.confidence:
        parts["confidence"] = [_percent(item.answer.confidence) for item in items]
    if asked.words:
        parts["words"] = [[_word(word) for word in item.answer.words] for item in items]
    if asked.alignment:
        parts["alignment"] = [[asdict(link) for link in item.answer.links] for item in items]
    if asked.matches:
        parts["matches"] = [[_match(match, item.used) for match in item.matches] for item in items]
    if asked.notes:
        parts["notes"] = [item.answer.notes for item in items]
    return {name: values if isinstance(asked.q, list) else values[0] for name, values in parts.items()}


def _word(word: Word) -> dict[str, Any]:
    return {"start": word.start, "end": word.end, "confidence": _percent(word.confidence)}


def _percent(share: float | None) -> float | None:
    """None: of a correction."""
    return None if share is None else percent(share)


def _match(match: Match, used: Sequence[Correction]) -> dict[str, Any]:
    correction = match.correction
    return {
        "q": correction.entry.source,
        "s": correction.entry.target,
        "state": correction.state,
        "score": round(match.score, 1),
        "answered": correction in used,
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
