"""A Transformer in int8 by kernels says what the same in torch says, in all the ways that a state is used."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kakehashi.config import resolve
from kakehashi.decoding import Beam, Greedy, search
from kakehashi.errors import UserError
from kakehashi.models.int8 import Int8, int8
from kakehashi.models.int8_transformer import Int8Transformer, fits
from kakehashi.models.protocol import Output, Vocabulary
from kakehashi.models.transformer import EncoderDecoder, Transformer
from kakehashi.native.library import library

SIZE, LENGTHS = 40, [9, 2, 5]
pytestmark = pytest.mark.skipif(library() is None, reason="there are no kernels here")
VARIANTS: dict[str, dict[str, Any]] = {
    "pre": {},
    "post": {"encoder": {"placement": "post"}, "decoder": {"placement": "post"}},
    "swish": {part: {"layers": [{"feedforward": {"kind": "swish", "size": 48}}]} for part in ("encoder", "decoder")},
    "learned": {part: {"position": {"kind": "learned", "max_length": 12}} for part in ("encoder", "decoder")},
    "rope": {part: {"position": "rope"} for part in ("encoder", "decoder")},
    "rope of another theta, post": {
        part: {"position": {"kind": "rope", "theta": 50.0}, "placement": "post"} for part in ("encoder", "decoder")
    },
    "rope in the encoder alone": {"encoder": {"position": "rope"}},
    "none": {part: {"position": "none"} for part in ("encoder", "decoder")},
    "hidden end": {"source_end": "hidden"},
    "bias": {"embeddings": {"tie": "none", "scale": "none", "bias": "learned"}},
    "wide heads": {"width": 160, "heads": 2},
}


def transformer(**settings: Any) -> Transformer:
    torch.manual_seed(4)
    tree: dict[str, Any] = {"width": 64, "heads": 4, "encoder": {"depth": 2}, "decoder": {"depth": 3}}
    for name, value in settings.items():
        tree[name] = {**tree[name], **value} if name in ("encoder", "decoder") else value
    config = resolve(tree, EncoderDecoder)
    return config.build(Vocabulary(SIZE), Vocabulary(SIZE)).eval()


def fast(**settings: Any) -> Int8Transformer:
    model = transformer(**settings)
    assert fits(model)
    return Int8Transformer(model)


def sources() -> tuple[Tensor, Tensor]:
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    source = torch.randint(4, SIZE, mask.shape, generator=torch.Generator().manual_seed(5))
    source[torch.arange(len(LENGTHS)), torch.tensor(LENGTHS) - 1] = 2
    return source.masked_fill(~mask, 0), mask


def close(found: Tensor, expected: Tensor) -> None:
    """But for numbers that are rounded to another whole one, since their sums were made in another order."""
    assert found.shape == expected.shape
    assert (found - expected).abs().mean() < 3e-3 * expected.std()


def alike(found: Output, expected: Output) -> None:
    close(found.logits, expected.logits)
    assert found.alignment is not None and expected.alignment is not None
    torch.testing.assert_close(found.alignment, expected.alignment, atol=5e-3, rtol=0)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
@torch.no_grad()
def test_the_numbers_are_those_of_torch(settings: dict[str, Any]) -> None:
    (source, mask), tokens = sources(), torch.randint(3, SIZE, (3, 6))
    ours, theirs = fast(**settings), Int8(transformer(**settings))
    encoded, reference = ours.encode(source, mask), theirs.encode(source, mask)
    assert torch.equal(encoded.mask, reference.mask)
    close(encoded.states[encoded.mask], reference.states[encoded.mask])
    found, expected = ours.decode(tokens, encoded, True), theirs.decode(tokens, reference, True)
    alike(found, expected)


@pytest.mark.parametrize("name", ["pre", "rope"])
@torch.no_grad()
def test_padding_may_stand_anywhere(name: str) -> None:
    model, reference, (source, mask) = fast(**VARIANTS[name]), Int8(transformer(**VARIANTS[name])), sources()
    mask = mask.flip(1)
    tokens = torch.randint(3, SIZE, (3, 4))
    encoded = model.encode(source.flip(1), mask)
    found, expected = model.decode(tokens, encoded, True), reference.decode(tokens, encoded, True)
    alike(found, expected)


@pytest.mark.parametrize("name", ["pre", "rope"])
@torch.no_grad()
def test_a_state_follows_the_search(name: str) -> None:
    """Repeated, reordered, reduced, rewound: each hypothesis goes on as if it had been alone."""
    model, (source, mask) = fast(**VARIANTS[name]), sources()
    encoded = model.encode(source, mask)
    state = model.begin(encoded)
    model.step(torch.tensor([[1], [1], [1]]), state)
    state.repeat(2)
    model.step(torch.tensor([[5, 6], [7, 8], [9, 10], [11, 12], [13, 14], [15, 16]]), state)
    state.reorder(torch.tensor([1, 0, 3, 3, 4, 5]))
    state.keep(torch.tensor([2, 1]))
    state.rewind(torch.tensor([3, 2, 3, 1]))
    found = model.step(torch.tensor([[20], [21], [22], [23]]), state).logits[:, -1]
    texts = [[1, 13, 14, 20], [1, 15, 21], [1, 11, 12, 22], [1, 23]]
    for row, (sentence, text) in enumerate(zip([2, 2, 1, 1], texts, strict=True)):
        alone = model.decode(torch.tensor([text]), encoded.select(torch.tensor([sentence])))
        torch.testing.assert_close(found[row], alone.logits[0, -1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["pre", "rope"])
@pytest.mark.parametrize("decoding", [Greedy(max_length=12), Beam(max_length=12)], ids=["greedy", "beam"])
def test_a_search_finds_the_same_alone_and_in_a_batch(decoding: Any, name: str) -> None:
    model, (source, mask) = fast(**VARIANTS[name]), sources()
    together = search(model, source, mask, decoding)
    for row, length in enumerate(LENGTHS):
        ((alone,),) = search(model, source[row : row + 1, :length], mask[row : row + 1, :length], decoding)
        assert alone.tokens == together[row][0].tokens
        assert alone.score == pytest.approx(together[row][0].score, abs=1e-5)
        read = torch.tensor([[1, *alone.tokens]])
        scored = model.decode(read, model.encode(source[row : row + 1], mask[row : row + 1])).logits.log_softmax(-1)
        said = torch.tensor([*alone.tokens, *([2] if alone.finished else [])])
        assert alone.log_probability == pytest.approx(scored[0, torch.arange(len(said)), said].sum().item(), abs=1e-4)


def test_beyond_its_places_is_a_mistake_of_the_user() -> None:
    model, (source, mask) = fast(**VARIANTS["learned"]), sources()
    with pytest.raises(UserError, match="know 12 places at most"):
        model.decode(torch.ones(3, 13, dtype=torch.long), model.encode(source, mask))


@pytest.mark.parametrize(
    "settings",
    [
        {"width": 40, "heads": 2},
        {"heads": 8},
        {"encoder": {"position": "alibi"}},
        {"decoder": {"placement": "sandwich"}},
        {"decoder": {"norm": "rms"}},
        {"encoder": {"layers": [{"feedforward": "glu"}]}},
        {"decoder": {"layers": [{"cross": {"kind": "attention", "kv_heads": 2}}]}},
        {"decoder": {"layers": [{"mixer": "lstm"}]}},
        {"decoder": {"layers": [{"skip": {"cross": 0.5}}]}},
    ],
    ids=str,
)
def test_others_go_layer_by_layer(settings: dict[str, Any]) -> None:
    assert isinstance(int8(transformer(**settings)), Int8)
