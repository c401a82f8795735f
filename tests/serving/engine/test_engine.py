"""What the engine answers, with real worker processes and a real model."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from kakehashi.data.terms import Wording
from kakehashi.errors import UserError
from kakehashi.serving.engine.engine import Engine
from kakehashi.serving.engine.protocol import Answer, Language, Request, UnknownDirection
from kakehashi.translator import Translator
from tests.serving.conftest import Running, sentences, shifted


async def all_of(engine: Engine, requests: Sequence[Request]) -> list[Answer]:
    return await asyncio.gather(*map(engine.translate, requests))


def test_the_model_is_good(translator: Translator) -> None:
    texts = sentences(300, seed=-1)
    assert translator.translate(texts) == list(map(shifted, texts))


def test_many_texts_share_batches(running: Running) -> None:
    texts = sentences(200, seed=-2)

    async def work(engine: Engine) -> None:
        before = engine.status()
        answers = await all_of(engine, [Request(text, "en", "de") for text in texts])
        assert [answer.text for answer in answers] == list(map(shifted, texts))
        assert all(answer.confidence and 0.5 < answer.confidence <= 1 for answer in answers)
        after = engine.status()
        assert after.answered - before.answered == after.accepted - before.accepted == 200
        assert after.sentences - before.sentences >= 200 > 10 * (after.batches - before.batches)
        assert (after.waiting, after.accepting) == (0, True)
        assert after.source_tokens - before.source_tokens > 400

    running(work)


def test_a_list_is_divided_among_idle_workers(running: Running) -> None:
    async def work(engine: Engine) -> None:
        before = engine.status().batches
        await all_of(engine, [Request("Ant bee cat dog.", "en", "de")] * 10)
        assert engine.status().batches - before == 2

    running(work)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \n\t", " \n\t"),
        ("Ant bee.  Cat!\n\n\tDog?\r\n  eel\u3000", "Bee cat.  Dog!\n\n\tEel?\r\n  fox\u3000"),
        ("👍\nAnt bee.\n---\n* \n12.5 %\n{name}", "👍\nBee cat.\n---\n* \n12.5 %\n{name}"),
        ("ANT BEE\nCAT", "BEE CAT\nDOG"),
        ("\ud800\nAnt.\n\udfff", "\ud800\nBee.\n\udfff"),
    ],
)
def test_spacing_and_what_is_no_sentence_stay(running: Running, text: str, expected: str) -> None:
    answer = running(lambda engine: engine.translate(Request(text, "en", "de")))
    assert answer.text == expected
    assert (answer.confidence is None) == (not any(map(str.isalpha, text)))


def test_what_is_missing_is_searched_for(running: Running) -> None:
    """The model has never seen a number or an address, and may find no sentence with a number but nonsense."""
    texts = ["Ant 1,000 bee.", "ant 3rd bee", "See https://example.org/a for ant 👍."]
    answers = running(lambda engine: all_of(engine, [Request(text, "en", "de") for text in texts]))
    for number, written, answer in zip(["1,000", "3"], ["1.000", "3"], answers[:2], strict=True):
        assert written in answer.text or f"{number} is missing" in answer.notes
    assert "https://example.org/a" in answers[2].text and "👍" in answers[2].text


def test_what_cannot_be_said_is_noted(running: Running) -> None:
    wording = Wording(forbidden=["7"])
    answer = running(lambda engine: engine.translate(Request("Ant 7 bee.", "en", "de", wording=wording)))
    assert answer.notes == ("7 is missing",)


def test_two_models_lead_where_none_does(running: Running) -> None:
    texts = sentences(20, seed=-3)
    answers = running(lambda engine: all_of(engine, [Request(text, "EN", "Fr", alternatives=1) for text in texts]))
    assert [answer.text for answer in answers] == [shifted(text, 2) for text in texts]
    assert all(len(answer.alternatives) == 1 for answer in answers)


def test_a_text_in_its_own_language_stays(running: Running) -> None:
    answer = running(lambda engine: engine.translate(Request("Ant.", "en", "EN", alignment=True)))
    assert (answer.text, answer.alternatives, answer.confidence) == ("Ant.", (), None)
    assert [(link.source, link.target, link.weight) for link in answer.links] == [((0, 4), (0, 4), 1.0)]


def test_directions(running: Running) -> None:
    for request in (Request("a", "en", "xx"), Request("a", "xx", "en"), Request("a", "en", "de", model="de-fr")):
        with pytest.raises(UnknownDirection):
            running(lambda engine, request=request: engine.translate(request))
    answer = running(lambda engine: engine.translate(Request("Ant.", "en", "de", model="en-de")))
    assert answer.text == "Bee."
    all_codes = ("de", "en", "fr")
    names = {"de": "German", "en": "English", "fr": "French"}
    assert running.engine.languages() == [Language(code, names[code], all_codes) for code in all_codes]


def test_alternatives(running: Running) -> None:
    answer = running(lambda engine: engine.translate(Request("Ant bee.\nCat dog.", "en", "de", alternatives=3)))
    assert answer.text == "Bee cat.\nDog eel."
    assert len({answer.text, *answer.alternatives}) == 4
    assert all(text.count("\n") == 1 for text in answer.alternatives)


def test_links_are_places_in_the_whole_text(running: Running) -> None:
    request = Request("  Ant bee.  Cat\n\nDog.", "en", "de", alignment=True)
    answer = running(lambda engine: engine.translate(request))
    assert answer.text == "  Bee cat.  Dog\n\nEel."
    assert [link.target for link in answer.links] == sorted(link.target for link in answer.links)
    strong = {
        (request.text[slice(*link.source)], answer.text[slice(*link.target)])
        for link in answer.links
        if link.weight > 0.5
    }
    assert strong >= {("Ant", "Bee"), ("bee", "cat"), ("Cat", "Dog"), ("Dog", "Eel")}


def test_links_lead_through_a_language_between(running: Running) -> None:
    request = Request("Ant bee.  Cat dog.", "en", "fr", alignment=True)
    answer = running(lambda engine: engine.translate(request))
    assert answer.text == "Cat dog.  Eel fox."
    for source, target in (("Ant", "Cat"), ("bee", "dog"), ("Cat", "Eel"), ("dog", "fox")):
        weights = {
            request.text[slice(*link.source)]: link.weight
            for link in answer.links
            if answer.text[slice(*link.target)] == target
        }
        assert max(weights, key=weights.__getitem__) == source
        assert sum(weights.values()) <= 1.001


def test_what_is_known_is_not_translated(running: Running) -> None:
    known = {"Cat dog.": "Katze Hund.", "elsewhere": "x"}
    request = Request(" Ant bee.  Cat dog.\nEel.", "en", "de", known=known)
    answer = running(lambda engine: engine.translate(request))
    assert (answer.text, answer.known) == (" Bee cat.  Katze Hund.\nFox.", ("Cat dog.",))
    assert answer.confidence and answer.confidence > 0.5
    (part,) = (word for word in answer.words if word.confidence is None)
    assert answer.text[part.start : part.end] == "Katze Hund."
    assert answer.words == tuple(sorted(answer.words, key=lambda word: word.start))


@pytest.mark.parametrize("target", ["de", "fr"])
def test_all_that_is_known_needs_no_model(running: Running, target: str) -> None:
    async def work(engine: Engine) -> Answer:
        before = engine.status().sentences
        answer = await engine.translate(Request("\tA. B! \n", "en", target, alternatives=2, known={"A. B!": "C. D!"}))
        assert engine.status().sentences == before
        return answer

    answer = running(work)
    assert (answer.text, answer.alternatives, answer.confidence) == ("\tC. D! \n", (), None)


def test_what_is_known_goes_back_to_its_own_words(running: Running) -> None:
    request = Request("Owl. Ant bee.", "en", "de", alignment=True, known={"Ant bee.": "Bee, cat."})
    answer = running(lambda engine: engine.translate(request))
    assert answer.text == "Pig. Bee, cat."
    pairs = {(request.text[slice(*link.source)], answer.text[slice(*link.target)]) for link in answer.links}
    assert pairs >= {("Owl", "Pig"), ("Ant", "Bee"), ("bee", "cat")}


def test_a_known_part_is_in_every_alternative(running: Running) -> None:
    request = Request("Ant bee.\nCat dog.", "en", "de", alternatives=3, known={"Cat dog.": "Katze."})
    answer = running(lambda engine: engine.translate(request))
    assert len(answer.alternatives) == 3
    assert all(text.endswith("\nKatze.") for text in (answer.text, *answer.alternatives))


def test_wording(running: Running) -> None:
    def answer(text: str, target: str, wording: Wording) -> str:
        return running(lambda engine: engine.translate(Request(text, "en", target, wording=wording))).text

    assert answer("Ant bee.\nCat ant.", "de", Wording(terms={"ant": "pig"})).split("\n")[1].count("pig") == 1
    assert "pig" in answer("Cat ant.", "fr", Wording(terms={"ant": "pig"}))
    assert "cat" not in answer("Ant bee.", "de", Wording(forbidden=["cat"]))
    lines = answer("Ant.\nBee.", "de", Wording(required=["owl"])).split("\n")
    assert "owl" in lines[0] and lines[1] == "Cat."


def test_a_phrase_that_the_vocabulary_cannot_write_is_the_callers_mistake(running: Running) -> None:
    wording = Wording(required=["\ufffd\x00"])
    try:
        answer = running(lambda engine: engine.translate(Request("Ant.", "en", "de", wording=wording)))
    except UserError as error:
        assert "cannot write" in str(error)
    else:
        assert "\ufffd" in answer.text


def test_detection(running: Running) -> None:
    detect = running.engine.detect
    found = detect("Das ist ein schöner Tag, und die Sonne scheint.")
    assert found[0].language == "de" and found[0].confidence > 0.9
    assert [each.confidence for each in found] == sorted((each.confidence for each in found), reverse=True)
    assert detect("Il fait beau aujourd'hui, n'est-ce pas ?")[0].language == "fr"
    assert detect("The weather is lovely today.")[0].language == "en"
    for text in ("", "  ", "12:30", "👍 !?", "\ud800"):
        assert detect(text) == []


def test_engines_that_cannot_be(models: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one model"):
        Engine([])
    with pytest.raises(UserError, match="named twice"):
        Engine([models[0], models[0]])
    with pytest.raises(UserError, match="no model directory"):
        Engine([tmp_path])
