"""Diverse beam search against one as a textbook has it."""

from types import SimpleNamespace

import pytest
import torch

from kakehashi.decoding import Beam, Constraints, Diverse, search
from kakehashi.decoding.processors import RepetitionPenalty
from kakehashi.errors import UserError

END = 2
LENGTHS = [3, 6, 2, 4]


def plain(model, source, mask, decoding: Diverse, limit: int) -> list[tuple[bool, float, list[int]]]:
    """Of one sentence, with lists, sorting and teacher forcing: what all groups find, best first, nothing twice."""
    encoded, groups = model.encode(source, mask), decoding.groups or decoding.size
    size = decoding.size // groups
    live: list[list[tuple[float, list[int]]]] = [[(0.0, [])] for _ in range(groups)]
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(groups)]
    for length in range(1, limit + 1):
        said: list[int] = []
        for group in range(groups):
            if len(finished[group]) >= size:
                continue
            candidates = []
            for total, tokens in live[group]:
                scores = model.decode(torch.tensor([[1, *tokens]]), encoded).logits[0, -1].log_softmax(-1).tolist()
                for v in range(2, model.target_vocabulary.size):
                    choice = total + scores[v] - decoding.strength * said.count(v)
                    candidates.append((choice, total + scores[v], [*tokens, v]))
            candidates.sort(reverse=True)
            said += [tokens[-1] for *_, tokens in candidates[:size]]
            ends = [(total, tokens) for _, total, tokens in candidates[:size] if tokens[-1] == END]
            finished[group] += [(total / ((5 + length) / 6) ** decoding.length_penalty, t[:-1]) for total, t in ends]
            live[group] = [(total, tokens) for _, total, tokens in candidates if tokens[-1] != END][:size]
    penalty = ((5 + limit) / 6) ** decoding.length_penalty
    found = {(True, score, *tokens) for group in finished for score, tokens in group}
    for group in range(groups):
        if len(finished[group]) < size:
            found |= {(False, total / penalty, *tokens) for total, tokens in live[group]}
    return [(ended, score, tokens) for ended, score, *tokens in sorted(found, reverse=True)][: decoding.size]


@pytest.mark.parametrize(("size", "groups"), [(3, None), (4, 2), (6, 3), (1, 1)])
@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_it_equals_a_plain_one(tables: SimpleNamespace, size: int, groups: int | None, strength: float) -> None:
    decoding = Diverse(size=size, groups=groups, strength=strength, length_penalty=0.6, max_length=9, extra_length=9)
    for seed in range(5):
        model = tables.model(seed, size=12, end_bias=1.0, temperature=0.8)
        source, mask = tables.sources(LENGTHS, 12, seed)
        found = search(model, source, mask, decoding, count=size)
        for row, hypotheses in enumerate(found):
            expected = plain(model, source[row : row + 1], mask[row : row + 1], decoding, 9)
            assert [(h.finished, h.tokens) for h in hypotheses] == [(ended, tokens) for ended, _, tokens in expected]
            assert [h.score for h in hypotheses] == pytest.approx([score for _, score, _ in expected], abs=1e-4)


def test_one_group_is_the_beam_and_without_strength_all_groups_are(tables: SimpleNamespace) -> None:
    for seed in range(4):
        model = tables.model(seed, size=12, end_bias=1.0)
        source, mask = tables.sources(LENGTHS, 12, seed)
        beam = search(model, source, mask, Beam(size=3, max_length=12), count=3)
        assert search(model, source, mask, Diverse(size=3, groups=1, max_length=12), count=3) == beam
        alike = search(model, source, mask, Diverse(size=9, groups=3, strength=0, max_length=12), count=9)
        assert [hypotheses[:3] for hypotheses in alike] == beam


def test_its_alternatives_differ_in_more_words(tables: SimpleNamespace) -> None:
    """The share of different bigrams among those of a sentence grows with the strength (the paper's distinct-2)."""

    def distinct(decoding: Beam | Diverse) -> float:
        grams: list[tuple[int, int, int]] = []
        for seed in range(4):
            model = tables.model(seed, size=20, end_bias=1.0, temperature=0.8)
            source, mask = tables.sources(LENGTHS * 3, 20, seed)
            for row, hypotheses in enumerate(search(model, source, mask, decoding, count=5)):
                grams += [(row, *gram) for h in hypotheses for gram in zip(h.tokens, h.tokens[1:], strict=False)]
        return len(set(grams)) / len(grams)

    each = Beam(max_length=12), *(Diverse(strength=strength, max_length=12) for strength in (0.5, 3.0))
    beam, some, much = map(distinct, each)
    assert beam < some - 0.05 < much - 0.1, (beam, some, much)


def test_the_best_of_few_are_those_of_many(tables: SimpleNamespace) -> None:
    decoding = Diverse(size=6, groups=3, max_length=12, processors=(RepetitionPenalty(penalty=1.3),))
    for seed in range(4):
        model = tables.model(seed, size=12)
        source, mask = tables.sources(LENGTHS, 12, seed)
        many = search(model, source, mask, decoding, count=6)
        assert search(model, source, mask, decoding, count=2) == [hypotheses[:2] for hypotheses in many]


def test_what_does_not_go_together_is_refused(tables: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="size 5 is not a multiple of groups 2"):
        Diverse(groups=2)
    source, mask = tables.sources([3], 12, 0)
    with pytest.raises(UserError, match="decoding=beam"):
        search(tables.model(0, size=12), source, mask, Diverse(), constraints=[Constraints((((5,),),))])
