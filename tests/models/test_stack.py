"""Stacks: how placements, factors on residual connections and initialisation reach the layers."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kakehashi.config import Config, ConfigError, resolve
from kakehashi.models.initialisation import initialise
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import (
    CrossLayer,
    CrossStack,
    Layer,
    LayerModule,
    Placement,
    Shared,
    Skip,
    Stack,
    StackModule,
)
from kakehashi.models.transformer import EncoderDecoder, Transformer
from kakehashi.nn.feedforward import FeedForward, ReLU, SwiGLU
from kakehashi.nn.mixers import Mixer
from kakehashi.nn.mixers.attention import Attention, MultiHeadAttention
from kakehashi.nn.mixers.protocol import Context
from kakehashi.nn.mixers.recurrence import SSRU
from kakehashi.nn.patterns import Window
from kakehashi.nn.residual import PLACEMENTS

SHARED = Shared(width=32, heads=4, dropout=0.0)


def model(placement: Placement, feedforward: FeedForward) -> Transformer:
    torch.manual_seed(1)
    config = EncoderDecoder(
        width=8,
        heads=2,
        encoder=Stack(placement=placement, layers=(Layer(feedforward=feedforward),)),
        decoder=CrossStack(placement=placement, layers=(CrossLayer(feedforward=feedforward),)),
    )
    return config.build(Vocabulary(9), Vocabulary(9))


def layers_of(stack: StackModule) -> Iterator[LayerModule]:
    for layer in stack.layers:
        assert isinstance(layer, LayerModule)
        yield layer


# DeepNorm


def test_deepnorm_knows_its_depths() -> None:
    """The table of DeepNet at N = M = 6; a stack that no decoder reads has other constants."""
    deep = model("deepnorm", ReLU(size=12))
    for layer in layers_of(deep.encoder):
        assert (layer.mixer_residual.skip, layer.gain) == pytest.approx((1.41794, 0.49699), abs=1e-5)
    for layer in layers_of(deep.decoder):
        assert layer.cross_residual is not None
        assert (layer.cross_residual.skip, layer.gain) == pytest.approx((2.05977, 0.34329), abs=1e-5)
    for layer in layers_of(Stack(placement="deepnorm").build(SHARED, "causal", "decoder")):
        assert (layer.feedforward_residual.skip, layer.gain) == pytest.approx((1.86121, 0.37992), abs=1e-5)


@pytest.mark.parametrize("feedforward", [ReLU(size=12), SwiGLU(size=12)], ids=lambda f: f.kind)
def test_deepnorm_starts_with_smaller_values(feedforward: FeedForward) -> None:
    """Values, outputs and feed-forwards times beta; queries, keys and gates, embeddings and norms as ever."""
    plain, deep = dict(model("post", feedforward).named_parameters()), model("deepnorm", feedforward).named_parameters()
    scaled: set[str] = set()
    for name, parameter in deep:
        beta = 0.87 * 6 ** (-5 / 16) if name.startswith("encoder") else 72**-0.25
        if not torch.equal(parameter, plain[name]):
            torch.testing.assert_close(parameter, plain[name] * beta)
            scaled.add(".".join(name.split(".")[-3:]))
    attention = {f"{part}.{name}.weight" for part in ("mixer", "cross") for name in ("value", "output")}
    assert scaled == attention | {"feedforward.inner.weight", "feedforward.outer.weight"}


# Variances


def residual_stream(placement: Placement, depth: int) -> Tensor:
    """What a new stack's last layer hands on, [20, 10, 32], for an input of variance 1."""
    torch.manual_seed(1)
    stack = Stack(depth=depth, placement=placement, position="none").build(SHARED, "bidirectional", "encoder")
    initialise(stack)
    stack.norm = nn.Identity()
    with torch.no_grad():
        return stack(torch.randn(20, 10, 32), Context(positions=torch.arange(10)[None]))


def test_variance_of_a_new_stack() -> None:
    """Post-norm and deepnorm end at 1. A sandwich adds 1 with each of its two sub-layers, so that 12 layers end at 25.

    Pre-norm grows with depth too, by what each sub-layer's matrices let through.
    """
    for placement in ("post", "deepnorm"):
        assert residual_stream(placement, 12).var().item() == pytest.approx(1, rel=0.02)
    assert residual_stream("sandwich", 12).var().item() == pytest.approx(1 + 2 * 12, rel=0.25)
    growth = [residual_stream("pre", depth).var().item() for depth in (1, 4, 16)]
    assert 1 < growth[0] < growth[1] / 1.5 < growth[2] / 3


# Factors on residual connections


class Root(Config):
    model: EncoderDecoder


def test_skips_are_short_in_a_recipe() -> None:
    """Factors of the first of two layers; the others stay 1."""
    encoder = {"depth": 5, "layers": [{"skip": {"mixer": 0}}, {}]}
    decoder = {"layers": [{"skip": {"cross": 2}}]}
    config = resolve({"model": {"width": 8, "heads": 2, "encoder": encoder, "decoder": decoder}}, Root).model
    built = config.build(Vocabulary(9), Vocabulary(9))
    assert [layer.mixer_residual.skip for layer in layers_of(built.encoder)] == [0, 1, 0, 1, 0]
    assert {layer.feedforward_residual.skip for layer in layers_of(built.encoder)} == {1}
    crossing = [layer.cross_residual for layer in layers_of(built.decoder)]
    assert [residual.skip for residual in crossing if residual is not None] == [2] * 6
    with pytest.raises(ConfigError, match="no key 'cross' in"):
        resolve({"model": {"encoder": {"layers": [{"skip": {"cross": 0}}]}}}, Root)


@torch.no_grad()
def test_a_removed_skip_lets_x_through_its_sublayer_only() -> None:
    layers = (Layer(feedforward=ReLU(size=12), skip=Skip(feedforward=0)),)
    stack = Stack(depth=1, layers=layers).build(SHARED, "bidirectional", "encoder")
    (layer,) = layers_of(stack)
    for name in ("weight", "bias"):
        layer.feedforward.get_parameter(f"outer.{name}").zero_()
    assert not layer(torch.randn(2, 3, 32), Context(positions=torch.arange(3)[None])).any()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_only_an_unnormed_stack_gets_a_norm_at_its_end(placement: Placement) -> None:
    stack = Stack(placement=placement).build(SHARED, "bidirectional", "encoder")
    assert isinstance(stack.norm, nn.Identity) == (placement in ("post", "deepnorm"))


# Alignment


@pytest.mark.parametrize(("depth", "aligning"), [(1, 0), (2, 0), (4, 2)])
def test_the_last_layer_but_one_tells_the_alignment(depth: int, aligning: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the mean of its heads; no other layer is asked."""
    torch.manual_seed(1)
    config = EncoderDecoder(width=8, heads=2, encoder=Stack(depth=1), decoder=CrossStack(depth=depth))
    built = config.build(Vocabulary(9), Vocabulary(9)).eval()
    source, seen = torch.tensor([[3, 4, 5]]), dict[int, Tensor]()
    encoded = built.encode(source, source > 0)
    for i, layer in enumerate(layers_of(built.decoder)):
        assert isinstance(layer.cross, MultiHeadAttention)
        weights = layer.cross.score.weights

        def spy(q: Tensor, k: Tensor, bias: Tensor | None, i: int = i, weights: Any = weights) -> Tensor:
            seen[i] = weights(q, k, bias)
            return seen[i]

        monkeypatch.setattr(layer.cross.score, "weights", spy)
    found = built.decode(torch.tensor([[1, 6]]), encoded, alignment=True).alignment
    assert list(seen) == [aligning] and found is not None
    torch.testing.assert_close(found, seen[aligning].mean(1))


def test_in_a_stack_of_several_mixers_those_tell_that_can() -> None:
    def aligning(*mixers: Mixer) -> int | None:
        layers = tuple(Layer(mixer=mixer) for mixer in mixers)
        return Stack(depth=len(layers), layers=layers).build(SHARED, "causal", "decoder").aligning

    local = Attention(pattern=Window(size=3))
    assert aligning(Attention(), Attention(), SSRU(), local) == 0
    assert aligning(SSRU(), Attention(), local) == 1
    assert aligning(local, SSRU()) is None
