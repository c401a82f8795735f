"""Logits processors: what may not be emitted next.

A processor sees the raw scores of the next token and the tokens emitted so far, and forbids tokens by writing -inf into
the scores. The search takes its log-probabilities from the scores as the model gave them, so a forbidden token's mass
is not spread over the others, and a hypothesis keeps the score that the model itself gives it.

Shapes: R rows (hypotheses), V vocabulary, T tokens emitted so far.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from kakehashi.config import Config, Family


class Processor(Protocol):
    """Forbids tokens in `logits_RV` (fp32, changed in place), given `tokens_RT`, which BEGIN is not among."""

    def __call__(self, logits_RV: Tensor, tokens_RT: Tensor) -> None: ...


class Ban:
    """Tokens that are never emitted: padding and the begin mark."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = list(tokens)

    def __call__(self, logits_RV: Tensor, tokens_RT: Tensor) -> None:
        for token in self.tokens:
            logits_RV[:, token] = -torch.inf


class MinimumLength:
    """No end before `length` tokens are emitted, the end included: 1 forbids nothing, 2 forbids the empty sentence."""

    def __init__(self, length: int, end: int) -> None:
        self.length = length
        self.end = end

    def __call__(self, logits_RV: Tensor, tokens_RT: Tensor) -> None:
        if tokens_RT.shape[1] + 1 < self.length:
            logits_RV[:, self.end] = -torch.inf


class ForbidRepeats:
    """No n-gram twice in one hypothesis (Paulus et al. 2017, A Deep Reinforced Model, section 2.5)."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, logits_RV: Tensor, tokens_RT: Tensor) -> None:
        prefix = self.size - 1
        if tokens_RT.shape[1] < self.size:
            return
        grams_RGN = tokens_RT.unfold(1, self.size, 1)
        last_R1N = tokens_RT[:, None, tokens_RT.shape[1] - prefix :]
        row, gram = (grams_RGN[:, :, :prefix] == last_R1N).all(-1).nonzero(as_tuple=True)
        logits_RV[row, grams_RGN[row, gram, prefix]] = -torch.inf


class NoRepeatNgram(Config):
    """A guard against loops: off unless asked, since good sentences repeat n-grams too."""

    kind: Literal["no_repeat_ngram"] = "no_repeat_ngram"
    size: Annotated[int, Field(ge=1)] = 3

    def build(self) -> Processor:
        return ForbidRepeats(self.size)


ProcessorConfig = Annotated[NoRepeatNgram, Family()]
