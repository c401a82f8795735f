"""What the engine does when it is full, when nobody waits any more, when it is to stop, and when workers die."""

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kakehashi.errors import UserError
from kakehashi.serving.api.turns import Turns, together
from kakehashi.serving.engine.engine import Engine, EngineSettings
from kakehashi.serving.engine.pool import Died, Worker
from kakehashi.serving.engine.protocol import Answer, Broken, Busy, Request, TooLate
from kakehashi.serving.engine.wire import packed
from tests.serving.conftest import Running, sentences, shifted

T = TypeVar("T")
LONG = "\n".join(sentences(1000, seed=-4))


def with_engine(models: list[Path], work: Callable[[Engine], Coroutine[Any, Any, T]], **settings: Any) -> T:
    """What `work` returns, done with an engine of one worker that is stopped afterwards."""

    async def run() -> T:
        async with Engine(models, EngineSettings(**{"workers": 1, **settings})) as engine:
            return await work(engine)

    return asyncio.run(run())


def pids(engine: Engine) -> list[int]:
    return [worker.process.pid for worker in engine._pool.workers]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.001)


def short(engine: Engine) -> Awaitable[Answer]:
    return engine.translate(Request("Ant bee.", "en", "de"))


def test_a_long_text_takes_its_share_of_the_queue_and_no_more(running: Running) -> None:
    async def work(engine: Engine) -> None:
        long = asyncio.create_task(engine.translate(Request(LONG, "en", "de")))
        seen: list[int] = []
        for _ in range(5):
            assert (await short(engine)).text == "Bee cat."
            seen.append(engine.status().waiting + engine.status().running)
        assert not long.done()
        assert max(seen) <= engine.settings.window
        assert (await long).text == "\n".join(map(shifted, LONG.split("\n")))

    running(work)


def test_a_long_text_that_says_nothing_lets_others_in_between(running: Running) -> None:
    async def work(engine: Engine) -> None:
        text = "1\n" * 20_000
        long = asyncio.create_task(engine.translate(Request(text, "en", "de")))
        turns = 0
        while not long.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 100 and long.result().text == text

    running(work)


def test_a_request_that_is_gone_leaves_the_queue(running: Running) -> None:
    async def work(engine: Engine) -> None:
        before = engine.status()
        tasks = [asyncio.create_task(engine.translate(Request(LONG, "en", "de"))) for _ in range(5)]
        await until(lambda: engine.status().running > 0)
        assert engine.status().waiting > 0
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*tasks, return_exceptions=True)
        )
        after = engine.status()
        assert (after.waiting, after.answered) == (0, before.answered)
        assert after.dropped > before.dropped
        assert (await short(engine)).text == "Bee cat."

    running(work)


def test_a_deadline(running: Running) -> None:
    async def work(engine: Engine) -> None:
        with pytest.raises(TooLate):
            await engine.translate(Request(LONG, "en", "de", deadline=0.05))
        await asyncio.sleep(0)
        assert engine.status().waiting == 0
        assert (await engine.translate(Request("Ant.", "en", "de", deadline=60))).text == "Bee."

    running(work)


def test_a_full_queue_refuses_and_what_it_took_is_answered(models: list[Path]) -> None:
    async def work(engine: Engine) -> None:
        await short(engine)  # now it knows its pace
        requests = [asyncio.create_task(engine.translate(Request(LONG[:1000], "en", "de"))) for _ in range(20)]
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        answers = [each.text for each in outcomes if isinstance(each, Answer)]
        refusals = [each for each in outcomes if isinstance(each, Busy)]
        assert len(answers) + len(refusals) == 20 and len(refusals) >= 10
        assert len(set(answers)) == 1 and answers[0].startswith(shifted(LONG.split("\n")[0]))
        assert all(1 <= refusal.retry_after < 600 for refusal in refusals)
        status = engine.status()
        assert (status.refused, status.answered) == (len(refusals), len(answers) + 1)
        assert (await short(engine)).text == "Bee cat."

    with_engine(models, work, capacity=40, window=20)


def test_an_engine_that_cannot_start_says_so(models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(UserError, match="ended before it could translate"):
        with_engine(models, short)


def test_draining_finishes_what_was_accepted(models: list[Path]) -> None:
    async def work(engine: Engine) -> list[int]:
        accepted = [asyncio.create_task(engine.translate(Request(LONG[:3000], "en", "de"))) for _ in range(3)]
        await until(lambda: engine.status().running > 0)
        for pid in pids(engine):  # a service manager tells all processes
            os.kill(pid, signal.SIGTERM)
        draining = asyncio.create_task(engine.drain())
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await short(engine)
        await draining
        assert len({task.result().text for task in accepted}) == 1
        assert engine.status().restarted == 0
        return pids(engine)

    for pid in with_engine(models, work):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_least_recently_used_models_leave_the_memory(models: list[Path]) -> None:
    size = (models[0] / "model.safetensors").stat().st_size

    async def work(engine: Engine) -> None:
        async def loaded_after(source: str, target: str) -> tuple[str, ...]:
            await engine.translate(Request("Ant.", source, target))
            return engine.status().loaded

        def mapped() -> set[str]:
            maps = Path(f"/proc/{pids(engine)[0]}/maps").read_text("utf-8").split()
            return {Path(word).parent.name for word in maps if word.endswith("model.safetensors")}

        assert await loaded_after("en", "de") == ("en-de",)
        assert await loaded_after("de", "fr") == ("en-de", "de-fr")
        assert await loaded_after("en", "de") == ("de-fr", "en-de")
        assert mapped() == {"en-de", "de-fr"}
        assert await loaded_after("fr", "en") == ("en-de", "fr-en")
        assert mapped() == {"en-de", "fr-en"}
        assert await loaded_after("en", "fr") == ("en-de", "de-fr")

    with_engine(models, work, memory=2 * size)


def test_a_request_that_fills_the_queue_by_itself_is_answered(models: list[Path]) -> None:
    async def work(engine: Engine) -> None:
        turns, text = Turns(engine), "\n".join(LONG.split("\n")[:12])
        answers = await together([turns.translate(Request(text, "en", "de")) for _ in range(8)])
        assert {answer.text for answer in answers} == {shifted(text)}

    with_engine(models, work, capacity=8, window=4)


@pytest.mark.slow
def test_dead_workers_lose_nothing(models: list[Path]) -> None:
    """Twenty clients, each of whom asks again when it is answered, while the first worker is killed three times."""

    async def work(engine: Engine) -> None:
        answered, killed = [0] * 20, False

        async def client(number: int) -> None:
            while not killed:
                for text in sentences(10, seed=-number):
                    assert (await engine.translate(Request(text, "en", "de"))).text == shifted(text)
                    answered[number] += 1

        clients = [asyncio.create_task(client(number)) for number in range(20)]
        for deaths in (1, 2, 3):
            await until(lambda: engine.status().running > 0)
            os.kill(pids(engine)[0], signal.SIGKILL)
            await until(lambda deaths=deaths: engine.status().restarted == deaths)
            before = list(answered)
            await until(lambda before=before: all(now > then + 2 for now, then in zip(answered, before, strict=True)))
        killed = True
        await asyncio.gather(*clients)
        assert engine.status().answered == engine.status().accepted == sum(answered)

    with_engine(models, work, workers=2)


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kakehashi.serving.engine.pool.SILENCE", 5.0)

    async def work(engine: Engine) -> None:
        (stopped,) = pids(engine)
        accepted = [asyncio.create_task(engine.translate(Request(LONG[:3000], "en", "de"))) for _ in range(3)]
        await until(lambda: engine.status().running > 0)
        os.kill(stopped, signal.SIGSTOP)
        assert len({answer.text for answer in await asyncio.gather(*accepted)}) == 1
        assert engine.status().restarted == 1 and stopped not in pids(engine)
        with pytest.raises(ProcessLookupError):
            os.kill(stopped, 0)

    with_engine(models, work)


SILENT = "input()"
BUSY = f"""
import sys, time
while True:
    sys.stdout.buffer.write({packed({"alive": True})!r})
    sys.stdout.flush()
    time.sleep(0.01)
"""


@pytest.mark.parametrize(("script", "beats"), [(SILENT, False), (BUSY, True)])
def test_a_worker_that_answers_nothing(script: str, beats: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing is given up, whoever waits; one that works, when nobody has waited for so long."""
    monkeypatch.setattr("kakehashi.serving.engine.pool.SILENCE", 2.0)
    asked: list[bool] = []

    def wanted() -> bool:
        asked.append(len(asked) < 5)
        return asked[-1]

    async def work() -> None:
        command = [sys.executable, "-c", script]
        worker = Worker(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE))
        with pytest.raises(Died):
            await worker.ask({}, wanted)
        await worker.kill()

    asyncio.run(work())
    assert asked == ([True] * 5 + [False] * 3 if beats else [])


def test_a_worker_ends_whose_answer_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kakehashi.serving.engine.pool.PATIENCE", 30.0)
    script = "import sys; sys.stdout.write('x' * 1_000_000); sys.stdout.flush(); sys.stdin.read()"

    async def work() -> None:
        worker = Worker(await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdin=PIPE, stdout=PIPE))
        await worker.stop()
        assert worker.process.returncode == 0

    asyncio.run(work())


@pytest.mark.slow
def test_a_text_that_kills_twice_is_broken(models: list[Path]) -> None:
    async def work(engine: Engine) -> None:
        task = asyncio.create_task(engine.translate(Request(LONG[:3000], "en", "de")))
        for deaths in (1, 2):
            await until(lambda: engine.status().running > 0)
            os.kill(pids(engine)[0], signal.SIGKILL)
            await until(lambda deaths=deaths: engine.status().restarted == deaths)
        with pytest.raises(Broken):
            await task
        assert (await short(engine)).text == "Bee cat."

    with_engine(models, work, batch_tokens=100_000)


@pytest.mark.slow
def test_workers_do_not_outlive_a_server_that_is_killed(models: list[Path]) -> None:
    script = f"""
import asyncio
from kakehashi.serving.engine.engine import Engine, EngineSettings

async def main():
    async with Engine([{str(models[0])!r}], EngineSettings(workers=2)) as engine:
        print(*(worker.process.pid for worker in engine._pool.workers), flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""
    server = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert server.stdout
    with server, server.stdout as told:
        workers = list(map(int, told.readline().split()))
        assert len(workers) == 2
        server.kill()
    asyncio.run(until(lambda: not any(alive(pid) for pid in workers)))


def alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and that nobody has asked after does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
