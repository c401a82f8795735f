"""The shapes that readers of the paper know, seen in a real forward pass."""

from pathlib import Path
from typing import Any

import pytest
import torch

import kakehashi
from kakehashi.config import Config, resolve
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.shapes import Shape, parameter_shapes, shapes
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, Placement, Stack
from kakehashi.models.transformer import EncoderDecoder, Transformer
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.feedforward import Experts, ReLU, SwiGLU
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.residual import PLACEMENTS
from kakehashi.nn.scores import Additive


class Preset(Config):
    """As much of a recipe as matters here."""

    model: EncoderDecoder
    training: dict[str, Any] | None = None
    decoding: dict[str, Any] | None = None


@pytest.fixture(scope="module")
def paper_base() -> Transformer:
    """On the meta device: shapes and no numbers."""
    presets = Path(kakehashi.__file__).parent / "presets"
    config = resolve({"base": "paper-base"}, Preset, presets=presets).model
    assert isinstance(config, EncoderDecoder)
    with torch.device("meta"):
        return config.build(Vocabulary(37_000), Vocabulary(37_000))


def rows(found: list[Shape], part: str) -> dict[str, tuple[int, ...]]:
    chosen = [shape for shape in found if shape.part == part]
    assert len({shape.name for shape in chosen}) == len(chosen), "a name is unique in its part"
    return {shape.name: shape.dimensions for shape in chosen}


def attention(kind: str, queries: int, keys: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{kind}, one head: Q": (queries, 64),
        f"{kind}, one head: K": (keys, 64),
        f"{kind}, one head: V": (keys, 64),
        f"{kind}, one head: scores": (queries, keys),
        f"{kind}, one head: output": (queries, 64),
        f"{kind}: 8 heads": (queries, 512),
        f"{kind}: output": (queries, 512),
    }


def test_the_paper_at_fifty_tokens(paper_base: Transformer) -> None:
    found = shapes(paper_base, 50, 40)
    parts = ["encoder", "encoder layers 0-5", "decoder", "decoder layers 0-5", "projection"]
    assert list(dict.fromkeys(shape.part for shape in found)) == parts
    assert rows(found, "encoder") == {"X": (50, 512), "output": (50, 512)}
    feedforward = {"feed-forward: inner": (50, 2048), "feed-forward: outer": (50, 512)}
    assert rows(found, "encoder layers 0-5") == attention("self-attention", 50, 50) | feedforward
    assert rows(found, "decoder") == {"Y": (40, 512), "output": (40, 512)}
    assert rows(found, "decoder layers 0-5") == (
        attention("masked self-attention", 40, 40)
        | attention("cross-attention", 40, 50)
        | {"feed-forward: inner": (40, 2048), "feed-forward: outer": (40, 512)}
    )
    assert rows(found, "projection") == {"logits": (40, 37_000)}
    assert all(shape.meaning for shape in found)


def test_the_papers_parameters(paper_base: Transformer) -> None:
    found = parameter_shapes(paper_base)
    one = rows(found, "encoder layers 0-5")
    assert one["mixer.query.weight"] == one["mixer.output.weight"] == (512, 512)
    assert one["feedforward.inner.weight"] == (2048, 512) and one["feedforward.outer.bias"] == (512,)
    assert rows(found, "source_embedding") == {"table.weight": (37_000, 512)}
    times = {"source_embedding": 1, "encoder layers 0-5": 6, "decoder layers 0-5": 6}
    assert {shape.part for shape in found} == times.keys(), "the shared table comes once"
    sizes = [times[shape.part] * torch.Size(shape.dimensions).numel() for shape in found]
    assert sum(sizes) == 63_082_496


@pytest.fixture
def varied() -> Transformer:
    """Alternating layers, odd sizes of heads, three tables."""
    torch.manual_seed(1)
    wide, narrow = Layer(feedforward=ReLU(size=10)), Layer(mixer=Attention(key_size=3, value_size=5))
    config = EncoderDecoder(
        width=8,
        heads=2,
        embeddings=Embeddings(tie="none"),
        encoder=Stack(depth=5, layers=(wide, narrow, wide)),
        decoder=CrossStack(depth=1, layers=(CrossLayer(feedforward=ReLU(size=6)),)),
    )
    return config.build(Vocabulary(20), Vocabulary(30))


def test_different_layers_are_different_parts(varied: Transformer) -> None:
    found = shapes(varied, 4, 3)
    wide, narrow = (rows(found, f"encoder layers {label}") for label in ("0, 2-3", "1, 4"))
    assert wide["self-attention, one head: Q"] == wide["self-attention, one head: V"] == (4, 4)
    assert (narrow["self-attention, one head: K"], narrow["self-attention, one head: V"]) == ((4, 3), (4, 5))
    assert narrow["self-attention: 2 heads"] == (4, 10) and wide["feed-forward: inner"] == (4, 10)
    assert rows(found, "decoder layer 0")["cross-attention, one head: scores"] == (3, 4)
    parameters = parameter_shapes(varied)
    assert rows(parameters, "encoder layers 1, 4")["mixer.value.weight"] == (10, 8)
    assert rows(parameters, "encoder") == rows(parameters, "decoder") == {"norm.weight": (8,), "norm.bias": (8,)}
    assert rows(parameters, "projection") == {"weight": (30, 8)}
    assert rows(parameters, "source_embedding") == {"table.weight": (20, 8)}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_gates_and_routers_are_shown(placement: Placement) -> None:
    """Four tokens through a gated layer and one of three experts; no row for the tokens of a single expert."""
    layers = (Layer(feedforward=SwiGLU(size=10)), Layer(feedforward=Experts(experts=3, expert=ReLU(size=6))))
    encoder = Stack(depth=2, placement=placement, layers=layers)
    config = EncoderDecoder(width=8, heads=2, encoder=encoder, decoder=CrossStack(depth=1, placement=placement))
    model = config.build(Vocabulary(20), Vocabulary(20))
    found = shapes(model, 4, 3)
    feedforwards = [
        {name.removeprefix("feed-forward: "): size for name, size in part.items() if name.startswith("feed-forward")}
        for part in (rows(found, "encoder layer 0"), rows(found, "encoder layer 1"))
    ]
    assert feedforwards == [{"gate": (4, 10), "inner": (4, 10), "outer": (4, 8)}, {"router": (4, 3)}]
    assert rows(parameter_shapes(model), "encoder layer 1")["feedforward.experts.2.inner.weight"] == (6, 8)


def test_shared_heads_and_other_scores_are_shown() -> None:
    config = EncoderDecoder(
        width=8,
        heads=4,
        encoder=Stack(depth=1, layers=(Layer(mixer=Attention(kv_heads=2, value_size=5)),)),
        decoder=CrossStack(depth=1, layers=(CrossLayer(mixer=Attention(score=Additive(), values="keys", kv_heads=1)),)),
    )
    model = config.build(Vocabulary(20), Vocabulary(20))
    found = shapes(model, 6, 3)
    grouped, tied = rows(found, "encoder layer 0"), rows(found, "decoder layer 0")
    assert grouped["self-attention, one head: V"] == (6, 5) and grouped["self-attention: 4 heads"] == (6, 20)
    assert tied["masked self-attention, one head: K"] == tied["masked self-attention, one head: V"] == (3, 2)
    meanings = {shape.name: shape.meaning for shape in found}
    assert meanings["masked self-attention, one head: scores"].startswith("v^T tanh(Q + K), soft-max over each row")
    assert meanings["cross-attention, one head: scores"].startswith("Q K^T / sqrt(d_k), soft-max over each row")
    parameters = rows(parameter_shapes(model), "decoder layer 0")
    assert parameters["mixer.key.weight"] == (2, 8) and "mixer.value.weight" not in parameters


def test_looking_leaves_no_trace(varied: Transformer) -> None:
    varied.train()
    varied.decoder.eval()
    modes = [module.training for module in varied.modules()]
    before = torch.get_rng_state()
    assert shapes(varied, 2, 2) == shapes(varied, 2, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in varied.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in varied.modules())


def test_a_sentence_has_a_token_at_least(varied: Transformer) -> None:
    assert rows(shapes(varied, 1, 1), "projection") == {"logits": (1, 30)}
    with pytest.raises(ValueError, match="1 or more, not 5 and 0"):
        shapes(varied, 5, 0)
