"""The embedded corpus: a synchronous grammar that says the same thing in English, Japanese and German.

Dates, times, prices, counts, orders, directions, appointments, requests: millions of distinct sentences, each with the
one translation that is right here, so that a perfect model scores 100. What makes it a task and not a copy: three word
orders, German cases, genders, adjective endings, separable verbs and numerals, Japanese particles, counters, polite
forms and clocks. Test sentences combine words and constructions that training has, in ways that it has not.
"""

import random
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from kakehashi.data.corpus import Pair, write_lines
from kakehashi.data.phrasebook import home, people, restaurant, shopping, travel
from kakehashi.data.phrasebook.grammar import Words, draw
from kakehashi.errors import UserError

Target = Literal["ja", "de"]
Part = Literal["train", "dev", "test"]

PAIRS = ("en-ja", "en-de")
CONSTRUCTIONS = (
    *shopping.CONSTRUCTIONS,
    *restaurant.CONSTRUCTIONS,
    *travel.CONSTRUCTIONS,
    *people.CONSTRUCTIONS,
    *home.CONSTRUCTIONS,
)

# How many held-out sentences are tried for each one wanted, before their words are called too rare in training.
_PATIENCE = 100


class Split(NamedTuple):
    """Three sets of pairs that share no source sentence."""

    train: list[Pair]
    dev: list[Pair]
    test: list[Pair]


def generate(target: Target, count: int, seed: int) -> list[Pair]:
    """`count` pairs of distinct English sources, every construction as often as its size allows, in random order.

    The same arguments give the same pairs. Raises UserError where the grammar has not so many.
    """
    rng = random.Random(seed)
    pairs = [_pair(sentence, target) for sentence in islice(draw(CONSTRUCTIONS, rng), count)]
    _require(len(pairs), count, "pairs")
    rng.shuffle(pairs)
    return pairs


def split(target: Target, train: int, dev: int, test: int, seed: int) -> Split:
    """Training, development and test pairs; the last two from sentences that no training set ever contains.

    Which of the three a sentence belongs to is its own property (a hash of its English text: 80, 10 and 10 %), so that
    neither seed nor size can leak a test sentence into training. Development and test sentences have only words that
    occur in this training set, on both sides. Raises UserError where that leaves too few.
    """
    rng = random.Random(seed)
    training = list(islice(_drawn("train", rng, target), train))
    _require(len(training), train, "training pairs")
    known_source, known_target = _vocabulary(pair.source for pair in training), _vocabulary(p.target for p in training)
    held_out: dict[Part, list[Pair]] = {}
    parts: tuple[tuple[Part, int], ...] = (("dev", dev), ("test", test))
    for part, count in parts:
        sayable = (
            pair
            for pair in islice(_drawn(part, rng, target), _PATIENCE * count)
            if words(pair.source) <= known_source and words(pair.target) <= known_target
        )
        held_out[part] = list(islice(sayable, count))
        _require(len(held_out[part]), count, f"{part} pairs with words that occur in {train} training pairs")
    for pairs in (training, *held_out.values()):
        rng.shuffle(pairs)
    return Split(training, held_out["dev"], held_out["test"])


def write(directory: Path, target: Target, split: Split) -> None:
    """Write train, dev and test as aligned files: train.en and train.ja, ..., each whole or not at all."""
    for part, pairs in split._asdict().items():
        write_lines(directory / f"{part}.en", (pair.source for pair in pairs))
        write_lines(directory / f"{part}.{target}", (pair.target for pair in pairs))


def words(text: str) -> set[str]:
    """The words of a text without punctuation; the characters where it is Japanese, which has no spaces."""
    return set(re.findall(r"[぀-ヿ一-鿿々〇]|[^\W぀-ヿ一-鿿々〇]+", text))


def _vocabulary(texts: Iterable[str]) -> set[str]:
    return set[str]().union(*(words(text) for text in texts))


def _drawn(part: Part, rng: random.Random, target: Target) -> Iterator[Pair]:
    return (_pair(sentence, target) for sentence in draw(CONSTRUCTIONS, rng) if _part(sentence.en) == part)


def _part(source: str) -> Part:
    digest = blake2b(source.encode(), digest_size=4).digest()
    bucket = int.from_bytes(digest) % 10
    return "dev" if bucket == 0 else "test" if bucket == 1 else "train"


def _pair(sentence: Words, target: Target) -> Pair:
    return Pair(sentence.en, sentence.ja if target == "ja" else sentence.de)


def _require(found: int, wanted: int, what: str) -> None:
    if found < wanted:
        raise UserError(f"the phrasebook has {found} {what}, not {wanted}: ask for fewer or train on more")
