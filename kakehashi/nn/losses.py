"""Cross-entropy over a large vocabulary that never holds all its logits.

The projection to the vocabulary, the soft-max and both gradients are computed a chunk of tokens at a time, in one pass:
the gradient of the logits is known as soon as they are, so nothing of size [tokens, vocabulary] outlives its chunk.
Logits, probabilities and their gradient share the model's number format and, in place, their memory; sums are fp32.
Shapes: M tokens, V vocabulary, D width.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK = 512  # tokens: their logits stay in the cache; fewer would spend more on adding up the projection's gradient
_TINY = 1e-30  # below it no logarithm is taken of a probability: it may have been rounded to nothing


def cross_entropy(
    hidden_MD: Tensor, projection_VD: Tensor, bias_V: Tensor | None, targets_M: Tensor, smoothing: float
) -> tuple[Tensor, Tensor]:
    """(loss, negative log-likelihood), each summed over the tokens, fp32 scalars. Only the loss has a gradient.

    loss = (1 - e) * -log p(target) + e * mean over the vocabulary of -log p: label smoothing, Szegedy et al. 2016
    (arXiv 1512.00567), section 7, with the uniform distribution.
    """
    if not torch.is_grad_enabled():
        loss, likelihood, *_ = _forward(hidden_MD, projection_VD, bias_V, targets_M, smoothing, gradients=False)
        return loss, likelihood
    return _CrossEntropy.apply(hidden_MD, projection_VD, bias_V, targets_M, smoothing)  # pyright: ignore[reportReturnType]


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, projection: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        loss, likelihood, *gradients = _forward(hidden, projection, bias, targets, smoothing, gradients=True)
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(likelihood)
        return loss, likelihood

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *upstream: Tensor
    ) -> tuple[Tensor | None, ...]:
        return *scaled(ctx.saved_tensors, upstream[0]), None, None


def scaled(gradients: Iterable[Tensor | None], scale: Tensor) -> list[Tensor | None]:
    """Gradients of a loss as those of `scale` times the loss."""
    return [None if g is None else g * scale.to(g.dtype) for g in gradients]


def _forward(
    hidden: Tensor, projection: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float, *, gradients: bool
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Loss, likelihood, and the gradients of hidden, projection and bias (None unless asked).

    Smoothing's share of the logits' gradient is -e/V for every token and subword: of rank one, it is taken from what
    the rest of the gradient gives.
    """
    uniform = smoothing / projection.shape[0]
    loss, likelihood = (torch.zeros((), device=hidden.device) for _ in range(2))
    d_hidden = torch.empty_like(hidden) if gradients else None
    d_projection = torch.zeros_like(projection) if gradients else None
    d_bias = torch.zeros_like(bias) if gradients and bias is not None else None
    mean_projection = projection.float().mean(0)  # the mean of all logits is a product with the mean row
    smooth_hidden = (-smoothing * mean_projection).to(hidden.dtype)
    # for all chunks: memory that is given back and fetched again costs more than a pass over it
    for_logits, for_probabilities = (hidden.new_empty(min(_CHUNK, len(targets)), len(projection)) for _ in range(2))
    for start in range(0, len(targets), _CHUNK):
        rows = slice(start, start + _CHUNK)
        count = len(targets[rows])
        logits = torch.mm(hidden[rows], projection.T, out=for_logits[:count])
        if bias is not None:
            logits += bias
        wanted = torch.arange(count, device=logits.device), targets[rows]
        logits_wanted = logits[wanted].float()
        # summed in fp32 whatever the format; the gradient needs them in this one
        probabilities = torch.softmax(logits, -1, out=for_probabilities[:count])
        likely = probabilities[wanted].float()
        normaliser = logits_wanted - likely.log()  # log-sum-exp without a second pass over the vocabulary
        if logits.device.type != "cpu" or likely.amin() < _TINY:  # a GPU would be waited for, to look
            normaliser = logits.float().logsumexp(-1)
        nll = (normaliser - logits_wanted).sum()
        likelihood += nll
        loss += (1 - smoothing) * nll
        if smoothing:
            mean_logit = hidden[rows].float() @ mean_projection + (0.0 if bias is None else bias.float().mean())
            loss += smoothing * (normaliser - mean_logit).sum()
        if d_hidden is None or d_projection is None:
            continue
        probabilities[wanted] -= 1 - smoothing  # by index: `scatter_add_` copies the whole of a bf16 tensor twice
        torch.addmm(smooth_hidden, probabilities, projection, out=d_hidden[rows])
        d_projection.addmm_(probabilities.T, hidden[rows])
        if d_bias is not None:
            d_bias += probabilities.sum(0)
    if smoothing and d_projection is not None:
        d_projection -= uniform * hidden.sum(0)
        if d_bias is not None:
            d_bias -= uniform * len(targets)
    return loss, likelihood, d_hidden, d_projection, d_bias
