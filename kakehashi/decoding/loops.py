"""Loops: an output whose end says the same again and again, as a search that is lost does."""

from collections.abc import Sequence


def looping(tokens: Sequence[int], times: int) -> int | None:
    """The shortest period p such that the last p tokens stand there at least `times` in a row; None: there is no loop.

    `times` is 2 or more. Good sentences end in repetitions too ("no, no, no"): the user says how many are too many.
    """
    for period in range(1, len(tokens) // times + 1):
        end = tokens[-times * period :]
        if end[period:] == end[:-period]:
            return period
    return None
