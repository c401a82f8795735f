"""Optimisers against the papers' formulas, and master weights: bf16 models, clipping, exact resumption."""

import math

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load, save
from torch import Tensor, nn

from kakehashi.errors import UserError
from kakehashi.models.protocol import Vocabulary
from kakehashi.training.optimizers import Adam, AdamW, MasterWeights, Muon, Optimizer, hidden_matrices
from tests.laws.zoo import ALL


def tied_model(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(3)
    model = nn.ModuleDict({"embed": nn.Embedding(11, 6), "norm": nn.LayerNorm(6), "out": nn.Linear(6, 11)})
    embed, out = model["embed"], model["out"]
    assert isinstance(embed, nn.Embedding) and isinstance(out, nn.Linear)
    out.weight = embed.weight
    return model.to(dtype)


def hidden_model(dtype: torch.dtype = torch.float32) -> nn.Module:
    """The same with a hidden matrix."""
    model = tied_model()
    assert isinstance(model, nn.ModuleDict)
    model["hidden"] = nn.Linear(6, 6)
    return model.to(dtype)


def loss(model: nn.Module, seed: int) -> Tensor:
    assert isinstance(model, nn.ModuleDict)
    ids = torch.randint(0, 11, (5, 4), generator=torch.Generator().manual_seed(seed))
    hidden = model["norm"](model["embed"](ids))
    logits = model["out"](model["hidden"](hidden) if "hidden" in model else hidden)
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), ids.flatten())


def train(model: nn.Module, masters: MasterWeights, steps: range) -> None:
    for step in steps:
        loss(model, step).backward()
        masters.gather_gradients()
        masters.clip(1.0)
        masters.step(0.01 / (1 + step))
        masters.zero_grad()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_adam_is_algorithm_1() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    (optimizer,) = Adam(betas=(0.9, 0.98), eps=1e-9).build([], [weight])
    expected = weight.detach().double().clone()
    m = v = torch.zeros(3, dtype=torch.float64)
    for t in range(1, 6):
        gradient = torch.tensor([0.3, -0.1 * t, 2.0])
        weight.grad = gradient.clone()
        optimizer.param_groups[0]["lr"] = 0.1
        optimizer.step()
        m = 0.9 * m + 0.1 * gradient
        v = 0.98 * v + 0.02 * gradient.double() ** 2
        expected -= 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.98**t)).sqrt() + 1e-9)
    torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_adamw_decays_matrices_only() -> None:
    model = tied_model()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    (optimizer,) = AdamW(weight_decay=0.5).build([], list(model.parameters()))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    after = dict(model.named_parameters())
    torch.testing.assert_close(after["embed.weight"].detach(), before["embed.weight"] * 0.95)
    for name in ("norm.weight", "norm.bias", "out.bias"):
        assert torch.equal(after[name].detach(), before[name])


def test_muon_is_its_formula() -> None:
    """Five steps of Newton-Schulz in bf16 upon Nesterov's momentum, at 0.2 sqrt(max(rows, columns)) times the rate."""
    weight = nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)))
    muon, rest = Muon(momentum=0.9, weight_decay=0.5).build([weight], [nn.Parameter(torch.ones(2))])
    assert isinstance(muon, torch.optim.Muon) and isinstance(rest, torch.optim.AdamW)
    expected, momentum = weight.detach().clone(), torch.zeros(6, 4)
    for t in range(1, 4):
        gradient = torch.randn(6, 4, generator=torch.Generator().manual_seed(10 + t))
        weight.grad = gradient.clone()
        muon.param_groups[0]["lr"] = 0.1
        muon.step()
        momentum = 0.9 * momentum + 0.1 * gradient
        x = (0.1 * gradient + 0.9 * momentum).bfloat16()
        x = x / x.norm()
        for _ in range(5):
            square = x.T @ x
            x = 3.4445 * x + x @ (-4.775 * square + 2.0315 * square @ square)
        expected = (1 - 0.1 * 0.5) * expected - 0.1 * 0.2 * math.sqrt(6) * x.float()
    torch.testing.assert_close(weight.detach(), expected, atol=5e-3, rtol=0)


def test_muon_makes_an_update_orthogonal_and_of_the_size_of_adams() -> None:
    weight = nn.Parameter(torch.zeros(64, 16))
    muon, *_ = Muon(weight_decay=0).build([weight], [nn.Parameter(torch.ones(2))])
    weight.grad = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    muon.param_groups[0]["lr"] = 1.0
    muon.step()
    update = weight.detach() / (0.2 * 8)
    assert (torch.linalg.svdvals(update) - 1).abs().max() < 0.45, "Newton-Schulz as Muon has it comes that near"
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(0.2, rel=0.25)


def test_hidden_matrices_are_neither_embeddings_nor_the_projection_nor_vectors() -> None:
    assert hidden_matrices(tied_model()) == set(), "the output is the embedding's table"
    assert hidden_matrices(nn.ModuleDict({"up": nn.Linear(2, 3), "projection": nn.Linear(3, 9)})) == {"up.weight"}
    for name, config in ALL:
        model = config.build(Vocabulary(37), Vocabulary(37))
        chosen = hidden_matrices(model)
        shapes = [tuple(parameter.shape) for key, parameter in model.named_parameters() if key in chosen]
        assert shapes or config.kind == "lstm", name
        assert all(len(shape) == 2 and 37 not in shape for shape in shapes), name


def test_muon_without_a_hidden_matrix_is_refused() -> None:
    with pytest.raises(UserError, match="no hidden matrices; choose adamw"):
        MasterWeights(tied_model(), Muon())


def test_muon_leaves_the_rest_to_adamw() -> None:
    model, twin = hidden_model(), hidden_model()
    train(model, MasterWeights(model, Muon()), range(1))
    train(twin, MasterWeights(twin, AdamW()), range(1))
    others = dict(twin.named_parameters())
    same_as_adamw = {name for name, parameter in model.named_parameters() if torch.equal(parameter, others[name])}
    assert others.keys() - same_as_adamw == {"hidden.weight"}


def test_the_family_knows_its_kinds() -> None:
    adapter: TypeAdapter[Adam | AdamW | Muon] = TypeAdapter(Optimizer)
    assert adapter.validate_python("adam") == Adam()
    assert adapter.validate_python({"kind": "adamw", "betas": [0.8, 0.9]}) == AdamW(betas=(0.8, 0.9))
    assert adapter.validate_python("muon") == Muon()


def test_fp32_parameters_are_their_own_masters_and_tied_ones_appear_once() -> None:
    model = tied_model()
    masters = MasterWeights(model, Adam())
    parameters = dict(model.named_parameters())
    assert masters.weights().keys() == parameters.keys() == {"embed.weight", "norm.weight", "norm.bias", "out.bias"}
    for name, weight in masters.weights().items():
        assert weight.data_ptr() == parameters[name].data_ptr()


def test_half_precision_weights_follow_fp32_masters() -> None:
    model = tied_model(torch.bfloat16)
    masters = MasterWeights(model, AdamW())
    train(model, masters, range(4))
    for name, parameter in model.named_parameters():
        master = masters.weights()[name]
        assert master.dtype == torch.float32 and parameter.dtype == torch.bfloat16
        assert torch.equal(parameter.detach(), master.bfloat16())
    assert any(not torch.equal(master, master.bfloat16().float()) for master in masters.weights().values())


def test_updates_below_half_a_bf16_step_are_not_lost() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    model = model.to(torch.bfloat16)
    masters = MasterWeights(model, Adam())
    for _ in range(20):
        model.weight.grad = torch.ones_like(model.weight)
        masters.gather_gradients()
        masters.step(0.001)  # a bf16 step below 1 is 1/256: alone, each update would round away
        masters.zero_grad()
    assert masters.weights()["weight"].item() == pytest.approx(0.98, abs=1e-5)
    assert model.weight.item() == pytest.approx(0.98, abs=1 / 512)


def test_gradients_gathered_after_each_pass_add_up_in_fp32() -> None:
    model = tied_model(torch.bfloat16)
    masters = MasterWeights(model, Adam())
    total = {name: torch.zeros_like(weight) for name, weight in masters.weights().items()}
    for seed in range(3):
        loss(model, seed).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            total[name] += parameter.grad.float()
        masters.gather_gradients()
        assert all(parameter.grad is None for parameter in model.parameters())
    expected = math.sqrt(sum(float((gradient.double() ** 2).sum()) for gradient in total.values()))
    assert masters.clip(math.inf) == pytest.approx(expected, rel=1e-6)
    masters.zero_grad()
    assert masters.clip(1.0) == 0.0


def test_clip_scales_to_the_norm_and_returns_the_norm_before() -> None:
    model, twin = tied_model(), tied_model()
    masters = MasterWeights(model, Adam())
    loss(model, 1).backward()
    loss(twin, 1).backward()
    expected = nn.utils.clip_grad_norm_(twin.parameters(), 0.01)
    assert masters.clip(0.01) == pytest.approx(expected.item())
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert masters.clip(1.0) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_told_and_the_step_can_be_skipped(value: float) -> None:
    model = tied_model(torch.bfloat16)
    masters = MasterWeights(model, Adam())
    train(model, masters, range(2))
    before = {name: tensor.clone() for name, tensor in masters.state_tensors().items()}
    loss(model, 3).backward()
    bias = dict(model.named_parameters())["out.bias"]
    assert bias.grad is not None
    bias.grad[0] = value
    masters.gather_gradients()
    assert not math.isfinite(masters.clip(1.0))
    masters.zero_grad()
    assert same(before, masters.state_tensors())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("config", [Adam(), AdamW(), Muon()], ids=lambda config: config.kind)
def test_resumed_through_a_file_gives_the_same_bits(dtype: torch.dtype, config: Adam | AdamW | Muon) -> None:
    model = hidden_model(dtype)
    masters = MasterWeights(model, config)
    train(model, masters, range(3))
    stored = save(masters.state_tensors())
    train(model, masters, range(3, 7))

    other = hidden_model(dtype)
    nn.init.zeros_(next(other.parameters()))
    resumed = MasterWeights(other, config)
    train(other, resumed, range(2))  # what it held before must not show
    weights = resumed.weights()
    resumed.load_state_tensors(load(stored))
    train(other, resumed, range(3, 7))
    assert same(masters.state_tensors(), resumed.state_tensors())
    assert same(dict(model.named_parameters()), dict(other.named_parameters()))
    assert same(weights, masters.weights()), "weights() must stay the live tensors"


def test_a_parameter_without_gradient_is_left_alone_and_resumes() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "idle": nn.Linear(2, 1)})
    masters = MasterWeights(model, AdamW())
    idle = masters.weights()["idle.weight"].clone()
    model["used"](torch.ones(1, 2)).sum().backward()
    masters.gather_gradients()
    masters.step(0.1)
    assert torch.equal(masters.weights()["idle.weight"], idle)
    state = {name: tensor.clone() for name, tensor in masters.state_tensors().items()}
    assert "exp_avg.used.weight" in state and "exp_avg.idle.weight" not in state
    masters.load_state_tensors(state)
    assert same(masters.state_tensors(), state)


def test_the_state_of_another_model_is_refused() -> None:
    state = MasterWeights(tied_model(), Adam()).state_tensors()
    with pytest.raises(UserError, match=r"no parameter"):
        MasterWeights(nn.Linear(2, 2), Adam()).load_state_tensors(state)
    missing = {key: value for key, value in state.items() if key != "master.out.bias"}
    with pytest.raises(UserError, match=r"no weights for the parameter 'out\.bias'"):
        MasterWeights(tied_model(), Adam()).load_state_tensors(missing)
    with pytest.raises(UserError, match=r"\(12,\).*\(11,\)"):
        MasterWeights(tied_model(), Adam()).load_state_tensors(state | {"master.out.bias": torch.zeros(12)})
