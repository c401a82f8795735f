"""Token sequences for language models: from encoded texts to padded batches within a token budget.

Shapes: B rows, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kakehashi.data.batching import Indices, divided, sent
from kakehashi.data.subwords import END, PAD
from kakehashi.errors import UserError

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class SequenceBatch:
    """What a model reads, and what it must say at each place: `output` is PAD where nothing is asked."""

    input: Tensor  # [B, T] int64
    output: Tensor  # [B, T] int64

    @property
    def target_tokens(self) -> int:
        """Tokens to predict."""
        return int((self.output != PAD).sum())

    def to(self, device: torch.device | str) -> "SequenceBatch":
        return SequenceBatch(sent(self.input, device), sent(self.output, device))


def collate_sequences(rows: Sequence[tuple[Ids, Ids]]) -> SequenceBatch:
    """Pairs of (input, output), padded to one batch."""
    filled = np.full((2, len(rows), max(len(row[0]) for row in rows)), PAD, np.int64)
    for i, row in enumerate(rows):
        for side in (0, 1):
            filled[side, i, : len(row[side])] = row[side]
    return SequenceBatch(*torch.from_numpy(filled))


class StreamSequences:
    """Texts one behind the other, each with its END, cut into sequences of `length` tokens.

    lengths [N]: of the sequences.
    """

    def __init__(self, texts: Sequence[Sequence[int]], length: int) -> None:
        self.ids = np.concatenate([np.array([*text, END], np.int32) for text in texts])
        self.length = length
        self.lengths = np.diff(np.append(np.arange(0, len(self.ids), length), len(self.ids)))
        self.dropped = 0

    def sequence(self, index: int, offset: int = 0) -> Ids:
        """Sequence number `index` when all cuts are made `offset` < length tokens earlier: the first one is shorter
        then, and as much is left out at the end."""
        start = index * self.length - offset
        return self.ids[max(0, start) : start + self.length]


class LineSequences:
    """Each text with its END is a sequence. `dropped` counts those of more than `longest` tokens.

    lengths [N]: of the sequences.
    """

    def __init__(self, texts: Sequence[Sequence[int]], longest: int | None = None) -> None:
        kept = [text for text in texts if longest is None or len(text) < longest]
        self.rows = [np.array([*text, END], np.int32) for text in kept]
        self.dropped = len(texts) - len(kept)
        self.lengths = np.array([len(row) for row in self.rows], np.int64)

    def sequence(self, index: int, offset: int = 0) -> Ids:
        return self.rows[index]


class SequenceSampler:
    """Plans each epoch's steps from lengths alone, deterministically from (seed, epoch).

    A step's cost, rows x longest sequence, never exceeds `tokens`. Like lengths meet; which of them is drawn by lot.
    Raises UserError when there is no sequence, and when the longest does not fit into the budget.
    """

    def __init__(self, lengths: NDArray[np.int64], tokens: int, seed: int) -> None:
        self.lengths, self.tokens, self.seed = lengths, tokens, seed
        if len(lengths) == 0:
            raise UserError("no text is left to train on: every one is longer than task.length")
        if lengths.max() > tokens:
            raise UserError(
                f"training.batch.tokens = {tokens} is too small: the longest sequence has {lengths.max()} tokens; "
                "raise training.batch.tokens, or lower task.length"
            )

    def plan(self, epoch: int) -> list[Indices]:
        """The sequences of every step of the epoch."""
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self.lengths))
        order = order[np.argsort(self.lengths[order], kind="stable")]
        steps: list[Indices] = []
        end = len(order)
        while end:  # from the longest down: the first row of a step says what all of them cost
            rows = self.tokens // int(self.lengths[order[end - 1]])
            steps.append(order[max(0, end - rows) : end])
            end = max(0, end - rows)
        return [steps[i] for i in random.permutation(len(steps))]

    def divide(self, step: Indices, parts: int) -> list[Indices]:
        """A step in parts of about the same cost; see `divided`."""
        return divided(step, self.lengths[None, step], parts)
