"""Cross-entropy of two views of the same targets, and how far their predictions lie apart.

Like nn/losses.py, and for its reasons, a chunk of tokens at a time with the gradient in the same pass. Soft-max,
divergence and their gradient are fp32 here whatever the model's format: they live on small differences of logits.
Shapes: 2 views, M tokens, V vocabulary, D width.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kakehashi.nn.losses import scaled
from kakehashi.nn.precision import wide

_CHUNK = 64  # tokens of each view: several fp32 tensors of their vocabulary are at work at once, and stay in the cache


class ViewWeights(NamedTuple):
    """What each view adds to the loss. likelihood: its cross-entropy; divergence: KL(its prediction || the other's)."""

    likelihood: tuple[float, float]
    divergence: tuple[float, float]


def consistent_cross_entropy(
    hidden_2MD: Tensor,
    projection_VD: Tensor,
    bias_V: Tensor | None,
    targets_M: Tensor,
    smoothing: float,
    weights: ViewWeights,
) -> tuple[Tensor, Tensor]:
    """(loss, negative log-likelihood), each summed over the tokens. Only the loss has a gradient, to both views.

    loss = sum over the views i of likelihood_i * CE_i + divergence_i * KL(p_i || p_other), with CE smoothed as in
    `losses.cross_entropy`; the negative log-likelihood is that of the first view.
    """
    return _Consistent.apply(hidden_2MD, projection_VD, bias_V, targets_M, smoothing, weights)  # pyright: ignore[reportReturnType]


class _Consistent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        projection: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        weights: ViewWeights,
    ) -> tuple[Tensor, Tensor]:
        precise = wide(hidden.dtype)
        loss, likelihood = (torch.zeros((), dtype=precise, device=hidden.device) for _ in range(2))
        d_hidden, d_projection = torch.empty_like(hidden), torch.zeros_like(projection)
        d_bias = None if bias is None else torch.zeros_like(bias)
        factors = torch.tensor(weights, dtype=precise, device=hidden.device)[:, :, None, None]  # once: a GPU would wait
        for start in range(0, len(targets), _CHUNK):
            rows = slice(start, start + _CHUNK)
            logits = hidden[:, rows] @ projection.T
            if bias is not None:
                logits += bias
            part, nll, gradient = _chunk(logits.to(precise), targets[rows], smoothing, weights, factors)
            loss += part
            likelihood += nll
            d_logits = gradient.to(hidden.dtype)
            d_hidden[:, rows] = d_logits @ projection
            d_projection.addmm_(d_logits.flatten(0, 1).T, hidden[:, rows].flatten(0, 1))
            if d_bias is not None:
                d_bias += d_logits.sum((0, 1))
        ctx.save_for_backward(d_hidden, d_projection, d_bias)
        ctx.mark_non_differentiable(likelihood)
        return loss, likelihood

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *upstream: Tensor
    ) -> tuple[Tensor | None, ...]:
        return *scaled(ctx.saved_tensors, upstream[0]), None, None, None


def _chunk(
    logits_2CV: Tensor, targets_C: Tensor, smoothing: float, weights: ViewWeights, factors_2211: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, negative log-likelihood of the first view, and the loss's gradient to the logits, of C tokens.

    `factors` are the weights on the device, [2, 2, 1, 1]: by kind and view.

    With r = log p_i - log p_other, KL_i = KL(p_i || p_other) is the mean of r under p_i. d KL_i / d logits_i = p_i (r -
    KL_i), and d KL_other / d logits_i = p_i - p_other; all that multiplies p_i is put together first.
    """
    of_target, apart = factors_2211
    target = targets_C[None, :, None].expand(2, -1, 1)
    p = logits_2CV.softmax(-1)
    # log-sum-exp from the most probable token: two fast reductions instead of an exponential pass
    normaliser = logits_2CV.amax(-1, keepdim=True) - p.amax(-1, keepdim=True).log()
    nll = normaliser - logits_2CV.gather(-1, target)
    smoothed = (1 - smoothing) * nll + smoothing * (normaliser - logits_2CV.mean(-1, keepdim=True))
    ratio = (logits_2CV[0] - logits_2CV[1]).sub_(normaliser[0] - normaliser[1])
    means = (p[:, :, None] @ ratio[..., None])[..., 0]
    divergence = torch.stack((means[0], -means[1]))
    loss = (of_target * smoothed + apart * divergence).sum()
    factor = of_target + apart.flip(0) - apart * divergence
    first, second = weights.divergence
    of_first = torch.add(factor[0], ratio, alpha=first).mul_(p[0]).sub_(p[1], alpha=second)
    of_second = torch.sub(factor[1], ratio, alpha=second).mul_(p[1]).sub_(p[0], alpha=first)
    gradient = torch.stack((of_first, of_second))
    gradient -= of_target * smoothing / logits_2CV.shape[-1]
    gradient.scatter_add_(-1, target, (of_target * (smoothing - 1)).expand_as(target))
    return loss, nll[0].sum(), gradient
