"""A small model that was really trained, in seconds: it turns each word into the next one of a list.

In the three directions en-de, de-fr and fr-en it is the same, so that what two models do one after the other is known.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest
import torch
from torch.nn.functional import pad

from kakehashi.data.corpus import Pair
from kakehashi.data.subwords import SegmenterPair, Unigram, train_subwords
from kakehashi.decoding import Beam
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, Stack
from kakehashi.models.transformer import EncoderDecoder, Transformer
from kakehashi.nn.feedforward import ReLU
from kakehashi.nn.losses import cross_entropy
from kakehashi.serving.engine.engine import Engine, EngineSettings
from kakehashi.translator import ModelDirectory, Translator

WORDS = "ant bee cat dog eel fox gnu hen ibis jay koi lark mole newt owl pig".split()
DIRECTIONS = [("en", "de"), ("de", "fr"), ("fr", "en")]
T = TypeVar("T")
STEPS, ROWS, LONGEST = 450, 64, 6


def shifted(text: str, by: int = 1) -> str:
    """The right translation.

    >>> shifted("Ant bee.")
    'Bee cat.'
    """
    return re.sub(r"\w+", lambda word: _shifted(word[0], by), text)


def _shifted(word: str, by: int) -> str:
    other = WORDS[(WORDS.index(word.lower()) + by) % len(WORDS)]
    return other.capitalize() if word[0].isupper() else other


def sentences(count: int, seed: int, longest: int = 4) -> list[str]:
    """Sentences of 1 to `longest` words, some with a stop, some with a capital."""
    random = Random(seed)
    drawn = (random.choices(WORDS, k=random.randint(1, longest)) for _ in range(count))
    cases = (str, str.capitalize)
    return [random.choice(cases)(" ".join(words)) + random.choice(["", ".", "!", "?"]) for words in drawn]


def batches(segmenters: SegmenterPair) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Source and target ids [ROWS, length], the ends included, padding behind."""
    end = segmenters.source.special.end
    for step in range(STEPS):
        texts = sentences(ROWS, step, LONGEST)
        rows = [[[*segmenters.source.encode(text), end] for text in each] for each in (texts, map(shifted, texts))]
        longest = max(len(ids) for side in rows for ids in side)
        source, target = (torch.tensor([ids + [0] * (longest - len(ids)) for ids in side]) for side in rows)
        yield source, target


def train(model: Transformer, segmenters: SegmenterPair) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min((n + 1) / 50, 1 - n / STEPS))
    for source, target in batches(segmenters):
        tokens = pad(target, (1, -1), value=segmenters.target.special.begin)
        hidden = model.decode(tokens, model.encode(source, source != 0)).hidden
        real = target != 0
        loss, _ = cross_entropy(hidden[real], model.projection.weight, None, target[real], 0.1)
        optimizer.zero_grad()
        (loss / real.sum()).backward()
        optimizer.step()
        schedule.step()


@pytest.fixture(scope="session")
def translator() -> Translator:
    """From en to de."""
    segmenters = train_subwords(Unigram(), [Pair(text, shifted(text)) for text in sentences(2000, 1, LONGEST)])
    encoder = Stack(depth=1, layers=(Layer(feedforward=ReLU(size=64)),))
    decoder = CrossStack(depth=1, layers=(CrossLayer(feedforward=ReLU(size=64)),))
    config = EncoderDecoder(width=32, heads=2, dropout=0.0, encoder=encoder, decoder=decoder)
    torch.manual_seed(1)
    model = config.build(*(Vocabulary(each.size, *each.special) for each in segmenters))
    train(model.train(), segmenters)
    directory = ModelDirectory(source="en", target="de", model=config, subwords=Unigram(), decoding=Beam(size=4))
    return Translator(directory, model.eval(), segmenters)


@pytest.fixture(scope="session")
def models(translator: Translator, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The directories of en-de, de-fr and fr-en."""
    folder = tmp_path_factory.mktemp("serving")
    for source, target in DIRECTIONS:
        config = translator.config.model_copy(update={"source": source, "target": target})
        replace(translator, config=config).save(folder / f"{source}-{target}")
    return [folder / f"{source}-{target}" for source, target in DIRECTIONS]


@dataclass(frozen=True)
class Running:
    """An engine and the loop that it lives in."""

    runner: asyncio.Runner
    engine: Engine

    def __call__(self, work: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        return self.runner.run(work(self.engine))


@pytest.fixture(scope="session")
def running(models: list[Path]) -> Iterator[Running]:
    """An engine of two workers and all models, which tests share that leave it as it was."""
    engine = Engine(models, EngineSettings(workers=2))
    with asyncio.Runner() as runner:
        runner.run(engine.__aenter__())
        yield Running(runner, engine)
        runner.run(engine.__aexit__())
