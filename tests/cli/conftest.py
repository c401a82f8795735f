"""Commands in this process, as `main` runs them, on untrained models."""

import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from kakehashi import cli
from kakehashi.data.corpus import Pair
from kakehashi.data.subwords import Unigram, train_subwords
from kakehashi.data.vocabulary import Characters, CharacterSegmenter
from kakehashi.decoding import Beam, Sample
from kakehashi.models.decoder_only import DecoderOnly
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossStack, Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.text_generator import LanguageModelDirectory, TextGenerator
from kakehashi.translator import ModelDirectory, Translator

LINES = ["Guten Morgen!", "", "日本語の文。", "مرحبا بالعالم", "👩‍👩‍👧 🌉", "  ", "a\u2028b\u0085c"]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.removesuffix("\n").split("\n")


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    """Runs a command as `main` does, in a directory of its own, with some bytes as its standard input."""
    handler = signal.getsignal(signal.SIGPIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAKEHASHI_CACHE", str(tmp_path.with_name("cache")))

    def call(*arguments: object, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "argv", ["kakehashi", *map(str, arguments)])
        (tmp_path / ".stdin").write_bytes(stdin)
        code: Any = 0
        with (tmp_path / ".stdin").open() as file, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", file)
            try:
                cli.main()
            except SystemExit as end:
                code = end.code or 0
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    yield call
    signal.signal(signal.SIGPIPE, handler)


@pytest.fixture(scope="module")
def translator() -> Translator:
    """An untrained model: what it says makes no sense, but is always the same."""
    segmenters = train_subwords(Unigram(), [Pair(f"word{i} and {i}", f"Wort{i} und {i}") for i in range(40)])
    model = EncoderDecoder(width=16, heads=2, encoder=Stack(depth=1), decoder=CrossStack(depth=1))
    config = ModelDirectory(
        source="en",
        target="de",
        model=model,
        subwords=Unigram(),
        decoding=Beam(size=2, length_penalty=0.3, max_length=6),
    )
    torch.manual_seed(5)
    vocabulary = Vocabulary(segmenters.source.size)
    return Translator(config, model.build(vocabulary, vocabulary).eval(), segmenters)


@pytest.fixture(scope="module")
def model(translator: Translator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cli") / "model"
    translator.save(directory)
    return directory


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an untrained language model."""
    segmenter = CharacterSegmenter("abc=\n")
    model = DecoderOnly(width=16, heads=2, decoder=Stack(depth=1))
    decoding = Sample(max_length=12)
    config = LanguageModelDirectory(model=model, vocabulary=Characters(), length=8, decoding=decoding)
    torch.manual_seed(5)
    vocabulary = Vocabulary(segmenter.size)
    directory = tmp_path_factory.mktemp("generator") / "model"
    TextGenerator(config, model.build(vocabulary, vocabulary).eval(), segmenter).save(directory)
    return directory
