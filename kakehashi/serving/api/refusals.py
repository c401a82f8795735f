"""What a server answers when it does not do what it was asked: a status, headers, and one of the `messages`.

Where LibreTranslate would fail (500) on a wrong type, the same words tell the client what to mend (400).
"""

import math
from collections.abc import Mapping

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from kakehashi.serving.api import messages
from kakehashi.serving.api.messages import Message, preferred


class Refusal(Exception):
    """An answer other than 200: `{"error": ...}`, the message with `values` in it."""

    def __init__(
        self, status: int, message: Message, headers: Mapping[str, str] | None = None, **values: object
    ) -> None:
        super().__init__(message.said("en", values))
        self.status, self.message, self.headers, self.values = status, message, dict(headers or {}), values

    def response(self, connection: HTTPConnection) -> JSONResponse:
        """In the language that the client likes best."""
        language = preferred(connection.headers.get("Accept-Language", ""))
        headers = {**self.headers, "Content-Language": language, "Vary": "Accept-Language"}
        return JSONResponse({"error": self.message.said(language, self.values)}, self.status, headers)


def broken_request() -> Refusal:
    """A body that cannot be read at all: not JSON, not UTF-8, cut off."""
    return Refusal(400, messages.BROKEN_REQUEST)


def invalid(problem: str) -> Refusal:
    """What a library or a file's reader found."""
    return Refusal(400, messages.INVALID, problem=problem)


def later(status: int, message: Message, seconds: float, **values: object) -> Refusal:
    """What will be possible in so many seconds."""
    return Refusal(status, message, {"Retry-After": str(max(1, math.ceil(seconds)))}, **values)


def busy(seconds: float) -> Refusal:
    """The engine cannot take the work now."""
    return later(503, messages.BUSY, seconds)
