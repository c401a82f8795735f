"""Convolutions: each token sees its neighbours within a fixed reach.

Bidirectional: centred; padding counts as zero, as what lies beyond the ends does. Causal: over the last tokens. In
steps the inputs are cached, so that a row goes on from any position of its own.
Shapes: R rows, L tokens, W = before + L + after tokens of a window, H heads, C channels of a head, K taps of a kernel,
D width.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kakehashi.nn.mixers.protocol import Context, MixerConfig
from kakehashi.nn.positions import Mode
from kakehashi.nn.state import State

NormalisedTaps = Annotated[int, Field(ge=2)]  # a single tap would weigh 1, whatever its score


class GatedConvolution(MixerConfig):
    """h = (X * W + b) x sigmoid(X * V + c). Dauphin et al. 2017 (arXiv 1612.08083), equation 1; with the start and the
    place in a layer of Gehring et al. 2017 (ConvS2S, arXiv 1705.03122), section 3.2.

    kernel: taps; odd in bidirectional stacks.
    """

    kind: Literal["gated_convolution"] = "gated_convolution"
    kernel: PositiveInt = 3

    def build(self, width: int, heads: int, mode: Mode, name: str) -> nn.Module:
        return GatedConvolutionMixer(width, self.kernel, Window(self.kernel, mode, name))


class LightConvolution(MixerConfig):
    """LightConv(X, W, i, c) = sum_j softmax(W_h)_j X_{i + j - ceil((K + 1) / 2), c}, where h is the head of channel c:
    a head's channels share one normalised kernel. Before it a linear layer with a GLU, behind it a linear layer.

    Wu et al. 2019 (arXiv 1901.10430), section 3. kernel: taps (K); odd in bidirectional stacks.
    """

    kind: Literal["light_convolution"] = "light_convolution"
    kernel: NormalisedTaps = 7

    def build(self, width: int, heads: int, mode: Mode, name: str) -> nn.Module:
        _check_heads(width, heads)
        return LightConvolutionMixer(width, LightKernel(heads, self.kernel), Window(self.kernel, mode, name))


class DynamicConvolution(MixerConfig):
    """A light convolution whose kernels are a linear function of the token at hand: W = (W^Q X_i) [H, K].

    Wu et al. 2019 (arXiv 1901.10430), section 4. kernel: taps (K); odd in bidirectional stacks.
    """

    kind: Literal["dynamic_convolution"] = "dynamic_convolution"
    kernel: NormalisedTaps = 7

    def build(self, width: int, heads: int, mode: Mode, name: str) -> nn.Module:
        _check_heads(width, heads)
        return LightConvolutionMixer(width, DynamicKernel(width, heads, self.kernel), Window(self.kernel, mode, name))


class DilatedConvolution(MixerConfig):
    """W_2 relu(relu(W_1 relu(x)) * C): a convolution of half the width whose taps are `dilation` tokens apart.

    The residual block of ByteNet, Kalchbrenner et al. 2016 (arXiv 1610.10099), section 3.6 and figure 3; the layer
    around it has the only norm. Layers of kernel 3 with dilations 1, 2, 4, 8, 16 see 63 tokens. kernel: odd in
    bidirectional stacks.
    """

    kind: Literal["dilated_convolution"] = "dilated_convolution"
    kernel: PositiveInt = 3
    dilation: PositiveInt = 1

    def build(self, width: int, heads: int, mode: Mode, name: str) -> nn.Module:
        if width % 2:
            raise ValueError(f"dilated convolutions work at half the width, which must be even, not {width}")
        window = Window(self.kernel, mode, name, self.dilation)
        return DilatedConvolutionMixer(width, self.kernel, self.dilation, window)


class Window:
    """What a convolution reads for its L outputs: x with `before` tokens in front and `after` behind.

    `name` is unique in the model: the state's tensor goes by it.
    Raises ValueError where an even kernel would have to be centred.
    """

    def __init__(self, kernel: int, mode: Mode, name: str, dilation: int = 1) -> None:
        if mode == "bidirectional" and kernel % 2 == 0:
            raise ValueError(f"{name}: a bidirectional convolution is centred: its kernel must be odd, not {kernel}")
        self.kernel, self.dilation, self.name = kernel, dilation, name
        reach = (kernel - 1) * dilation
        self.after = reach // 2 if mode == "bidirectional" else 0
        self.before = reach - self.after

    def __call__(self, x_RLD: Tensor, mask_RL: Tensor | None, state: State | None) -> Tensor:
        """[R, W, D], zero where there is no token."""
        if mask_RL is not None:
            x_RLD = x_RLD.masked_fill(~mask_RL[..., None], 0)
        if state is None:
            return functional.pad(x_RLD, (0, 0, self.before, self.after))
        length = x_RLD.shape[1]
        slots = (state.positions(length)[:, :1] + torch.arange(-self.before, length, device=x_RLD.device))[..., None]
        cache = state.append(f"{self.name}.input", x_RLD[:, None])[:, 0]
        window = cache.gather(1, slots.clamp_min(0).expand(cache.shape[0], -1, cache.shape[2]))
        return window.masked_fill_(slots < 0, 0)

    def taps(self, x_RLD: Tensor, mask_RL: Tensor | None = None, state: State | None = None) -> Tensor:
        """The kernel's tokens side by side, the earliest first: [R, L, K * D]. A matrix on them is a convolution."""
        window, length = self(x_RLD, mask_RL, state), x_RLD.shape[1]
        starts = range(0, self.kernel * self.dilation, self.dilation)
        return torch.cat([window[:, start : start + length] for start in starts], -1)


def depthwise(window_RWD: Tensor, kernel_RLHK: Tensor) -> Tensor:
    """Each channel's own convolution, [R, L, D]; R and L of the kernel may be 1. Channels of a head share its taps.

    Tap by tap, so that nothing of size L x K x D is ever held, not even when each token has a kernel of its own.
    """
    heads, taps = kernel_RLHK.shape[2:]
    window = window_RWD.unflatten(-1, (heads, -1))
    length = window.shape[1] - taps + 1
    mixed = window[:, :length] * kernel_RLHK[..., 0, None]
    for i in range(1, taps):
        mixed = torch.addcmul(mixed, window[:, i : i + length], kernel_RLHK[..., i, None])
    return mixed.flatten(2)


class GatedConvolutionMixer(nn.Module):
    """x [R, L, D] -> [R, L, D]."""

    def __init__(self, width: int, kernel: int, window: Window) -> None:
        super().__init__()
        self.window = window
        self.convolution = nn.Conv1d(width, 2 * width, kernel)

    def initialise(self, generator: torch.Generator | None) -> None:
        """Four times the input's variance goes into a GLU, for a quarter to come out (Gehring et al., section 3.5)."""
        fan_in = self.convolution.weight[0].numel()
        nn.init.normal_(self.convolution.weight, std=math.sqrt(4 / fan_in), generator=generator)
        _zero_bias(self.convolution)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        both = self.convolution(self.window(x, context.mask, context.state).transpose(1, 2))
        return functional.glu(both, 1).transpose(1, 2)


class LightConvolutionMixer(nn.Module):
    """x [R, L, D] -> [R, L, D]. `kernel` gives the normalised kernels of x, [R or 1, L or 1, H, K]."""

    def __init__(self, width: int, kernel: nn.Module, window: Window) -> None:
        super().__init__()
        self.window, self.kernel = window, kernel
        self.input = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = functional.glu(self.input(x))
        return self.output(depthwise(self.window(x, context.mask, context.state), self.kernel(x)))


class LightKernel(nn.Module):
    """One kernel a head, [1, 1, H, K]."""

    def __init__(self, heads: int, kernel: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.empty(heads, kernel))

    def initialise(self, generator: torch.Generator | None) -> None:
        nn.init.xavier_uniform_(self.scores, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores.softmax(-1)[None, None]


class DynamicKernel(nn.Module):
    """A kernel a token and head, [R, L, H, K]."""

    def __init__(self, width: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.heads = heads
        self.scores = nn.Linear(width, heads * kernel, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(x).unflatten(-1, (self.heads, -1)).softmax(-1)


class DilatedConvolutionMixer(nn.Module):
    """x [R, L, D] -> [R, L, D]."""

    def __init__(self, width: int, kernel: int, dilation: int, window: Window) -> None:
        super().__init__()
        self.window = window
        self.narrow = nn.Linear(width, width // 2)
        self.convolution = nn.Conv1d(width // 2, width // 2, kernel, dilation=dilation)
        self.widen = nn.Linear(width // 2, width)

    def initialise(self, generator: torch.Generator | None) -> None:
        nn.init.xavier_uniform_(self.convolution.weight, generator=generator)
        _zero_bias(self.convolution)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        window = self.window(self.narrow(x.relu()).relu(), context.mask, context.state)
        return self.widen(self.convolution(window.transpose(1, 2)).relu().transpose(1, 2))


def _zero_bias(convolution: nn.Conv1d) -> None:
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)


def _check_heads(width: int, heads: int) -> None:
    if width % heads:
        raise ValueError(f"the heads of a convolution share out the width: {width} is not a multiple of heads {heads}")
