"""Our forward pass against torch.nn.Transformer's on the same weights."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, LayerModule, Placement, Residual, Stack, StackModule
from kakehashi.models.transformer import EncoderDecoder, Transformer
from kakehashi.nn.feedforward import PlainFeedForward, ReLU
from kakehashi.nn.mixers.attention import MultiHeadAttention
from kakehashi.nn.positions import sinusoids

WIDTH, HEADS, INNER, DEPTH, SIZE = 16, 4, 24, 2, 30


def ours(placement: Placement) -> Transformer:
    """Tiny, in float64, every parameter away from its start."""
    torch.manual_seed(1)
    encoder = Stack(depth=DEPTH, placement=placement, layers=(Layer(feedforward=ReLU(size=INNER)),))
    decoder = CrossStack(depth=DEPTH, placement=placement, layers=(CrossLayer(feedforward=ReLU(size=INNER)),))
    config = EncoderDecoder(width=WIDTH, heads=HEADS, dropout=0.0, encoder=encoder, decoder=decoder)
    model = config.build(Vocabulary(SIZE), Vocabulary(SIZE)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def theirs(model: Transformer, placement: Placement) -> nn.Transformer:
    """torch's Transformer with our weights. The paper's post-norm has no norm behind the stack; pre-norm has one."""
    common = {"dropout": 0.0, "batch_first": True, "norm_first": placement == "pre", "dtype": torch.float64}

    def norm() -> nn.LayerNorm | None:
        return nn.LayerNorm(WIDTH, dtype=torch.float64) if placement == "pre" else None

    encoder_layer = nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, **common)
    encoder = nn.TransformerEncoder(encoder_layer, DEPTH, norm(), enable_nested_tensor=False)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(WIDTH, HEADS, INNER, **common), DEPTH, norm())
    reference = nn.Transformer(WIDTH, HEADS, custom_encoder=encoder, custom_decoder=decoder, batch_first=True)
    weights = {f"encoder.{name}": tensor for name, tensor in stack_weights(model.encoder)}
    weights |= {f"decoder.{name}": tensor for name, tensor in stack_weights(model.decoder)}
    reference.load_state_dict(weights, strict=True)
    return reference


def stack_weights(stack: StackModule) -> Iterator[tuple[str, Tensor]]:
    """Our weights under torch's names."""
    for i, layer in enumerate(stack.layers):
        assert isinstance(layer, LayerModule)
        yield from ((f"layers.{i}.{name}", tensor) for name, tensor in layer_weights(layer))
    if isinstance(stack.norm, nn.LayerNorm):
        yield from ((f"norm.{name}", tensor) for name, tensor in stack.norm.state_dict().items())


def layer_weights(layer: LayerModule) -> Iterator[tuple[str, Tensor]]:
    parts: list[tuple[nn.Module | None, Residual | None]] = [
        (layer.mixer, layer.mixer_residual),
        (layer.cross, layer.cross_residual),
        (layer.feedforward, layer.feedforward_residual),
    ]
    names = iter(("self_attn", "multihead_attn"))
    given = [(part, residual) for part, residual in parts if part is not None and residual is not None]
    for number, (part, residual) in enumerate(given, 1):
        yield from ((f"norm{number}.{name}", tensor) for name, tensor in residual.norm.state_dict().items())
        if isinstance(part, MultiHeadAttention):
            name = next(names)
            three = (part.query, part.key, part.value)
            yield f"{name}.in_proj_weight", torch.cat([linear.weight for linear in three])
            yield f"{name}.in_proj_bias", torch.cat([linear.bias for linear in three])
            yield f"{name}.out_proj.weight", part.output.weight
            yield f"{name}.out_proj.bias", part.output.bias
        else:
            assert isinstance(part, PlainFeedForward)
            for ending, linear in (("1", part.inner), ("2", part.outer)):
                yield from ((f"linear{ending}.{name}", tensor) for name, tensor in linear.state_dict().items())


def embedded(model: Transformer, tokens: Tensor) -> Tensor:
    table = model.projection.weight  # one table for all three: the paper, section 3.4
    positions = torch.arange(tokens.shape[1])[None]
    return table[tokens] * WIDTH**0.5 + sinusoids(positions, WIDTH, torch.float64)


def sentences() -> tuple[Tensor, Tensor, Tensor]:
    """Source [3, 7] with its mask, and target input [3, 5]."""
    generator = torch.Generator().manual_seed(2)
    source = torch.randint(3, SIZE, (3, 7), generator=generator)
    mask = torch.arange(7) < torch.tensor([7, 4, 1])[:, None]
    return source.masked_fill(~mask, 0), mask, torch.randint(1, SIZE, (3, 5), generator=generator)


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_the_forward_pass_equals_torchs(placement: Placement) -> None:
    model, (source, mask, target) = ours(placement), sentences()
    reference = theirs(model, placement)
    encoded = model.encode(source, mask)
    states = reference.encoder(embedded(model, source), src_key_padding_mask=~mask)
    torch.testing.assert_close(encoded.states[mask], states[mask], atol=1e-10, rtol=0)

    output = model.decode(target, encoded)
    ahead = torch.ones(5, 5).triu(1).bool()
    hidden = reference(
        embedded(model, source),
        embedded(model, target),
        tgt_mask=ahead,
        src_key_padding_mask=~mask,
        memory_key_padding_mask=~mask,
    )
    torch.testing.assert_close(output.hidden, hidden, atol=1e-10, rtol=0)
    torch.testing.assert_close(output.logits, hidden @ model.projection.weight.T, atol=1e-9, rtol=0)


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_gradients_equal_torchs(placement: Placement) -> None:
    """Of the loss with respect to the shared table: through both stacks, all attentions and the projection."""
    model, (source, mask, target) = ours(placement), sentences()
    reference, table = theirs(model, placement), model.projection.weight
    ahead = torch.ones(5, 5).triu(1).bool()
    found = model.decode(target, model.encode(source, mask)).logits
    hidden = reference(
        embedded(model, source), embedded(model, target), None, ahead, None, ~mask, memory_key_padding_mask=~mask
    )
    gradients = [
        torch.autograd.grad(logits.log_softmax(-1)[..., 4].sum(), table)[0] for logits in (found, hidden @ table.T)
    ]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-9, rtol=0)


def test_fp32_is_close_too() -> None:
    model, (source, mask, target) = ours("post"), sentences()
    exact = model.decode(target, model.encode(source, mask)).hidden
    single = model.float()
    found = single.decode(target, single.encode(source, mask)).hidden
    torch.testing.assert_close(found, exact.float(), atol=1e-5, rtol=0)
