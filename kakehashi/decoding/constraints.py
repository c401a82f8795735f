"""Lexical constraints: what a sentence's translation must contain, and what it must not.

The places of the beam are divided by how many tokens of the required phrases a hypothesis has emitted, best of each
number first (dynamic beam allocation, Post and Vilar 2018, arXiv 1804.06609, section 3), so that hypotheses with the
phrases are not driven out by likelier ones without. No hypothesis ends before all its phrases are in it, and none
emits a token after which they would no longer fit within its limit.

What a hypothesis has met is read from its tokens at every step: there is nothing to carry along when beams are
reordered. Only sentences with constraints cost anything.

Shapes: B sentences, F live hypotheses each, R = B * F rows, V vocabulary, C candidates a sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from kakehashi.decoding.strategies.protocol import Candidates, Frontier

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Constraints:
    """Of one sentence. `required`: phrases, each as the token sequences that spell it, of which one must appear;
    `forbidden`: token sequences that must not. None is empty; phrases may overlap."""

    required: tuple[tuple[Tokens, ...], ...] = ()
    forbidden: tuple[Tokens, ...] = ()

    def missing(self, tokens: Tokens) -> list[tuple[Tokens, ...]]:
        """The required phrases that are not in `tokens`."""
        return [phrase for phrase in self.required if not any(_within(spelling, tokens) for spelling in phrase)]

    def need(self, tokens: Tokens) -> int:
        """How many more tokens surely suffice: those of the missing phrases one after the other, the one that the
        tokens end in the middle of being finished first."""
        missing = self.missing(tokens)
        begun = [
            min(map(len, phrase)) - len(spelling) + _overlap(tokens, spelling)
            for phrase in missing
            for spelling in phrase
        ]
        return _whole(missing) - max(begun, default=0)

    def follows(self, tokens: Tokens, places: int) -> set[int] | None:
        """The only tokens that may come next so that the phrases still fit, with `places` left after it; None: any."""
        missing = self.missing(tokens)
        if not missing or _whole(missing) < places:  # fewer than: the end needs a place too
            return None
        return {token for token in _tokens(missing) if self.need((*tokens, token)) < places}

    def banned(self, tokens: Tokens) -> set[int]:
        """The tokens that would complete a forbidden sequence."""
        return {last for *before, last in self.forbidden if _ends(tokens, tuple(before))}

    def next(self, tokens: Tokens) -> set[int]:
        """The tokens that begin or continue a missing phrase."""
        return {spelling[_overlap(tokens, spelling)] for phrase in self.missing(tokens) for spelling in phrase}


def _within(phrase: Tokens, tokens: Tokens) -> bool:
    return any(tokens[i : i + len(phrase)] == phrase for i in range(len(tokens) - len(phrase) + 1))


def _ends(tokens: Tokens, phrase: Tokens) -> bool:
    return len(phrase) <= len(tokens) and tokens[len(tokens) - len(phrase) :] == phrase


def _overlap(tokens: Tokens, phrase: Tokens) -> int:
    """How many tokens of the phrase, short of all, the tokens end with."""
    counts = range(min(len(tokens), len(phrase) - 1), 0, -1)
    return next((n for n in counts if tokens[-n:] == phrase[:n]), 0)


def _whole(phrases: Sequence[tuple[Tokens, ...]]) -> int:
    return sum(min(map(len, phrase)) for phrase in phrases)


def _tokens(phrases: Sequence[tuple[Tokens, ...]]) -> set[int]:
    return {token for phrase in phrases for spelling in phrase for token in spelling}


@dataclass(frozen=True)
class Constrained:
    """One step under constraints: those of each sentence in the batch, what each row has said, the prefix included,
    and how many places each sentence has left after this step's token."""

    constraints: Sequence[Constraints]
    said: Sequence[Tokens]
    places: Sequence[int]
    end: int

    def forbid(self, logits_RV: Tensor) -> None:
        """Writes -inf, in place, where a token would break the constraints."""
        fanout = len(self.said) // len(self.constraints)
        for row, tokens in enumerate(self.said):
            own, places = self.constraints[row // fanout], self.places[row // fanout]
            if own.missing(tokens):
                logits_RV[row, self.end] = -torch.inf
            if (only := own.follows(tokens, places)) is not None:
                allowed = sorted(only)
                kept = logits_RV[row, allowed]
                logits_RV[row] = -torch.inf
                logits_RV[row, allowed] = kept
            if banned := own.banned(tokens):
                logits_RV[row, sorted(banned)] = -torch.inf

    def divide(self, candidates: Candidates, frontier: Frontier) -> Candidates:
        """The candidates of sentences that require phrases in an order that divides the places: the best of each
        number of tokens met, then the second of each, and so on. Those candidates are the strategy's, with the best
        token and those of the phrases for each hypothesis."""
        parents, tokens, told, totals = (
            x.clone() for x in (candidates.parents, candidates.tokens, candidates.log_probabilities, candidates.totals)
        )
        fanout, width = frontier.totals.shape[1], parents.shape[1]
        best_R = frontier.logits.argmax(-1).tolist()
        for sentence, own in enumerate(self.constraints):
            if not own.required:
                continue
            first = sentence * fanout
            pool = set(zip(parents[sentence].tolist(), tokens[sentence].tolist(), strict=True))
            for parent in range(fanout):
                row = first + parent
                pool |= {(parent, token) for token in (best_R[row], *own.next(self.said[row]))}
            pairs = sorted(pool)
            parent_N, token_N = torch.tensor(pairs, device=parents.device).T
            told_N = frontier.logits[first + parent_N, token_N] - frontier.normalizers[first + parent_N]
            total_N = frontier.totals[sentence, parent_N] + told_N
            needs = [own.need((*self.said[first + parent], token)) for parent, token in pairs]
            order = _divided(needs, total_N.tolist())[:width]
            filled = len(order)
            totals[sentence] = -torch.inf
            parents[sentence, :filled], tokens[sentence, :filled] = parent_N[order], token_N[order]
            told[sentence, :filled], totals[sentence, :filled] = told_N[order], total_N[order]
        return Candidates(parents, tokens, told, totals)


def _divided(needs: Sequence[int], totals: Sequence[float]) -> list[int]:
    """Places in order: by rank among those of one need, then the least need; those with a total of -inf are left out.

    >>> _divided([0, 0, 2, 2], [-3.0, -1.0, -0.5, -0.1])
    [1, 3, 0, 2]
    """
    going = sorted((i for i in range(len(needs)) if totals[i] > -torch.inf), key=lambda i: (needs[i], -totals[i]))
    ranked = [(rank, need, i) for need, bank in groupby(going, key=lambda i: needs[i]) for rank, i in enumerate(bank)]
    return [i for *_, i in sorted(ranked)]
