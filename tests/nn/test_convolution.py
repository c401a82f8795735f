"""Convolutions against their formulas in plain loops; what they can see."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kakehashi.nn.mixers.convolution import (
    DilatedConvolution,
    DynamicConvolution,
    GatedConvolution,
    LightConvolution,
    Window,
    depthwise,
)
from kakehashi.nn.mixers.protocol import Context, MixerConfig
from kakehashi.nn.positions import Mode
from tests.nn.mixing import HEADS, WIDTH, build, close, in_steps, masked, numbers, started, whole

LENGTHS = [7, 4]
KINDS: list[MixerConfig] = [
    GatedConvolution(kernel=3),
    LightConvolution(kernel=5),
    DynamicConvolution(kernel=5),
    DilatedConvolution(kernel=3, dilation=2),
]
Taps = Callable[[int], list[Tensor]]


def taps_of(row: Tensor, mode: Mode, kernel: int, dilation: int = 1) -> Taps:
    """For a place, the tokens under the kernel's taps, zero where there is none."""
    before = (kernel - 1) * dilation // (2 if mode == "bidirectional" else 1)

    def taps(t: int) -> list[Tensor]:
        places = [t - before + j * dilation for j in range(kernel)]
        return [row[p] if 0 <= p < len(row) else torch.zeros_like(row[0]) for p in places]

    return taps


def gated(module: Any, row: Tensor, mode: Mode, config: Any) -> list[Tensor]:
    """Dauphin et al. 2017, equation 1."""
    weight, bias, taps = module.convolution.weight, module.convolution.bias, taps_of(row, mode, config.kernel)
    outputs: list[Tensor] = []
    for t in range(len(row)):
        both = bias + torch.stack([weight[:, :, j] @ x for j, x in enumerate(taps(t))]).sum(0)
        outputs.append(both[:WIDTH] * both[WIDTH:].sigmoid())
    return outputs


def light(module: Any, row: Tensor, mode: Mode, config: Any) -> list[Tensor]:
    """Wu et al. 2019, sections 3 and 4: channel by channel."""
    both = row @ module.input.weight.T + module.input.bias
    row = both[:, :WIDTH] * both[:, WIDTH:].sigmoid()
    taps, outputs = taps_of(row, mode, config.kernel), list[Tensor]()
    for t in range(len(row)):
        mixed: list[Tensor] = []
        for c in range(WIDTH):
            h = c * HEADS // WIDTH
            if isinstance(config, LightConvolution):
                scores = module.kernel.scores[h]
            else:
                scores = module.kernel.scores.weight[h * config.kernel : (h + 1) * config.kernel] @ row[t]
            weights = [math.exp(float(s)) for s in scores]
            mixed.append(torch.stack([w / sum(weights) * x[c] for w, x in zip(weights, taps(t), strict=True)]).sum())
        outputs.append(module.output.weight @ torch.stack(mixed) + module.output.bias)
    return outputs


def dilated(module: Any, row: Tensor, mode: Mode, config: Any) -> list[Tensor]:
    """Kalchbrenner et al. 2016, figure 3, without its norms."""
    narrow = (row.relu() @ module.narrow.weight.T + module.narrow.bias).relu()
    taps, weight = taps_of(narrow, mode, config.kernel, config.dilation), module.convolution.weight
    outputs: list[Tensor] = []
    for t in range(len(row)):
        inner = module.convolution.bias + torch.stack([weight[:, :, j] @ x for j, x in enumerate(taps(t))]).sum(0)
        outputs.append(module.widen.weight @ inner.relu() + module.widen.bias)
    return outputs


FORMULAS: dict[str, Callable[[Any, Tensor, Mode, Any], list[Tensor]]] = {
    "gated_convolution": gated,
    "light_convolution": light,
    "dynamic_convolution": light,
    "dilated_convolution": dilated,
}


@pytest.mark.parametrize("config", KINDS, ids=lambda c: c.kind)
@pytest.mark.parametrize("mode", ["bidirectional", "causal"])
@torch.no_grad()
def test_they_equal_their_formulas(mode: Mode, config: Any) -> None:
    """The shorter row has junk in its padding."""
    module, x = build(config, mode), numbers(2, max(LENGTHS), WIDTH)
    found = module(x, masked(x, LENGTHS) if mode == "bidirectional" else whole(x))
    for row, length in enumerate(LENGTHS):
        expected = FORMULAS[config.kind](module, x[row, :length], mode, config)
        close(found[row, :length], torch.stack(expected))


@pytest.mark.parametrize("config", KINDS, ids=lambda c: c.kind)
@torch.no_grad()
def test_each_row_goes_on_from_its_own_place(config: Any) -> None:
    module, x, guess = build(config, "causal"), numbers(2, 8, WIDTH), numbers(2, 3, WIDTH, seed=9)
    _, state = in_steps(module, torch.cat((x[:, :4], guess), 1), [4, 3])
    state.rewind(torch.tensor([4, 2]))
    rest = torch.stack((x[0, 4:7], x[1, 2:5]))
    found = module(rest, Context(state.positions(3), state=state))
    expected = module(x, whole(x))
    close(found, torch.stack((expected[0, 4:7], expected[1, 2:5])))


def seen(modules: list[Any], length: int, place: int) -> list[int]:
    """The tokens that the output at a place depends on, through all layers; nothing negative, so that no relu hides."""
    x = numbers(1, length, WIDTH).abs().requires_grad_()
    y = x
    for module in modules:
        for parameter in module.parameters():
            parameter.data.abs_()
        y = y + module(y, whole(y))
    (gradient,) = torch.autograd.grad(y[0, place].sum(), x)
    return gradient[0].abs().amax(-1).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("mode", ["bidirectional", "causal"])
def test_bytenets_dilations_see_63_tokens(mode: Mode) -> None:
    layers = [build(DilatedConvolution(dilation=d), mode) for d in (1, 2, 4, 8, 16)]
    expected = range(50 - 31, 50 + 32) if mode == "bidirectional" else range(70 - 62, 70 + 1)
    assert seen(layers, 100, 50 if mode == "bidirectional" else 70) == list(expected)


@pytest.mark.parametrize("kind", [GatedConvolution, LightConvolution, DynamicConvolution, DilatedConvolution])
def test_a_centred_kernel_is_odd(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"m: .*must be odd, not 4"):
        kind(kernel=4).build(WIDTH, HEADS, "bidirectional", "m")
    x = numbers(1, 6, WIDTH)
    assert build(kind(kernel=4), "causal")(x, whole(x)).shape == x.shape


def test_widths_that_cannot_be_shared_out() -> None:
    for config in (LightConvolution(), DynamicConvolution()):
        with pytest.raises(ValueError, match="12 is not a multiple of heads 5"):
            config.build(12, 5, "causal", "m")
    with pytest.raises(ValueError, match="must be even, not 7"):
        DilatedConvolution().build(7, 1, "causal", "m")


def test_depthwise_equals_torchs_and_holds_no_copy_for_each_tap() -> None:
    window, kernel = numbers(2, 20, WIDTH), numbers(WIDTH, 5, seed=4)
    expected = functional.conv1d(window.mT, kernel[:, None], groups=WIDTH).mT
    close(depthwise(window, kernel[None, None]), expected)
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.untyped_storage().data_ptr())
        return tensor

    kernels = numbers(2, 16, HEADS, 5).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        depthwise(window.requires_grad_(), kernels)
    assert set(kept) <= {t.untyped_storage().data_ptr() for t in (window, kernels)}


@torch.no_grad()
def test_a_gated_convolution_starts_with_the_variance_of_its_input() -> None:
    module, x = started(GatedConvolution(kernel=5)), numbers(50, 40, WIDTH).float()
    assert module(x, whole(x))[:, 4:].std() == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 2), (5, 1)])
def test_a_matrix_on_taps_is_torchs_convolution(mode: Mode, kernel: int, dilation: int) -> None:
    window = Window(kernel, mode, "", dilation)
    x, weight = numbers(2, 7, 3), numbers(4, kernel * 3, seed=3)
    padded = functional.pad(x.transpose(1, 2), (window.before, window.after))
    expected = functional.conv1d(padded, weight.unflatten(1, (kernel, -1)).transpose(1, 2), dilation=dilation)
    close(window.taps(x) @ weight.T, expected.transpose(1, 2))
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    assert torch.equal(window.taps(x, mask), window.taps(x * mask[..., None]))
