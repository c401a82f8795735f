"""A server from start to end: models loaded, memory opened, requests answered, everything accepted finished."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from kakehashi.errors import UserError
from kakehashi.serving.app import create_app
from kakehashi.serving.engine import Engine
from kakehashi.serving.logs import write_json_lines
from kakehashi.serving.memory import Memory
from kakehashi.serving.settings import ServerSettings


def serve(models: Sequence[Path], settings: ServerSettings) -> None:
    """Serves until SIGTERM or SIGINT. Raises UserError when it cannot begin."""
    write_json_lines(sys.stderr)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn puts its own handler in the place of this one while it runs, and then raises the signal once more
        signal.signal(number, lambda *_: None)
    asyncio.run(_serve(models, settings))


async def _serve(models: Sequence[Path], settings: ServerSettings) -> None:
    memory = Memory.open(settings.memory)
    try:
        async with Engine(models, settings.engine) as engine:
            server = uvicorn.Server(configured(engine, memory, settings))
            await server.serve()  # (1) until told to stop; then nothing new, and what runs to its end
            await engine.drain()  # (2)
    finally:
        memory.close()
    if not server.started:
        raise UserError(f"cannot listen on {settings.host}, port {settings.port}: is it taken, or not this machine's?")


def configured(engine: Engine, memory: Memory, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(engine, memory, settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,  # its lines hold addresses and query strings
        ws="none",
        lifespan="off",
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        timeout_graceful_shutdown=round(settings.drain),
    )
