"""What surrounds every route: sizes, CORS, HEAD, request ids, logs, figures, and an answer to our own faults.

Plain ASGI, so that streams stay streams and a client's going away reaches the route.

Notable: where the engine is full, a text is refused here, before its request is read and looked at. That costs a
fraction of what reading it does, so that a server on which ten times too much comes has time left to translate.
"""

import asyncio
import time
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kakehashi.serving.api import messages
from kakehashi.serving.api.logs import logger
from kakehashi.serving.api.metrics import Metrics
from kakehashi.serving.api.refusals import Refusal, busy, later
from kakehashi.serving.engine.engine import RESTARTING, Engine

METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}  # another one is a client's own word
GONE = 499  # in logs and figures: the client went away before it was answered (nginx's number)
TRANSLATE = "/translate"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Expose-Headers": "Authorization",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Max-Age": "1728000",
}


class Surroundings:
    """The outermost layer."""

    def __init__(self, app: ASGIApp, engine: Engine, metrics: Metrics, body: int) -> None:
        self._app, self._engine, self._metrics, self._body = app, engine, metrics, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._body)
        with self._metrics.in_flight.track_inprogress():
            try:
                await self._answer(exchange)
            except ClientDisconnect:
                exchange.status = exchange.status or GONE
            except asyncio.CancelledError:  # the server stops, and its patience with what was begun is at an end
                if not exchange.status:
                    await exchange.refuse(later(503, messages.STOPPING, RESTARTING))
            except Exception:
                logger.exception("a fault of ours", extra={"request": exchange.id})
                if not exchange.status:
                    await exchange.refuse(Refusal(500, messages.FAULT))
        self._note(exchange)

    async def _answer(self, exchange: "_Exchange") -> None:
        try:
            if exchange.announced > self._body:
                raise _TooLarge
            if exchange.is_text and (refusal := self._engine.refusal()):
                exchange.endpoint = TRANSLATE
                await exchange.refuse(busy(refusal.retry_after))
                return
            answer: ASGIApp = Response() if exchange.method == "OPTIONS" else self._app
            await answer(exchange.scope, exchange.receive, exchange.send)
        except _TooLarge:
            if not exchange.status:
                await exchange.refuse(Refusal(413, messages.TOO_LARGE, {"Connection": "close"}))

    def _note(self, exchange: "_Exchange") -> None:
        seconds = time.perf_counter() - exchange.began
        route = exchange.scope.get("route")
        endpoint = route.path if route is not None else exchange.endpoint
        self._metrics.duration.labels(endpoint, exchange.status).observe(seconds)
        fields = {
            "request": exchange.id,
            "method": exchange.method if exchange.method in METHODS else "other",
            "endpoint": endpoint,
            "status": exchange.status,
            "milliseconds": round(1_000 * seconds, 1),
            "bytes": exchange.received,
        }
        logger.info("request", extra=fields)


class _TooLarge(Exception):
    """More came than may."""


class _Exchange:
    """One request and its response, watched on their way. HEAD is answered as GET; the server leaves out the body."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self.id, self.began = uuid.uuid4().hex, time.perf_counter()
        self.method: str = scope["method"]
        self.scope: MutableMapping[str, Any] = dict(scope) | ({"method": "GET"} if self.method == "HEAD" else {})
        self.status, self.received, self.endpoint = 0, 0, "none"
        self._receive, self._send, self._limit = receive, send, limit
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        self.announced = int(lengths[0]) if lengths and lengths[0].isdigit() else 0

    @property
    def is_text(self) -> bool:
        """Whether a text is to be translated."""
        return self.method == "POST" and self.scope["path"] == TRANSLATE

    async def refuse(self, refusal: Refusal) -> None:
        await refusal.response(HTTPConnection(self.scope))(self.scope, self.receive, self.send)

    async def receive(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        if self.received > self._limit:
            raise _TooLarge
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.update(CORS)
            headers["X-Request-ID"] = self.id
        await self._send(message)
