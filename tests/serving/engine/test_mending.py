"""What is done about translations in which something is amiss, with models that do just that."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kakehashi.confidence import Calibration, Curve
from kakehashi.models.protocol import Encoded, Output, State, Vocabulary
from kakehashi.serving.engine.mending import _lower, _sentence_case, _upper, translate
from kakehashi.serving.engine.wire import Found, Job
from kakehashi.translator import Translator

Script = Callable[[list[int]], list[int]]


class Scripted:
    """Says what its script makes of the source's tokens, with probability 0.9 each; 0.09 has the source itself."""

    def __init__(self, size: int, script: Script) -> None:
        self.source_vocabulary = self.target_vocabulary = Vocabulary(size)
        self.max_length: int | None = None
        self.script = script
        self.rows = 0

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        self.rows += len(source)
        return Encoded(source[:, :, None].float(), mask)

    def begin(self, encoded: Encoded) -> State:
        state = State(len(encoded.states), encoded.states.device)
        state.sentence["source"] = encoded.states[:, :, 0].long()
        return state

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        size = self.target_vocabulary.size
        logits = torch.full((len(tokens), size), math.log(0.01 / size))
        logits[:, self.target_vocabulary.end] -= 9.0  # of equals a search takes any: ends would fill its places
        for row, source in enumerate(state.sentence["source"].repeat_interleave(state.fanout, 0).tolist()):
            place, own = int(state.lengths[row]), [id for id in source if id != 0]
            for ids, probability in ((own, 0.09), ([*self.script(own[:-1]), own[-1]], 0.9)):
                logits[row, ids[min(place, len(ids) - 1)]] = math.log(probability)
        state.advance(1)
        return Output(logits[:, None], torch.eye(size))

    def decode(self, tokens: Tensor, encoded: Encoded) -> Output:
        raise NotImplementedError


Scripting = Callable[[Callable[[str], str]], Callable[[Sequence[str]], list[Found]]]


@pytest.fixture
def scripted(translator: Translator) -> Scripting:
    """Translating with a model whose script is a function of text."""

    def with_script(script: Callable[[str], str]) -> Callable[[Sequence[str]], list[Found]]:
        segmenter = translator.segmenters.source
        model = Scripted(segmenter.size, lambda ids: segmenter.encode(script(segmenter.decode(ids))))
        return lambda texts: translate(replace(translator, model=model), Job("scripted"), texts)

    return with_script


def test_what_is_right_is_searched_once(translator: Translator) -> None:
    model = Scripted(translator.segmenters.source.size, lambda ids: ids)
    texts = ["Ant 5 bee {x}.", "ant!", "👍 ant", "Ant cat, ant cat."]
    found = translate(replace(translator, model=model), Job("m"), texts)
    assert [each.texts for each in found] == [(text,) for text in texts]
    assert all(each.notes == () for each in found)
    assert model.rows == len(texts)


def test_a_translation_that_goes_round_in_circles(scripted: Scripting) -> None:
    (found,) = scripted(lambda text: "bee bee bee bee bee")(["ant cat dog eel fox"])
    assert "bee bee bee" not in found.texts[0] and found.notes == ()
    assert scripted(lambda text: "bee bee bee")(["ant ant ant"])[0].texts[0] == "bee bee bee"


def test_a_number_that_is_lost_is_searched_for(scripted: Scripting) -> None:
    lossy = scripted(lambda text: text.replace("5,000.5", "6.666,6").replace("5", "6"))
    found = lossy(["ant 5,000.5 bee", "ant bee", "5rd ant"])
    assert [each.texts[0] for each in found[:2]] == ["ant 5.000,5 bee", "ant bee"]
    assert "5" in found[2].texts[0]
    assert all(each.notes == () for each in found)


def test_a_number_amid_nonsense_is_not_believed(scripted: Scripting) -> None:
    """What the model says next depends on the place alone, so that a number in the midst makes all else unlikely."""
    (found,) = scripted(lambda text: "ant bee cat dog eel fox gnu hen ibis jay"[: len(text)])(["ant 5,000.5 bee"])
    assert (found.texts, found.notes) == (("ant bee cat dog",), ("5,000.5 is missing",))


def test_what_is_kept_is_left_out_and_put_back(scripted: Scripting) -> None:
    lossy = scripted(lambda text: re.sub("[^a-z ]+", "dog", text))
    found = lossy(["ant {x} bee 👍", "ant bee", "ant {x} bee cat 5"])
    assert [each.texts[0] for each in found[:2]] == ["ant {x} bee 👍", "ant bee"]
    assert "{x}" in found[2].texts[0] and "{x} is missing" not in found[2].notes
    assert found[0].notes == () and [word[:2] for word in found[0].words] == [(0, 3), (8, 11)]


def test_what_is_kept_is_left_out_once(scripted: Scripting) -> None:
    """Each time, the next braces would be something to keep."""
    text = f"ant {'{' * 400}x{'}' * 400} bee"
    (found,) = scripted(lambda text: re.sub("[{}]", "", text))([text])
    assert "{x}" in found.texts[0]


def test_numbers_that_no_word_governs_are_put_back_too(scripted: Scripting) -> None:
    lossy = scripted(lambda text: re.sub("[^a-z ]+", "dog", text))
    found = lossy(["ant bee (1,250, %s)", "1,250: ant bee"])
    assert [each.texts[0] for each in found] == ["ant bee (1.250, %s)", "1.250: ant bee"]
    assert all(each.notes == () for each in found)


def test_the_links_of_what_is_put_back(translator: Translator) -> None:
    """This model has never seen an address, but can align."""
    text = "Ant bee (https://example.org/a), cat."
    (found,) = translate(translator, Job("m", alignment=True), [text])
    address = "(https://example.org/a)"
    place = found.texts[0].index(address)
    assert (8, 8 + len(address), place, place + len(address), 1.0) in found.links
    words = {(text[a:b].lower(), found.texts[0][c:d].lower()) for a, b, c, d, weight in found.links if weight > 0.5}
    assert words >= {("ant", "bee"), ("bee", "cat"), ("cat", "dog")}
    assert translate(translator, Job("m"), [text])[0].links == ()


def test_capitals(translator: Translator, scripted: Scripting) -> None:
    texts = ["ANT BEE %s.", "CAT", "Ant", "ANT bee"]
    found = translate(translator, Job("m"), texts)
    assert "%s" in found[0].texts[0] and found[0].texts[0].replace("%s", "").isupper()
    assert [each.texts[0] for each in found[1:3]] == ["DOG", "Bee"]
    assert not found[3].texts[0].isupper()
    assert scripted(lambda text: text)(["UNESCO"])[0].texts == ("UNESCO",)


def test_capitals_are_of_the_language() -> None:
    assert _sentence_case("%S {NAME} DIE ÄPFEL", "de") == "%S {NAME} Die äpfel"
    assert _sentence_case("IŞIK İYİ", "tr") == "Işık iyi" and _sentence_case("I AM", "en") == "I am"
    assert (_upper("iyi ışık", "tr"), _lower("IŞIK İYİ", "tr-TR"), _upper("straße", "de")) == (
        "İYİ IŞIK",
        "ışık iyi",
        "STRASSE",
    )


def test_a_single_word(translator: Translator, scripted: Scripting) -> None:
    """With a stop the model is brief, and without says too much."""
    brief = scripted(lambda text: text.replace("ant.", "bee.") if "." in text else "cat dog eel fox")
    found = brief(["ant", "ant bee", "ant.", "ant..."])
    assert [each.texts[0] for each in found] == ["bee", "cat dog eel fox", "bee.", "bee..."]
    (linked,) = translate(translator, Job("m", alignment=True), ["ant"])
    assert linked.texts == ("bee",)
    assert {link[:4] for link in linked.links} == {(0, 3, 0, 3)}


def test_confidence_is_what_the_calibration_makes_of_it(translator: Translator) -> None:
    texts = ["Ant bee.", "cat"]
    raw = translate(translator, Job("m"), texts)
    doubtful = Calibration(sentence=Curve(slope=0.0), piece=Curve(slope=0.0, intercept=-50.0))
    told = translate(replace(translator, calibration=doubtful), Job("m"), texts)
    assert [each.texts for each in told] == [each.texts for each in raw]
    assert all(0.5 < each.confidence < 1 for each in raw) and {each.confidence for each in told} == {0.5}
    assert all(word[2] < 0.01 for each in told for word in each.words)
    assert all(0.5 < word[2] < 1 for each in raw for word in each.words)
