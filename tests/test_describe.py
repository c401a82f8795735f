"""What `kakehashi info` prints: counts against the closed formulas, and the user's mistakes."""

import re
from pathlib import Path

import pytest
import torch

from kakehashi.data.corpus import Pair
from kakehashi.data.subwords import Unigram, train_subwords
from kakehashi.describe import describe
from kakehashi.errors import UserError
from kakehashi.evaluation.card import Card
from kakehashi.models import ModelConfig
from kakehashi.models.bytenet import ByteNet
from kakehashi.models.convs2s import ConvS2S
from kakehashi.models.lstm import LSTM
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossStack, Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.training.recipe import PRESETS
from kakehashi.translator import ModelDirectory, Translator


def row(text: str, label: str, kind: str = ".*") -> str:
    """What stands behind a label, at the start of the one line that has it and something of this kind."""
    found = re.findall(rf"^ *{re.escape(label)} {{2,}}({kind})$", text, re.MULTILINE)
    assert len(found) == 1, f"{label}: {found}"
    return found[0]


def number(text: str, label: str) -> int:
    return int(row(text, label, r"[\d,]+").replace(",", ""))


def saved(config: ModelConfig, path: Path) -> Path:
    """A model directory at `path`, its tables tied."""
    torch.manual_seed(1)
    segmenters = train_subwords(Unigram(), [Pair(f"Room {i} is free.", f"Zimmer {i} ist frei.") for i in range(200)])
    vocabulary = Vocabulary(segmenters.source.size)
    described = ModelDirectory(source="en", target="de", model=config, subwords=Unigram())
    Translator(described, config.build(vocabulary, vocabulary).eval(), segmenters).save(path)
    return path


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved Transformer of width 16, and a card."""
    config = EncoderDecoder(width=16, heads=2, encoder=Stack(depth=1), decoder=CrossStack(depth=2))
    path = saved(config, tmp_path_factory.mktemp("run") / "model")
    Card(name="rooms", source="en", target="de", model_licence="CC0-1.0").write(path / "card.json")
    return path


@pytest.mark.parametrize(("preset", "width", "inner"), [("paper-base", 512, 2048), ("paper-big", 1024, 4096)])
def test_the_papers_models_have_their_size(preset: str, width: int, inner: int) -> None:
    attention, feedforward, norm = 4 * (width * width + width), 2 * width * inner + inner + width, 2 * width
    text = describe(Path(preset))
    assert number(text, "embeddings") == 37_000 * width
    assert number(text, "encoder") == 6 * (attention + feedforward + 2 * norm)
    assert number(text, "decoder") == 6 * (2 * attention + feedforward + 3 * norm)
    total = sum(number(text, part) for part in ("embeddings", "encoder", "decoder"))
    assert number(text, "parameters") == total


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_every_preset_is_described(preset: str) -> None:
    text = describe(Path(preset), vocabulary=1000)
    assert text.startswith(f"{preset}: a preset, counted at 1,000 joint subwords")
    assert re.search(r"^training +[\d,]+ steps of [\d,]+ tokens", text, re.MULTILINE)


def test_shapes_of_the_paper() -> None:
    text = describe(Path("paper-base"), shapes=50)
    assert row(text, "X").split()[0] == "50x512"
    expected = {"Q": "50x64", "K": "50x64", "V": "50x64", "scores": "50x50", "output": "50x64"}
    for name, dimensions in expected.items():
        assert row(text, f"self-attention, one head: {name}").split()[0] == dimensions
    assert row(text, "self-attention: 8 heads").split()[0] == "50x512"
    assert row(text, "table.weight") == "37000x512"


def test_shapes_of_experts_who_choose_by_value() -> None:
    text = describe(Path("tiny"), shapes=5, overrides=["model.encoder.layers=[{feedforward: experts}]"])
    assert row(text, "feed-forward: router").split()[0] == "5x8"


def test_a_model_directory(directory: Path) -> None:
    text = describe(directory)
    translator = Translator.load(directory)
    assert text.startswith(f"{directory}: en → de\n")
    assert row(text, "subwords") == f"unigram, joint: {translator.segmenters.source.size:,}"
    assert number(text, "embeddings") == 16 * translator.segmenters.source.size
    weights = (directory / "model.safetensors").stat().st_size
    assert row(text, "model.safetensors") == f"{weights / 1e3:,.1f} kB"
    assert text.endswith(Card.read(directory / "card.json").render())
    assert "shapes" not in text


def test_shapes_of_a_model_directory(directory: Path) -> None:
    assert row(describe(directory, shapes=7), "self-attention, one head: scores").split()[0] == "7x7"


@pytest.mark.parametrize(
    ("config", "parameter"),
    [
        (LSTM(width=16), "stack.layers.0.lstm.weight_hh_l0 64x16"),
        (ConvS2S(width=16), "blocks.0.weight 32x48"),
        (ByteNet(width=16), "blocks.0.convolution.weight 8x24"),
    ],
    ids=["lstm", "convs2s", "bytenet"],
)
def test_other_models(config: ModelConfig, parameter: str, tmp_path: Path) -> None:
    text = describe(saved(config, tmp_path / "model"), shapes=7)
    assert row(text, "model").startswith(f"{config.kind}(width=16, ")
    total = sum(number(text, part) for part in ("embeddings", "encoder", "decoder"))
    assert number(text, "parameters") == total
    assert "source and a target of 7 tokens: shown for models of kind encoder_decoder only" in text
    assert parameter in " ".join(text.split())


def test_a_directory_goes_before_a_preset(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.rename(directory.with_name("small"))
    monkeypatch.chdir(directory.parent)
    try:
        assert describe(Path("small")).startswith("small: en → de")
    finally:
        directory.with_name("small").rename(directory)


@pytest.mark.parametrize(
    ("name", "message"),
    [("papr-base", "did you mean 'paper-base'"), ("runs/nowhere/model", "presets: base, demo, paper-base")],
)
def test_a_name_that_is_nothing(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        describe(Path(name))


def test_a_run_is_not_its_model(directory: Path) -> None:
    with pytest.raises(UserError, match=f"it is a run, whose model is {directory}"):
        describe(directory.parent)
