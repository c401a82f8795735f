"""Loops are found, and nothing else is."""

from itertools import product

from kakehashi.decoding.loops import looping


def test_every_short_sequence() -> None:
    """Against the definition: the end is some sequence, `times` times."""
    for length, times in product(range(9), (2, 3)):
        for tokens in product([3, 4], repeat=length):
            periods = [
                p for p in range(1, length + 1) if p * times <= length and tokens[-p:] * times == tokens[-p * times :]
            ]
            assert looping(tokens, times) == (periods[0] if periods else None)


def test_examples() -> None:
    assert looping([9, 5, 6, 7, 5, 6, 7, 5, 6, 7], 3) == 3
    assert looping([9, 5, 6, 7, 5, 6, 7, 5, 6, 7], 4) is None
    assert looping([5, 5, 5, 5, 8], 2) is None
    assert looping([], 2) is None
