"""The texts of one request on their way through the engine, a few at a time."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from kakehashi.serving.engine.engine import Engine
from kakehashi.serving.engine.protocol import Answer, Busy, Request

T = TypeVar("T")

AT_ONCE = 64  # texts of one request that are with the engine at a time
PAUSE = 0.05  # seconds after which a text is offered again to a full queue


class Turns:
    """Once the engine has answered one text, the others wait for a place in its queue where that is full: so a long
    request is refused at its beginning or not at all."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places = asyncio.Semaphore(AT_ONCE)
        self._begun = False

    async def translate(self, request: Request) -> Answer:
        """Raises what the engine's `translate` raises."""
        async with self._places:
            while True:
                try:
                    answer = await self._engine.translate(request)
                except Busy:
                    if not self._begun or not self._engine.status().accepting:
                        raise
                    await asyncio.sleep(PAUSE)
                else:
                    self._begun = True
                    return answer


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Their results, in their order; the first failure drops the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
