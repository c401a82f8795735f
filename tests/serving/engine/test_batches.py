"""How what waits becomes batches."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import pytest

from kakehashi.serving.engine.batches import Batch, Waiting
from kakehashi.serving.engine.protocol import Broken
from kakehashi.serving.engine.wire import Found, Job

EN_DE, DE_EN = Job("en-de"), Job("de-en")


def with_queue(work: Callable[[Waiting], Awaitable[None]], batch_tokens: int = 1000, wait: float = 0.0) -> None:
    async def run() -> None:
        await work(Waiting(batch_tokens, wait, capacity=5))

    asyncio.run(run())


def texts(batch: Batch) -> list[str]:
    return [sentence.text for sentence in batch.sentences]


def test_a_batch_is_the_oldest_and_its_like_within_the_budget() -> None:
    """20 tokens a sentence of 80 letters; 100 tokens may be in a batch, padding counted."""

    async def work(waiting: Waiting) -> None:
        for size in (80, 400, 88, 80, 160, 84, 80):
            waiting.submit(EN_DE, "x" * size)
        assert [len(text) for text in texts(await waiting.take())] == [80, 80, 80, 84]
        assert [len(text) for text in texts(await waiting.take())] == [400]
        assert [len(text) for text in texts(await waiting.take())] == [88, 160]

    with_queue(work, batch_tokens=100)


def test_jobs_do_not_mix() -> None:
    async def work(waiting: Waiting) -> None:
        for number, job in enumerate((EN_DE, DE_EN, EN_DE, Job("en-de", count=2), DE_EN)):
            waiting.submit(job, str(number))
        batches = [await waiting.take() for _ in range(3)]
        assert [(batch.job.model, batch.job.count, texts(batch)) for batch in batches] == [
            ("en-de", 1, ["0", "2"]),
            ("de-en", 1, ["1", "4"]),
            ("en-de", 2, ["3"]),
        ]

    with_queue(work)


def test_idle_workers_share() -> None:
    async def work(waiting: Waiting) -> None:
        takers = [asyncio.create_task(waiting.take()) for _ in range(3)]
        await asyncio.sleep(0)
        for number in range(9):
            waiting.submit(EN_DE, str(number))
        batches = await asyncio.gather(*takers)
        assert [texts(batch) for batch in batches] == [list("012"), list("345"), list("678")]

    with_queue(work)


def test_others_are_waited_for_only_while_something_runs() -> None:
    async def work(waiting: Waiting) -> None:
        begun = monotonic()
        waiting.submit(EN_DE, "first")
        batch = await waiting.take()
        assert monotonic() - begun < 0.2
        later = asyncio.create_task(waiting.take())
        waiting.submit(EN_DE, "second")
        await asyncio.sleep(0.01)
        waiting.submit(EN_DE, "third")
        assert texts(await later) == ["second", "third"]
        assert monotonic() - begun >= 0.2
        waiting.answer(batch, [Found(("done",))], 1)

    with_queue(work, wait=0.2)


def test_a_full_batch_waits_for_nobody() -> None:
    async def work(waiting: Waiting) -> None:
        waiting.submit(EN_DE, "first")
        await waiting.take()
        begun = monotonic()
        waiting.submit(EN_DE, "x" * 4000)
        await waiting.take()
        assert monotonic() - begun < 10

    with_queue(work, wait=60.0)


def test_what_is_gone_is_never_taken() -> None:
    async def work(waiting: Waiting) -> None:
        gone, kept = waiting.submit(EN_DE, "gone"), waiting.submit(EN_DE, "kept")
        assert (len(waiting), waiting.full) == (2, False)
        gone.cancel()
        assert len(waiting) == 1
        batch = await waiting.take()
        assert (texts(batch), waiting.dropped, waiting.running) == (["kept"], 1, 1)
        kept.cancel()  # too late to be dropped: its answer is nobody's
        waiting.answer(batch, [Found(("done",))], 1)
        assert (waiting.running, waiting.sentences) == (0, 1)

    with_queue(work)


def test_the_pace_is_measured() -> None:
    async def work(waiting: Waiting) -> None:
        assert waiting.seconds_left(workers=1) == 0
        for _ in range(5):
            waiting.submit(EN_DE, "x")
        assert waiting.full
        batch = await waiting.take()
        await asyncio.sleep(0.05)
        waiting.answer(batch, [Found(("done",))] * 5, 5)
        for _ in range(4):
            waiting.submit(EN_DE, "x")
        assert 0.04 < waiting.seconds_left(workers=1) == 2 * waiting.seconds_left(workers=2)

    with_queue(work)


def test_a_sentence_that_kills_takes_no_other_with_it() -> None:
    async def work(waiting: Waiting) -> None:
        futures = {text: waiting.submit(EN_DE, text) for text in ("good", "bad", "fine")}
        waiting.put_back(await waiting.take())
        waiting.submit(EN_DE, "later")
        order: list[str] = []
        while len(waiting):
            batch = await waiting.take()
            order += texts(batch)
            assert len(batch.sentences) == 1
            if order[-1] == "bad":
                waiting.put_back(batch)
            else:
                waiting.answer(batch, [Found(("done",))], 1)
        assert order == ["good", "bad", "fine", "later"]
        assert futures["good"].result() == futures["fine"].result() == Found(("done",))
        with pytest.raises(Broken):
            futures["bad"].result()

    with_queue(work)


def test_nobody_waits_for_an_engine_that_stopped() -> None:
    async def work(waiting: Waiting) -> None:
        future = waiting.submit(EN_DE, "x")
        waiting.abandon(Broken("stopped"))
        with pytest.raises(Broken):
            await future

    with_queue(work)
