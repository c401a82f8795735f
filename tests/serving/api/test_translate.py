"""/translate, /detect, /languages, /frontend/settings: what LibreTranslate's clients send and read."""

from typing import Any

import pytest

from tests.serving.api.conftest import Serve, Site
from tests.serving.conftest import shifted

LIST = ["ant bee.", "cat", ""]


@pytest.mark.parametrize("how", ["json", "data", "params", "files"])
def test_a_text_however_it_is_sent(site: Site, how: str) -> None:
    parameters: dict[str, Any] = {"q": "ant bee.", "source": "en", "target": "de"}
    if how == "files":
        parameters = {name: (None, value) for name, value in parameters.items()}
    response = site.post("/translate", **{how: parameters})
    assert (response.status_code, response.json()) == (200, {"translatedText": "bee cat."})


def test_json_in_another_content_type_is_not_read(site: Site) -> None:
    response = site.post(
        "/translate", data='{"q": "ant", "source": "en", "target": "de"}', headers={"Content-Type": "text/plain"}
    )
    assert (response.status_code, response.json()) == (400, {"error": "Invalid request: missing q parameter"})


def test_a_list(site: Site) -> None:
    response = site.translate(q=LIST, source="en", target="de", alternatives=2)
    assert response.json()["translatedText"] == ["bee cat.", "dog", ""]
    assert len(response.json()["alternatives"]) == 3
    for best, others in zip(response.json()["translatedText"], response.json()["alternatives"], strict=True):
        assert best not in others and len(set(others)) == len(others) <= 2


def test_what_stands_around_words_comes_back(site: Site) -> None:
    text = "  ant bee.\n\n\tcat \u2028🎉\n"
    assert site.translate(q=text, source="en", target="de").json() == {
        "translatedText": "  bee cat.\n\n\tdog \u2028🎉\n"
    }
    form = site.post("/translate", data={"q": "ant\r\ncat\r\n", "source": "en", "target": "de"})
    assert form.json() == {"translatedText": "bee\ndog"}


def test_emoji_are_returned_unchanged(site: Site) -> None:
    response = site.translate(q="🎉 👩‍👩‍👧", source="auto", target="de")
    assert response.json() == {
        "translatedText": "🎉 👩‍👩‍👧",
        "detectedLanguage": {"confidence": 0.0, "language": "en"},
    }


def test_identity_pivot_and_codes_in_any_case(site: Site) -> None:
    assert site.translate(q="ant", source="EN", target="en").json() == {"translatedText": "ant"}
    assert site.translate(q="ant", source="EN", target="Fr").json() == {"translatedText": shifted("ant", 2)}


def test_each_text_of_a_list_has_a_language_of_its_own(site: Site) -> None:
    texts = ["This is the language of Shakespeare.", "Das ist die Sprache Goethes.", "C'est la langue de Voltaire."]
    response = site.translate(q=texts, source="auto", target="fr")
    detected = response.json()["detectedLanguage"]
    assert [each["language"] for each in detected] == ["en", "de", "fr"]
    assert all(50 < each["confidence"] <= 100 for each in detected)
    assert response.json()["translatedText"][2] == texts[2]


def test_more_is_told_only_when_asked_for(site: Site) -> None:
    flags = dict.fromkeys(("confidence", "alignment", "matches", "notes"), True)
    response = site.translate(q="ant bee.", source="en", target="de", alternatives=1, **flags).json()
    assert response.keys() == {"translatedText", "alternatives", *flags}
    assert 50 < response["confidence"] <= 100
    assert {"source", "target", "weight"} == response["alignment"][0].keys()
    assert (response["matches"], response["notes"]) == ([], [])
    listed = site.translate(q=["ant bee.", "cat"], source="en", target="de", **flags).json()
    assert {len(value) for value in listed.values()} == {2}


def test_glossary(site: Site) -> None:
    terms = {"q": "ant bee.", "source": "en", "target": "de"}
    assert "pig" in site.translate(**terms, glossary={"ant": "pig"}).json()["translatedText"]
    assert "ant" in site.translate(**terms, glossary=["ant"]).json()["translatedText"]
    assert site.translate(**terms, glossary={"ant": ""}).status_code == 400
    assert site.translate(**terms, glossary={"ant": " "}).status_code == 400


def test_model_by_name(site: Site) -> None:
    asked = {"q": "ant", "source": "en", "target": "de"}
    assert site.translate(**asked, model="en-de").json() == {"translatedText": "bee"}
    response = site.translate(**asked, model="de-fr")
    assert response.json() == {"error": "German (de) is not available as a target language from English (en)"}
    response = site.translate(**asked, model="x")
    assert response.json() == {"error": "Invalid request: there is no such model; there are en-de, de-fr, fr-en"}


GOOD: dict[str, Any] = {"q": "ant", "source": "en", "target": "de"}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"q": None}, "Invalid request: missing q parameter"),
        ({"q": ""}, "Invalid request: missing q parameter"),
        ({"q": []}, "Invalid request: missing q parameter"),
        ({"q": 5}, "Invalid request: q parameter is not a text or a list of texts"),
        ({"q": ["a", 5]}, "Invalid request: q parameter is not a text or a list of texts"),
        ({"q": {"a": "b"}}, "Invalid request: q parameter is not a text or a list of texts"),
        ({"source": ""}, "Invalid request: missing source parameter"),
        ({"target": None}, "Invalid request: missing target parameter"),
        ({"source": None, "alternatives": "x"}, "Invalid request: missing source parameter"),
        ({"alternatives": "x"}, "Invalid request: alternatives parameter is not a number"),
        ({"alternatives": 1.5}, "Invalid request: alternatives parameter is not a number"),
        ({"alternatives": -1}, "Invalid request: alternatives parameter is not a number"),
        ({"alternatives": 9, "source": "xx"}, "Invalid request: alternatives parameter must be <= 8"),
        ({"source": "xx", "target": "yy", "format": "xml"}, "xx is not supported"),
        ({"target": "yy", "format": "xml"}, "yy is not supported"),
        ({"format": "xml"}, "xml format is not supported"),
    ],
)
def test_errors_in_their_order(site: Site, changes: dict[str, Any], error: str) -> None:
    response = site.post("/translate", json=GOOD | changes)
    assert (response.status_code, response.json()) == (400, {"error": error})


@pytest.mark.parametrize("alternatives", [None, "", 0, "1"])
def test_numbers_may_be_text_or_absent(site: Site, alternatives: object) -> None:
    assert site.post("/translate", json=GOOD | {"alternatives": alternatives}).status_code == 200


def test_limits_of_one_request(serve: Serve) -> None:
    site = serve(limits={"batch": 2, "characters": 10, "alternatives": 1})
    assert site.post("/translate", json=GOOD | {"q": ["ant", "x" * 10]}).status_code == 200
    for q, said in (
        (["a", "b", "c"], "request (3) exceeds text limit (2)"),
        ("x" * 11, "request (11) exceeds text limit (10)"),
    ):
        assert site.post("/translate", json=GOOD | {"q": q}).json() == {"error": f"Invalid request: {said}"}


def test_a_long_list_streams_through_a_short_queue(site: Site) -> None:
    words = ["ant", "bee", "cat"] * 700
    assert site.translate(q=words, source="en", target="de").json() == {"translatedText": list(map(shifted, words))}


def test_what_comes_too_late_is_told_when_to_try_again(serve: Serve) -> None:
    response = serve(deadline=1e-6).translate(q="ant", source="en", target="de")
    assert (response.status_code, response.json()) == (503, {"error": "The server is busy: try again later."})
    assert response.headers["Retry-After"] == "1"


def test_detect(site: Site) -> None:
    found = site.post("/detect", data={"q": "Das ist die Sprache Goethes."}).json()
    assert found[0]["language"] == "de" and found[0]["confidence"] > 80 and len(found) <= 3
    assert (
        site.post("/detect", json={"q": ["Bonjour", "C'est la langue."], "format": "text"}).json()[0]["language"]
        == "fr"
    )
    assert site.post("/detect", json={"q": "12 🎉"}).json() == [{"confidence": 0.0, "language": "en"}]
    assert site.post("/detect").json() == {"error": "Invalid request: missing q parameter"}


def test_html_keeps_its_tags_around_their_words(site: Site) -> None:
    def html(text: str, **parameters: Any) -> Any:
        return site.translate(q=text, source="en", target="de", format="html", **parameters).json()

    text = '<p class="x">ant <a href="#">bee</a> cat.</p>\n<ul><li>dog</ul><!-- eel -->'
    wanted = '<p class="x">bee <a href="#">cat</a> dog.</p>\n<ul><li>eel</ul><!-- eel -->'
    assert html(text) == {"translatedText": wanted}
    assert html("<p translate=no>ant</p>") == {"translatedText": "<p translate=no>ant</p>"}
    answer = html("<b>ant</b>", alternatives=2, confidence=True, alignment=True, words=True)
    assert answer.pop("confidence") > 50
    assert answer == {"translatedText": "<b>bee</b>", "alternatives": [], "alignment": [], "words": []}


def test_languages(site: Site) -> None:
    languages = site.get("/languages", data="a body that some client sends").json()
    assert languages[0] == {"code": "de", "name": "German", "targets": ["de", "en", "fr"]}
    assert [each["code"] for each in languages] == ["de", "en", "fr"]


def test_frontend_settings(serve: Serve) -> None:
    assert serve(memory={"suggestions": "off"}, files={"enabled": False}).get("/frontend/settings").json() == {
        "apiKeys": False,
        "charLimit": -1,
        "filesTranslation": False,
        "frontendTimeout": 500,
        "keyRequired": False,
        "language": {"source": {"code": "auto", "name": "Auto Detect"}, "target": {"code": "en", "name": "English"}},
        "suggestions": False,
        "supportedFilesFormat": [],
    }
