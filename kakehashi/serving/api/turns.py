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
    """Once the engine has taken one text, the others wait for a place in its queue where that is full: so a long
    request is refused at its beginning or not at all, and one that fills the queue by itself is answered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places = asyncio.Semaphore(AT_ONCE)
        self._begun = False
        self._inside = 0  # texts that the engine has now; it is Busy at once or not at all

    async def translate(self, request: Request) -> Answer:
        """Raises what the engine's `translate` raises."""
        async with self._places:
            while True:
                self._inside += 1
                try:
                    answer = await self._engine.translate(request)
                except Busy:
                    begun = self._begun or self._inside > 1
                    if not begun or not self._engine.status().accepting:
                        raise
                else:
                    self._begun = True
                    return answer
                finally:
                    self._inside -= 1
                await asyncio.sleep(PAUSE)


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Their results, in their order; the first failure drops the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
