"""The causal model: a language model is a translator whose source is empty. Its laws are in tests/laws."""

import pytest
import torch
from torch import Tensor, nn

from kakehashi.models.decoder_only import CausalTransformer, DecoderOnly
from kakehashi.models.protocol import Encoded, Vocabulary
from kakehashi.models.stack import Layer, Stack
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.feedforward import ReLU
from kakehashi.nn.mixers.attention import MultiHeadAttention
from kakehashi.nn.positions import Position

SIZE = 17


def build(tie: str = "all") -> CausalTransformer:
    torch.manual_seed(0)
    stack = Stack(depth=2, layers=(Layer(feedforward=ReLU(size=24)),))
    config = DecoderOnly(width=16, heads=2, embeddings=Embeddings.model_validate({"tie": tie}), decoder=stack)
    return config.build(Vocabulary(SIZE), Vocabulary(SIZE)).double().eval()


def nothing(model: CausalTransformer, rows: int) -> Encoded:
    empty = torch.empty(rows, 0, dtype=torch.long)
    return model.encode(empty, empty.bool())


def tokens(rows: int, length: int) -> Tensor:
    return torch.randint(3, SIZE, (rows, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_a_source_is_the_beginning_of_the_text() -> None:
    """p(target | source) of a translator is what the language model says behind the source."""
    model, source, target = build(), tokens(3, 4), tokens(3, 5)
    found = model.decode(target, model.encode(source, torch.ones_like(source, dtype=torch.bool))).logits
    whole = model.decode(torch.cat((source, target), 1), nothing(model, 3)).logits
    torch.testing.assert_close(found, whole[:, 4:])


@torch.no_grad()
def test_a_language_model_steps_as_it_decodes() -> None:
    model, text = build(), tokens(3, 6)
    state = model.begin(nothing(model, 3))
    assert state.longest == 0
    stepped = torch.cat([model.step(part, state).logits for part in text.split([1, 3, 2], 1)], 1)
    torch.testing.assert_close(stepped, model.decode(text, nothing(model, 3)).logits)


@torch.no_grad()
def test_reading_the_source_costs_one_pass_and_its_padding_is_taken_back() -> None:
    model = build()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    state = model.begin(model.encode(tokens(2, 3), mask))
    assert state.lengths.tolist() == [3, 1]
    equal = model.begin(model.encode(tokens(2, 3), torch.ones(2, 3, dtype=torch.bool)))
    assert (equal.shortest, equal.longest) == (3, 3)


def test_the_projection_shares_the_table_or_not() -> None:
    for model in (build("all"), build("target")):
        assert model.projection.weight is model.embedding.table.weight
    assert (apart := build("none")).projection.weight is not apart.embedding.table.weight
    model = build()
    count = SIZE * 16 + sum(p.numel() for p in model.decoder.parameters())
    assert sum(p.numel() for p in model.parameters()) == count


def test_training_on_text_reaches_every_parameter() -> None:
    model, text = build("none").train(), tokens(3, 6)
    logits = model.decode(text, nothing(model, 3)).logits
    nn.functional.cross_entropy(logits.flatten(0, 1), text.roll(-1, 1).flatten()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_two_vocabularies_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one vocabulary for both.*joint"):
        DecoderOnly().build(Vocabulary(10), Vocabulary(11))


@torch.no_grad()
@pytest.mark.parametrize("block", [1024, 3])
def test_its_alignment_is_the_share_of_each_source_token(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the mean of the heads of the last layer but one, whatever block of queries was computed at once."""
    model, source, target = build(), tokens(2, 4), tokens(2, 5)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    monkeypatch.setattr("kakehashi.nn.mixers.attention._BLOCK", block)
    part, position = model.decoder.get_submodule, model.decoder.positions[0]
    first, norm = part("layers.0.mixer"), part("layers.0.mixer_residual.norm")
    assert isinstance(first, MultiHeadAttention) and isinstance(position, Position)
    found = model.decode(target, model.encode(source, mask), alignment=True).alignment
    assert found is not None
    for row, length in enumerate([4, 2]):
        text = torch.cat((source[row, :length], target[row]))[None]
        places = torch.arange(text.shape[1])
        x = norm(position.embed(model.embedding(text), places[None]))
        q, k = (linear(x).unflatten(-1, (2, -1)).transpose(1, 2) for linear in (first.query, first.key))
        scores = (q @ k.transpose(-1, -2) * 8**-0.5).masked_fill(places > places[:, None], -torch.inf)
        given = scores.softmax(-1).mean(1)[0, length:, :length]
        torch.testing.assert_close(found[row, :, :length], given / given.sum(-1, keepdim=True))
        assert not found[row, :, length:].any()
