"""A development set split off a corpus: no line of it, on either side, stays in the training text.

Notable:
- lines are compared as `check.overlap` compares them: NFKC, case folded, without white space;
- pairs whose lines occur nowhere else are taken first, so that as little training text as possible is lost;
- two readings, the first of which learns what to do with each pair; memory: 25 bytes a pair, and while they are sorted
  about three times that; the text is streamed;
- the same text and seed give the same split.
"""

import unicodedata
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kakehashi.data.corpus import Corpus, Pair, line_writer, read_pairs
from kakehashi.data.subwords import WORD
from kakehashi.errors import UserError

LEAST = 100  # different pairs; fewer teach a model nothing that it could say of another sentence
LARGEST = 1_000  # pairs of a development set, which is enough to tell two models apart
SHARE = 20  # the development set is 1 / SHARE of less text
MOST_LOST = 0.2  # of all pairs; a corpus that repeats itself so much needs a development set of its own
LONGEST = 500  # characters of a side; longer pairs would take most of the time of each validation


DROP, TRAIN, VALID = 0, 1, 2

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Holdout:
    """The counts of a split: pairs = train + valid + empty + shared.

    empty: pairs without text on a side. shared: left out of both parts because the development set has a line of them.
    words: in all pairs with text, the mean of both sides.
    """

    pairs: int
    train: int
    valid: int
    empty: int
    shared: int
    words: int


@dataclass(frozen=True)
class Plan:
    """What becomes of each pair: parts[i] is DROP, TRAIN or VALID."""

    counts: Holdout
    parts: NDArray[np.uint8]


class _Lines(NamedTuple):
    """All pairs of a corpus: hashes of both sides, and the kind of each pair."""

    source: Hashes
    target: Hashes
    kind: NDArray[np.uint8]
    words: int


def plan_holdout(corpus: Corpus, seed: int) -> Plan:
    """Decides what to hold out: 1 in 20 pairs, but at most 1,000.

    Raises UserError when the corpus cannot be read, has fewer than 100 different pairs, has the same text on both
    sides, or repeats itself so much that a development set would cost a fifth of it.
    """
    lines = _read(corpus)
    full = np.flatnonzero(lines.kind != _EMPTY)
    source, target = lines.source[full], lines.target[full]
    size = min(LARGEST, _different(source, target) // SHARE)
    chosen = _choose(source, target, lines.kind[full] != _GOOD, size, seed)
    parts = np.full(len(lines.kind), DROP, dtype=np.uint8)
    parts[full[~(np.isin(source, source[chosen]) | np.isin(target, target[chosen]))]] = TRAIN
    parts[full[chosen]] = VALID
    train = int((parts == TRAIN).sum())
    shared = len(full) - train - len(chosen)
    if shared > MOST_LOST * len(full):
        raise UserError(
            f"no development set can be split off {corpus.files}: of {len(full):,} pairs {shared:,} share a line with "
            f"the {len(chosen):,} that would be held out. Remove repeated lines (`kakehashi check` writes the clean "
            "corpus), or write a recipe with a development set of your own"
        )
    counts = Holdout(len(parts), train, len(chosen), len(parts) - len(full), shared, lines.words)
    return Plan(counts, parts)


def count_pairs(corpus: Corpus, valid: Corpus) -> Holdout:
    """The same counts of a corpus that has its development set elsewhere, which is not counted in `pairs`.

    Raises UserError as `plan_holdout` does, but for repeated lines.
    """
    lines = _read(corpus)
    empty = int((lines.kind == _EMPTY).sum())
    train = len(lines.kind) - empty
    return Holdout(len(lines.kind), train, sum(1 for _ in read_pairs(valid)), empty, 0, lines.words)


def write_holdout(corpus: Corpus, plan: Plan, train: tuple[Path, Path], valid: tuple[Path, Path]) -> None:
    """Writes both parts as aligned files, in the corpus's order; each file appears whole or not at all."""
    with ExitStack() as stack:
        writers: dict[int, tuple[Callable[[str], None], ...]] = {
            part: tuple(stack.enter_context(line_writer(path)) for path in paths)
            for part, paths in ((TRAIN, train), (VALID, valid))
        }
        for part, pair in zip(plan.parts, read_pairs(corpus), strict=True):
            for write, line in zip(writers.get(int(part), ()), pair, strict=False):
                write(line)


_GOOD, _POOR, _SAME, _EMPTY = 0, 1, 2, 3


def _read(corpus: Corpus) -> _Lines:
    """Raises UserError for a corpus that cannot be trained on."""
    source, target, kinds = array("Q"), array("Q"), bytearray()
    words = 0
    for pair in read_pairs(corpus):
        source.append(_digest(pair.source))
        target.append(_digest(pair.target))
        kinds.append(_kind(pair))
        if kinds[-1] != _EMPTY:
            words += len(WORD.findall(pair.source)) + len(WORD.findall(pair.target))
    kind = np.frombuffer(bytes(kinds), dtype=np.uint8)
    lines = _Lines(np.array(source, dtype=np.uint64), np.array(target, dtype=np.uint64), kind, words // 2)
    full = kind != _EMPTY
    different = _different(lines.source[full], lines.target[full])
    if different and (kind[full] == _SAME).all():
        raise UserError(f"{corpus.files}: source and target are the same text, line by line: name the translation")
    if different < LEAST:
        empty = f" ({len(kind) - full.sum():,} more have no text on a side)" if not full.all() else ""
        raise UserError(
            f"{corpus.files} holds {different:,} different pairs{empty}, which is too little to train on: at least "
            f"{LEAST} are needed, and some thousands for a translator that is of use"
        )
    return lines


def _kind(pair: Pair) -> int:
    """Pairs that are long or not translated stay in training, where they are few among many."""
    if not (pair.source.strip() and pair.target.strip()):
        return _EMPTY
    if pair.source == pair.target:
        return _SAME
    return _POOR if max(map(len, pair)) > LONGEST else _GOOD


def _digest(text: str) -> int:
    normalized = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    return int.from_bytes(blake2b(normalized.encode(), digest_size=8).digest())


def _different(source: Hashes, target: Hashes) -> int:
    """How many pairs there are when each is counted once."""
    return len(np.unique(source * np.uint64(0x9E3779B97F4A7C15) + target))  # an odd factor loses nothing


def _choose(source: Hashes, target: Hashes, poor: NDArray[np.bool_], size: int, seed: int) -> NDArray[np.int64]:
    """`size` pairs, or fewer where there are not so many of which no two have a line in common.

    The good before the poor, then those that share their lines with the fewest others; among equals by lot.
    """
    others = _occurrences(source) + _occurrences(target)
    order = np.lexsort((np.random.default_rng(seed).random(len(source)), others, poor))
    seen: tuple[set[int], set[int]] = (set(), set())
    chosen: list[int] = []
    for index in order:
        lines = int(source[index]), int(target[index])
        if lines[0] not in seen[0] and lines[1] not in seen[1]:
            seen[0].add(lines[0])
            seen[1].add(lines[1])
            chosen.append(int(index))
            if len(chosen) == size:
                break
    return np.array(chosen, dtype=np.int64)


def _occurrences(hashes: Hashes) -> NDArray[np.int64]:
    """How often each one occurs."""
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    return counts[inverse]
