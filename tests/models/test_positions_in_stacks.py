"""Positions in a whole model: modules where they act and of the sizes there, limits, and sentences of any length."""

from typing import Any, Literal, get_args

import pytest
import torch
from torch import Tensor, nn

from kakehashi.decoding import Beam, Greedy, search
from kakehashi.errors import UserError
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossStack, Layer, Shared, Stack, StackModule
from kakehashi.models.transformer import EncoderDecoder, Transformer
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.mixers.protocol import Context, MixerConfig
from kakehashi.nn.positions import T5, Learned, Mode, NoPosition, Position, PositionConfig, Rope, Shaw
from kakehashi.nn.positions.protocol import Positions

UNBOUND = [member for member in get_args(get_args(PositionConfig)[0]) if member is not Learned]


class Still(MixerConfig):
    """A mixer without attention."""

    kind: Literal["still"] = "still"

    def build(self, width: int, heads: int, mode: Mode, name: str) -> nn.Module:
        return Nothing()


class Nothing(nn.Module):
    def forward(self, x: Tensor, context: Context) -> Tensor:
        assert type(context.position) is Position, "no layer's positions but its own"
        return x


def stack(position: Positions, *mixers: Attention | Still) -> StackModule:
    layers = tuple(Layer.model_construct(mixer=mixer) for mixer in mixers)
    config = Stack(depth=len(mixers), position=position).model_copy(update={"layers": layers})
    return config.build(Shared(width=12, heads=2, dropout=0.0), "causal", "decoder")


def test_layers_have_positions_of_their_own_where_they_attend() -> None:
    module = stack(Shaw(clip=4), Still(), Attention(key_size=3), Attention(value_size=5), Still())
    shapes = {name: tuple(p.shape) for name, p in module.positions.named_parameters()}
    assert shapes == {
        "1.keys.weight": (5, 3),
        "1.vectors.weight": (5, 6),
        "2.keys.weight": (5, 6),
        "2.vectors.weight": (5, 5),
    }
    places = torch.arange(4)[None]
    assert module(torch.randn(2, 4, 12), Context(places)).shape == (2, 4, 12)


def test_a_stack_shares_one_module() -> None:
    module = stack(T5(), Attention(), Attention(), Attention())
    assert [name for name, _ in module.positions.named_parameters()] == ["0.table.weight"]


def test_sizes_of_every_attention_are_checked() -> None:
    stack(Rope(), Still(), Attention(key_size=4))
    with pytest.raises(ValueError, match="even size in a head, not 5"):
        stack(Rope(), Attention(key_size=4), Attention(key_size=5))


@pytest.mark.parametrize("kind", UNBOUND)
def test_what_acts_in_attention_needs_one(kind: Any) -> None:
    if kind.in_attention:
        with pytest.raises(ValueError, match=f"decoder: positions of kind {kind().kind} act in attention"):
            stack(kind(), Still())
    else:
        assert stack(kind(), Still()).limit is None


# Lengths


def model(encoder: Any, decoder: Any) -> Transformer:
    torch.manual_seed(1)
    stacks = Stack(depth=1, position=encoder), CrossStack(depth=1, position=decoder)
    config = EncoderDecoder(width=8, heads=2, encoder=stacks[0], decoder=stacks[1])
    return config.build(Vocabulary(20), Vocabulary(20)).eval()


def tokens(length: int) -> Tensor:
    return torch.randint(3, 20, (2, length), generator=torch.Generator().manual_seed(2))


def test_the_models_limit_is_that_of_its_shorter_stack() -> None:
    unbound, twenty, ten = NoPosition(), Learned(max_length=20), Learned(max_length=10)
    limits = [model(*stacks).max_length for stacks in ((unbound, Rope()), (twenty, unbound), (twenty, ten))]
    assert limits == [None, 20, 10]


@torch.no_grad()
def test_positions_beyond_the_table_are_an_error() -> None:
    transformer = model(Learned(max_length=9), Learned(max_length=5))
    source = tokens(9)
    encoded = transformer.encode(source, source > 0)
    state = transformer.begin(encoded)
    transformer.decode(tokens(5), encoded)
    transformer.step(tokens(5), state)
    with pytest.raises(UserError, match="encoder: a sequence of 10 tokens, and its parts know 9 places at most"):
        transformer.encode(tokens(10), tokens(10) > 0)
    for call in (lambda: transformer.decode(tokens(6), encoded), lambda: transformer.step(tokens(1), state)):
        with pytest.raises(UserError, match=r"decoder: a sequence of 6 tokens.*raise their max_length"):
            call()


@pytest.mark.parametrize("decoding", [Greedy(min_length=5, extra_length=50), Beam(min_length=5, extra_length=50)])
def test_a_search_ends_where_positions_end(decoding: Greedy | Beam) -> None:
    transformer = model(NoPosition(), Learned(max_length=7))
    with torch.no_grad():  # END never wins
        transformer.decoder.norm.get_parameter("bias").add_(-9 * transformer.projection.weight[2])
    source = tokens(4)
    for (best,) in search(transformer, source, source > 0, decoding):
        assert len(best.tokens) == 7 and not best.finished


@pytest.mark.parametrize("kind", UNBOUND)
@torch.no_grad()
def test_sentences_may_be_longer_than_any_before(kind: Any) -> None:
    """Three times as long as the longest distance that any kind tells apart: finite, and the beginning the same."""
    transformer, source = model(kind(), kind()), tokens(3 * 128)
    encoded = transformer.encode(source, source > 0)
    whole = transformer.decode(source, encoded).hidden
    assert whole.isfinite().all()
    torch.testing.assert_close(whole[:, :128], transformer.decode(source[:, :128], encoded).hidden, atol=1e-5, rtol=0)
