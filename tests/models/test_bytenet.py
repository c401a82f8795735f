"""ByteNet: how far it sees, its blocks against torch's dilated convolution, unfolding, its cost."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from kakehashi.models.bytenet import ByteNet, DilatedBlocks, unfolded
from kakehashi.models.protocol import Encoded, Vocabulary


def model_of(encoder: DilatedBlocks, decoder: DilatedBlocks) -> Any:
    torch.manual_seed(1)
    model = ByteNet(width=8, encoder=encoder, decoder=decoder).build(Vocabulary(9), Vocabulary(9)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def encoded(model: Any, source: Tensor) -> Encoded:
    return model.encode(source, torch.ones_like(source, dtype=torch.bool))


@pytest.mark.parametrize(
    ("blocks", "reach", "before"),
    [
        (DilatedBlocks(sets=2, kernel=3, dilations=(1, 2)), 12, 6),
        (DilatedBlocks(sets=1, kernel=5, dilations=(1, 3)), 16, 8),
    ],
)
@torch.no_grad()
def test_the_receptive_field(blocks: DilatedBlocks, reach: int, before: int) -> None:
    """A target token sees `reach` places back; a source token `before` places back, and the rest of them ahead."""
    assert blocks.reach == reach
    model = model_of(blocks, blocks)
    tokens, place = torch.full((1, 3 * reach), 3), reach + 2
    other = tokens.clone()
    other[0, place] = 5
    source = encoded(model, tokens)
    changed = (model.decode(other, source).hidden - model.decode(tokens, source).hidden).abs().amax(-1)[0] > 1e-12
    assert changed.nonzero()[:, 0].tolist() == list(range(place, place + reach + 1))
    changed = (encoded(model, other).states - source.states).abs().amax(-1)[0] > 1e-12
    assert changed.nonzero()[:, 0].tolist() == list(range(place - reach + before, place + before + 1))


def test_the_papers_blocks_see_far() -> None:
    assert DilatedBlocks().reach == 6 * 2 * (1 + 2 + 4 + 8 + 16)


@torch.no_grad()
def test_a_block_by_formula() -> None:
    blocks = DilatedBlocks(sets=1, dilations=(2,))
    for stack, padding in ((m := model_of(blocks, blocks)).encoder, (2, 2)), (m.decoder, (4, 0)):
        block, x = stack.blocks[0], torch.randn(1, 9, 8, dtype=torch.float64)
        first, second, third = (lambda y, part=part: part.norm(y).clamp(min=0) for part in block.rectified)
        y = second(block.inner(first(x)))
        weight = block.convolution.weight.unflatten(1, (3, -1)).transpose(1, 2)
        y = functional.conv1d(functional.pad(y.transpose(1, 2), padding), weight, block.convolution.bias, dilation=2)
        expected = x + block.outer(third(y.transpose(1, 2)))
        torch.testing.assert_close(block(x, None, None), expected, atol=1e-12, rtol=0)
        outer = stack.last(stack.rectified.norm(expected).clamp(min=0))
        torch.testing.assert_close(stack(x), outer, atol=1e-12, rtol=0)


def test_the_source_unfolds_beside_the_target() -> None:
    states = torch.arange(1.0, 9).view(2, 4, 1)
    source = Encoded(states, torch.tensor([[True] * 4, [True, True, False, False]]))
    assert unfolded(source, torch.arange(6)[None], 2)[..., 0].tolist() == [[1, 2, 3, 4, 0, 0], [5, 6, 0, 0, 0, 0]]
    found = unfolded(source, torch.tensor([[0, 1], [2, 3], [1, 2], [0, 1]]), 4)[..., 0]
    assert found.tolist() == [[1, 2], [3, 4], [6, 0], [5, 6]]


def test_its_cost_is_linear_in_the_length() -> None:
    model = model_of(DilatedBlocks(sets=1), DilatedBlocks(sets=1)).float()

    def cost(length: int) -> int:
        tokens = torch.full((1, length), 3)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.decode(tokens, encoded(model, tokens))
        return counter.get_total_flops()

    assert cost(400) == 4 * cost(100)


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(ValueError, match="must be even, not 7"):
        ByteNet(width=7).build(Vocabulary(9), Vocabulary(9))
