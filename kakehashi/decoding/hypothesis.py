"""What a search finds, best first."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from kakehashi.errors import UserError


@dataclass(frozen=True)
class Hypothesis:
    """One translation.

    `tokens`: without begin and end; `score`: what it is ranked by, from the log-probabilities as processors reweigh
    them; `log_probability`: the sum of `token_log_probabilities` (the model's own, natural logarithms, the end's
    included); `finished`: False when the limit came before the end, so that the end of the translation may be missing,
    or when the phrases that it must contain did not fit; `alignment` [T, S], when asked for: how each of the T tokens
    that have a log-probability is shared among the S tokens of the source, its end among them; rows sum to one.
    """

    tokens: list[int]
    score: float
    log_probability: float
    token_log_probabilities: list[float]
    finished: bool
    alignment: Tensor | None = field(default=None, compare=False)

    def aligned(self, mask_S: Tensor | None) -> "Hypothesis":
        """The same with its alignment to these tokens of the source alone; None: without one."""
        if self.alignment is None or mask_S is None:
            return replace(self, alignment=None)
        return replace(self, alignment=self.alignment[:, mask_S.cpu()])


def ranked(hypotheses: Sequence[Hypothesis], count: int) -> list[Hypothesis]:
    """The best `count`, finished ones first; what several groups of a search have found, once."""
    if not hypotheses:
        raise UserError("the decoding settings leave no token to emit: lower min_length or drop processors")
    order = sorted(hypotheses, key=lambda hypothesis: (hypothesis.finished, hypothesis.score), reverse=True)
    return list({(h.finished, *h.tokens): h for h in order}.values())[:count]
