"""What a server says when it does not do what it was asked: status codes and the exact texts of LibreTranslate's API.

Where that program would fail (500) on a wrong type, the same words tell the client what to mend (400).
"""

import math
from collections.abc import Mapping

BROKEN_REQUEST = "The browser (or proxy) sent a request that this server could not understand."
FAULT = (
    "The server encountered an internal error and was unable to complete your request. "
    "Either the server is overloaded or there is an error in the application."
)


class Refusal(Exception):
    """An answer other than 200: `{"error": text}` with `status` and `headers`."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, dict(headers or {})


def invalid(text: str) -> Refusal:
    """A request with something missing, of a wrong type or too large."""
    return Refusal(400, f"Invalid request: {text}")


def broken_request() -> Refusal:
    """A body that cannot be read at all: not JSON, not UTF-8, cut off."""
    return Refusal(400, BROKEN_REQUEST)


def unauthorised(text: str) -> Refusal:
    """No key, or a wrong one, where only a bearer of the right one may pass."""
    return Refusal(401, text, {"WWW-Authenticate": "Bearer"})


def later(status: int, text: str, seconds: float) -> Refusal:
    """What will be possible in so many seconds."""
    return Refusal(status, text, {"Retry-After": str(max(1, math.ceil(seconds)))})


def busy(seconds: float) -> Refusal:
    """The engine cannot take the work now."""
    return later(503, "The server is busy: try again later.", seconds)
