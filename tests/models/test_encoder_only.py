"""The bidirectional model. It generates nothing, so that what laws it has stand here, over the mixers that fit it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kakehashi.models.encoder_only import BidirectionalTransformer, EncoderOnly
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import Layer, Stack
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.feedforward import ReLU

SIZE = 17
LENGTHS = [6, 3, 1, 5]
STACKS: dict[str, dict[str, Any]] = {"pre": {}, "post": {"placement": "post"}, "no positions": {"position": "none"}}


def build(tie: str = "all", **trunk: Any) -> BidirectionalTransformer:
    torch.manual_seed(0)
    stack = Stack.model_validate({"depth": 2, "layers": (Layer(feedforward=ReLU(size=24)),), **trunk})
    config = EncoderOnly(width=16, heads=2, embeddings=Embeddings.model_validate({"tie": tie}), encoder=stack)
    model = config.build(Vocabulary(SIZE), Vocabulary(SIZE)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def texts(width: int = max(LENGTHS), junk: int = 0) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(3, SIZE, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(width) < torch.tensor(LENGTHS)[:, None]
    return nn.functional.pad(tokens, (0, width - max(LENGTHS))).masked_fill(~mask, junk), mask


def logits(model: BidirectionalTransformer, tokens: Tensor, mask: Tensor) -> Tensor:
    return model.predict(model.encode(tokens, mask)).logits


@pytest.fixture(params=STACKS)
def model(request: pytest.FixtureRequest) -> BidirectionalTransformer:
    return build(**STACKS[request.param])


@torch.no_grad()
def test_padding_and_order_of_the_batch_change_nothing(model: BidirectionalTransformer) -> None:
    (tokens, mask), (wide, wide_mask) = texts(), texts(width=9, junk=5)
    whole = logits(model, tokens, mask)
    torch.testing.assert_close(logits(model, wide, wide_mask)[wide_mask], whole[mask])
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(logits(model, tokens[order], mask[order]), whole[order])
    for row, length in enumerate(LENGTHS):
        alone = logits(model, tokens[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(alone[0], whole[row, :length])


@torch.no_grad()
def test_every_token_counts_at_every_place(model: BidirectionalTransformer) -> None:
    tokens, mask = texts()
    before = logits(model, tokens, mask)[0]
    for place in range(LENGTHS[0]):
        other = tokens.clone()
        other[:, place] = 3 + (other[:, place] - 2) % (SIZE - 3)
        assert ((logits(model, other, mask)[0] - before).abs().amax(-1) > 1e-6).all()


def test_gradients_reach_every_parameter() -> None:
    model, (tokens, mask) = build("none").train(), texts()
    nn.functional.cross_entropy(logits(model, tokens, mask)[mask], tokens[mask]).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_projection_has_a_bias_and_shares_the_table_or_not() -> None:
    model = build("target")
    assert model.projection.weight is model.embedding.table.weight and model.projection.bias is not None
    assert (apart := build("none")).projection.weight is not apart.embedding.table.weight


def test_two_vocabularies_are_refused() -> None:
    with pytest.raises(ValueError, match="in the vocabulary that it reads"):
        EncoderOnly().build(Vocabulary(10), Vocabulary(11))
