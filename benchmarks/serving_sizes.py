"""What a server with models of several sizes can do, and what memory it takes: random weights, since only time counts.

A translation is as long as one of a sentence of Multi30k in the mean, and no token comes twice in it: what a random
model writes would go round in circles, and be searched again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch import nn

from benchmarks.servers import Ours
from benchmarks.serving_load import CLIENTS
from kakehashi.config import resolve
from kakehashi.decoding import Beam
from kakehashi.decoding.processors import NoRepeatNgram
from kakehashi.models.protocol import Translating, Vocabulary
from kakehashi.training.recipe import PRESETS, Recipe
from kakehashi.translator import Translator

SIZES = ("small", "base")
PRECISIONS = ("fp32", "int8")
LENGTH = 15  # tokens
TASK = {
    "kind": "translation",
    "source": "en",
    "target": "de",
    **{part: "${KAKEHASHI_DATA}/multi30k/val.{en,de}.gz" for part in ("train", "valid")},
}


@dataclass(frozen=True)
class Row:
    """`speed`: sentences a second; `memory`: bytes of the server's processes, the first one's and of the workers."""

    parameters: int
    precision: str
    speed: float
    memory: tuple[int, ...]


def measured(model: Path, sentences: Sequence[str]) -> Iterator[Row]:
    """Of the model itself and of its enlargements."""
    own = Translator.load(model, "fp32", "cpu")
    with TemporaryDirectory(prefix="kakehashi-sizes-") as folder:
        for size in (None, *SIZES):
            directory = Path(folder, size or "own")
            translator = limited(own if size is None else enlarged(own, size))
            translator.save(directory)
            parameters = sum(weight.numel() for weight in cast(nn.Module, translator.model).parameters())
            for precision in PRECISIONS:
                yield row(directory, parameters, precision, sentences)


def limited(translator: Translator) -> Translator:
    processors = (NoRepeatNgram(size=1),)
    decoding = Beam(size=5, min_length=LENGTH, max_length=LENGTH, processors=processors)
    return replace(translator, config=translator.config.model_copy(update={"decoding": decoding}))


def enlarged(translator: Translator, preset: str) -> Translator:
    """One with the same subwords, as large as a preset says."""
    config = resolve({"base": preset, "task": TASK}, Recipe, (), PRESETS).model
    torch.manual_seed(1)
    model = config.build(*(Vocabulary(each.size, *each.special) for each in translator.segmenters))
    named = translator.config.model_copy(update={"model": config})
    return replace(translator, config=named, model=cast(Translating, model.eval()), card=None)


def row(directory: Path, parameters: int, precision: str, sentences: Sequence[str]) -> Row:
    with Ours((f"engine.precision={precision}",)).running(directory, ("en", "de"), directory) as server:
        server.load(sentences[: 2 * CLIENTS], clients=CLIENTS)
        outcome = server.load(sentences, clients=CLIENTS)
        return Row(parameters, precision, len(outcome.replies) / outcome.seconds, tuple(server.memory().values()))


def table(rows: Sequence[Row]) -> Iterator[str]:
    yield "| parameters | weights | sentences/s | a worker | memory: server | a worker |"
    yield "|---|---|---|---|---|---|"
    for each in rows:
        first, *others = (size / 2**20 for size in each.memory)
        mean = sum(others) / len(others)
        cells = (f"{each.parameters / 1e6:.1f}M", each.precision, f"{each.speed:.0f}")
        yield f"| {' | '.join(cells)} | {each.speed / len(others):.0f} | {first:.0f} MiB | {mean:.0f} MiB |"
