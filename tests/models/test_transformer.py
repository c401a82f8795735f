"""The paper's Transformer: its size, its blocks by formula, its embeddings, and its presets."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import kakehashi
from kakehashi.config import Config, resolve
from kakehashi.models.protocol import Encoded, Translating, Vocabulary
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, LayerModule, Residual, Stack
from kakehashi.models.transformer import EncoderDecoder, Transformer
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.feedforward import PlainFeedForward, ReLU
from kakehashi.nn.mixers.attention import Attention, MultiHeadAttention
from kakehashi.nn.mixers.protocol import Context
from kakehashi.nn.positions import sinusoids

PRESETS = Path(kakehashi.__file__).parent / "presets"


class Preset(Config):
    """As much of a recipe as matters here."""

    model: EncoderDecoder
    training: dict[str, Any] | None = None
    decoding: dict[str, Any] | None = None


def preset(name: str) -> EncoderDecoder:
    model = resolve({"base": name}, Preset, presets=PRESETS).model
    assert isinstance(model, EncoderDecoder)
    return model


def closed_formula(config: EncoderDecoder, vocabulary: int, inner: int) -> int:
    """Parameters of a Transformer with one table: its matrices, biases and norms, counted on paper."""
    d = config.width
    attention, feedforward, norm = 4 * (d * d + d), 2 * d * inner + inner + d, 2 * d
    encoder = config.encoder.depth * (attention + feedforward + 2 * norm)
    decoder = config.decoder.depth * (2 * attention + feedforward + 3 * norm)
    last = sum(norm for stack in (config.encoder, config.decoder) if stack.placement == "pre")
    return vocabulary * d + encoder + decoder + last


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "vocabulary", "inner", "expected"),
    [
        ("paper-base", 37_000, 2048, 63_082_496),
        ("paper-big", 37_000, 4096, 214_245_376),
        ("tiny", 10_000, 256, 2_600_000),
        ("small", 8_000, 1024, 9_400_000),
        ("base", 32_000, 2048, 60_500_000),
    ],
)
def test_parameter_counts(name: str, vocabulary: int, inner: int, expected: int) -> None:
    config = preset(name)
    with torch.device("meta"):
        model = config.build(Vocabulary(vocabulary), Vocabulary(vocabulary))
    assert count(model) == closed_formula(config, vocabulary, inner)
    assert count(model) == expected if name.startswith("paper") else count(model) == pytest.approx(expected, rel=0.02)


def test_the_papers_presets_are_the_papers() -> None:
    """Table 3 of Vaswani et al. 2017, and section 3."""
    for name, width, heads, inner, dropout in (("paper-base", 512, 8, 2048, 0.1), ("paper-big", 1024, 16, 4096, 0.3)):
        config = preset(name)
        assert (config.width, config.heads, config.dropout) == (width, heads, dropout)
        assert (config.embeddings.tie, config.embeddings.scale) == ("all", "sqrt_width")
        for stack in (config.encoder, config.decoder):
            assert (stack.depth, stack.placement, stack.position.kind) == (6, "post", "sinusoidal")
            (layer,) = stack.layers
            assert (layer.mixer, layer.feedforward) == (Attention(), ReLU(size=inner))


def test_todays_presets_are_pre_norm() -> None:
    for name in ("tiny", "small", "base"):
        assert {stack.placement for stack in (preset(name).encoder, preset(name).decoder)} == {"pre"}


# Blocks by formula


def paper(tie: str = "all", scale: str = "sqrt_width", source: int = 30, target: int = 30) -> Transformer:
    torch.manual_seed(1)
    config = EncoderDecoder(
        width=12,
        heads=3,
        embeddings=Embeddings.model_validate({"tie": tie, "scale": scale}),
        encoder=Stack(depth=2, placement="post", layers=(Layer(feedforward=ReLU(size=20)),)),
        decoder=CrossStack(depth=2, placement="post", layers=(CrossLayer(feedforward=ReLU(size=20)),)),
    )
    model = config.build(Vocabulary(source), Vocabulary(target)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def layer_norm(x: Tensor, residual: Residual) -> Tensor:
    gain, bias = residual.norm.get_parameter("weight"), residual.norm.get_parameter("bias")
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain + bias


def feed_forward(x: Tensor, module: nn.Module) -> Tensor:
    assert isinstance(module, PlainFeedForward)
    inner = torch.einsum("rld,fd->rlf", x, module.inner.weight) + module.inner.bias
    return torch.einsum("rlf,df->rld", inner.clamp(min=0), module.outer.weight) + module.outer.bias


def multi_head(x: Tensor, keys: Tensor, hidden: Tensor, module: nn.Module | None) -> Tensor:
    """`hidden` [R, Q, K]: True where a key may not be seen. By einsum over weights [H, C, D]."""
    assert isinstance(module, MultiHeadAttention)
    heads = module.sizes.heads
    q, k, v = (
        torch.einsum("rld,hcd->rhlc", y, part.weight.unflatten(0, (heads, -1)))
        + part.bias.unflatten(0, (heads, -1))[:, None]
        for y, part in ((x, module.query), (keys, module.key), (keys, module.value))
    )
    scores = torch.einsum("rhqc,rhkc->rhqk", q, k) / module.sizes.key**0.5
    exponentials = scores.masked_fill(hidden[:, None], -torch.inf).exp()
    weights = exponentials / exponentials.sum(-1, keepdim=True)
    mixed = torch.einsum("rhqk,rhkc->rhqc", weights, v)
    return torch.einsum("rhqc,dhc->rqd", mixed, module.output.weight.unflatten(1, (heads, -1))) + module.output.bias


def layer_of(stack: nn.Module, index: int) -> LayerModule:
    layer = stack.get_submodule(f"layers.{index}")
    assert isinstance(layer, LayerModule)
    return layer


def inputs() -> tuple[Tensor, Encoded, Tensor]:
    """x [2, 5, 12]; an encoded source [2, 4, 12], the second of two tokens; its padding, as queries see it."""
    torch.manual_seed(2)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    memory = Encoded(torch.randn(2, 4, 12, dtype=torch.float64), mask)
    return torch.randn(2, 5, 12, dtype=torch.float64), memory, ~mask[:, None].expand(2, 5, 4)


@torch.no_grad()
def test_an_encoder_layer_is_layer_norm_of_x_plus_sublayer() -> None:
    layer, (x, _, _) = layer_of(paper().encoder, 1), inputs()
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    hidden = ~mask[:, None].expand(2, 5, 5)
    y = layer_norm(x + multi_head(x, x, hidden, layer.mixer), layer.mixer_residual)
    expected = layer_norm(y + feed_forward(y, layer.feedforward), layer.feedforward_residual)
    found = layer(x, Context(positions=torch.arange(5)[None], mask=mask))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@torch.no_grad()
def test_a_decoder_layer_is_layer_norm_of_x_plus_sublayer() -> None:
    layer, (x, memory, padding) = layer_of(paper().decoder, 1), inputs()
    ahead = torch.ones(2, 5, 5).triu(1).bool()
    y = layer_norm(x + multi_head(x, x, ahead, layer.mixer), layer.mixer_residual)
    assert layer.cross_residual is not None
    z = layer_norm(y + multi_head(y, memory.states, padding, layer.cross), layer.cross_residual)
    expected = layer_norm(z + feed_forward(z, layer.feedforward), layer.feedforward_residual)
    found = layer(x, Context(positions=torch.arange(5)[None], memory=memory))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@torch.no_grad()
def test_a_post_norm_stack_ends_with_its_last_layer() -> None:
    model, (x, _, _) = paper(), inputs()
    context = Context(positions=torch.arange(5)[None])
    start = x + sinusoids(context.positions, 12, x.dtype)
    expected = layer_of(model.encoder, 1)(layer_of(model.encoder, 0)(start, context), context)
    assert torch.equal(model.encoder(x, context), expected)


# Embeddings


def test_tied_tables_are_one_parameter() -> None:
    tables = {tie: paper(tie) for tie in ("all", "target", "none")}
    one = tables["all"]
    assert one.source_embedding.table.weight is one.target_embedding.table.weight is one.projection.weight
    two = tables["target"]
    assert two.source_embedding.table.weight is not two.target_embedding.table.weight is two.projection.weight
    assert tables["none"].projection.weight is not tables["none"].target_embedding.table.weight
    assert count(two) - count(one) == count(tables["none"]) - count(two) == 30 * 12


def test_each_side_may_have_a_vocabulary_of_its_own() -> None:
    model = paper("target", source=20, target=40)
    source = torch.tensor([[19, 2]])
    output = model.decode(torch.tensor([[1, 39]]), model.encode(source, source != 0))
    assert output.logits.shape == (1, 2, 40)
    with pytest.raises(ValueError, match=r"model\.embeddings\.tie"):
        paper("all", source=20, target=40)


@pytest.mark.parametrize(("scale", "factor"), [("sqrt_width", 12**0.5), ("none", 1.0)])
def test_embeddings_are_scaled(scale: str, factor: float) -> None:
    embedding = paper(scale=scale).source_embedding
    tokens = torch.tensor([[3, 5]])
    torch.testing.assert_close(embedding(tokens), embedding.table.weight[tokens] * factor, atol=0, rtol=1e-12)


def test_a_new_model_embeds_at_unit_scale_and_predicts_nearly_nothing() -> None:
    """So that neither positions nor words drown the others, and training starts near the loss of a guess, ln V."""
    torch.manual_seed(1)
    model = preset("tiny").build(Vocabulary(1000), Vocabulary(1000)).eval()
    tokens = torch.randint(3, 1000, (4, 25))
    with torch.no_grad():
        assert model.source_embedding(tokens).std().item() == pytest.approx(1, rel=0.05)
        logits = model.decode(tokens, model.encode(tokens, tokens > 0)).logits
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(1000, (100,)))
    assert loss.item() == pytest.approx(torch.tensor(1000.0).log().item(), rel=0.15)


def test_the_seed_decides_the_start() -> None:
    one, same = paper(), paper()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))


def test_it_satisfies_the_protocol() -> None:
    model: Translating = paper()
    assert model.max_length is None
    assert model.source_vocabulary == model.target_vocabulary == Vocabulary(30)


def test_layers_are_tiled_over_the_depth() -> None:
    layers = (Layer(feedforward=ReLU(size=3)), Layer(feedforward=ReLU(size=5)))
    config = EncoderDecoder(width=4, heads=1, encoder=Stack(depth=5, layers=layers), decoder=CrossStack(depth=1))
    model = config.build(Vocabulary(9), Vocabulary(9))
    sizes = [layer_of(model.encoder, i).feedforward.get_parameter("inner.weight").shape[0] for i in range(5)]
    assert sizes == [3, 5, 3, 5, 3]


def test_an_end_of_the_source_that_is_hidden_changes_nothing() -> None:
    hidden = EncoderDecoder(width=16, heads=2, dropout=0, source_end="hidden").build(Vocabulary(20), Vocabulary(20))
    source, mask = torch.tensor([[5, 6, 2, 0], [7, 8, 9, 2]]), torch.tensor([[True] * 3 + [False], [True] * 4])
    tokens, without = torch.tensor([[1, 4, 5], [1, 6, 7]]), source.masked_fill(source == 2, 0)
    first = hidden.eval().decode(tokens, hidden.encode(source, mask)).logits
    second = hidden.decode(tokens, hidden.encode(without, without != 0)).logits
    torch.testing.assert_close(first, second)
