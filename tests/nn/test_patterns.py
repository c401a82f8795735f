"""Patterns: each against its formula, and the two ways in which each says who may look at whom agree."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kakehashi.config import Config, ConfigError, resolve
from kakehashi.nn.patterns import (
    Both,
    Causal,
    Either,
    Fixed,
    Full,
    Global,
    Pattern,
    PatternConfig,
    Random,
    Strided,
    Window,
)

MEMBERS: list[type[Pattern]] = list(get_args(get_args(PatternConfig)[0]))
SMALL = st.integers(1, 40)
SIMPLE: dict[type[Pattern], st.SearchStrategy[Pattern]] = {
    Full: st.builds(Full),
    Causal: st.builds(Causal),
    Window: st.builds(Window, size=SMALL),
    Strided: st.builds(Strided, stride=SMALL),
    Fixed: st.tuples(SMALL, SMALL).map(lambda sizes: Fixed(stride=max(sizes), summary=min(sizes))),
    Global: st.builds(Global, count=SMALL),
    Random: st.builds(Random, block=SMALL, count=st.integers(1, 4), seed=st.integers(0, 2**40)),
}
simple = st.one_of(list(SIMPLE.values()))
patterns = st.recursive(
    simple,
    lambda inner: st.builds(
        lambda kind, members: kind(patterns=members),
        st.sampled_from([Both, Either]),
        st.lists(inner, min_size=1, max_size=3).map(tuple),
    ),
    max_leaves=5,
)
lengths = st.integers(1, 150)


def matrix(pattern: Pattern, queries: int, keys: int) -> Tensor:
    """[Q, K] True where allowed; None written out."""
    allowed = pattern.allowed(torch.arange(queries)[None], torch.arange(keys)[None])
    return torch.ones(queries, keys, dtype=torch.bool) if allowed is None else allowed[0]


def needed(pattern: Pattern, queries: range, keys: int) -> list[int]:
    """By `allowed`: all that these queries see between them."""
    return matrix(pattern, queries[-1] + 1, keys)[list(queries)].any(0).nonzero()[:, 0].tolist()


def test_every_pattern_is_tried() -> None:
    assert {*SIMPLE, Both, Either} == set(MEMBERS)


@given(patterns, lengths)
def test_groups_hold_every_query_once(pattern: Pattern, queries: int) -> None:
    groups = pattern.groups(queries)
    assert sorted(i for group in groups for i in group) == list(range(queries))
    assert all(len(group) for group in groups)


@given(patterns, st.data())
def test_keys_hold_all_that_is_allowed(pattern: Pattern, data: st.DataObject) -> None:
    """Of any queries, and of any keys with them among these: in decoding both are what they happen to be."""
    places = sorted(data.draw(st.lists(st.integers(0, 100), min_size=1, max_size=2)))
    queries = range(places[0], places[-1] + 1, data.draw(SMALL))
    keys = places[-1] + data.draw(SMALL)
    found = [int(key) for key in pattern.keys_of(queries, keys)]
    assert found == sorted(set(found)) and set(found) <= set(range(keys))
    assert set(needed(pattern, queries, keys)) <= set(found)


@given(simple, lengths)
def test_keys_hold_no_more(pattern: Pattern, length: int) -> None:
    for group in pattern.groups(length):
        assert [int(key) for key in pattern.keys_of(group, length)] == needed(pattern, group, length)


@given(patterns, lengths, st.data())
def test_keys_of_a_single_query_are_those_it_sees(pattern: Pattern, length: int, data: st.DataObject) -> None:
    """So that a step of decoding needs no mask."""
    place = data.draw(st.integers(0, length - 1))
    found = [int(key) for key in pattern.keys_of(range(place, place + 1), length)]
    assert found == needed(pattern, range(place, place + 1), length)


@given(patterns, lengths)
def test_everyone_sees_themselves(pattern: Pattern, length: int) -> None:
    """So that no query, in no composition and in no causal stack, is left with nothing to look at."""
    assert matrix(pattern, length, length).diagonal().all()


@given(patterns)
def test_a_pattern_knows_positions_only(pattern: Pattern) -> None:
    """Ragged rows, permuted keys: what counts is the position, not the place in the tensor."""
    whole = matrix(pattern, 10, 10)
    queries = torch.tensor([[3, 4], [0, 9], [7, 2]])
    keys = torch.tensor([[9, 0, 4, 3], [1, 2, 3, 4], [0, 9, 7, 8]])
    found = pattern.allowed(queries, keys)
    expected = torch.stack([whole[q][:, k] for q, k in zip(queries, keys, strict=True)])
    assert bool(expected.all()) if found is None else torch.equal(found.expand_as(expected), expected)


FORMULAS: list[tuple[Pattern, Callable[[int, int], bool]]] = [
    (Full(), lambda i, j: True),
    (Causal(), lambda i, j: j <= i),
    (Window(size=2), lambda i, j: j in (i - 2, i - 1, i, i + 1, i + 2)),
    (Strided(stride=4), lambda i, j: j in range(i % 4, 100, 4)),
    (Fixed(stride=4, summary=1), lambda i, j: i // 4 == j // 4 or j in range(3, 100, 4)),
    (Global(count=2), lambda i, j: i in (0, 1) or j in (0, 1) or i == j),
    (Both(patterns=(Causal(), Window(size=3))), lambda i, j: i - 3 <= j <= i),
    (Both(patterns=(Window(size=4), Strided(stride=2))), lambda i, j: j - i in (-4, -2, 0, 2, 4)),  # dilated
    (Either(patterns=(Window(size=1), Global())), lambda i, j: abs(i - j) <= 1 or i == 0 or j == 0),  # Longformer
]


@pytest.mark.parametrize(("pattern", "formula"), FORMULAS, ids=range(len(FORMULAS)))
def test_it_equals_the_formula(pattern: Pattern, formula: Callable[[int, int], bool]) -> None:
    assert matrix(pattern, 13, 13).tolist() == [[formula(i, j) for j in range(13)] for i in range(13)]


# Random blocks


def test_random_blocks_are_whole_and_mutual() -> None:
    seen = matrix(Random(block=3, count=2), 60, 60)
    blocks = seen[::3, ::3]
    assert torch.equal(blocks.repeat_interleave(3, 0).repeat_interleave(3, 1), seen)
    assert torch.equal(blocks, blocks.T)


def test_a_random_block_draws_at_or_before_itself() -> None:
    """Per block at most `count` earlier ones and itself, whatever is drawn later: a causal stack keeps its share."""
    seen = matrix(Random(block=1, count=3), 400, 400).tril().sum(1)
    assert int(seen.max()) == 4 and seen.double().mean() > 3.8


def test_random_draws_are_even_and_follow_the_seed() -> None:
    every = torch.arange(4000)
    shares = Random(count=3)._draws(every) / (every[:, None] + 1)
    assert torch.allclose(shares.mean(0), torch.tensor(0.5), atol=0.02)
    assert torch.allclose(shares.std(0), torch.tensor(12**-0.5), atol=0.02)
    one, other = (matrix(Random(block=2, seed=seed), 90, 90) for seed in (0, 1))
    assert torch.equal(one, matrix(Random(block=2), 90, 90)) and not torch.equal(one, other)


# Composition


def test_bigbird_in_a_recipe() -> None:
    """Zaheer et al. 2020 (arXiv 2007.14062), section 2: sliding window, global tokens and random blocks, with *or*."""

    class Recipe(Config):
        pattern: PatternConfig

    tree = {"kind": "either", "patterns": [{"kind": "window", "size": 1}, "global", {"kind": "random", "block": 2}]}
    bigbird = resolve({"pattern": tree}, Recipe).pattern
    parts = Window(size=1), Global(), Random(block=2)
    assert bigbird == Either(patterns=parts)
    expected = torch.stack([matrix(part, 40, 40) for part in parts]).any(0)
    assert torch.equal(matrix(bigbird, 40, 40), expected) and not expected.all()


def test_both_is_and_either_is_or() -> None:
    positions = torch.arange(3)[None]
    assert Both(patterns=(Full(), Full())).allowed(positions, positions) is None
    assert Either(patterns=(Causal(), Full())).allowed(positions, positions) is None
    causal = matrix(Causal(), 6, 6)
    for one, other in ((Full(), Causal()), (Causal(), Full()), (Causal(), Both(patterns=(Causal(),)))):
        assert torch.equal(matrix(Both(patterns=(one, other)), 6, 6), causal)
    assert torch.equal(matrix(Either(patterns=(Causal(), Window(size=1))), 6, 6), torch.ones(6, 6).tril(1).bool())


def test_a_composition_is_cut_where_it_costs_least() -> None:
    window, strided = Window(size=64), Strided(stride=4)
    assert Both(patterns=(Causal(), window)).groups(1000) == window.groups(1000)
    assert Both(patterns=(Causal(), strided)).groups(1000) == strided.groups(1000)
    assert Both(patterns=(strided, window)).groups(1000) == window.groups(1000)  # 192 keys, not 250
    assert Both(patterns=(strided, window)).groups(400) == strided.groups(400)  # 100 keys, not 192


def test_a_summary_is_a_part_of_its_block() -> None:
    class Recipe(Config):
        pattern: PatternConfig

    with pytest.raises(ConfigError, match="summary 9 must not exceed the stride 8"):
        resolve({"pattern": {"kind": "fixed", "stride": 8, "summary": 9}}, Recipe)
