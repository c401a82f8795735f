"""A correction answers wherever its text stands: in longer texts, in HTML, in files; and is marked there."""

from typing import Any

from tests.serving.api.conftest import Serve, Site
from tests.serving.api.test_files import sent

ASKED: dict[str, Any] = {"source": "en", "target": "de"}


def corrected(site: Site, text: str, translation: str, **languages: str) -> None:
    assert site.post("/suggest", json={**ASKED, **languages, "q": text, "s": translation}).status_code == 200


def translated(site: Site, text: str | list[str], **parameters: Any) -> Any:
    return site.translate(q=text, **ASKED | parameters).json()


def test_a_sentence_in_longer_texts(site: Site) -> None:
    corrected(site, "Cat dog.", "Katze Hund.")
    text = "  Ant bee. \tCat dog.  Eel.\n\nCat dog."
    wanted = "  Bee cat. \tKatze Hund.  Fox.\n\nKatze Hund."
    assert translated(site, text) == {"translatedText": wanted}
    assert translated(site, ["ant", text, "Cat dog."])["translatedText"] == ["bee", wanted, "Katze Hund."]
    assert translated(site, "Cat dog. cat dog.")["translatedText"] == "Katze Hund. dog eel."
    assert translated(site, text, target="fr")["translatedText"].startswith("  Cat dog. \tEel fox.")


def test_sentences_side_by_side_and_the_whole_text(site: Site) -> None:
    corrected(site, "Ant bee.", "one")
    corrected(site, "Ant bee. Cat.", "two")
    corrected(site, "Ant bee. Cat. Dog.\nOwl.", "all")
    assert translated(site, "Ant bee. Dog.")["translatedText"] == "one Eel."
    assert translated(site, "Dog. Ant bee. Cat. Dog.")["translatedText"] == "Eel. two Eel."
    assert translated(site, " Ant bee. Cat. Dog.\r\nOwl.")["translatedText"] == " all"


def test_it_is_marked(site: Site) -> None:
    corrected(site, "Cat dog.", "Katze Hund.")
    flags = dict.fromkeys(("matches", "words", "confidence", "alignment"), True)
    found = translated(site, "Ant bee. Cat dog.", alternatives=2, **flags)
    assert found["translatedText"] == "Bee cat. Katze Hund."
    match = {"q": "Cat dog.", "s": "Katze Hund.", "state": "pending", "score": 100.0, "answered": True}
    assert found["matches"][0] == match and not any(other["answered"] for other in found["matches"][1:])
    marked = [word for word in found["words"] if word["confidence"] is None]
    assert [found["translatedText"][word["start"] : word["end"]] for word in marked] == ["Katze Hund."]
    assert found["confidence"] > 50, "of what the model wrote"
    assert {tuple(link["source"]) for link in found["alignment"]} >= {(0, 3), (9, 12)}
    assert len(found["alternatives"]) == 2 and all(text.endswith("Katze Hund.") for text in found["alternatives"])
    whole = translated(site, "Cat dog.", **flags)
    assert (whole["confidence"], whole["matches"]) == (None, [match])
    assert whole["words"] == [{"start": 0, "end": 11, "confidence": None}] and whole["alignment"]


def test_through_a_language_between(site: Site) -> None:
    corrected(site, "Cat dog.", "Chat chien.", target="fr")
    found = translated(site, "Ant. Cat dog.", target="fr", alignment=True)
    assert found["translatedText"] == "Cat. Chat chien."
    assert all(link["target"][1] <= len("Cat.") for link in found["alignment"]), "no model leads there: no links"


def test_only_what_answers(serve: Serve) -> None:
    site = serve(memory={"suggestions": "review"})
    corrected(site, "Cat dog.", "Katze Hund.")
    assert translated(site, "Ant. Cat dog.", matches=True) == {"translatedText": "Bee. Dog eel.", "matches": []}


def test_a_glossary_is_kept_to(site: Site) -> None:
    """A correction that says another word than the glossary is offered and does not answer."""
    corrected(site, "Cat dog.", "Katze Hund.")
    assert translated(site, "Ant. Cat dog.", glossary={"dog": "Hund"})["translatedText"] == "Bee. Katze Hund."
    for text in ("Cat dog.", "Ant. Cat dog."):
        found = translated(site, text, glossary={"dog": "pig"}, matches=True)
        assert "pig" in found["translatedText"] and "Hund" not in found["translatedText"]
        assert not any(match["answered"] for match in found["matches"])
    assert translated(site, "Cat dog.", glossary={"dog": "pig"}, matches=True)["matches"][0]["s"] == "Katze Hund."


def test_blocks_and_tags_of_html(site: Site) -> None:
    corrected(site, "Cat dog.", "Hund & Katze.")
    corrected(site, "Ant bee cat.", "Bee cat dog!")

    def html(text: str, **flags: bool) -> Any:
        return translated(site, text, format="html", **flags)

    assert html("<p>Cat dog.</p><p>Ant bee. Cat dog.</p>") == {
        "translatedText": "<p>Hund &amp; Katze.</p><p>Bee cat. Hund &amp; Katze.</p>"
    }
    assert html("<p>Ant <b>bee</b> <i>cat</i>.")["translatedText"] == "<p>Bee <b>cat</b> <i>dog</i>!"
    found = html("<p>Owl.</p> <p><a href='#'>Cat</a> dog.</p>", matches=True, confidence=True)
    assert found["matches"][0]["answered"] and found["confidence"] > 50
    assert html("Cat dog.")["translatedText"] == "Hund &amp; Katze.", "a correction is text, not markup"


def test_a_correction_that_holds_markup_answers_for_it(site: Site) -> None:
    corrected(site, "<b>Cat</b> dog.", "<i>Katze</i> Hund.")
    assert translated(site, "\n<b>Cat</b> dog.", format="html") == {"translatedText": "\n<i>Katze</i> Hund."}


def test_files(site: Site) -> None:
    corrected(site, "Cat dog.", "Katze Hund.")
    address = sent(site, "a.md", b"# Cat dog.\n\nAnt. Cat dog.\n").json()["translatedFileUrl"]
    assert site.get(address.removeprefix(site.url)).content == b"# Katze Hund.\n\nBee. Katze Hund.\n"
