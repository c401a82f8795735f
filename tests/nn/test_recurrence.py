"""Recurrences against their formulas in plain loops, the LSTM against torch's cell; their state and their start."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kakehashi.nn.mixers.linear_attention import AverageAttention, LinearAttention
from kakehashi.nn.mixers.protocol import MixerConfig
from kakehashi.nn.mixers.recurrence import LSTM, SSRU, GatedRecurrence
from tests.nn.mixing import WIDTH, build, close, in_steps, masked, numbers, started, whole

KINDS: list[MixerConfig] = [LSTM(), SSRU(), GatedRecurrence(), AverageAttention(size=5), LinearAttention()]
LENGTHS = [6, 3, 1]


def by_cell(direction: Any, row: Tensor) -> Tensor:
    """One token after the other through torch's LSTMCell with the same weights."""
    size = direction.hidden_size
    cell = nn.LSTMCell(WIDTH, size).double()
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in direction.named_parameters()})
    h = c = torch.zeros(1, size, dtype=torch.float64)
    outputs: list[Tensor] = []
    for token in row:
        h, c = cell(token[None], (h, c))
        outputs.append(h[0])
    return torch.stack(outputs)


@torch.no_grad()
def test_a_causal_lstm_is_torchs_cell() -> None:
    module, x = build(LSTM(), "causal"), numbers(2, 6, WIDTH)
    close(module(x, whole(x)), torch.stack([by_cell(module.ahead, row) for row in x]))


@torch.no_grad()
def test_a_bidirectional_lstm_reads_back_from_the_last_token() -> None:
    module, x = build(LSTM(), "bidirectional"), numbers(3, 6, WIDTH)
    found = module(x, masked(x, LENGTHS))
    for row, length in enumerate(LENGTHS):
        tokens = x[row, :length]
        back = by_cell(module.back, tokens.flip(0)).flip(0)
        close(found[row, :length], torch.cat((by_cell(module.ahead, tokens), back), -1))
    close(module(x, whole(x)), module(x, masked(x, [6, 6, 6])))


def test_an_lstm_in_both_directions_needs_an_even_width() -> None:
    with pytest.raises(ValueError, match="must be even, not 7"):
        LSTM().build(7, 1, "bidirectional", "m")


def test_an_lstm_starts_by_remembering() -> None:
    direction = started(LSTM()).ahead
    biases = torch.stack([(direction.bias_ih_l0 + direction.bias_hh_l0)[g * WIDTH : (g + 1) * WIDTH] for g in range(4)])
    assert torch.equal(biases, torch.tensor([0.0, 1.0, 0.0, 0.0])[:, None].expand(4, WIDTH))
    assert 0.4 < direction.weight_ih_l0.abs().max() <= 0.5, "of one gate: sqrt(6 / (12 + 12))"


@torch.no_grad()
def test_ssru_equals_its_formula() -> None:
    module, x = build(SSRU(), "causal"), numbers(2, 7, WIDTH)
    cell, outputs = torch.zeros(2, WIDTH, dtype=torch.float64), list[Tensor]()
    for t in range(7):
        forget = (x[:, t] @ module.forget.weight.T + module.forget.bias).sigmoid()
        cell = forget * cell + (1 - forget) * (x[:, t] @ module.value.weight.T)
        outputs.append(cell.clamp_min(0))
    close(module(x, whole(x)), torch.stack(outputs, 1))


@pytest.mark.parametrize("kernel", [1, 4])
@torch.no_grad()
def test_gated_recurrence_equals_its_formula(kernel: int) -> None:
    """De et al. 2024, figure 2 and equations 1 to 4, by powers of sigmoid(A) and without logarithms."""
    module, x = build(GatedRecurrence(kernel=kernel), "causal"), numbers(2, 7, WIDTH)
    inputs, y, outputs = module.input(x), torch.zeros(2, WIDTH, dtype=torch.float64), list[Tensor]()
    for t in range(7):
        taps = [(inputs[:, t - kernel + 1 + j], module.kernel[:, j]) for j in range(kernel) if t - kernel + 1 + j >= 0]
        u = torch.stack([value * tap for value, tap in taps]).sum(0)
        a = module.decay.sigmoid() ** (8 * module.recurrence_gate(u).sigmoid())
        y = a * y + (1 - a**2).sqrt() * module.input_gate(u).sigmoid() * u
        outputs.append(module.output(nn.functional.gelu(module.gate(x[:, t])) * y))
    close(module(x, whole(x)), torch.stack(outputs, 1))


def test_decays_start_between_a_tenth_and_a_thousandth() -> None:
    kept = started(GatedRecurrence()).decay.sigmoid() ** 8
    assert 0.899 < kept.min() < 0.92 and 0.97 < kept.max() < 0.9995


@pytest.mark.parametrize("gate", [-1e4, 1e4])
def test_closed_and_open_gates_have_gradients(gate: float) -> None:
    """At a = 1 the square root of 1 - a^2 has none of its own."""
    module, x = started(GatedRecurrence()), numbers(1, 5, WIDTH).float()
    with torch.no_grad():
        module.recurrence_gate.bias.fill_(gate)
    module(x, whole(x)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("config", KINDS, ids=lambda c: c.kind)
@torch.no_grad()
def test_the_state_does_not_grow(config: Any) -> None:
    module, x = build(config, "causal"), numbers(2, 40, WIDTH)

    def size(length: int) -> int:
        _, state = in_steps(module, x[:, :length], [1] * length)
        return sum(tensor.numel() for tensor in state.hypothesis.values())

    assert size(1) == size(40) > 0


@pytest.mark.parametrize("config", KINDS, ids=lambda c: c.kind)
@torch.no_grad()
def test_there_is_no_way_back(config: Any) -> None:
    _, state = in_steps(build(config, "causal"), numbers(2, 3, WIDTH), [3])
    assert "rewind" in config.breaks
    with pytest.raises(ValueError, match="cannot take back"):
        state.rewind(torch.tensor([2, 3]))


@pytest.mark.parametrize("config", KINDS[1:], ids=lambda c: c.kind)
@torch.no_grad()
def test_sums_over_the_sequence_are_fp32_in_a_bf16_model(config: Any) -> None:
    """2,000 tokens alike: in bf16 a sum would stop at 256 times its terms."""
    single = build(config, "causal", torch.bfloat16).float()
    half = build(config, "causal", torch.bfloat16)
    x = numbers(1, 1, WIDTH).bfloat16().expand(1, 2000, -1)
    expected = single(x.float(), whole(x))
    assert (half(x, whole(x)).float() - expected)[:, -500:].abs().max() < 0.05 * expected.abs().max()
    _, state = in_steps(half, x[:, :1], [1])
    carried = [tensor for name, tensor in state.hypothesis.items() if not name.endswith(".input")]
    assert [tensor.dtype for tensor in carried] == [torch.float32]
