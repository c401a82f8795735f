"""Optimisers, and the policy on number formats: the model may compute in bf16, its optimiser never does.

Adam's update is often smaller than half a bf16 step of the weight, and would round to nothing. `MasterWeights`
therefore keeps an fp32 copy of each half-precision parameter, steps that, and writes the rounded result back.
A parameter in fp32 is its own master: no copy, no traffic. Every buffer is allocated once.

An optimiser's `build` gets the hidden matrices (`hidden_matrices`) apart from all other parameters.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, _foreach_add_, _foreach_copy_, _foreach_mul_, nn  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
from torch.distributed.tensor import DTensor

from kakehashi.config import Config, Family
from kakehashi.errors import UserError
from kakehashi.training.parallel import Group
from kakehashi.training.sharding import part, whole

Beta = Annotated[float, Field(ge=0, lt=1)]
HALF_PRECISION = (torch.bfloat16, torch.float16)
FUSED_DEVICES = frozenset({"cpu", "cuda"})  # on two CPU cores the fused step is five times faster than foreach
CLIP_EPSILON = 1e-6  # as torch.nn.utils.clip_grad_norm_, so that our clipped gradients are the same


class Adam(Config):
    """Adam (Kingma & Ba 2015, algorithm 1), with the betas and epsilon of Vaswani et al. 2017, section 5.3.

    The second beta is the customary 0.98, which is the paper's too.
    """

    kind: Literal["adam"] = "adam"
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    eps: float = Field(default=1e-9, gt=0)

    def build(self, hidden: Sequence[Tensor], others: Sequence[Tensor]) -> list[torch.optim.Optimizer]:
        parameters = [*hidden, *others]
        return [torch.optim.Adam(parameters, lr=0.0, betas=self.betas, eps=self.eps, fused=_fused(parameters))]


class AdamW(Config):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2): w -= rate * weight_decay * w.

    Only tensors of two or more dimensions decay (projections, kernels, embedding tables); biases and the gains of
    norms do not: they are few, and zero is not where they should rest.
    """

    kind: Literal["adamw"] = "adamw"
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    eps: float = Field(default=1e-9, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)

    def build(self, hidden: Sequence[Tensor], others: Sequence[Tensor]) -> list[torch.optim.Optimizer]:
        parameters = [*hidden, *others]
        matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
        vectors = [parameter for parameter in parameters if parameter.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": self.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        return [torch.optim.AdamW(groups, lr=0.0, betas=self.betas, eps=self.eps, fused=_fused(parameters))]


class Muon(Config):
    """Momentum orthogonalised by Newton-Schulz (Jordan et al. 2024, kellerjordan.github.io/posts/muon), for the hidden
    matrices; AdamW, with `betas` and `eps`, for embeddings, projection, norms, biases and all else.

    m = momentum * m + (1 - momentum) * g;  w -= rate * (0.2 * sqrt(max(rows, columns)) * orth(m') + weight_decay * w),
    where m' is Nesterov's momentum and orth(U S V^T) is about U V^T. The factor gives an update the root mean square
    of AdamW's, so that both follow one schedule (Liu et al. 2025, arXiv 2502.16982, section 2.2).
    """

    kind: Literal["muon"] = "muon"
    momentum: Beta = 0.95
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    eps: float = Field(default=1e-9, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)

    def build(self, hidden: Sequence[Tensor], others: Sequence[Tensor]) -> list[torch.optim.Optimizer]:
        """Raises UserError where there is nothing for Muon to do."""
        if not hidden:
            raise UserError("training.optimizer=muon: this model has no hidden matrices; choose adamw")
        muon = torch.optim.Muon(
            hidden, lr=0.0, weight_decay=self.weight_decay, momentum=self.momentum, adjust_lr_fn="match_rms_adamw"
        )
        rest = AdamW(betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)
        return [muon, *rest.build([], others)]


Optimizer = Annotated[Adam | AdamW | Muon, Family()]


def hidden_matrices(model: nn.Module) -> set[str]:
    """The parameters that are the matrix of a linear map inside the network, by name: every `nn.Linear` but the model's
    `projection` to the vocabulary, and none that is an embedding too.

    Queries, keys and values have a matrix each. Convolutions and the stacked gates of an `nn.LSTM` are not among them.
    """
    modules = dict(model.named_modules())
    outer = {id(module.weight) for module in modules.values() if isinstance(module, nn.Embedding)}
    inner = {id(m.weight) for name, m in modules.items() if isinstance(m, nn.Linear) and name != "projection"}
    return {name for name, parameter in model.named_parameters() if id(parameter) in inner - outer}


class MasterWeights:
    """The fp32 weights that the optimiser steps, and the working model that follows them.

    One step of training: backward and `gather_gradients` (once or more), `sum_gradients`, `clip`, `step`, `zero_grad`.
    Gradients that are gathered after each of several backward passes add up in fp32. Tied parameters appear once, under
    their first name. A skipped step is one where `zero_grad` follows `clip` directly.
    """

    def __init__(self, model: nn.Module, optimizer: Adam | AdamW | Muon) -> None:
        self._working: dict[str, Tensor] = dict(model.named_parameters())
        self._masters = {
            name: parameter.detach().float() if parameter.dtype in HALF_PRECISION else parameter
            for name, parameter in self._working.items()
        }
        self._copied = [name for name, parameter in self._working.items() if parameter.dtype in HALF_PRECISION]
        self._gradients = {name: torch.empty_like(self._masters[name]) for name in self._copied}
        hidden = hidden_matrices(model)
        self._optimizers = optimizer.build(
            [master for name, master in self._masters.items() if name in hidden],
            [master for name, master in self._masters.items() if name not in hidden],
        )

    @torch.no_grad()
    def gather_gradients(self) -> None:
        """Adds the half-precision gradients to their masters' and frees them; fp32 gradients are there already."""
        first: tuple[list[Tensor], list[Tensor]] = ([], [])
        further: tuple[list[Tensor], list[Tensor]] = ([], [])
        for name in self._copied:
            working, master = self._working[name], self._masters[name]
            if working.grad is None:
                continue
            into, source = first if master.grad is None else further
            into.append(self._gradients[name])
            source.append(working.grad)
            master.grad = self._gradients[name]
            working.grad = None
        if first[0]:
            _foreach_copy_(*first)
        if further[0]:
            _foreach_add_(*further)

    def sum_gradients(self, group: Group) -> None:
        """Adds up the gathered gradients of all processes, in all of them; those of parts are sums already."""
        group.sum_gradients(master for master in self._masters.values() if not isinstance(master, DTensor))

    @torch.no_grad()
    def clip(self, max_norm: float) -> float:
        """Scales all gradients so that their joint L2 norm is at most `max_norm`; returns the norm before that.

        A norm that is not finite is returned with the gradients untouched: such a step is the caller's to skip.
        """
        gradients = [master.grad for master in self._masters.values() if master.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients)).item()
        if math.isfinite(norm) and norm > max_norm:
            _foreach_mul_(gradients, max_norm / (norm + CLIP_EPSILON))
        return norm

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step of the optimiser at this learning rate; the working parameters follow, rounded."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        self._write_back()

    def zero_grad(self) -> None:
        for name, working in self._working.items():
            working.grad = None
            self._masters[name].grad = None

    def weights(self) -> dict[str, Tensor]:
        """The masters by name: the live tensors, which `step` and `load_state_tensors` change in place."""
        return {name: master.detach() for name, master in self._masters.items()}

    def state_tensors(self) -> dict[str, Tensor]:
        """All that exact resumption needs, the live tensors: `master.NAME`, `exp_avg.NAME`, `step.NAME`, ..."""
        tensors = {f"master.{name}": master.detach() for name, master in self._masters.items()}
        for name, master in self._masters.items():
            for optimizer in self._optimizers:
                for quantity, value in optimizer.state.get(master, {}).items():
                    tensors[f"{quantity}.{name}"] = value
        return tensors

    @torch.no_grad()
    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over what `state_tensors` gave, by copying. UserError when it belongs to another model."""
        states: dict[str, dict[str, Tensor]] = {name: {} for name in self._masters}
        for key, value in tensors.items():
            quantity, _, name = key.partition(".")
            if name not in states:
                raise UserError(f"The checkpoint holds {key!r}, which this model has no parameter for.")
            states[name][quantity] = value
        for name, master in self._masters.items():
            _check_shapes(name, master, states[name])
            master.copy_(part(states[name].pop("master"), master))
        self._load_optimizer(states)
        self._write_back()

    def _load_optimizer(self, states: dict[str, dict[str, Tensor]]) -> None:
        names = {id(master): name for name, master in self._masters.items()}
        for optimizer in self._optimizers:
            layout = optimizer.state_dict()
            order = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
            layout["state"] = {
                index: {quantity: part(value, self._masters[name]).clone() for quantity, value in states[name].items()}
                for index, name in enumerate(order)
                if states[name]
            }
            optimizer.load_state_dict(layout)

    def _write_back(self) -> None:
        if self._copied:
            working = [self._working[name] for name in self._copied]
            _foreach_copy_(working, [self._masters[name] for name in self._copied])


def _check_shapes(name: str, master: Tensor, state: Mapping[str, Tensor]) -> None:
    if "master" not in state:
        raise UserError(f"The checkpoint holds no weights for the parameter {name!r} of this model.")
    for quantity, value in state.items():
        if value.ndim and value.shape != master.shape:  # counters of steps are 0-dimensional
            found, wanted = tuple(value.shape), tuple(master.shape)
            raise UserError(f"The checkpoint's {quantity}.{name} has the shape {found}; this model needs {wanted}.")


def _fused(parameters: list[Tensor]) -> bool:
    return all(parameter.device.type in FUSED_DEVICES for parameter in parameters)
