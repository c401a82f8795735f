"""The search on models whose best translations can be found by trying all."""

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from types import SimpleNamespace

import pytest
import torch

from kakehashi.decoding import Beam, Decoding, Greedy, Sample, search
from kakehashi.decoding.processors import LowerRepeats, NoRepeatNgram, RepetitionPenalty
from kakehashi.errors import UserError
from kakehashi.models.protocol import State

END = 2


def exhaustive(model, source, mask, longest: int, alpha: float, beta: float = 0.0) -> list[tuple[float, list[int]]]:
    """Every finished hypothesis of one sentence with its score, best first, by teacher forcing."""
    words = range(3, model.target_vocabulary.size)
    encoded = model.encode(source, mask)
    scored = []
    for length in range(longest):
        for words_chosen in product(words, repeat=length):
            tokens = [*words_chosen, END]
            output = model.decode(torch.tensor([[1, *tokens[:-1]]]), encoded, alignment=True)
            total = output.logits.log_softmax(-1)[0, range(len(tokens)), tokens].sum().item()
            received = output.alignment[0].sum(0)[mask[0]].tolist()[:-1]  # the source's end is no word
            covered = sum(math.log(min(each, 1)) for each in received)
            scored.append((total / ((5 + len(tokens)) / 6) ** alpha + beta * covered, list(words_chosen)))
    return sorted(scored, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
def test_wide_beam_finds_what_trying_all_finds(tables: SimpleNamespace, alpha: float) -> None:
    for seed in range(8):
        model = tables.model(seed)
        source, mask = tables.sources([3], 5, seed)
        best = exhaustive(model, source, mask, 5, alpha)[:7]
        found = search(model, source, mask, Beam(size=32, length_penalty=alpha, max_length=5), count=7)[0]
        assert [h.tokens for h in found] == [tokens for _, tokens in best]
        assert [h.score for h in found] == pytest.approx([score for score, _ in best], abs=1e-4)
        assert all(h.finished for h in found)


@pytest.mark.parametrize("beta", [0.2, 3.0])
def test_coverage_ranks_what_is_finished(tables: SimpleNamespace, beta: float) -> None:
    """GNMT's equation 14, whole; and the early stop loses nothing by it."""
    changed = 0
    for seed in range(8):
        model = tables.model(seed, end_bias=2.0)
        source, mask = tables.sources([5], 5, seed)
        best = exhaustive(model, source, mask, 5, 0.6, beta)[:7]
        beam = Beam(size=32, length_penalty=0.6, coverage_penalty=beta, max_length=5)
        found = search(model, source, mask, beam, count=7)[0]
        assert [h.tokens for h in found] == [tokens for _, tokens in best]
        assert [h.score for h in found] == pytest.approx([score for score, _ in best], abs=1e-4)
        assert all(h.alignment is None for h in found), "nobody asked for it"
        changed += best[0][1] != exhaustive(model, source, mask, 5, 0.6)[0][1]
    assert changed >= 2


def test_coverage_lies_between_nothing_and_whole(tables: SimpleNamespace) -> None:
    """A word that gets no attention at all costs much, and never infinitely; one that gets plenty nothing."""
    strategy = Beam(coverage_penalty=1.0, length_penalty=0.0).build()
    received = torch.tensor([[1.0, 7.0], [0.5, 1.0], [0.0, 1.0]])
    scores = strategy.score(torch.zeros(3), 4, received)
    assert scores[:2].tolist() == pytest.approx([0, math.log(0.5)])
    assert -100 < scores[2] < -50


def plain_beam(model, source, mask, size: int, alpha: float, limit: int) -> list[tuple[float, list[int]]]:
    """Beam search of one sentence as a textbook has it: lists, sorting, teacher forcing."""
    encoded = model.encode(source, mask)
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for length in range(1, limit + 1):
        candidates = []
        for total, tokens in live:
            scores = model.decode(torch.tensor([[1, *tokens]]), encoded).logits[0, -1].log_softmax(-1).tolist()
            candidates += [(total + scores[v], [*tokens, v]) for v in range(2, model.target_vocabulary.size)]
        candidates.sort(reverse=True)
        ends = [c for c in candidates[:size] if c[1][-1] == END]
        finished += [(total / ((5 + length) / 6) ** alpha, tokens[:-1]) for total, tokens in ends]
        live = [c for c in candidates if c[1][-1] != END][:size]
        if len(finished) >= size:
            break
    return sorted(finished, reverse=True)


@pytest.mark.parametrize(("size", "alpha"), [(2, 0.0), (3, 1.0), (5, 0.6)])
def test_beam_equals_a_plain_one(tables: SimpleNamespace, size: int, alpha: float) -> None:
    lengths = [3, 6, 2, 4]
    for seed in range(10):
        model = tables.model(seed, size=12, end_bias=1.5, temperature=0.8)
        source, mask = tables.sources(lengths, 12, seed)
        found = search(model, source, mask, Beam(size=size, length_penalty=alpha, max_length=25), count=size)
        for row, hypotheses in enumerate(found):
            expected = plain_beam(model, source[row : row + 1], mask[row : row + 1], size, alpha, 25)[:size]
            assert [h.tokens for h in hypotheses] == [tokens for _, tokens in expected]
            assert [h.score for h in hypotheses] == pytest.approx([score for score, _ in expected], abs=1e-4)


def test_vocabulary_wider_than_a_block_is_searched_whole(tables: SimpleNamespace) -> None:
    for size in (63, 64, 65, 127):
        model = tables.model(size, size=size, end_bias=4.0)
        source, mask = tables.sources([4, 2], size, 0)
        found = search(model, source, mask, Beam(size=2 * size, length_penalty=0.0, max_length=2), count=5)
        for row in range(2):
            best = exhaustive(model, source[row : row + 1], mask[row : row + 1], 2, 0.0)[:5]
            assert [h.tokens for h in found[row]] == [tokens for _, tokens in best]


def test_early_stop_loses_nothing(tables: SimpleNamespace) -> None:
    """The bound may end the search before the limit, but never before the best is known."""
    stopped = 0
    for seed in range(12):
        model = tables.model(seed, end_bias=3.0)
        source, mask = tables.sources([3], 5, seed)
        (found,) = search(model, source, mask, Beam(size=32, length_penalty=0.6, max_length=6))[0]
        assert found.tokens == exhaustive(model, source, mask, 6, 0.6)[0][1]
        stopped += len(model.steps) < 6
    assert stopped >= 6


def test_finished_sentences_leave_the_batch(tables: SimpleNamespace) -> None:
    model = tables.model(0, size=40, temperature=1.0)
    source, mask = tables.sources([3] * 20, 40, 0)
    search(model, source, mask, Beam(size=3))
    assert model.steps[0] == 20  # one row a sentence before the first token
    assert model.steps[1] <= 60
    assert model.steps[1:] == sorted(model.steps[1:], reverse=True)
    assert model.steps[-1] < model.steps[1]


def test_limit_is_the_smaller_of_max_length_and_source_length_plus_extra(tables: SimpleNamespace) -> None:
    model = tables.model(0, size=12, end_bias=-100.0)
    source, mask = tables.sources([2, 9, 4], 12, 0)
    for decoding in (Greedy(max_length=8, extra_length=3), Beam(size=4, max_length=8, extra_length=3)):
        found = search(model, source, mask, decoding)
        assert [len(hypotheses[0].tokens) for hypotheses in found] == [5, 8, 7]
        assert not any(hypotheses[0].finished for hypotheses in found)
    model.max_length = 6
    assert [len(h[0].tokens) for h in search(model, source, mask, Greedy(extra_length=3))] == [5, 6, 6]


def test_finished_hypotheses_come_before_cut_ones(tables: SimpleNamespace) -> None:
    mixed = 0
    for seed in range(20):
        model = tables.model(seed, end_bias=-2.0)
        source, mask = tables.sources([3], 5, seed)
        found = search(model, source, mask, Beam(size=4, max_length=4), count=4)[0]
        finished = [h.finished for h in found]
        assert len(found) == 4
        assert finished == sorted(finished, reverse=True)
        assert all(len(h.tokens) == 4 for h in found if not h.finished)
        assert all(len(h.tokens) <= 3 for h in found if h.finished)
        mixed += len(set(finished)) == 2
    assert mixed > 3


def test_min_length_counts_the_end(tables: SimpleNamespace) -> None:
    model = tables.model(0, end_bias=5.0)
    source, mask = tables.sources([2], 5, 0)
    assert search(model, source, mask, Greedy())[0][0].tokens == []
    for decoding in (Greedy(min_length=5), Beam(size=3, min_length=5)):
        (best,) = search(model, source, mask, decoding)[0]
        assert len(best.tokens) == 4
        assert best.finished
    (beyond,) = search(model, source, mask, Greedy(min_length=5, extra_length=0))[0]
    assert len(beyond.tokens) == 4  # min_length goes before extra_length


def test_no_repeat_ngram(tables: SimpleNamespace) -> None:
    model = tables.model(3, end_bias=-4.0)
    source, mask = tables.sources([3, 5], 5, 0)

    def repeats(decoding) -> bool:
        grams = [list(zip(h[0].tokens, h[0].tokens[1:], strict=False)) for h in search(model, source, mask, decoding)]
        return any(len(set(g)) < len(g) for g in grams)

    guard = (NoRepeatNgram(size=2),)
    assert repeats(Greedy(max_length=30))
    assert not repeats(Greedy(max_length=30, processors=guard))
    assert not repeats(Beam(size=3, max_length=30, processors=guard))


def test_repetition_penalty_lowers_what_was_emitted() -> None:
    logits = torch.tensor([[3.0, -1.0, 2.0, -torch.inf]])
    LowerRepeats(2.0)(logits, torch.tensor([[0, 1, 0, 3]]))
    assert logits.tolist() == [[1.5, -2.0, 2.0, -torch.inf]]


def test_repetition_penalty_changes_what_is_chosen(tables: SimpleNamespace) -> None:
    """As in a loop written out; and one of 1 changes nothing."""
    model = tables.model(3, size=12, end_bias=-4.0)
    source, mask = tables.sources([3], 12, 0)
    encoded, tokens = model.encode(source, mask), []
    for _ in range(15):
        logits = model.decode(torch.tensor([[1, *tokens]]), encoded).logits[0, -1]
        for token in set(tokens):
            logits[token] = logits[token] / 3 if logits[token] > 0 else logits[token] * 3
        tokens.append(int(logits[2:].argmax()) + 2)
    plain, none, some = (
        search(model, source, mask, Greedy(max_length=15, processors=processors))[0][0]
        for processors in ((), (RepetitionPenalty(penalty=1.0),), (RepetitionPenalty(penalty=3.0),))
    )
    assert some.tokens == tokens != plain.tokens
    assert none == plain
    assert some.score < some.log_probability


@pytest.mark.parametrize(
    "kind",
    [Greedy, Beam, Sample, partial(Sample, top_p=0.5), partial(Sample, top_k=2)],
    ids=["greedy", "beam", "sample", "top_p", "top_k"],
)
def test_settings_that_leave_no_token_are_an_error(tables: SimpleNamespace, kind: Callable[..., Decoding]) -> None:
    source, mask = tables.sources([3], 5, 0)
    decoding = kind(min_length=20, processors=(NoRepeatNgram(size=1),))
    model = tables.model(0)
    with pytest.raises(UserError, match="min_length"):
        search(model, source, mask, decoding)
    assert len(model.steps) == 3, "two words can be said once each"


def test_min_length_beyond_max_length_is_refused() -> None:
    with pytest.raises(ValueError, match="min_length 9 is greater than max_length 8"):
        Beam(min_length=9, max_length=8)


def test_more_alternatives_than_the_beam_holds_are_refused(tables: SimpleNamespace) -> None:
    source, mask = tables.sources([3], 5, 0)
    for decoding, count in ((Greedy(), 2), (Beam(size=3), 4), (Beam(size=3), 0)):
        with pytest.raises(UserError, match=rf"{count} alternatives"):
            search(tables.model(0), source, mask, decoding, count=count)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_an_error(tables: SimpleNamespace, value: float) -> None:
    model = tables.model(0)
    model.position[2, 4] = value
    source, mask = tables.sources([3], 5, 0)
    with pytest.raises(FloatingPointError, match="token 3 "):
        search(model, source, mask, Beam(size=3, min_length=4))


def test_no_sentence_gives_no_hypothesis(tables: SimpleNamespace) -> None:
    source = torch.zeros(0, 4, dtype=torch.long)
    assert search(tables.model(0), source, source > 0, Beam(size=3)) == []


def test_wider_beams_find_better_scores_on_average(tables: SimpleNamespace) -> None:
    means = []
    for size in (1, 2, 4, 8):
        scores = []
        for seed in range(4):
            model = tables.model(seed, size=30, end_bias=1.0, temperature=0.7)
            source, mask = tables.sources([3 + i % 7 for i in range(25)], 30, seed)
            scores += [h[0].score for h in search(model, source, mask, Beam(size=size, length_penalty=0.6))]
        means.append(sum(scores) / len(scores))
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.05


def test_hypotheses_that_go_on_keep_their_row(tables: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that some hypothesis continues stays where it is: only those that none continues are replaced."""
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(
        State, "reorder", lambda state, rows, real=State.reorder: (seen.append(rows), real(state, rows))
    )
    source, mask = tables.sources([4, 9, 6], 12, 3)
    search(tables.model(3, size=12), source, mask, Beam(size=4, max_length=12))
    assert all(torch.equal(rows[rows], rows) for rows in seen)
    assert any(len(rows.unique()) < len(rows) for rows in seen), "some must have been replaced"
