"""The engine with real worker processes and a real model."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from kakehashi.serving.engine import Engine, EngineSettings
from kakehashi.serving.protocol import Request
from kakehashi.translator import Translator
from tests.serving.conftest import sentences, shifted

T = TypeVar("T")


def with_engine(models: list[Path], work: Callable[[Engine], Awaitable[T]], **settings: Any) -> T:
    """What `work` returns, done with an engine that is stopped afterwards."""

    async def run() -> T:
        async with Engine(models, EngineSettings(**{"workers": 2, **settings})) as engine:
            return await work(engine)

    return asyncio.run(run())


def test_the_model_is_good(translator: Translator) -> None:
    texts = sentences(300, seed=-1)
    right = [found == shifted(text) for found, text in zip(translator.translate(texts), texts, strict=True)]
    assert sum(right) == len(right)


def test_many_texts_at_once(models: list[Path]) -> None:
    texts = sentences(200, seed=-2)

    async def work(engine: Engine) -> None:
        answers = await asyncio.gather(*(engine.translate(Request(text, "en", "de")) for text in texts))
        assert [answer.text for answer in answers] == list(map(shifted, texts))
        assert engine.status().batches < 40
        print(engine.status())

    with_engine(models, work)
