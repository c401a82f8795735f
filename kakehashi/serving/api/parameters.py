"""A request's parameters as one mapping, wherever they stand: JSON, a form, or the query string.

JSON is read where the content type says so, and then nothing else; otherwise form and query string together. What does
not parse, is no UTF-8 or holds half a surrogate pair is refused (400), and so is nesting too deep to follow.
"""

import asyncio
import re
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any, cast
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic_core import from_json
from python_multipart.multipart import Field, File, parse_form

from kakehashi.serving.api import messages
from kakehashi.serving.api.refusals import Refusal, broken_request

MOST_FIELDS = 1_000
SLOWEST = 60.0  # seconds in which a body must have come

_JSON = re.compile(r"application/([\w.+-]+\+)?json")


@dataclass(frozen=True)
class Upload:
    """A file of a form."""

    name: str
    file: IO[bytes]


async def parameters(request: Request) -> dict[str, Any]:
    """What was given; null, "" and [] are absent. Raises Refusal (400, 408)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = _JSON.fullmatch(kind) is not None
    try:
        async with asyncio.timeout(SLOWEST):
            body = await request.body()
    except TimeoutError as error:
        raise Refusal(408, messages.SLOW_REQUEST) from error
    try:
        values: Any = from_json(body, allow_inf_nan=False) if is_json else _form(request, kind, body)
    except ValueError as error:
        raise broken_request() from error
    if not isinstance(values, dict):
        raise Refusal(400, messages.NO_OBJECT)
    return _given(cast(dict[str, Any], values))


def query_parameters(request: Request) -> dict[str, Any]:
    """Those of the query string alone. Raises Refusal (400)."""
    try:
        return _given(_form(request, "", b""))
    except ValueError as error:
        raise broken_request() from error


def _given(values: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in values.items() if value not in (None, "", [])}
    if "apiKey" in given:
        given.setdefault("api_key", given.pop("apiKey"))
    return given


def _form(request: Request, kind: str, body: bytes) -> dict[str, Any]:
    """The query string's parameters before the form's. Raises ValueError."""
    query = _pairs(request.scope["query_string"])
    if kind == "application/x-www-form-urlencoded":
        return _pairs(body) | query
    if kind == "multipart/form-data":
        return _multipart(request.headers["content-type"], body) | query
    return query


def _pairs(text: bytes) -> dict[str, Any]:
    """Of a name that is given twice the first counts."""
    pairs = parse_qsl(text.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    return {name: _unix(value) for name, value in reversed(pairs)}


def _multipart(content_type: str, body: bytes) -> dict[str, Any]:
    values: dict[str, Any] = {}

    def on_field(field: Field) -> None:
        if len(values) == MOST_FIELDS:
            raise ValueError("too many fields")
        values.setdefault((field.field_name or b"").decode("utf-8"), _unix((field.value or b"").decode("utf-8")))

    def on_file(file: File) -> None:
        content = cast(IO[bytes], file.file_object)
        content.seek(0)
        upload = Upload((file.file_name or b"").decode("utf-8"), content)
        values.setdefault((file.field_name or b"").decode("utf-8"), upload)

    parse_form({"Content-Type": content_type.encode("latin-1")}, BytesIO(body), on_field, on_file)
    return values


def _unix(text: str) -> str:
    """Line ends of a form as those of Unix, without the last one."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
