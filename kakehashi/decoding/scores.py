"""What a search asks of the scores of a whole vocabulary, a step's largest tensor: their normaliser, and the best.

By kernels where there are some (native/library.py), else in torch.
Shapes: R rows, those of a sentence side by side, V vocabulary, B sentences, C candidates a sentence; N blocks a row,
W scores a block, M blocks looked into.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from kakehashi.native import kernels
from kakehashi.native.library import library

BLOCK = 64  # near sqrt(8,000) and sqrt(37,000): about as many blocks as scores in a block
_AT_ONCE = 2**17  # scores of the vocabulary, in the soft-max: half a megabyte


def normalizers(logits_RV: Tensor) -> Tensor:
    """log(sum of exp(logits)) [R]; not finite where a logit is NaN or +infinity."""
    return kernels.log_sum_exp(logits_RV) if _fast(logits_RV) else normalizers_in_torch(logits_RV)


def best(
    logits_RV: Tensor, normalizers_R: Tensor, totals_R: Tensor, sentences: int, count: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The `count` likeliest continuations of each sentence, sorted: parents among its hypotheses, tokens, their
    log-probabilities, and these with the parents' totals, each [B, C]; where there are fewer, totals of -inf."""
    found = kernels.best if _fast(logits_RV) else best_in_torch
    return found(logits_RV, normalizers_R, totals_R, sentences, count)


def _fast(logits_RV: Tensor) -> bool:
    plain = logits_RV.device.type == "cpu" and logits_RV.dtype == torch.float32 and logits_RV.is_contiguous()
    return plain and library() is not None


def normalizers_in_torch(logits_RV: Tensor) -> Tensor:
    """The highest score less the logarithm of its probability: soft-max reads and writes the vocabulary once, logsumexp
    three times; few rows at once stay in the cache, and in memory that is there."""
    rows = max(1, _AT_ONCE // logits_RV.shape[1])
    highest = [scores.softmax(-1).amax(-1) for scores in logits_RV.split(rows)]
    return logits_RV.amax(-1) - torch.cat(highest).log_()


def best_in_torch(
    logits_RV: Tensor, normalizers_R: Tensor, totals_R: Tensor, sentences: int, count: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The highest scores lie in the blocks with the highest maxima: the vocabulary is cut into blocks, and only the
    best blocks are looked into."""
    rows, size = logits_RV.shape
    if count == 1 and rows == sentences:
        best_R, token_R = logits_RV.max(1)
        log_probability_B1 = (best_R - normalizers_R)[:, None]
        token_B1 = token_R[:, None]
        return torch.zeros_like(token_B1), token_B1, log_probability_B1, log_probability_B1 + totals_R[:, None]
    offsets_R, full = totals_R - normalizers_R, size // BLOCK * BLOCK
    maxima_RN = logits_RV[:, :full].unflatten(1, (-1, BLOCK)).amax(2)
    if full < size:
        maxima_RN = torch.cat([maxima_RN, logits_RV[:, full:].amax(1, keepdim=True)], 1)
    blocks = maxima_RN.shape[1]
    block_totals_BX = (maxima_RN + offsets_R[:, None]).view(sentences, -1)
    picked_BM = block_totals_BX.topk(min(count, block_totals_BX.shape[1]), dim=1).indices
    first_row_B1 = torch.arange(0, rows, rows // sentences, device=logits_RV.device)[:, None]
    row_BM = first_row_B1 + picked_BM // blocks
    position_BMW = (picked_BM % blocks * BLOCK)[..., None] + torch.arange(BLOCK, device=logits_RV.device)
    token_BMW = position_BMW.clamp(max=size - 1)
    value_BMW = logits_RV[row_BM[..., None], token_BMW] + offsets_R[row_BM][..., None]
    value_BX = value_BMW.masked_fill(position_BMW >= size, -torch.inf).flatten(1)
    best_BC, place_BC = value_BX.topk(min(count, value_BX.shape[1]), dim=1)
    tokens_BC, row_BC = token_BMW.flatten(1).gather(1, place_BC), row_BM.gather(1, place_BC // BLOCK)
    log_probabilities_BC = logits_RV[row_BC, tokens_BC] - normalizers_R[row_BC]
    missing = count - best_BC.shape[1]  # a vocabulary smaller than the beam
    return (
        pad(row_BC - first_row_B1, (0, missing)),
        pad(tokens_BC, (0, missing)),
        pad(log_probabilities_BC, (0, missing), value=-torch.inf),
        pad(best_BC, (0, missing), value=-torch.inf),
    )
