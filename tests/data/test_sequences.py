"""Sequences: every token once an epoch, steps within the budget, plans that follow from seed and epoch."""

import numpy as np
import pytest

from kakehashi.data.sequences import LineSequences, SequenceSampler, StreamSequences, collate_sequences
from kakehashi.data.subwords import END
from kakehashi.errors import UserError


def test_a_stream_is_cut_without_a_gap() -> None:
    stream = StreamSequences([[10, 11, 12], [13, 14]], length=3)
    assert stream.lengths.tolist() == [3, 3, 1]
    assert [stream.sequence(i).tolist() for i in range(3)] == [[10, 11, 12], [END, 13, 14], [END]]
    assert [stream.sequence(i, 2).tolist() for i in range(3)] == [[10], [11, 12, END], [13, 14, END]]


@pytest.mark.parametrize("count", [1, 6, 7, 8, 20])
def test_no_sequence_is_empty_wherever_the_cuts_are(count: int) -> None:
    stream = StreamSequences([list(range(100, 100 + count - 1))], length=7)
    for offset in range(7):
        rows = [stream.sequence(i, offset) for i in range(len(stream.lengths))]
        assert all(0 < len(row) <= 7 for row in rows)
        assert np.concatenate(rows).tolist() == stream.ids[: sum(map(len, rows))].tolist()
        assert sum(map(len, rows)) > count - 7


def test_lines_end_and_long_ones_are_counted() -> None:
    lines = LineSequences([[10], [10, 11, 12], [10, 11]], longest=3)
    assert [row.tolist() for row in lines.rows] == [[10, END], [10, 11, END]]
    assert lines.dropped == 1 and lines.lengths.tolist() == [2, 3]
    assert len(LineSequences([[10] * 99]).rows) == 1


def test_a_batch_is_padded() -> None:
    rows = [
        (np.array([1, 5], np.int32), np.array([5, 2], np.int32)),
        (np.array([1], np.int32), np.array([0], np.int32)),
    ]
    batch = collate_sequences(rows)
    assert batch.input.tolist() == [[1, 5], [1, 0]] and batch.output.tolist() == [[5, 2], [0, 0]]
    assert batch.target_tokens == 2 and batch.to("cpu").input.dtype == batch.input.dtype


def test_every_sequence_once_an_epoch_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 500)
    sampler = SequenceSampler(lengths, tokens=100, seed=3)
    for epoch in range(3):
        plan = sampler.plan(epoch)
        assert sorted(np.concatenate(plan).tolist()) == list(range(500))
        costs = [len(step) * int(lengths[step].max()) for step in plan]
        assert max(costs) <= 100 and sum(costs) < 1.15 * lengths.sum(), "little padding"
    again = SequenceSampler(lengths, tokens=100, seed=3)
    assert all((one == other).all() for one, other in zip(again.plan(2), sampler.plan(2), strict=True))
    assert str(sampler.plan(0)) != str(sampler.plan(1)) != str(SequenceSampler(lengths, 100, seed=4).plan(1))


def test_a_step_is_divided_by_cost() -> None:
    sampler = SequenceSampler(np.array([1, 9, 1, 1, 1, 1, 1, 1, 1, 1]), tokens=100, seed=3)
    step = np.arange(10)
    assert [len(part) for part in sampler.divide(step, 2)] == [9, 1]
    assert [part.tolist() for part in sampler.divide(step, 1)] == [step.tolist()]
    assert sorted(map(len, sampler.divide(step[:2], 3))) == [0, 1, 1]


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(UserError, match=r"batch.tokens = 9 is too small: the longest sequence has 10"):
        SequenceSampler(np.array([3, 10]), tokens=9, seed=1)
    with pytest.raises(UserError, match="no text is left"):
        SequenceSampler(np.array([], np.int64), tokens=9, seed=1)
