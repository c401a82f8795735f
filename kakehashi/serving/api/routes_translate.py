"""LibreTranslate's routes: /translate, /detect, /languages, /frontend/settings."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse

from kakehashi.serving.api.answering import answered, unless_gone
from kakehashi.serving.api.codes import shown
from kakehashi.serving.api.context import Admitted, ThisServer, admitted
from kakehashi.serving.api.openapi import body, refusals
from kakehashi.serving.api.origins import AUTO, nothing_found, shown_detection
from kakehashi.serving.api.schemas import Detect, Detected, FrontendSettings, LanguageShown, Translate, Translated
from kakehashi.serving.documents import EXTENSIONS

MOST_DETECTED = 3
PAUSE = 500  # milliseconds without a key pressed, after which a page translates

router = APIRouter()


@router.post("/translate", response_model=Translated, responses=refusals(), openapi_extra=body(Translate))
async def translate(
    request: Request, server: ThisServer, admission: Annotated[Admitted[Translate], Depends(admitted(Translate))]
) -> JSONResponse:
    """Translate a text, or each text of a list."""
    server.metrics.items.labels("/translate").inc(len(admission.asked.texts))
    return JSONResponse(await unless_gone(request, answered(server, admission)))


@router.post("/detect", response_model=list[Detected], responses=refusals(), openapi_extra=body(Detect))
async def detect(
    server: ThisServer, admission: Annotated[Admitted[Detect], Depends(admitted(Detect))]
) -> list[dict[str, Any]]:
    """Say in which language a text is, or all texts of a list together: the likeliest first."""
    found = await asyncio.to_thread(server.engine.detect, "\n".join(admission.asked.texts))
    return [shown_detection(each) for each in found[:MOST_DETECTED]] or [nothing_found()]


@router.get("/languages", response_model=list[LanguageShown])
async def languages(server: ThisServer) -> list[dict[str, Any]]:
    """The languages, and into which each can be translated."""
    return [
        {"code": shown(language.code), "name": language.name, "targets": [shown(t) for t in sorted(language.targets)]}
        for language in server.codes.languages.values()
    ]


@router.get("/frontend/settings", response_model=FrontendSettings)
async def frontend_settings(server: ThisServer) -> dict[str, Any]:
    """What a page that translates needs to know."""
    settings, known = server.settings, server.codes.languages
    first = next(code for language in known.values() for code in language.targets if code != language.code)
    return {
        "apiKeys": bool(settings.access.keys),
        "charLimit": settings.limits.characters or -1,
        "filesTranslation": settings.files.enabled,
        "frontendTimeout": PAUSE,
        "keyRequired": settings.access.required,
        "language": {
            "source": {"code": AUTO, "name": "Auto Detect"},
            "target": {"code": shown(first), "name": known[first].name},
        },
        "suggestions": settings.memory.suggestions != "off",
        "supportedFilesFormat": list(EXTENSIONS) if settings.files.enabled else [],
    }
