"""Tokens and links of translations: of a model that copies, each piece goes back to itself."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kakehashi.alignment import LEAST, Link, links, pharaoh, placed
from kakehashi.data.corpus import Pair
from kakehashi.data.subwords import SegmenterPair, Unigram, train_subwords
from kakehashi.errors import UserError
from kakehashi.models.bytenet import ByteNet
from kakehashi.models.protocol import Output, State, Vocabulary
from kakehashi.translator import Translation, Translator
from tests.test_translator import TEXTS, Copier, config


class Pointer(Copier):
    """A copier that looks at what it copies, and a little at the end of the source."""

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        source = state.sentence["source"].repeat_interleave(state.fanout, 0)
        place = state.lengths.clamp(max=source.shape[1] - 1)[:, None]
        weights = torch.zeros(source.shape).scatter(1, place, 0.9) + 0.1 * (source == 2)
        output = super().step(tokens, state)
        return replace(output, alignment=weights[:, None]) if alignment else output


@pytest.fixture(scope="module")
def segmenters() -> SegmenterPair:
    return train_subwords(Unigram(), [Pair(text + ".", text + "。") for text in TEXTS])


@pytest.fixture(scope="module")
def pointer(segmenters: SegmenterPair) -> Translator:
    return Translator(config(), Pointer(segmenters.source.size), segmenters, max_source_tokens=40)


def assert_copied(found: Translation) -> None:
    """Tokens cover what can be seen of the translation, and each span is linked with its like."""
    text = found.text
    assert all(token.log_probability <= 0 for token in found.tokens)
    spans = [token.span for token in found.tokens]
    assert [text[start:end].strip() for start, end in spans] == [text[start:end] for start, end in spans]
    covered = 0
    for start, end in spans:
        assert not text[covered:start].strip() and 0 <= start <= end <= len(text)
        covered = max(covered, end)
    assert not text[covered:].strip()
    assert [link.target for link in found.links] == list(dict.fromkeys(s for s in spans if s[0] < s[1]))
    for link in found.links:
        assert found.source[slice(*link.source)] == text[slice(*link.target)] != ""
        assert link.weight == pytest.approx(0.9)
    assert [link.source for link in found.links] == sorted(link.source for link in found.links)


LINES = [
    "the cat sees a dog",
    "  the cat\t sees ",
    "",
    "   ",
    "a\n\n  house \nand  a dog\n",
    "▁ 架け橋 🌉▁",
    "e\u0301 \u0301 👨‍👩‍👧 が か\u3099",
    "猫" * 50,
    "the cat sees a dog.  now a dog runs home! and the house? " * 6,
    "犬と猫、。" * 30,
]


@pytest.mark.parametrize("line", LINES, ids=ascii)
def test_each_piece_of_a_copy_goes_back_to_itself(pointer: Translator, line: str) -> None:
    (found,) = pointer.stream([line], detail="links", max_length=100)
    assert_copied(found)
    assert bool(found.tokens) == bool(line.strip())


@given(st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\u2581 \n猫the cat"))))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_spans_hold_in_any_line(pointer: Translator, line: str) -> None:
    (found,) = pointer.stream([line], detail="links", max_length=256, extra_length=200)
    if found.finished:
        assert_copied(found)


def test_details_change_nothing_else(pointer: Translator) -> None:
    told, plain = (list(pointer.stream(LINES, count=2, detail=detail)) for detail in ("links", "text"))

    def without(translation: Translation) -> Translation:
        others = tuple(map(without, translation.alternatives))
        return replace(translation, tokens=(), links=(), alternatives=others)

    assert [without(translation) for translation in told] == plain
    assert all(each.tokens for found in told if found.source.strip() for each in (found, *found.alternatives))
    tokens = [replace(found, links=()) for found in pointer.stream(LINES, detail="tokens")]
    assert [found.tokens for found in tokens] == [found.tokens for found in told]


def test_log_probabilities_are_those_of_the_pieces(pointer: Translator) -> None:
    (found,) = pointer.stream(["the cat"], detail="tokens", kind="greedy")
    pieces = [pointer.segmenters.target.piece(id) for id in pointer.segmenters.target.encode("the cat")]
    assert [token.piece for token in found.tokens] == pieces
    assert [token.log_probability for token in found.tokens] == pytest.approx([-0.10536] * len(pieces), abs=1e-4)


def test_a_prefix_is_not_among_the_tokens(pointer: Translator) -> None:
    (found,) = pointer.stream(["the cat sees a dog\na cat"], prefix="the cat", detail="links")
    first = found.tokens[0]
    assert first.span[0] >= len("the cat") and found.text.startswith("the cat")
    behind = found.text.index("\n")
    assert "".join(found.text[slice(*token.span)] for token in found.tokens if token.span[0] > behind) == "acat"


def test_a_model_without_attention_has_tokens_but_no_links(segmenters: SegmenterPair) -> None:
    size = Vocabulary(segmenters.source.size)
    model = ByteNet(width=16)
    translator = Translator(config(model=model), model.build(size, size).eval(), segmenters)
    (found,) = translator.stream(["the cat"], detail="tokens", kind="greedy", max_length=4)
    assert len(found.tokens) in (3, 4)
    with pytest.raises(UserError, match="no attention"):
        next(translator.stream(["the cat"], detail="links", kind="greedy"))


# Links of weights


def test_links_are_the_strongest_and_the_strong_ones() -> None:
    weights = torch.tensor([[0.6, 0.36, 0.04], [0.02, 0.01, 0.03]])
    source, target = [(0, 3), (4, 7), (8, 9)], [(0, 2), (3, 5)]
    found = links(weights, source, target)
    assert [(link.source, link.target) for link in found] == [((0, 3), (0, 2)), ((4, 7), (0, 2)), ((8, 9), (3, 5))]
    assert [link.weight for link in found] == pytest.approx([0.6, 0.36, 0.03])
    assert min(link.weight for link in found[:2]) >= LEAST > found[2].weight


def test_tokens_that_share_a_span_are_one_and_empty_ones_none() -> None:
    weights = torch.tensor([[0.1, 0.2, 0.7, 0.0], [0.5, 0.1, 0.3, 0.1], [0.9, 0.1, 0.0, 0.0]])
    found = links(weights, [(0, 0), (0, 1), (0, 1), (2, 3)], [(5, 6), (5, 6), (6, 6)])
    assert [(link.source, link.target) for link in found] == [((0, 1), (5, 6)), ((2, 3), (5, 6))]
    assert [link.weight for link in found] == pytest.approx([(0.9 + 0.4) / 2, 0.05])
    assert links(weights[:0], [(0, 1)] * 4, []) == links(weights[:, :0], [], [(0, 1)] * 3) == []


def test_spans_are_placed_without_their_white_space() -> None:
    assert placed([(0, 4), (4, 6), (6, 8)], " cat \u3000 a", 10) == [(11, 14), (14, 14), (17, 18)]


def test_pharaoh_counts_words() -> None:
    source, target = "the  black cat", "le chat noir"

    def link(one: str, other: str, weight: float) -> Link:
        start, place = source.index(one), target.index(other)
        return Link((start, start + len(one)), (place, place + len(other)), weight)

    found = [link("the", "le", 0.3), link("cat", "le", 0.2), link("cat", "ch", 0.9), link("black", "at noir", 0.5)]
    assert pharaoh(source, target, found) == "0-0 1-1 1-2 2-1"
    assert pharaoh("", "", []) == ""
