"""The workers: started, fed, and replaced when they die or hang.

A worker is a fresh interpreter at the ends of two pipes, never a fork of this one: torch's threads do not survive one.

Notable: how long a batch takes says nothing, since models and machines differ. But a worker at work says every second
that it is alive; one that is silent hangs, and is killed. So is one that goes on with a batch for which nobody waits
any more, all deadlines having passed.
"""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from typing import Any

from kakehashi.errors import UserError
from kakehashi.serving.engine.batches import Batch, Waiting
from kakehashi.serving.engine.catalogue import Catalogue
from kakehashi.serving.engine.protocol import Broken
from kakehashi.serving.engine.wire import BEAT, LENGTH_BYTES, Found, batch_message, packed
from kakehashi.translator import TranslatorPrecision

BEGINNING = 120.0  # seconds in which a worker must be there
SILENCE = 20.0  # seconds after which one at work that says nothing hangs: a busy machine keeps it from speaking too
PATIENCE = 10.0  # seconds that a worker has to end when it is told to
PAUSE = 1.0  # seconds before another try, when a worker died before it was ready


class Died(Exception):
    """The process is gone, or hangs."""


class Worker:
    """One process, which answers one batch at a time."""

    def __init__(self, process: Process) -> None:
        assert process.stdin and process.stdout
        self.process, self._requests, self._answers = process, process.stdin, process.stdout

    @classmethod
    async def start(cls, precision: TranslatorPrecision, batch_tokens: int) -> "Worker":
        """Returns when it can be asked. Raises Died."""
        command = [sys.executable, "-P", "-m", "kakehashi.serving.engine.worker", precision, str(batch_tokens)]
        own = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}  # the modules seen here
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, env={**os.environ, **own}, start_new_session=True
        )
        worker = cls(process)
        try:
            await worker._read(BEGINNING)
        except BaseException:
            await worker.kill()
            raise
        return worker

    async def ask(self, message: Mapping[str, Any], wanted: Callable[[], bool]) -> dict[str, Any]:
        """The answer. `wanted`: whether anybody still waits for it. Raises Died."""
        self.tell(message)
        try:
            async with asyncio.timeout(SILENCE):
                await self._requests.drain()
        except (ConnectionError, TimeoutError) as error:
            raise Died from error
        in_vain = 0
        while "alive" in (answer := await self._read(SILENCE)):
            in_vain = 0 if wanted() else in_vain + 1
            if in_vain * BEAT > SILENCE:
                raise Died
        return answer

    def tell(self, message: Mapping[str, Any]) -> None:
        if not self._requests.is_closing():
            self._requests.write(packed(message))

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self._ended()

    async def stop(self) -> None:
        """Closes its input, which ends it when it has answered; kills it if that takes too long."""
        self._requests.close()
        try:
            await asyncio.wait_for(self._ended(), PATIENCE)
        except TimeoutError:
            await self.kill()

    async def _ended(self) -> None:
        """Reads what nobody wants: an answer that fills the pipe would keep the process, and asyncio's word of its
        end, for ever."""
        await self._answers.read()
        await self.process.wait()

    async def _read(self, seconds: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(seconds):
                length = int.from_bytes(await self._answers.readexactly(LENGTH_BYTES), "big")
                return json.loads(await self._answers.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError) as error:
            raise Died from error


class Pool:
    """So many workers, each fed from the queue until the pool is closed."""

    def __init__(self, size: int, precision: TranslatorPrecision, waiting: Waiting, catalogue: Catalogue) -> None:
        self.size = size
        self.precision: TranslatorPrecision = precision
        self.waiting, self.catalogue = waiting, catalogue
        self.workers: list[Worker] = []
        self.restarted = 0
        self._feeding: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Raises UserError where a worker cannot be started; those that were are still to be stopped."""
        await asyncio.gather(*(self._add() for _ in range(self.size)), return_exceptions=True)
        if len(self.workers) < self.size:
            raise UserError("a worker process ended before it could translate: see its message above")
        self._feeding = [asyncio.create_task(self._feed(place)) for place in range(self.size)]

    async def stop(self) -> None:
        """What is still in work, or waits, is Broken."""
        for task in self._feeding:
            task.cancel()
        await asyncio.gather(*self._feeding, return_exceptions=True)
        self.waiting.abandon(Broken("the engine was stopped"))
        await asyncio.gather(*(worker.stop() for worker in self.workers))

    async def _add(self) -> None:
        self.workers.append(await self._new())

    async def _new(self) -> Worker:
        return await Worker.start(self.precision, self.waiting.batch_tokens)

    async def _feed(self, place: int) -> None:
        while True:
            batch = await self.waiting.take()
            for name in self.catalogue.use(batch.job.model):
                for worker in self.workers:
                    worker.tell({"drop": name})
            directory = str(self.catalogue.models[batch.job.model].directory)
            message = batch_message(batch.job, directory, [sentence.text for sentence in batch.sentences])
            try:
                self._deliver(batch, await self.workers[place].ask(message, lambda batch=batch: batch.wanted))
            except Died:
                self.waiting.put_back(batch)
                await self._replace(place)
            except BaseException:
                self.waiting.fail(batch, Broken("the engine was stopped"))
                raise

    def _deliver(self, batch: Batch, answer: dict[str, Any]) -> None:
        if "mistake" in answer:
            self.waiting.fail(batch, UserError(answer["mistake"]))
        else:
            self.waiting.answer(batch, map(Found.of, answer["found"]), answer["source_tokens"])

    async def _replace(self, place: int) -> None:
        await self.workers[place].kill()
        while True:
            try:
                self.workers[place] = await self._new()
                break
            except Died:
                await asyncio.sleep(PAUSE)
        self.restarted += 1
