"""Feed-forwards against their formulas, and what is known of mixtures of experts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.feedforward import (
    GEGLU,
    GELU,
    GLU,
    Experts,
    ExpertsFeedForward,
    FeedForwardConfig,
    GELUSigmoid,
    GELUTanh,
    ReGLU,
    ReLU,
    SwiGLU,
    Swish,
    use_of_experts,
)
from kakehashi.nn.mixers.protocol import Context

WIDTH = 6
Function = Callable[[Tensor], Tensor]


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + (-x).exp())


def swish(x: Tensor) -> Tensor:
    return x * sigmoid(x)


def gelu(x: Tensor) -> Tensor:
    return x * (1 + (x / 2**0.5).erf()) / 2


def relu(x: Tensor) -> Tensor:
    return x * (x > 0)


def gelu_tanh(x: Tensor) -> Tensor:
    return x * (1 + ((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)).tanh()) / 2


def gelu_sigmoid(x: Tensor) -> Tensor:
    return x * sigmoid(1.702 * x)


PLAIN: list[tuple[FeedForwardConfig, Function]] = [
    (ReLU(size=4), relu),
    (GELU(size=4), gelu),
    (GELUTanh(size=4), gelu_tanh),
    (GELUSigmoid(size=4), gelu_sigmoid),
    (Swish(size=4), swish),
]
GATED: list[tuple[FeedForwardConfig, Function]] = [
    (GLU(size=4), sigmoid),
    (ReGLU(size=4), relu),
    (GEGLU(size=4), gelu),
    (SwiGLU(size=4), swish),
]


def build(config: FeedForwardConfig) -> Any:
    torch.manual_seed(1)
    return config.build(WIDTH).double()


def tokens(rows: int = 2, length: int = 5) -> Tensor:
    """x [rows, length, WIDTH]."""
    return torch.randn(rows, length, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def run(module: Any, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, float]:
    """Output, and the loss of balance."""
    context = Context(positions=torch.arange(x.shape[1])[None], mask=mask)
    output = module(x, context)
    return output, float(context.losses.get("balance", torch.zeros(())).detach())


def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("config", "activation"), PLAIN)
def test_a_plain_feedforward_is_its_formula(config: FeedForwardConfig, activation: Function) -> None:
    module, x = build(config), tokens()
    inner, outer = module.inner, module.outer
    middle = activation(torch.einsum("rld,fd->rlf", x, inner.weight) + inner.bias)
    assert_equal(run(module, x)[0], torch.einsum("rlf,df->rld", middle, outer.weight) + outer.bias)


@pytest.mark.parametrize(("config", "activation"), GATED)
def test_a_gated_feedforward_is_its_formula(config: FeedForwardConfig, activation: Function) -> None:
    module, x = build(config), tokens()
    gate, value = (torch.einsum("rld,fd->rlf", x, part.weight) for part in (module.gate, module.inner))
    assert_equal(run(module, x)[0], torch.einsum("rlf,df->rld", activation(gate) * value, module.outer.weight))
    assert [path for path, _ in module.named_parameters()] == ["gate.weight", "inner.weight", "outer.weight"]


def test_gated_and_plain_ones_are_of_a_size() -> None:
    plain, gated = (sum(p.numel() for p in config.build(512).parameters()) for config in (ReLU(), SwiGLU()))
    assert gated == pytest.approx(plain, rel=0.002)


# Experts


def experts(**options: Any) -> Any:
    return build(Experts(**{"experts": 4, "top": 2, "expert": ReLU(size=5), **options}))


def one_expert_a_token(module: ExpertsFeedForward, choices: list[int]) -> Tensor:
    """x [1, len(choices), WIDTH] whose token t surely goes to expert choices[t]; changes the router."""
    with torch.no_grad():
        module.router.weight.copy_(torch.eye(len(module.experts), WIDTH) * 1000)
    return torch.nn.functional.one_hot(torch.tensor([choices]), WIDTH).double()


@pytest.mark.parametrize("top", [1, 2, 3])
def test_a_token_gets_its_likeliest_experts_by_their_probabilities(top: int) -> None:
    """Switch Transformer, equations 1 and 2, token by token."""
    module, x = experts(top=top), tokens()
    for row, found in zip(x.view(-1, 1, WIDTH), run(module, x)[0].view(-1, WIDTH), strict=True):
        exponentials = [torch.dot(weights, row[0]).exp().item() for weights in module.router.weight]
        best = sorted(range(4), key=lambda e: -exponentials[e])[:top]
        parts = [exponentials[e] / sum(exponentials) * run(module.experts[e], row[None])[0][0, 0] for e in best]
        assert_equal(found, torch.stack(parts).sum(0))


def test_one_expert_is_a_plain_feedforward() -> None:
    """Its gate is 1: the soft-max of one number."""
    module, x = experts(experts=1, top=1), tokens()
    assert_equal(run(module, x)[0], run(module.experts[0], x)[0])


def test_all_experts_are_the_dense_mixture() -> None:
    module, x = experts(top=4), tokens()
    dense = torch.stack([run(expert, x)[0] for expert in module.experts], -1)
    assert_equal(run(module, x)[0], (dense * module.router(x).softmax(-1)[..., None, :]).sum(-1))


def test_balance_is_least_when_all_experts_are_used_alike() -> None:
    """Then it is its weight; E times that when one expert gets everything."""
    module = experts(top=1, balance=0.25)
    assert run(module, one_expert_a_token(module, [0, 1, 2, 3, 3, 2, 1, 0]))[1] == pytest.approx(0.25)
    assert run(module, one_expert_a_token(module, [0, 1, 2, 3, 3, 3, 3, 3]))[1] > 0.3
    assert run(module, one_expert_a_token(module, [2] * 8))[1] == pytest.approx(4 * 0.25)
    torch.nn.init.zeros_(module.router.weight)
    assert run(module, tokens())[1] == pytest.approx(0.25), "probabilities of 1/E, whoever is chosen"


def test_the_balance_loss_evens_out_the_use() -> None:
    module, x = experts(top=1, balance=1.0), 1 + tokens(rows=20)  # tokens that are alike
    optimizer = torch.optim.SGD(module.router.parameters(), lr=0.3)
    uneven: list[float] = []
    for _ in range(30):
        context = Context(positions=torch.arange(5)[None])
        module(x, context)
        uneven.append(module.use.shares.max().item())
        optimizer.zero_grad()
        context.losses["balance"].backward()
        optimizer.step()
    assert uneven[0] > 0.5 and uneven[-1] < 0.4


def test_padding_is_neither_routed_nor_counted() -> None:
    x = tokens(rows=3, length=6)
    mask = torch.arange(6) < torch.tensor([6, 2, 4])[:, None]
    for options in ({}, {"capacity": 0.5}):
        module = experts(**options)
        output, balance = run(module, x, mask)
        use = module.use
        other, same = run(module, x.masked_fill(~mask[..., None], 7.0), mask)
        assert torch.equal(output, other) and balance == same
        assert not output[~mask].any()
        alone, same = run(module, x[mask][None])
        assert_equal(output[mask], alone[0])
        assert balance == pytest.approx(same) and torch.equal(use.shares, module.use.shares)
        assert use.dropped == module.use.dropped


def test_capacity_drops_the_last_choices() -> None:
    """Ten tokens, of which an expert takes ceil(0.8 * 10 / 4) = 2: the first two in the order of the batch."""
    module = experts(top=1, capacity=0.8)
    choices = [0, 1, 0, 0, 2, 1, 0, 1, 1, 3]
    output, _ = run(module, one_expert_a_token(module, choices))
    assert output[0].any(-1).tolist() == [True, True, True, False, True, True, False, False, False, True]
    assert module.use.dropped == pytest.approx(0.4)
    torch.testing.assert_close(module.use.shares, torch.tensor([4, 4, 1, 1]).double() / 10)


def test_the_use_of_experts_is_told_by_layer() -> None:
    module = experts(top=1, capacity=0.8)
    layers = torch.nn.ModuleDict({"plain": build(ReLU(size=5)), "mixed": module})
    assert use_of_experts(layers) == {}, "nothing has run yet"
    run(module, one_expert_a_token(module, [0, 1, 0, 0, 2, 1, 0, 1, 1, 3]))
    assert use_of_experts(layers) == pytest.approx({"mixed.busiest": 0.4, "mixed.dropped": 0.4})


def test_second_choices_yield_to_first_ones() -> None:
    """Token 0 wants experts 0 and 1, token 1 wants 1 and 0, and each takes ceil(0.5 * 4 / 2) = 1."""
    module = experts(experts=2, capacity=0.5)
    torch.nn.init.zeros_(module.router.weight).data[0, 0] = 1.0
    x = torch.zeros(1, 2, WIDTH, dtype=torch.float64)
    x[0, :, 0] = torch.tensor([1.0, -1.0])
    gate = torch.tensor(1.0, dtype=torch.float64).sigmoid()
    expected = [run(module.experts[t], x[:, t : t + 1])[0][0, 0] * gate for t in range(2)]
    assert_equal(run(module, x)[0][0], torch.stack(expected))
    assert module.use.dropped == 0.5


def test_laws_are_broken_under_a_capacity_only() -> None:
    assert "causality" not in Experts().exceptions()
    assert {"causality", "padding", "batch", "step", *Experts.breaks} <= Experts(capacity=1.0).exceptions().keys()


def test_gradients_reach_every_expert_and_the_router() -> None:
    for top in (1, 2):
        module = experts(top=top)
        run(module, tokens(rows=20))[0].square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().max() > 1e-3 for p in module.parameters())


def test_an_expert_without_a_token_has_a_gradient_of_zero() -> None:
    """Zero and not None, so that an optimiser treats it like any other."""
    module = experts(top=1)
    run(module, one_expert_a_token(module, [0, 1]))[0].sum().backward()
    assert not any(p.grad.any() for p in module.experts[3].parameters())


def test_the_use_is_not_saved() -> None:
    module = experts()
    before = list(module.state_dict())
    run(module, tokens())
    assert list(module.state_dict()) == before == [path for path, _ in module.named_parameters()]


def test_the_cost_is_that_of_the_chosen_experts() -> None:
    x = torch.randn(4, 64, WIDTH, dtype=torch.float64)
    router = 2 * 256 * WIDTH * 8
    one = 2 * 256 * 2 * WIDTH * 32
    for top in (1, 2):
        with FlopCounterMode(display=False) as counter:
            run(experts(experts=8, top=top, expert=ReLU(size=32)), x)
        assert counter.get_total_flops() == router + top * one


def test_more_experts_a_token_than_there_are() -> None:
    with pytest.raises(ValueError, match="top 3 of 2 experts"):
        experts(experts=2, top=3)


def test_all_layers_add_to_the_loss_of_the_model() -> None:
    """Routers of zeros: each of five layers adds its weight. Padding behind the target counts for nothing."""
    config = Experts(experts=3, top=1, expert=ReLU(size=8), balance=0.1)
    encoder = Stack(depth=2, layers=(Layer(feedforward=config),))
    decoder = CrossStack(depth=3, layers=(CrossLayer(feedforward=config),))
    torch.manual_seed(1)
    model = (
        EncoderDecoder(width=8, heads=2, encoder=encoder, decoder=decoder).build(Vocabulary(9), Vocabulary(9)).eval()
    )
    source, target = torch.tensor([[4, 5, 2], [6, 2, 0]]), torch.tensor([[1, 7, 8], [1, 0, 0]])
    wide = torch.nn.functional.pad(target, (0, 4))
    balances = [model.decode(t, model.encode(source, source != 0)).losses["balance"] for t in (target, wide)]
    torch.testing.assert_close(balances[0], balances[1])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "router" in name:
                parameter.zero_()
    balance = model.decode(target, model.encode(source, source != 0)).losses["balance"]
    assert balance.item() == pytest.approx(5 * 0.1)
