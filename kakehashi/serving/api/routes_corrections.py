"""Corrections: /suggest for everybody, the rest for who bears the admin key."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import StreamingResponse

from kakehashi.errors import UserError
from kakehashi.serving.api import messages
from kakehashi.serving.api.codes import shown
from kakehashi.serving.api.context import Admitted, Server, ThisServer, admitted, from_anywhere, from_query, reviewer
from kakehashi.serving.api.openapi import body, query, refusals
from kakehashi.serving.api.origins import known, origins
from kakehashi.serving.api.refusals import Refusal, invalid
from kakehashi.serving.api.schemas import (
    LARGEST,
    CorrectionShown,
    Decision,
    Exchange,
    Imported,
    Listing,
    Page,
    Success,
    Suggest,
)
from kakehashi.serving.corrections.exchange import read_tmx, read_tsv, write_tmx, write_tsv
from kakehashi.serving.corrections.memory import Correction, Duplicate, Entry, Selection

WRITERS: dict[str, tuple[str, Callable[[Iterable[Correction]], Iterator[str]]]] = {
    "tmx": ("application/x-tmx+xml", write_tmx),
    "tsv": ("text/tab-separated-values", write_tsv),
}

router = APIRouter()
review = APIRouter(prefix="/corrections", dependencies=[Depends(reviewer)])


@router.post("/suggest", response_model=Success, responses=refusals(), openapi_extra=body(Suggest))
async def suggest(
    server: ThisServer, admission: Annotated[Admitted[Suggest], Depends(admitted(Suggest))]
) -> dict[str, bool]:
    """Suggest a better translation. After this has answered, the suggestion is on the disk."""
    asked = admission.asked
    if server.settings.memory.suggestions == "off":
        raise Refusal(403, messages.NO_SUGGESTIONS)
    (origin,) = await origins(server, [asked.q], asked.source)
    entry = Entry(origin.language, known(server, asked.target), asked.q, asked.s)
    await asyncio.to_thread(server.memory.add, entry)
    return {"success": True}


@review.get("", response_model=Page, responses=refusals(401), openapi_extra=query(Listing))
async def corrections(
    server: ThisServer, asked: Annotated[Listing, Depends(from_anywhere(Listing))]
) -> dict[str, list[dict[str, Any]]]:
    """Corrections, the newest first; the next page with the last one's `id` as `before`."""
    selection = Selection(
        asked.state, *(_code(server, code) for code in (asked.source, asked.target)), search=asked.search
    )
    found = await asyncio.to_thread(server.memory.page, selection, asked.before, asked.limit)
    return {"corrections": [_shown(correction) for correction in found]}


@review.patch(
    "/{number:int}", response_model=CorrectionShown, responses=refusals(401, 404, 409), openapi_extra=body(Decision)
)
async def decide(
    number: Annotated[int, Path(ge=1, le=LARGEST)],
    server: ThisServer,
    decision: Annotated[Decision, Depends(from_anywhere(Decision))],
) -> dict[str, Any]:
    """Approve, reject or edit a correction."""
    try:
        found = await asyncio.to_thread(server.memory.decide, number, decision.state, decision.s)
    except Duplicate as error:
        raise Refusal(409, messages.TWICE) from error
    if found is None:
        raise Refusal(404, messages.NO_CORRECTION, number=number)
    return _shown(found)


@review.get("/export", response_class=StreamingResponse, responses=refusals(401), openapi_extra=query(Exchange))
async def export(server: ThisServer, asked: Annotated[Exchange, Depends(from_anywhere(Exchange))]) -> StreamingResponse:
    """Corrections as TMX, or those of one language pair as TSV."""
    source, target = (_code(server, code) for code in (asked.source, asked.target))
    if asked.format == "tsv" and (source is None or target is None):
        raise Refusal(400, messages.ONE_PAIR)
    kind, write = WRITERS[asked.format]
    pieces = write(server.memory.all(Selection(asked.state, source, target)))
    name = f"corrections.{asked.format}"
    return StreamingResponse(pieces, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@review.post("/import", response_model=Imported, responses=refusals(401), openapi_extra=query(Exchange))
async def import_(
    request: Request, server: ThisServer, asked: Annotated[Exchange, Depends(from_query(Exchange))]
) -> dict[str, int]:
    """Take the corrections of a file, which is the request's body: all of them, or none."""
    file = BytesIO(await request.body())
    try:
        count = await asyncio.to_thread(server.memory.store, _read(server, file, asked), asked.state)
    except UserError as error:
        raise invalid(str(error)) from error
    return {"imported": count}


def _read(server: Server, file: BytesIO, asked: Exchange) -> Iterator[Entry]:
    if asked.format == "tmx":
        return read_tmx(file, list(server.codes.languages))
    if asked.source is None or asked.target is None:
        raise Refusal(400, messages.NO_PAIR)
    return read_tsv(file, known(server, asked.source), known(server, asked.target))


def _code(server: Server, text: str | None) -> str | None:
    return None if text is None else known(server, text)


def _shown(correction: Correction) -> dict[str, Any]:
    entry = correction.entry
    return {
        "id": correction.id,
        "q": entry.source,
        "s": entry.target,
        "source": shown(entry.source_language),
        "target": shown(entry.target_language),
        "state": correction.state,
        "created": correction.created / 1_000_000,
        "changed": correction.changed / 1_000_000,
    }
