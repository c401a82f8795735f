"""Logits processors: what may not, or should not, be emitted next.

A processor sees the raw scores of the next token and the tokens emitted so far; it forbids tokens by writing -inf into
the scores, or lowers some. The normaliser is that of the scores as the model gave them, so a forbidden token's mass is
not spread over the others. Lowered scores choose and rank; the log-probabilities of a hypothesis stay the model's own.

Shapes: R rows (hypotheses), V vocabulary, T tokens emitted so far.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from kakehashi.config import Config, Family


class Processor(Protocol):
    """Changes `logits_RV` (fp32) in place, given `tokens_RT`, which BEGIN is not among.

    It only ever lowers them: a search ends early since totals only fall. `reweighs`: it does not only forbid.
    """

    reweighs: ClassVar[bool]

    def __call__(self, logits_RV: Tensor, tokens_RT: Tensor) -> None: ...


class Ban:
    """Tokens that are never emitted: padding and the begin mark."""

    reweighs: ClassVar[bool] = False

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = torch.tensor(tokens)

    def __call__(self, logits_RV: Tensor, tokens_RT: Tensor) -> None:
        logits_RV.index_fill_(1, self.tokens.to(logits_RV.device), -torch.inf)


class MinimumLength:
    """No end before `length` tokens are emitted, the end included: 1 forbids nothing, 2 forbids the empty sentence."""

    reweighs: ClassVar[bool] = False

    def __init__(self, length: int, end: int) -> None:
        self.length = length
        self.end = end

    def __call__(self, logits_RV: Tensor, tokens_RT: Tensor) -> None:
        if tokens_RT.shape[1] + 1 < self.length:
            logits_RV[:, self.end] = -torch.inf


class ForbidRepeats:
    """No n-gram twice in one hypothesis (Paulus et al. 2017, A Deep Reinforced Model, section 2.5)."""

    reweighs: ClassVar[bool] = False

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


class LowerRepeats:
    """A score x > 0 of a token that was emitted becomes x / penalty, another x * penalty."""

    reweighs: ClassVar[bool] = True

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty

    def __call__(self, logits_RV: Tensor, tokens_RT: Tensor) -> None:
        emitted_RT = logits_RV.gather(1, tokens_RT)
        lowered_RT = torch.where(emitted_RT > 0, emitted_RT / self.penalty, emitted_RT * self.penalty)
        logits_RV.scatter_(1, tokens_RT, lowered_RT)


class RepetitionPenalty(Config):
    """Tokens that were emitted are less likely to be emitted again (Keskar et al. 2019, CTRL, arXiv 1909.05858, 4.1).

    The paper divides every score by the penalty, which would raise those below zero: they are multiplied, as is usual.
    """

    kind: Literal["repetition_penalty"] = "repetition_penalty"
    penalty: Annotated[float, Field(ge=1)] = 1.2

    def build(self) -> Processor:
        return LowerRepeats(self.penalty)


ProcessorConfig = Annotated[NoRepeatNgram | RepetitionPenalty, Family()]
