"""The languages of a request: in which one each text is, and whether it leads to the target."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kakehashi.serving.api import messages
from kakehashi.serving.api.codes import shown
from kakehashi.serving.api.context import Server
from kakehashi.serving.api.refusals import Refusal
from kakehashi.serving.engine.protocol import Detection

AUTO = "auto"  # the source language of which the server judges itself
SHOWN = 100  # characters of what a client called a language
UNKNOWN = "en"  # what a text is called in which no language is found


@dataclass(frozen=True)
class Origin:
    """The language of a text: the engine's code, and (for `auto`) what detection says of it."""

    language: str
    detected: dict[str, Any] | None = None


async def origins(server: Server, texts: Sequence[str], source: str) -> list[Origin]:
    """The language of each text. Raises Refusal for one that is not known."""
    if source.lower() == AUTO:
        return await asyncio.to_thread(_detected, server, texts)
    return [Origin(known(server, source))] * len(texts)


def known(server: Server, text: str) -> str:
    """The engine's code for a client's. Raises Refusal where it knows no such language."""
    code = server.codes.read(text)
    if code is None:
        raise Refusal(400, messages.NO_LANGUAGE, language=text[:SHOWN])
    return code


def require_direction(server: Server, source: str, target: str) -> None:
    """Raises Refusal where no model leads from one to the other."""
    if target not in server.codes.languages[source].targets:
        raise no_direction(server, source, target)


def no_direction(server: Server, source: str, target: str) -> Refusal:
    title = server.codes.title
    return Refusal(400, messages.NO_DIRECTION, target=title(target), source=title(source))


def shown_detection(found: Detection) -> dict[str, Any]:
    return {"confidence": percent(found.confidence), "language": shown(found.language)}


def nothing_found() -> dict[str, Any]:
    return {"confidence": 0.0, "language": UNKNOWN}


def percent(share: float) -> float:
    return round(100 * share, 2)


def _detected(server: Server, texts: Sequence[str]) -> list[Origin]:
    """Each text's own language, the likeliest of those that are known; else that of all texts together."""
    found = [_origin(server, text) for text in texts]
    if None not in found:
        return [origin for origin in found if origin is not None]
    of_all = _origin(server, "\n".join(texts))
    if of_all is None:
        raise Refusal(400, messages.NO_LANGUAGE, language=AUTO)
    return [origin or of_all for origin in found]


def _origin(server: Server, text: str) -> Origin | None:
    """None where a language is found, but none that is known."""
    found = server.engine.detect(text)
    if not found:
        return Origin(server.codes.read(UNKNOWN) or next(iter(server.codes.languages)), nothing_found())
    for each in found:
        if language := server.codes.nearest(each.language):
            return Origin(language, {"confidence": percent(each.confidence), "language": shown(language)})
    return None
