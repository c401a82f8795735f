"""Servers on loopback over one real engine, whose model turns each word into the next one of a list."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any, TypeVar

import pytest
import requests
import uvicorn

from kakehashi.config import merge, resolve
from kakehashi.serving.api.server import bound, configured
from kakehashi.serving.api.settings import ServerSettings
from kakehashi.serving.corrections.memory import Memory
from kakehashi.serving.engine.engine import Engine, EngineSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Site:
    """A running server: `post("/translate", json={...})`."""

    url: str
    memory: Memory

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=300, **arguments)

    def get(self, path: str, **arguments: Any) -> requests.Response:
        return self.request("GET", path, **arguments)

    def post(self, path: str, **arguments: Any) -> requests.Response:
        return self.request("POST", path, **arguments)

    def translate(self, **parameters: Any) -> requests.Response:
        return self.post("/translate", json=parameters)


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.start(work).result(timeout=120)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="session")
def engine(models: list[Path], loop: Loop) -> Iterator[Engine]:
    async def begun() -> Engine:
        return await Engine(models, EngineSettings(workers=1)).__aenter__()

    engine = loop.run(begun())
    yield engine
    loop.run(engine.__aexit__())


Serve = Callable[..., Site]


@pytest.fixture
def serve(engine: Engine, loop: Loop, tmp_path: Path) -> Iterator[Serve]:
    """Starts servers with settings such as `limits={"minute": 2}`; all end with the test."""
    running: list[tuple[uvicorn.Server, Future[None], Memory]] = []

    def start(**tree: Any) -> Site:
        own = {"memory": {"database": str(tmp_path / f"{len(running)}.sqlite")}}
        settings = resolve(merge(own, tree), ServerSettings)
        memory = Memory.open(settings.memory)
        server = uvicorn.Server(configured(engine, memory, settings))
        socket = bound("127.0.0.1", 0)
        socket.listen()
        running.append((server, loop.start(server.serve([socket])), memory))
        return Site(f"http://127.0.0.1:{socket.getsockname()[1]}", memory)

    yield start
    for server, ended, memory in running:
        while not server.started:
            sleep(0.01)
        server.should_exit = True
        ended.result(timeout=300)
        memory.close()


@pytest.fixture
def site(serve: Serve) -> Site:
    """One with its usual settings."""
    return serve()
