"""A synchronous grammar: one meaning, three languages, every combination of slot values reachable by its number.

Notable: a construction is a plain function from meanings to one sentence in each language, written side by side; the
set of its sentences is the product of its slots, and is walked in random order without ever being built.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple


class Words(NamedTuple):
    """The same words, phrase or sentence in English, Japanese and German."""

    en: str
    ja: str
    de: str


def sentence(en: str, ja: str, de: str, end: str = ".") -> Words:
    """Capitalise and punctuate. `end` is the European mark; Japanese polite questions end in か and take 。 as well."""
    return Words(_finish(en, end), f"{ja}。", _finish(de, end))


def _finish(text: str, end: str) -> str:
    capitalised = text[0].upper() + text[1:]
    # An abbreviation's full stop ("at 3 p.m.") closes the sentence too.
    return capitalised if capitalised.endswith(end) else capitalised + end


@dataclass(frozen=True)
class Construction:
    """A way to say something: `say` takes one value of each slot, in order, and answers a sentence.

    No two combinations of slots give the same English sentence; a test holds every construction to that.
    """

    say: Callable[..., Words]
    slots: tuple[Sequence[object], ...]

    @property
    def size(self) -> int:
        """How many combinations of slot values there are."""
        return prod(len(slot) for slot in self.slots)

    def sentence(self, index: int) -> Words:
        """The combination number `index` (0 <= index < size), in mixed radix: the last slot turns fastest."""
        values: list[object] = []
        for slot in reversed(self.slots):
            index, digit = divmod(index, len(slot))
            values.append(slot[digit])
        return self.say(*reversed(values))

    def shuffled(self, rng: random.Random) -> Iterator[Words]:
        """Every combination once, in random order, in memory that grows only with what is taken.

        A Fisher-Yates shuffle over a virtual array of which only the displaced entries are stored.
        """
        displaced: dict[int, int] = {}
        for first in range(self.size):
            chosen = rng.randrange(first, self.size)
            yield self.sentence(displaced.get(chosen, chosen))
            displaced[chosen] = displaced.pop(first, first)


def construction(say: Callable[..., Words], *slots: Sequence[object]) -> Construction:
    """The construction `say` over `slots`."""
    return Construction(say, slots)


def draw(constructions: Sequence[Construction], rng: random.Random) -> Iterator[Words]:
    """Wordss of distinct English text, each construction in its turn until it has no more to say."""
    said: set[str] = set()
    streams = [each.shuffled(rng) for each in constructions]
    while streams:
        for stream in list(streams):
            for drawn in stream:
                if drawn.en not in said:
                    said.add(drawn.en)
                    yield drawn
                    break
            else:
                streams.remove(stream)
