"""Lexical constraints: what they ask of tokens, written out, and that a search always keeps them."""

from itertools import product
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kakehashi.decoding import Beam, Constraints, Greedy, search
from kakehashi.decoding.constraints import Tokens
from kakehashi.decoding.processors import NoRepeatNgram
from kakehashi.errors import UserError

END = 2
SPELLINGS = st.lists(st.integers(3, 5), min_size=1, max_size=3).map(tuple)
PHRASES = st.lists(st.lists(SPELLINGS, min_size=1, max_size=2).map(tuple), max_size=3).map(tuple)


def contains(tokens: Tokens, phrase: Tokens) -> bool:
    return f",{','.join(map(str, phrase))}," in f",{','.join(map(str, tokens))},"


@given(PHRASES, st.lists(st.integers(3, 5), max_size=4).map(tuple))
def test_what_is_needed_suffices(required: tuple[tuple[Tokens, ...], ...], tokens: Tokens) -> None:
    """Each step some token of the phrases leaves less to do; where places are short, it is among the only ones left."""
    constraints = Constraints(required)
    places = constraints.need(tokens) + 1  # the end's
    while constraints.missing(tokens):
        token = min(constraints.next(tokens), key=lambda token: constraints.need((*tokens, token)))
        assert constraints.need((*tokens, token)) < constraints.need(tokens)
        only = constraints.follows(tokens, places - 1)
        assert only is None or token in only
        tokens, places = (*tokens, token), places - 1
    assert places >= 1
    assert all(any(contains(tokens, spelling) for spelling in phrase) for phrase in required)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_that_keeps_them(tables: SimpleNamespace, alpha: float) -> None:
    """The best of all sequences up to the limit that contain what must be there and not what must not."""
    constraints = Constraints(required=(((3, 4), (6,)), ((5,),)), forbidden=((4, 4), (5, 6)))
    for seed in range(6):
        model = tables.model(seed, size=7, end_bias=1.0)
        source, mask = tables.sources([3], 7, seed)
        encoded, best = model.encode(source, mask), (-torch.inf, ())
        for words in (words for length in range(5) for words in product(range(3, 7), repeat=length)):
            kept = (contains(words, (3, 4)) or 6 in words) and 5 in words
            if kept and not contains(words, (4, 4)) and not contains(words, (5, 6)):
                tokens = [*words, END]
                logits = model.decode(torch.tensor([[1, *words]]), encoded).logits.log_softmax(-1)
                total = logits[0, range(len(tokens)), tokens].sum().item()
                best = max(best, (total / ((5 + len(tokens)) / 6) ** alpha, words))
        beam = Beam(size=64, length_penalty=alpha, max_length=5)
        (found,) = search(model, source, mask, beam, constraints=[constraints])[0]
        assert (found.finished, tuple(found.tokens)) == (True, best[1])
        assert found.score == pytest.approx(best[0], abs=1e-4)


def test_a_constraint_that_cannot_be_kept_is_told(tables: SimpleNamespace) -> None:
    """Too long for the limit, or against what is forbidden: the plain translation, not finished. Others are as ever."""
    model = tables.model(0, size=9, end_bias=1.0)
    source, mask = tables.sources([3, 3, 3, 3], 9, 0)
    long, clash = Constraints((((3, 4, 5, 6, 7),),)), Constraints((((3, 4),),), forbidden=((4,),))
    beam = Beam(size=3, max_length=5)
    plain = search(model, source, mask, beam)
    found = search(model, source, mask, beam, constraints=[long, Constraints(), clash, Constraints((((3, 4),),))])
    assert [hypotheses[0].finished for hypotheses in found] == [False, plain[1][0].finished, False, True]
    assert found[0][0].tokens == plain[0][0].tokens
    assert found[1] == plain[1]
    assert 4 not in found[2][0].tokens
    assert contains(tuple(found[3][0].tokens), (3, 4))


def test_what_the_text_begins_with_counts(tables: SimpleNamespace) -> None:
    model = tables.model(1, size=9, end_bias=9.0)
    source, mask = tables.sources([3], 9, 0)
    start = torch.tensor([[1]])
    kept = Constraints((((1, 3),), ((3,),)))
    assert kept.missing((1, 3)) == [] and len(kept.missing((4, 1))) == 2
    (found,) = search(model, source, mask, Beam(size=2), start=start, constraints=[Constraints((((3, 4),),))])[0]
    assert found.tokens == [3, 4], "an end that is likely comes as soon as it may"


def test_phrases_that_must_appear_need_a_beam(tables: SimpleNamespace) -> None:
    source, mask = tables.sources([3], 5, 0)
    with pytest.raises(UserError, match="decoding=beam"):
        search(tables.model(0), source, mask, Greedy(), constraints=[Constraints((((3,),),))])
    (found,) = search(tables.model(0), source, mask, Greedy(), constraints=[Constraints(forbidden=((3,),))])[0]
    assert 3 not in found.tokens


def test_other_processors_are_kept_too(tables: SimpleNamespace) -> None:
    model = tables.model(3, size=9, end_bias=-1.0)
    source, mask = tables.sources([4], 9, 0)
    beam = Beam(size=4, max_length=12, processors=(NoRepeatNgram(size=1),))
    for h in search(model, source, mask, beam, 4, constraints=[Constraints((((3, 4),), ((4, 5), (7, 8))))])[0]:
        assert len(set(h.tokens)) == len(h.tokens)
        assert contains(tuple(h.tokens), (3, 4))
