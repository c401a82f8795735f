"""Glossary terms and phrases through the translator, on the model that copies."""

import pytest

from kakehashi.data.corpus import Pair
from kakehashi.data.subwords import Unigram, train_subwords
from kakehashi.data.terms import Wording
from kakehashi.errors import UserError
from kakehashi.translator import Translator
from tests.test_translator import TEXTS, Copier, config


@pytest.fixture(scope="module")
def copier() -> Translator:
    segmenters = train_subwords(Unigram(), [Pair(text + ".", text + "。") for text in TEXTS])
    return Translator(config(), Copier(segmenters.source.size), segmenters)


def test_terms_appear_where_their_source_does(copier: Translator) -> None:
    wording = Wording({"cat": "dog", "sees a": "runs home"}, forbidden=["now"])
    texts = ["the cat and a house", "", "a house\n\nthe cat sees a home", "the house and now"]
    plain = list(copier.stream(texts))
    found = list(copier.stream(texts, wording=wording, extra_length=4))
    assert "dog" in found[0].text.split()
    assert found[1] == plain[1]
    assert found[2].text.startswith("a house\n\n")
    assert "dog" in found[2].text and "runs home" in found[2].text
    assert "now" not in found[3].text
    assert all(each.finished and not each.note for each in found)
    (alone,) = copier.stream(texts[2:3], wording=wording, extra_length=4)
    assert alone == found[2]
    assert list(copier.stream(texts, wording=Wording())) == plain


def test_required_phrases_appear_once_in_a_line_and_beside_its_prefix(copier: Translator) -> None:
    (found,) = copier.stream(["a house\nthe dog"], prefix="now", wording=Wording(required=["cat runs"]))
    first, second = found.text.split("\n")
    assert first.startswith("now") and "cat runs" in first
    assert second == "the dog"
    (prefixed,) = copier.stream(["a house"], prefix="the cat", wording=Wording(required=["cat"]))
    (plain,) = copier.stream(["a house"], prefix="the cat")
    assert prefixed == plain, "the prefix has it"


def test_wording_that_does_not_hold_is_told(copier: Translator) -> None:
    wording = Wording(required=["the cat sees a house and the dog"])
    (found,) = copier.stream(["now"], wording=wording, max_length=3)
    assert "'the cat sees a house and the dog' must appear, but did not fit" in found.note
    assert not found.finished
    (said,) = copier.stream(["now"], prefix="the dog", wording=Wording(forbidden=["dog"]))
    assert "'dog' is forbidden" in said.note


def test_wording_that_the_model_cannot_follow_is_refused(copier: Translator) -> None:
    with pytest.raises(UserError, match="decoding=beam"):
        copier.translate(["now"], wording=Wording(required=["cat"]), kind="greedy")
