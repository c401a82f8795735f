"""Embeddings: the bias of logits, and rows that stay as they are."""

from typing import Any

import pytest
import torch

from kakehashi.models.decoder_only import DecoderOnly
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.feedforward import ReLU
from kakehashi.nn.losses import cross_entropy

PAD = 6
VOCABULARY = Vocabulary(7, pad=PAD, begin=PAD, end=0)
SMALL = ReLU(size=8)


def build(**embeddings: str) -> Any:
    config = EncoderDecoder(
        width=8,
        heads=2,
        dropout=0.0,
        embeddings=Embeddings.model_validate(embeddings),
        encoder=Stack(depth=1, layers=(Layer(feedforward=SMALL),)),
        decoder=CrossStack(depth=1, layers=(CrossLayer(feedforward=SMALL),)),
    )
    torch.manual_seed(1)
    return config.build(VOCABULARY, VOCABULARY)


def output(model: Any) -> Any:
    source = torch.tensor([[1, 2, 0]])
    return model.decode(torch.tensor([[PAD, 3, 4]]), model.encode(source, source >= 0))


def test_a_bias_is_added_to_the_logits() -> None:
    model = build(bias="learned")
    plain = output(model).logits
    assert torch.equal(model.projection.bias, torch.zeros(7))
    model.projection.bias.data = bias = torch.arange(7.0)
    torch.testing.assert_close(output(model).logits, plain + bias)
    assert build().projection.bias is None


@pytest.mark.parametrize("tie", ["all", "target", "none"])
def test_frozen_padding_gets_no_gradient_and_all_else_does(tie: str) -> None:
    """Though the model begins with it, and each soft-max counts it."""
    gradients: dict[str, dict[str, torch.Tensor]] = {}
    for pad in ("learned", "frozen"):
        model = build(tie=tie, bias="learned", pad=pad)
        found = output(model)
        targets = torch.tensor([3, 4, 0])
        cross_entropy(found.hidden[0], found.projection, found.bias, targets, 0.1)[0].backward()
        gradients[pad] = {
            "table": model.target_embedding.table.weight.grad,
            "projection": model.projection.weight.grad,
            "bias": model.projection.bias.grad,
        }
    for name, free in gradients["learned"].items():
        frozen = gradients["frozen"][name]
        assert free[PAD].any() and not frozen[PAD].any()
        assert torch.equal(frozen[:PAD], free[:PAD])


def test_a_decoder_alone_has_them_too() -> None:
    embeddings = Embeddings(bias="learned", pad="frozen")
    model = DecoderOnly(width=8, heads=2, embeddings=embeddings, decoder=Stack(depth=1)).build(VOCABULARY, VOCABULARY)
    empty = torch.zeros(1, 0, dtype=torch.long)
    model.decode(torch.tensor([[PAD, 3]]), model.encode(empty, empty.bool())).logits.logsumexp(-1).sum().backward()
    weight, bias = model.projection.weight.grad, model.projection.bias.grad
    assert weight is not None and bias is not None and weight[3].any() and bias[3].any()
    assert not weight[PAD].any() and not bias[PAD].any()
