"""Patterns: the two ways in which each says who may look at whom agree."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from kakehashi.nn.patterns import Both, Causal, Full, Pattern, PatternConfig

SIMPLE: list[Pattern] = [member() for member in get_args(get_args(PatternConfig)[0])]
COMPOSED: list[Pattern] = [
    Both(first=Causal(), second=Full()),
    Both(first=Full(), second=Causal()),
    Both(first=Causal(), second=Both(first=Causal(), second=Causal())),
]


def matrix(pattern: Pattern, queries: int, keys: int) -> Tensor:
    """[Q, K] True where allowed; None written out."""
    allowed = pattern.allowed(torch.arange(queries)[None], torch.arange(keys)[None])
    return torch.ones(queries, keys, dtype=torch.bool) if allowed is None else allowed[0]


@pytest.mark.parametrize("pattern", SIMPLE + COMPOSED, ids=repr)
@pytest.mark.parametrize("keys", [1, 5, 12])
def test_key_blocks_hold_all_that_is_allowed(pattern: Pattern, keys: int) -> None:
    allowed = matrix(pattern, 12, keys)
    for first in range(12):
        for last in range(first, 12):
            block = pattern.key_blocks(first, last, keys)
            used = allowed[first : last + 1].any(0).nonzero()[:, 0]
            assert 0 <= block.start <= block.stop <= keys
            assert len(used) == 0 or (block.start <= int(used[0]) and int(used[-1]) < block.stop)


@pytest.mark.parametrize("pattern", SIMPLE, ids=repr)
def test_key_blocks_hold_no_more(pattern: Pattern) -> None:
    allowed = matrix(pattern, 12, 12)
    for first in range(12):
        for last in range(first, 12):
            used = allowed[first : last + 1].any(0).nonzero()[:, 0]
            block = pattern.key_blocks(first, last, 12)
            assert (block.start, block.stop) == (int(used[0]), int(used[-1]) + 1)


@pytest.mark.parametrize("pattern", SIMPLE + COMPOSED, ids=repr)
def test_a_pattern_knows_positions_only(pattern: Pattern) -> None:
    """Ragged rows, permuted keys: what counts is the position, not the place in the tensor."""
    whole = matrix(pattern, 10, 10)
    queries = torch.tensor([[3, 4], [0, 9], [7, 2]])
    keys = torch.tensor([[9, 0, 4, 3], [1, 2, 3, 4], [0, 9, 7, 8]])
    found = pattern.allowed(queries, keys)
    expected = torch.stack([whole[q][:, k] for q, k in zip(queries, keys, strict=True)])
    assert bool(expected.all()) if found is None else torch.equal(found.expand_as(expected), expected)


def test_causal_sees_itself_and_the_past() -> None:
    assert torch.equal(matrix(Causal(), 6, 6), torch.ones(6, 6).tril().bool())


def test_both_is_and() -> None:
    assert Both(first=Full(), second=Full()).allowed(torch.arange(3)[None], torch.arange(3)[None]) is None
    for pattern in COMPOSED:
        assert torch.equal(matrix(pattern, 6, 6), matrix(Causal(), 6, 6))
