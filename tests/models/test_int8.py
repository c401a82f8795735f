"""int8 weights: close to fp32, and no sentence depends on its neighbours."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kakehashi.config import Config
from kakehashi.decoding import Beam, search
from kakehashi.errors import UserError
from kakehashi.models.int8 import FastInt8Linear, Int8, Int8Linear
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.transformer import EncoderDecoder, Transformer
from kakehashi.translator import Translator
from tests.laws.zoo import MODELS, SOURCE, TARGET, built

SIZE, LENGTHS = min(SOURCE, TARGET), [9, 2, 5]


def transformer() -> Transformer:
    torch.manual_seed(4)
    return EncoderDecoder(width=16, heads=2).build(Vocabulary(SIZE), Vocabulary(SIZE)).eval()


def sources() -> tuple[Tensor, Tensor]:
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return torch.randint(3, SIZE, mask.shape, generator=torch.Generator().manual_seed(5)).masked_fill(~mask, 0), mask


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_a_layer_equals_the_formula(bias: bool) -> None:
    torch.manual_seed(1)
    linear = nn.Linear(5, 7, bias)
    linear.weight[2] = 0.0  # a row without a largest number
    x = torch.randn(3, 2, 5)
    x[0, 1] = 0.0
    expected = torch.zeros(3, 2, 7, dtype=torch.float64)
    for place in torch.cartesian_prod(torch.arange(3), torch.arange(2), torch.arange(7)).tolist():
        row, weights = x[place[0], place[1]].double(), linear.weight[place[2]].double()
        largest, heaviest = row.abs().max() / 127, weights.abs().max() / 127
        if largest > 0 and heaviest > 0:
            expected[tuple(place)] = (row / largest).round() @ (weights / heaviest).round() * largest * heaviest
        if bias:
            expected[tuple(place)] += linear.bias[place[2]].double()
    found = Int8Linear(linear)(x)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    assert (found - linear(x)).abs().max() < 0.03


@torch.no_grad()
def test_a_row_does_not_depend_on_the_others() -> None:
    torch.manual_seed(1)
    layer, x = Int8Linear(nn.Linear(64, 48)), torch.randn(40, 64)
    assert torch.equal(layer(torch.cat([x[:1], 1000 * x[1:]]))[0], layer(x)[0])
    assert torch.equal(layer(x[:1]), layer(x)[:1])


@torch.no_grad()
def test_a_model_is_close_to_fp32_and_steps_as_it_decodes() -> None:
    (source, mask), tokens = sources(), torch.randint(3, SIZE, (3, 6))
    single, whole = transformer(), Int8(transformer())
    expected = single.decode(tokens, single.encode(source, mask)).logits.log_softmax(-1)
    encoded = whole.encode(source, mask)
    found = whole.decode(tokens, encoded).logits
    assert (found.log_softmax(-1) - expected).abs().mean() < 0.02 * expected.std()
    state = whole.begin(encoded)
    steps = torch.cat([whole.step(token, state).logits for token in tokens.split(1, 1)], 1)
    torch.testing.assert_close(steps, found, atol=0.05, rtol=0)  # attention's last bit may round another way in int8
    told = whole.step(tokens[:, :1], whole.begin(encoded), alignment=True).alignment
    assert told is not None
    torch.testing.assert_close(told, single.decode(tokens[:, :1], encoded, alignment=True).alignment, atol=0.02, rtol=0)
    kinds = [type(module) for name, module in whole.named_modules() if name != "model.projection"]
    assert nn.Linear not in kinds and {Int8Linear, FastInt8Linear} & set(kinds)


def test_a_search_finds_the_same_alone_and_in_a_batch() -> None:
    model, (source, mask) = Int8(transformer()), sources()
    together = search(model, source, mask, Beam(max_length=8))
    for row, length in enumerate(LENGTHS):
        ((alone,),) = search(model, source[row : row + 1, :length], mask[row : row + 1, :length], Beam(max_length=8))
        assert alone.tokens == together[row][0].tokens
        assert alone.score == pytest.approx(together[row][0].score, abs=0.05)


@pytest.mark.parametrize("kind", [config for config, variants in MODELS.items() if variants])
@torch.no_grad()
def test_every_kind_of_model(kind: type[Config]) -> None:
    config = next(iter(MODELS[kind].values()))
    single, whole = built(config).float(), Int8(built(config).float())
    tokens = torch.randint(3, TARGET, (3, 6), generator=torch.Generator().manual_seed(6))
    source, mask = sources()
    expected = single.decode(tokens, single.encode(source, mask)).logits
    found = whole.decode(tokens, whole.encode(source, mask)).logits
    assert 0 < (found - expected).abs().mean() < 0.05 * expected.std()


def test_an_int8_translator_is_never_written_and_stays_on_the_cpu(tmp_path: Path) -> None:
    nothing: Any = None
    translator = Translator(nothing, Int8(transformer()), nothing)
    with pytest.raises(UserError, match="load it with precision=fp32"):
        translator.save(tmp_path / "model")
    with pytest.raises(UserError, match="int8 is for CPUs, and not for device=cuda"):
        Translator.load(tmp_path / "model", precision="int8", device="cuda")
