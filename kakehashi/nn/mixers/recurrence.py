"""Recurrences: each token updates one state of fixed size, so a step costs the same at any length.

The LSTM runs token by token. In the others the update is linear in the state, with gates that depend on the input
alone: a scan computes all tokens at once (nn/scan.py).
Shapes: R rows, L tokens, D width.
"""

from collections.abc import Mapping
from typing import ClassVar, Final, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kakehashi.nn.mixers.convolution import depthwise
from kakehashi.nn.mixers.protocol import Context, MixerConfig
from kakehashi.nn.positions import Mode
from kakehashi.nn.scan import scan, widen
from kakehashi.nn.variant import Law

NO_WAY_BACK: Final[Mapping[Law, str]] = {
    "rewind": "each token replaces the one state that is kept, and what it replaced cannot be had back"
}
_CAUSAL: Final[frozenset[Mode]] = frozenset({"causal"})


class LSTM(MixerConfig):
    """i, f, o = sigmoid(W x_t + U h_{t-1} + b), g = tanh(W_g x_t + U_g h_{t-1} + b_g),
    c_t = f c_{t-1} + i g, h_t = o tanh(c_t).

    Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000. Bidirectional: one in each direction, of
    half the width each, side by side (Graves and Schmidhuber 2005).
    """

    breaks: ClassVar[Mapping[Law, str]] = NO_WAY_BACK
    kind: Literal["lstm"] = "lstm"

    def build(self, width: int, heads: int, mode: Mode, name: str) -> nn.Module:
        if mode == "causal":
            return CausalLSTM(width, name)
        if width % 2:
            raise ValueError(f"an lstm in both directions shares out the width, which must be even, not {width}")
        return BidirectionalLSTM(width)


class SSRU(MixerConfig):
    """f_t = sigmoid(W_f x_t + b_f), c_t = f_t c_{t-1} + (1 - f_t) W x_t, h_t = relu(c_t).

    Kim et al. 2019, "From Research to Production and Back: Ludicrously Fast Neural Machine Translation" (ACL D19-5632),
    section 3.1: the simpler simple recurrent unit, for decoders in place of self-attention.
    """

    modes: ClassVar[frozenset[Mode]] = _CAUSAL
    breaks: ClassVar[Mapping[Law, str]] = NO_WAY_BACK
    kind: Literal["ssru"] = "ssru"

    def build(self, width: int, heads: int, mode: Mode, name: str) -> nn.Module:
        return SSRUMixer(width, name)


class GatedRecurrence(MixerConfig):
    """The real-gated linear recurrent unit (RG-LRU) in its block: W_o (gelu(W_g x) y), where y is the recurrence over
    u, u = W_u x after a convolution of each channel over the last `kernel` tokens:

    r_t = sigmoid(W_r u_t + b_r), i_t = sigmoid(W_i u_t + b_i), a_t = sigmoid(A)^(8 r_t),
    y_t = a_t y_{t-1} + sqrt(1 - a_t^2) (i_t u_t).

    De et al. 2024 (Griffin, arXiv 2402.19427), sections 2.3 and 2.4. Not minGRU (Feng et al. 2024, arXiv 2410.01201),
    which is the ssru but for its output.
    """

    modes: ClassVar[frozenset[Mode]] = _CAUSAL
    breaks: ClassVar[Mapping[Law, str]] = NO_WAY_BACK
    kind: Literal["gated_recurrence"] = "gated_recurrence"
    kernel: PositiveInt = 4

    def build(self, width: int, heads: int, mode: Mode, name: str) -> nn.Module:
        return GatedRecurrenceMixer(width, self.kernel, name)


class Direction(nn.LSTM):
    """torch's LSTM over [R, L, D]. Each gate starts as a linear layer does, but for the forget gate's bias: one, as in
    Jozefowicz et al. 2015, "An Empirical Exploration of Recurrent Network Architectures"."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__(width, size, batch_first=True)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None) -> None:
        for parameter in self.parameters():
            for gate in parameter.chunk(4):
                if gate.dim() == 2:
                    nn.init.xavier_uniform_(gate, generator=generator)
                else:
                    nn.init.zeros_(gate)
        forget = self.get_parameter("bias_ih_l0").chunk(4)[1]
        nn.init.ones_(forget)


class CausalLSTM(nn.Module):
    """x [R, L, D] -> [R, L, D]. `name` is unique in the model: the state's tensors go by it."""

    def __init__(self, width: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.ahead = Direction(width, width)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if context.state is None:
            return self.ahead(x)[0]
        h, c = (context.state.carried(f"{self.name}.{part}") for part in "hc")
        y, (h, c) = self.ahead(x, None if h is None or c is None else (h[None], c[None]))
        context.state.carry(f"{self.name}.h", h[0])
        context.state.carry(f"{self.name}.c", c[0])
        return y


class BidirectionalLSTM(nn.Module):
    """x [R, L, D] -> [R, L, D]. Padding stands behind; the way back begins at each row's last token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ahead = Direction(width, width // 2)
        self.back = Direction(width, width // 2)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        mask = torch.ones_like(x[..., 0], dtype=torch.bool) if context.mask is None else context.mask
        lengths = mask.sum(1)
        return torch.cat((self.ahead(x)[0], backwards(self.back(backwards(x, lengths))[0], lengths)), -1)


def backwards(x_RLD: Tensor, lengths_R: Tensor) -> Tensor:
    """Each row's tokens from the last to the first; padding stays behind. Twice is once and back."""
    places = torch.arange(x_RLD.shape[1], device=x_RLD.device)
    order = torch.where(places < lengths_R[:, None], lengths_R[:, None] - 1 - places, places)
    return x_RLD.gather(1, order[..., None].expand_as(x_RLD))


def _recur(a_RLD: Tensor, b_RLD: Tensor, name: str, context: Context) -> Tensor:
    """The scan over a whole sequence, or on from what the state carries under `name`."""
    if context.state is None:
        return scan(a_RLD, b_RLD)
    h = scan(a_RLD, b_RLD, context.state.carried(name))
    context.state.carry(name, h[:, -1])
    return h


class SSRUMixer(nn.Module):
    """x [R, L, D] -> [R, L, D]."""

    def __init__(self, width: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.forget = nn.Linear(width, width)
        self.value = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        forget = widen(self.forget(x)).sigmoid()
        cell = _recur(forget, (1 - forget) * self.value(x), f"{self.name}.cell", context)
        return cell.relu().to(x.dtype)


class GatedRecurrenceMixer(nn.Module):
    """x [R, L, D] -> [R, L, D]."""

    def __init__(self, width: int, kernel: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.gate = nn.Linear(width, width)
        self.input = nn.Linear(width, width)
        self.kernel = nn.Parameter(torch.empty(width, kernel))
        self.decay = nn.Parameter(torch.empty(width))
        self.recurrence_gate = nn.Linear(width, width)
        self.input_gate = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None) -> None:
        """sigmoid(A)^8 is uniform between 0.9 and 0.999 (Griffin, section 2.4)."""
        nn.init.normal_(self.kernel, std=self.kernel.shape[1] ** -0.5, generator=generator)
        self.decay.copy_((self.decay.uniform_(0.9, 0.999, generator=generator) ** (1 / 8)).logit())

    def forward(self, x: Tensor, context: Context) -> Tensor:
        u = depthwise(self._window(self.input(x), context), self.kernel[None, None])
        log_a = 8 * widen(self.recurrence_gate(u)).sigmoid() * functional.logsigmoid(widen(self.decay))
        kept = -torch.expm1(2 * log_a)  # 1 - a^2, also where a is nearly 1
        scale = kept.clamp_min(torch.finfo(kept.dtype).tiny).sqrt()  # at 0 the root has no gradient
        y = _recur(log_a.exp(), scale * (widen(self.input_gate(u)).sigmoid() * u), f"{self.name}.y", context)
        return self.output(functional.gelu(self.gate(x)) * y.to(x.dtype))

    def _window(self, x: Tensor, context: Context) -> Tensor:
        """With the kernel's reach in front of it; that much is carried, so that the state does not grow."""
        state, name = context.state, f"{self.name}.input"
        past = None if state is None else state.carried(name)
        if past is None:
            past = x.new_zeros(x.shape[0], self.kernel.shape[1] - 1, x.shape[2])
        window = torch.cat((past, x), 1)
        if state is not None:
            state.carry(name, window[:, x.shape[1] :])
        return window
