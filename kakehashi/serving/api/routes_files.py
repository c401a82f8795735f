"""LibreTranslate's routes for files: /translate_file, /download_file."""

import asyncio
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import FileResponse

from kakehashi.errors import UserError
from kakehashi.serving import documents
from kakehashi.serving.api import messages
from kakehashi.serving.api.answering import refusing, unless_gone
from kakehashi.serving.api.codes import shown
from kakehashi.serving.api.context import Admitted, Server, ThisServer, admitted
from kakehashi.serving.api.openapi import form, refusals
from kakehashi.serving.api.origins import known, origins, require_direction
from kakehashi.serving.api.parameters import Upload
from kakehashi.serving.api.recall import recall, translations
from kakehashi.serving.api.refusals import Refusal, broken_request, invalid
from kakehashi.serving.api.schemas import TranslatedFile, TranslateFile
from kakehashi.serving.api.segments import translate_segments
from kakehashi.serving.api.turns import Turns
from kakehashi.serving.engine.protocol import Request as Text

TOLD = 10_000  # characters of a document from which its language is told

router = APIRouter()


@router.post("/translate_file", response_model=TranslatedFile, responses=refusals(), openapi_extra=form(TranslateFile))
async def translate_file(
    request: Request,
    server: ThisServer,
    admission: Annotated[Admitted[TranslateFile], Depends(admitted(TranslateFile))],
) -> dict[str, str]:
    """Translate a file, which keeps its format. The answer says where to fetch the translation."""
    name = await unless_gone(request, _translated(server, admission.asked))
    server.metrics.items.labels("/translate_file").inc()
    return {"translatedFileUrl": str(request.url_for("download_file", name=name))}


@router.get("/download_file/{name}", response_class=FileResponse, responses=refusals(404))
async def download_file(
    name: Annotated[str, Path(pattern=r"^[\w.-]+$", max_length=255)], server: ThisServer
) -> FileResponse:
    """Fetch a translated file. Whoever knows its name may, for a while."""
    path = server.shelf.get(name)
    if path is None:
        raise Refusal(404, messages.NO_FILE)
    return FileResponse(path, filename=name.partition(".")[2], media_type="application/octet-stream")


@dataclass(frozen=True)
class _File:
    name: str
    document: documents.Document


async def _translated(server: Server, asked: TranslateFile) -> str:
    """The name of the translation. Raises Refusal."""
    if not server.settings.files.enabled:
        raise Refusal(403, messages.NO_FILES)
    if not isinstance(asked.file, Upload):
        raise broken_request()
    target = known(server, asked.target)
    file = await asyncio.to_thread(_opened, asked.file, target)
    segments = file.document.segments
    prose = "\n".join(segment.text for segment in segments)[:TOLD]
    (origin,) = await origins(server, [prose], asked.source)
    require_direction(server, origin.language, target)
    recalled = await recall(server.memory, origin.language, target, [segment.text for segment in segments])
    deadline = server.settings.deadline
    whole = Text("", origin.language, target, deadline=deadline, known=translations(recalled))
    with refusing(server):
        answers = await translate_segments(Turns(server.engine), whole, segments)
        server.metrics.memory.inc(any(answer.known for answer in answers))
        translated = [documents.Translated(answer.text, answer.links) for answer in answers]
        data = await asyncio.to_thread(file.document.render, translated)
        return await asyncio.to_thread(server.shelf.put, file.name, shown(target), data)


def _opened(upload: Upload, target: str) -> _File:
    name = PurePath(upload.name.replace("\\", "/")).name
    if not name:
        raise Refusal(400, messages.NO_NAME)
    if PurePath(name).suffix.lower() not in documents.EXTENSIONS:
        raise Refusal(400, messages.NO_KIND)
    data = upload.file.read()
    if not data:
        raise Refusal(400, messages.EMPTY_FILE)
    try:
        return _File(name, documents.open(name, data, target))
    except UserError as error:
        raise invalid(str(error)) from error
