"""ConvS2S: its blocks by the paper's formulas, its start, its positions."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kakehashi.models.convs2s import Blocks, ConvS2S, GatedConvolution
from kakehashi.models.protocol import Vocabulary
from kakehashi.nn.mixers.convolution import Window

WIDTH, KERNEL = 6, 3
HALF = math.sqrt(0.5)
SOURCE, TARGET = torch.tensor([[5, 7, 3, 4, 2]]), torch.tensor([[1, 8, 4, 4, 6, 3]])


@pytest.fixture
def model() -> Any:
    torch.manual_seed(1)
    config = ConvS2S(
        width=WIDTH, max_length=8, encoder=Blocks(depth=2, kernel=KERNEL), decoder=Blocks(depth=2, kernel=KERNEL)
    )
    built = config.build(Vocabulary(9), Vocabulary(9)).double().eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return built


def gated(block: Any, h_LD: Tensor, before: int) -> Tensor:
    """glu(W [h_(i - before) .. h_(i - before + k - 1)] + b), token by token; zero outside the sentence."""
    rows: list[Tensor] = []
    for i in range(len(h_LD)):
        places = range(i - before, i - before + KERNEL)
        window = torch.cat([h_LD[j] if 0 <= j < len(h_LD) else torch.zeros_like(h_LD[0]) for j in places])
        a, b = (block.weight @ window + block.bias).chunk(2)
        rows.append(a * b.sigmoid())
    return torch.stack(rows)


@torch.no_grad()
def test_the_whole_model_by_formula(model: Any) -> None:
    e = model.source_embedding(SOURCE[0]) + model.source_positions.vectors.table.weight[: SOURCE.shape[1]]
    h = model.encoder.first(e)
    for block in model.encoder.blocks:
        h = (gated(block, h, 1) + h) * HALF
    z = model.encoder.last(h)
    g = model.target_embedding(TARGET[0]) + model.target_positions.vectors.table.weight[: TARGET.shape[1]]
    h = model.decoder.first(g)
    alignments: list[Tensor] = []
    for block, attention in zip(model.decoder.blocks, model.decoder.attentions, strict=True):
        y = gated(block, h, KERNEL - 1)
        d = (attention.query(y) + g) * HALF
        a = functional.softmax(torch.einsum("td,sd->ts", d, z), -1)
        c = attention.output(math.sqrt(SOURCE.shape[1]) * torch.einsum("ts,sd->td", a, (z + e) * HALF))
        h = ((y + c) * HALF + h) * HALF
        alignments.append(a)
    encoded = model.encode(SOURCE, torch.ones_like(SOURCE, dtype=torch.bool))
    found = model.decode(TARGET, encoded, alignment=True)
    torch.testing.assert_close(encoded.states[0], z, atol=1e-12, rtol=0)
    torch.testing.assert_close(found.hidden[0], model.decoder.last(h), atol=1e-12, rtol=0)
    torch.testing.assert_close(found.alignment[0], sum(alignments) / 2, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_new_convolution_keeps_the_variance(dropout: float) -> None:
    """Of inputs as small as it was derived for (appendix A), in training as its dropout makes them."""
    torch.manual_seed(1)
    block = GatedConvolution(64, dropout, Window(3, "bidirectional", ""))
    block.initialise(None)
    x = 0.1 * torch.randn(16, 50, 64)
    assert (block(x)[:, 1:-1].var() / x.var()).item() == pytest.approx(1, rel=0.1)


@torch.no_grad()
def test_positions_beyond_the_last_share_its_vector(model: Any) -> None:
    vectors = model.target_positions(torch.tensor([[0, 7, 8, 30]]))
    assert torch.equal(vectors[0], model.target_positions.vectors.table.weight[[0, 7, 7, 7]])
    assert model.max_length == 8
