"""From what a client asked to what it gets: languages found, corrections looked up, the rest translated.

Another way to write a text than plain (`format`) is one function in `FORMATS`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from fastapi import Request as HttpRequest
from starlette.requests import ClientDisconnect

from kakehashi.data.terms import Wording
from kakehashi.serving.codes import shown
from kakehashi.serving.context import Admitted, Server
from kakehashi.serving.engine import Engine
from kakehashi.serving.limits import Allowance
from kakehashi.serving.memory import Correction, Match
from kakehashi.serving.protocol import Answer, Broken, Busy, Request, TooLate, UnknownDirection
from kakehashi.serving.refusals import Refusal, busy, invalid
from kakehashi.serving.schemas import AUTO, Translate

T = TypeVar("T")

AT_ONCE = 64  # texts of one request that are with the engine at a time
UNKNOWN = "en"  # what a text is called in which no language is found

FORMATS: dict[str, Callable[[Engine, Request], Awaitable[Answer]]] = {"text": Engine.translate}


@dataclass(frozen=True)
class Origin:
    """The language of a text: the engine's code, and (for `auto`) what detection says of it."""

    language: str
    detected: dict[str, Any] | None = None


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
    origins = await origins_of(server, asked.texts, asked.source)
    target = server.codes.read(asked.target)
    if target is None:
        raise Refusal(400, f"{asked.target} is not supported")
    if asked.format not in FORMATS:
        raise Refusal(400, f"{asked.format} format is not supported")
    for language in dict.fromkeys(origin.language for origin in origins):
        _possible(server, language, target)
    corrections = await asyncio.to_thread(_corrections, server, asked.texts, origins, target)
    try:
        return _response(asked, await _items(server, asked, origins, target, corrections))
    except Busy as error:
        raise busy(error.retry_after) from error
    except (TooLate, Broken) as error:
        raise busy(1.0) from error
    except UnknownDirection as error:
        raise _no_direction(server, error.source, error.target) from error


def _within_limits(server: Server, asked: Translate, allowance: Allowance) -> None:
    limits = server.settings.limits
    if asked.alternatives > limits.alternatives:
        raise invalid(f"alternatives parameter must be <= {limits.alternatives}")
    if isinstance(asked.q, list) and limits.batch is not None and len(asked.q) > limits.batch:
        raise invalid(f"request ({len(asked.q)}) exceeds text limit ({limits.batch})")
    longest = max(map(len, asked.texts))
    if allowance.characters is not None and longest > allowance.characters:
        raise invalid(f"request ({longest}) exceeds text limit ({allowance.characters})")
    if len(asked.glossary) > limits.glossary:
        raise invalid(f"glossary ({len(asked.glossary)}) exceeds limit ({limits.glossary})")
    models = server.engine.status().models
    if asked.model is not None and asked.model not in models:
        raise invalid(f"no such model; models: {', '.join(models)}")


async def origins_of(server: Server, texts: Sequence[str], source: str) -> list[Origin]:
    """The language of each text. Raises Refusal for one that is not known."""
    if source.lower() == AUTO:
        return await asyncio.to_thread(_detected, server, texts)
    language = server.codes.read(source)
    if language is None:
        raise Refusal(400, f"{source} is not supported")
    return [Origin(language)] * len(texts)


def _detected(server: Server, texts: Sequence[str]) -> list[Origin]:
    """Each text's own language, the likeliest of those that are known; else that of all texts together."""
    origins = [_detect(server, text) for text in texts]
    if None not in origins:
        return [origin for origin in origins if origin is not None]
    of_all = _detect(server, "\n".join(texts))
    if of_all is None:
        raise Refusal(400, f"{AUTO} is not supported")
    return [origin or of_all for origin in origins]


def _detect(server: Server, text: str) -> Origin | None:
    """None where a language is found, but none that is known."""
    found = server.engine.detect(text)
    if not found:
        known = server.codes.read(UNKNOWN) or next(iter(server.codes.languages))
        return Origin(known, {"confidence": 0.0, "language": UNKNOWN})
    for each in found:
        if language := server.codes.nearest(each.language):
            return Origin(language, {"confidence": percent(each.confidence), "language": shown(language)})
    return None


def _possible(server: Server, source: str, target: str) -> None:
    if target not in server.codes.languages[source].targets:
        raise _no_direction(server, source, target)


def _no_direction(server: Server, source: str, target: str) -> Refusal:
    title = server.codes.title
    return Refusal(400, f"{title(target)} is not available as a target language from {title(source)}")


def _corrections(
    server: Server, texts: Sequence[str], origins: Sequence[Origin], target: str
) -> list[Correction | None]:
    """What the memory answers, asked once for each source language."""
    found: list[Correction | None] = [None] * len(texts)
    for language in dict.fromkeys(origin.language for origin in origins):
        places = [i for i, origin in enumerate(origins) if origin.language == language]
        answers = server.memory.answers(language, target, [texts[i] for i in places])
        for i, answer in zip(places, answers, strict=True):
            found[i] = answer
    server.metrics.memory.inc(sum(answer is not None for answer in found))
    return found


async def _items(
    server: Server,
    asked: Translate,
    origins: Sequence[Origin],
    target: str,
    corrections: Sequence[Correction | None],
) -> list[Item]:
    """All answers, a few at a time; the first failure drops the others."""
    places = asyncio.Semaphore(AT_ONCE)
    wording = Wording(asked.glossary) if asked.glossary else None

    async def one(text: str, origin: Origin, correction: Correction | None) -> Item:
        request = Request(
            text,
            origin.language,
            target,
            alternatives=asked.alternatives,
            alignment=asked.alignment,
            wording=wording,
            deadline=server.settings.deadline,
            model=asked.model,
        )
        async with places:
            answer = await _answer(server, asked, request, correction)
            like = server.memory.similar
            matches = await asyncio.to_thread(like, origin.language, target, text) if asked.matches else ()
        return Item(origin, answer, correction, matches)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(*each)) for each in zip(asked.texts, origins, corrections, strict=True)]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _answer(server: Server, asked: Translate, request: Request, correction: Correction | None) -> Answer:
    """A correction answers in the engine's place; what the engine would have said is then its first alternative."""
    if correction is not None and not asked.alternatives:
        return Answer(_within(request.text, correction.entry.target))
    answer = await FORMATS[asked.format](server.engine, request)
    if correction is not None:
        others = (answer.text, *answer.alternatives)
        answer = Answer(_within(request.text, correction.entry.target), others)
    others = dict.fromkeys(text for text in answer.alternatives if text != answer.text)
    return replace(answer, alternatives=tuple(others)[: asked.alternatives])


def _within(text: str, target: str) -> str:
    """A translation between the white space that surrounds its text."""
    start = len(text) - len(text.lstrip())
    return text[:start] + target + text[len(text.rstrip()) :]


def percent(share: float) -> float:
    return round(100 * share, 2)


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
    if asked.alignment:
        parts["alignment"] = [[asdict(link) for link in item.answer.links] for item in items]
    if asked.matches:
        parts["matches"] = [[_match(match, item) for match in item.matches] for item in items]
    if asked.notes:
        parts["notes"] = [item.answer.notes for item in items]
    return {name: values if isinstance(asked.q, list) else values[0] for name, values in parts.items()}


def _match(match: Match, item: Item) -> dict[str, Any]:
    correction = match.correction
    return {
        "q": correction.entry.source,
        "s": correction.entry.target,
        "state": correction.state,
        "score": round(match.score, 1),
        "answered": item.correction is not None and correction.id == item.correction.id,
    }


async def unless_gone(request: HttpRequest, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; work that is not done when its client goes away is cancelled. Raises ClientDisconnect."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
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
