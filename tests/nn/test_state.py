"""The state of decoding, against plain lists of what each hypothesis has taken in."""

from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from kakehashi.nn.state import State

HEADS, SIZE = 2, 3

Operation = tuple[str, int]
operations = st.lists(
    st.tuples(st.sampled_from(["append", "repeat", "reorder", "keep", "rewind"]), st.integers(0, 10_000)), max_size=14
)


def entries(values: list[list[float]]) -> Tensor:
    """[R, L] numbers as cache rows [R, H, L, C], each head and channel of its own."""
    return torch.tensor(values)[:, None, :, None] + torch.arange(HEADS * SIZE).view(HEADS, 1, SIZE) / 100


class Lists:
    """What `State` means, without a tensor: rows of numbers and the sentence of each."""

    def __init__(self, sentences: int) -> None:
        self.rows: list[list[float]] = [[] for _ in range(sentences)]
        self.sentences = list(range(sentences))
        self.fanout, self.clock = 1, 0

    def choose(self, rows: list[int]) -> None:
        self.rows = [list(self.rows[r]) for r in rows]


def apply(operation: Operation, state: State, lists: Lists) -> None:
    name, seed = operation
    draw = torch.Generator().manual_seed(seed)
    rows = len(lists.rows)
    match name:
        case "append":
            count = 1 + seed % 4
            new = [[1.0 + lists.clock * 1000 + 10 * r + i for i in range(count)] for r in range(rows)]
            lists.clock += 1
            for row, more in zip(lists.rows, new, strict=True):
                row.extend(more)
            check_cache(state.append("cache", entries(new)), lists)
            state.advance(count)
        case "repeat" if rows < 20:
            count = 1 + seed % 3
            state.repeat(count)
            lists.choose([r for r in range(rows) for _ in range(count)])
            lists.fanout *= count
        case "reorder":
            within = torch.randint(lists.fanout, (rows,), generator=draw)
            chosen = [r // lists.fanout * lists.fanout + int(w) for r, w in enumerate(within)]
            state.reorder(torch.tensor(chosen))
            lists.choose(chosen)
        case "keep":
            order = torch.randperm(len(lists.sentences), generator=draw)
            kept = order[: max(1, len(order) - seed % 2)]
            state.keep(kept)
            lists.choose([int(s) * lists.fanout + f for s in kept for f in range(lists.fanout)])
            lists.sentences = [lists.sentences[int(s)] for s in kept]
        case "rewind":
            lengths = [int(torch.randint(max(0, len(row) - 2), len(row) + 1, (), generator=draw)) for row in lists.rows]
            state.rewind(torch.tensor(lengths))
            lists.rows = [row[:length] for row, length in zip(lists.rows, lengths, strict=True)]
        case _:
            pass


def check_cache(cache: Tensor, lists: Lists) -> None:
    for row, held in zip(cache, lists.rows, strict=True):
        expected = entries([held])[0]
        assert torch.equal(row[:, : len(held)], expected)


@given(operations)
@example([("repeat", 1), ("append", 2), ("repeat", 2), ("reorder", 3), ("rewind", 5), ("append", 3), ("keep", 1)])
@example([("rewind", 7), ("append", 1), ("keep", 3), ("reorder", 4), ("append", 7), ("rewind", 9), ("repeat", 1)])
def test_any_course_of_events(course: list[Operation]) -> None:
    state, lists = State(3, torch.device("cpu")), Lists(3)
    state.sentence["source"] = torch.arange(3)
    for operation in [("append", 2), *course, ("append", 1)]:
        apply(operation, state, lists)
        assert state.lengths.tolist() == [len(row) for row in lists.rows]
        assert (state.shortest, state.longest) == (min(map(len, lists.rows)), max(map(len, lists.rows)))
        assert state.fanout == lists.fanout
        assert state.sentence["source"].tolist() == lists.sentences
        assert len(state.lengths) == len(lists.sentences) * state.fanout
        check_cache(state.hypothesis["cache"], lists)
        expected = torch.tensor([[len(row), len(row) + 1] for row in lists.rows])
        assert torch.equal(state.positions(2).expand(len(lists.rows), 2), expected)
        assert torch.equal(state.slots(2), torch.arange(state.longest + 2)[None])


def test_positions_are_one_row_while_all_rows_are_equally_long() -> None:
    state = State(4, torch.device("cpu"))
    state.advance(3)
    assert state.positions(2).tolist() == [[3, 4]]
    state.rewind(torch.tensor([1, 3, 2, 3]))
    assert state.positions(2).tolist() == [[1, 2], [3, 4], [2, 3], [3, 4]]


def test_a_sentence_is_never_copied_for_a_beam() -> None:
    state = State(2, torch.device("cpu"))
    keys = state.sentence["keys"] = torch.rand(2, 5)
    state.repeat(4)
    state.reorder(torch.tensor([3, 3, 0, 1, 4, 4, 4, 4]))
    assert state.sentence["keys"] is keys


def test_only_rows_that_change_are_moved() -> None:
    """A cache keeps its place in memory; what a recurrence gave away is never written to."""
    state, carried = State(3, torch.device("cpu")), torch.arange(3.0)
    state.carry("carried", carried)
    state.append("cache", entries([[1.0], [2.0], [3.0]]))
    state.advance(1)
    cache = state.hypothesis["cache"]
    state.reorder(torch.tensor([0, 2, 2]))
    assert state.hypothesis["cache"] is cache and torch.equal(cache[:, :, :1], entries([[1.0], [3.0], [3.0]]))
    assert state.hypothesis["carried"].tolist() == [0, 2, 2] and carried.tolist() == [0, 1, 2]
    held = state.hypothesis["carried"]
    state.reorder(torch.tensor([0, 1, 2]))
    assert state.hypothesis["carried"] is held


def test_once_computes_once() -> None:
    state = State(1, torch.device("cpu"))
    calls: list[int] = []

    def compute() -> Tensor:
        calls.append(1)
        return torch.ones(1)

    assert state.once("a", compute) is state.once("a", compute)
    assert len(calls) == 1


def test_a_cache_grows_seldom() -> None:
    """Copies of the cache grow with the logarithm of the length, not with the length."""
    state = State(1, torch.device("cpu"))
    buffers: set[int] = set()
    for _ in range(300):
        state.append("a", torch.ones(1, 1, 1, 1))
        state.advance(1)
        buffers.add(state.hypothesis["a"].shape[2])
    assert len(buffers) < 10 and max(buffers) < 600


def test_rewind_goes_back_only() -> None:
    state = State(2, torch.device("cpu"))
    state.advance(2)
    with pytest.raises(AssertionError):
        state.rewind(torch.tensor([2, 3]))


def test_a_rewound_length_is_the_states_own() -> None:
    state = State(2, torch.device("cpu"))
    state.advance(2)
    lengths: Any = torch.tensor([1, 2])
    state.rewind(lengths)
    lengths += 5
    assert state.lengths.tolist() == [1, 2]
