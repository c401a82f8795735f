"""Batches within a token budget: which pairs meet in a step, and how they become padded tensors.

Notable:
- pairs are cut into bands of like source length, and within a band ordered by target length, up in one band and down
  in the next: neighbours are alike on both sides, and padding stays small;
- the order within equal lengths, the width of the bands and the order of the steps are drawn anew in each epoch from
  (seed, epoch): the same sentences do not always meet;
- where a step is taken in parts, by many processes or one after the other, like lengths are in one part: the costliest
  part counts, and there is less padding than in the whole.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kakehashi.data.listed import Special
from kakehashi.data.subwords import PAD, SPECIAL
from kakehashi.errors import UserError

# Bands per square root of the number of steps, drawn between these: the flat bottom of the padding measured on
# Multi30k and Tatoeba English-Japanese for 2,000 to 32,000 tokens a step.
BANDS = (1.0, 1.75)

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Padded pairs; B rows, S and T the longest source and target, special ids included."""

    source: Tensor  # [B, S] int64: x + end
    source_mask: Tensor  # [B, S] bool: True = a token
    target_input: Tensor  # [B, T] int64: begin + y
    target_output: Tensor  # [B, T] int64: y + end, `pad` elsewhere
    indices: Tensor  # [B] int64: the examples' numbers
    pad: int = PAD  # of the target

    @property
    def target_tokens(self) -> int:
        """Target tokens to predict, the ends included, padding not."""
        return int((self.target_output != self.pad).sum())

    def to(self, device: torch.device | str) -> "Batch":
        return Batch(
            source=sent(self.source, device),
            source_mask=sent(self.source_mask, device),
            target_input=sent(self.target_input, device),
            target_output=sent(self.target_output, device),
            indices=sent(self.indices, device),
            pad=self.pad,
        )


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor of the CPU on a device; to a GPU from pinned memory, as the CPU would wait for a copy from any other."""
    pinned = tensor.pin_memory() if torch.device(device).type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)


def collate(
    pairs: Sequence[tuple[NDArray[np.int32], NDArray[np.int32]]],
    indices: Indices,
    source: Special = SPECIAL,
    target: Special = SPECIAL,
) -> Batch:
    """Pad pairs of ids (without special ids) to one batch; `indices` are their numbers in the corpus; `source` and
    `target`: the special ids of both sides."""
    sources, targets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    lengths = torch.tensor([len(each) + 1 for each in sources])
    padded = _padded(sources, before=[], after=[source.end], pad=source.pad)
    return Batch(
        source=padded,
        source_mask=torch.arange(padded.shape[1]) < lengths[:, None],
        target_input=_padded(targets, before=[target.begin], after=[], pad=target.pad),
        target_output=_padded(targets, before=[], after=[target.end], pad=target.pad),
        indices=torch.from_numpy(np.asarray(indices, dtype=np.int64)),
        pad=target.pad,
    )


def _padded(rows: Sequence[NDArray[np.int32]], before: list[int], after: list[int], pad: int) -> Tensor:
    width = max(len(row) for row in rows) + len(before) + len(after)
    filled = np.full((len(rows), width), pad, dtype=np.int64)
    for i, row in enumerate(rows):
        whole = np.concatenate((before, row, after))
        filled[i, : len(whole)] = whole
    return torch.from_numpy(filled)


class BatchSampler:
    """Plans each epoch's steps, from lengths alone, deterministically from (seed, epoch).

    A step's cost is rows * (longest source + longest target), special ids counted, and never exceeds `tokens`.

    weights: how often each example is seen in an epoch, on average: 2.5 means twice, and a third time in every second
        epoch (by lot).
    Raises UserError when there is no example, and when the longest pair does not fit into the budget.
    """

    def __init__(
        self,
        source_lengths: NDArray[np.int32],
        target_lengths: NDArray[np.int32],
        tokens: int,
        seed: int,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self.source = source_lengths.astype(np.int64) + 1  # + END
        self.target = target_lengths.astype(np.int64) + 1  # + BEGIN or END
        self.tokens, self.seed, self.weights = tokens, seed, weights
        if len(self.source) == 0:
            raise UserError("no pair is left to train on: see the counts of dropped pairs")
        cost = self.source + self.target
        longest = int(cost.argmax())
        if cost[longest] > tokens:
            raise UserError(
                f"training.batch.tokens = {tokens} is too small: the longest pair has {self.source[longest]} source "
                f"and {self.target[longest]} target tokens and needs {cost[longest]}; raise "
                f"training.batch.tokens, or lower max_tokens, so that long pairs are dropped"
            )

    def plan(self, epoch: int) -> list[Indices]:
        """The examples of every step of the epoch."""
        random = np.random.default_rng([self.seed, epoch])
        chosen = self._chosen(random)
        order = chosen[self._order(random, self.source[chosen], self.target[chosen])]
        ends = self._ends(self.source[order], self.target[order])
        steps = np.split(order, ends[:-1])
        return [steps[i] for i in random.permutation(len(steps))]

    def divide(self, step: Indices, parts: int) -> list[Indices]:
        """A step in parts of about the same cost; see `divided`."""
        return divided(step, np.stack((self.source[step], self.target[step])), parts)

    def _chosen(self, random: np.random.Generator) -> Indices:
        """Each example as often as its weight says; a fraction is decided by lot."""
        if self.weights is None:
            return np.arange(len(self.source))
        copies = np.floor(self.weights + random.random(len(self.weights))).astype(np.int64)
        if not copies.any():  # tiny weights on a tiny corpus: an epoch has at least one example
            copies[int(self.weights.argmax())] = 1
        return np.repeat(np.arange(len(self.source)), copies)

    def _order(self, random: np.random.Generator, source: Indices, target: Indices) -> Indices:
        """Bands of like source length, each sorted by target length, alternately up and down; ties by lot."""
        by_source = _sorted(random.permutation(len(source)), source)
        cost = np.cumsum((source + target)[by_source])
        bands = max(1, round((cost[-1] / self.tokens) ** 0.5 * random.uniform(*BANDS)))
        band = np.empty(len(source), dtype=np.int64)
        band[by_source] = (cost - 1) * bands // cost[-1]  # bands of equal cost
        height = int(target.max()) + 1
        up = (band + random.integers(2)) % 2 == 0
        by_target = _sorted(random.permutation(len(source)), np.where(up, target, height - target))
        return _sorted(by_target, band)

    def _ends(self, source: Indices, target: Indices) -> Indices:
        """Where each step ends: as many rows as the budget holds; the last two steps share evenly what they can."""
        ends = [0]
        while (start := ends[-1]) < len(source):
            window = slice(start, start + self.tokens // int(source[start] + target[start]))
            cost = np.maximum.accumulate(source[window]) + np.maximum.accumulate(target[window])
            cost *= np.arange(1, len(cost) + 1)
            ends.append(start + int(np.searchsorted(cost, self.tokens, side="right")))
        if len(ends) > 2:
            tail = slice(ends[-3], len(source))
            rows = self.tokens // int(source[tail].max() + target[tail].max())  # that fit, whichever they are
            even = min((len(source) - ends[-3]) // 2, rows)
            ends[-2] = min(ends[-2], len(source) - even)
        return np.array(ends[1:], dtype=np.int64)


def divided(step: Indices, lengths: Indices, parts: int) -> list[Indices]:
    """The rows of a step, whose lengths are `lengths` [sides, rows], in parts, some of them empty where rows are few.

    In order of length they are cut so that the costliest part, its rows x the longest of each side, is cheapest.
    """
    if parts == 1:
        return [step]
    order = np.argsort(lengths.sum(0), kind="stable")
    sides, rows = lengths[:, order], len(order)

    def ends(budget: int) -> list[int]:
        """Where parts end of which each takes as many rows as it can; the last end is short of all rows if they are
        too many."""
        found = [0]
        while found[-1] < rows and len(found) <= parts:
            longest = np.maximum.accumulate(sides[:, found[-1] :], axis=1).sum(0)
            costs = longest * np.arange(1, len(longest) + 1)
            found.append(found[-1] + int(np.searchsorted(costs, budget, side="right")))
        return found

    whole = rows * int(sides.max(1).sum())
    least = bisect_left(range(whole), True, key=lambda budget: ends(budget)[-1] == rows)
    return np.split(step[order], [*ends(least), *[rows] * parts][1:parts])


def _sorted(order: Indices, key: Indices) -> Indices:
    """`order`, stably sorted by each example's key (from 0): a radix sort, linear in time, for keys of 16 bits."""
    narrow = key.astype(np.min_scalar_type(int(key.max())))
    return order[np.argsort(narrow[order], kind="stable")]
