"""A server from start to end: models loaded, memory opened, requests answered, everything accepted finished."""

import asyncio
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from socket import AF_INET, AF_INET6, IPPROTO_TCP, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET
from socket import socket as Socket

import uvicorn

from kakehashi.errors import UserError
from kakehashi.serving.api.app import create_app
from kakehashi.serving.api.logs import logger, write_json_lines
from kakehashi.serving.api.settings import ServerSettings
from kakehashi.serving.corrections.memory import Memory
from kakehashi.serving.engine.engine import Engine

BACKLOG = 8  # connections taken in one turn of the loop: the engine's turn comes soon, however many wait
WAITING = 4096  # connections that may wait in the kernel, which drops others silently: their clients wait for seconds
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(models: Sequence[Path], settings: ServerSettings) -> None:
    """Serves until SIGTERM or SIGINT. Raises UserError when it cannot begin."""
    write_json_lines(sys.stderr)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # who goes away, client or worker, does not end the server
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # macOS says that there is no limit, and has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # as many connections as may be, not the usual 1,024
    asyncio.run(_serve(models, settings))


class _Server(uvicorn.Server):
    """asyncio takes as many connections in a turn as may wait: here more may wait."""

    async def startup(self, sockets: list[Socket] | None = None) -> None:
        await super().startup(sockets)
        for socket in sockets or []:
            socket.listen(WAITING)


async def _serve(models: Sequence[Path], settings: ServerSettings) -> None:
    with bound(settings.host, settings.port) as socket, closing(Memory.open(settings.memory)) as memory:
        async with Engine(models, settings.engine) as engine:
            server = _Server(configured(engine, memory, settings))
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, _nothing)  # until uvicorn sets its own, and when it raises the signal once more
            socket.listen()
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            if settings.memory.suggestions == "trust" and settings.host not in LOOPBACK:
                logger.warning("memory.suggestions is trust: whoever reaches this server changes its translations")
            logger.info("listening on http://%s:%d", host, socket.getsockname()[1])
            await server.serve([socket])  # (1) until told to stop; then nothing new, and what was begun to its end
            await engine.drain()  # (2)
    logger.info("stopped")


def _nothing(*_: object) -> None:
    pass


def bound(host: str, port: int) -> Socket:
    """An address taken, before anything that takes time. Raises UserError."""
    # asyncio sends a short answer at once (TCP_NODELAY) only where the protocol is said; else it may wait for 40 ms
    socket = Socket(AF_INET6 if ":" in host else AF_INET, SOCK_STREAM, IPPROTO_TCP)
    try:
        socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        socket.bind((host, port))
    except OSError as error:
        socket.close()
        raise UserError(f"cannot listen on {host}, port {port}: {error.strerror}") from error
    return socket


def configured(engine: Engine, memory: Memory, settings: ServerSettings) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        create_app(engine, memory, settings),
        log_config=None,
        access_log=False,  # its lines hold addresses and query strings
        ws="none",
        lifespan="off",
        server_header=False,
        backlog=BACKLOG,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        timeout_graceful_shutdown=settings.drain,
    )
