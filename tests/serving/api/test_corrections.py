"""A correction changes the next translation; reviewers decide; files go in and out."""

from typing import Any

import pytest
import requests

from tests.serving.api.conftest import Serve, Site

ASKED: dict[str, Any] = {"q": "ant bee.", "source": "en", "target": "de"}
SUGGESTION: dict[str, Any] = ASKED | {"s": "Ameise Biene."}
KEY = {"Authorization": "Bearer admin"}


def translated(site: Site, **changes: Any) -> Any:
    return site.translate(**ASKED | changes).json()["translatedText"]


def review(site: Site, path: str, **arguments: Any) -> requests.Response:
    return site.get("/corrections" + path, headers=KEY, **arguments)


def decide(site: Site, number: int, **decision: Any) -> requests.Response:
    return requests.patch(f"{site.url}/corrections/{number}", json=decision, headers=KEY, timeout=300)


@pytest.mark.parametrize("how", ["json", "data", "params"])
def test_a_correction_changes_the_next_translation(site: Site, how: str) -> None:
    assert translated(site) == "bee cat."
    assert site.post("/suggest", **{how: SUGGESTION}).json() == {"success": True}
    assert translated(site) == "Ameise Biene."
    assert translated(site, q=["x", "\n ant bee. "])[1] == "\n Ameise Biene. "
    assert translated(site, target="fr") != "Ameise Biene."


def test_it_is_marked_and_the_model_is_the_first_alternative(site: Site) -> None:
    site.post("/suggest", json=SUGGESTION)
    response = site.translate(**ASKED, alternatives=2, matches=True, confidence=True).json()
    assert response["translatedText"] == "Ameise Biene."
    assert response["alternatives"][0] == "bee cat." and len(response["alternatives"]) <= 2
    match = {"q": "ant bee.", "s": "Ameise Biene.", "state": "pending", "score": 100.0, "answered": True}
    assert response["matches"] == [match]


def test_similar_texts_are_offered_and_do_not_answer(site: Site) -> None:
    site.post("/suggest", json=SUGGESTION)
    response = site.translate(**ASKED | {"q": "ant bee"}, matches=True).json()
    assert response["translatedText"] == "bee cat"
    (match,) = response["matches"]
    assert (match["s"], match["answered"]) == ("Ameise Biene.", False) and 90 < match["score"] < 100


def test_a_suggestion_may_leave_the_language_to_the_server(site: Site) -> None:
    text = "Das ist die Sprache Goethes."
    assert site.post("/suggest", json={"q": text, "s": "x", "source": "auto", "target": "fr"}).status_code == 200
    assert translated(site, q=text, source="de", target="fr") == "x"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"s": ""}, "Invalid request: missing s parameter"),
        ({"s": " "}, "Invalid request: s parameter must not be blank"),
        ({"s": "a\0"}, "Invalid request: s parameter must be text, and U+0000 is none"),
        ({"q": ["a"]}, "Invalid request: q parameter is not a text or a list of texts"),
        ({"source": "xx"}, "xx is not supported"),
        ({"target": "xx"}, "xx is not supported"),
    ],
)
def test_errors(site: Site, changes: dict[str, Any], error: str) -> None:
    response = site.post("/suggest", json=SUGGESTION | changes)
    assert (response.status_code, response.json()) == (400, {"error": error})


def test_suggestions_may_be_disabled(serve: Serve) -> None:
    response = serve(memory={"suggestions": "off"}).post("/suggest", json=SUGGESTION)
    assert (response.status_code, response.json()) == (403, {"error": "Suggestions are disabled on this server."})


def test_reviewing(serve: Serve) -> None:
    site = serve(admin_key="admin", memory={"suggestions": "review"})
    site.post("/suggest", json=SUGGESTION)
    assert translated(site) == "bee cat."
    (pending,) = review(site, "", params={"state": "pending"}).json()["corrections"]
    assert pending["q"] == "ant bee." and (pending["source"], pending["target"]) == ("en", "de")
    assert decide(site, pending["id"], state="approved").json()["state"] == "approved"
    assert translated(site) == "Ameise Biene."
    assert decide(site, pending["id"], s="Die Biene.").json()["s"] == "Die Biene."
    assert translated(site) == "Die Biene."
    assert decide(site, pending["id"], state="rejected").status_code == 200
    assert translated(site) == "bee cat."
    assert decide(site, 10**6, state="approved").status_code == 404
    assert decide(site, 10**30, state="approved").status_code == 404
    assert requests.patch(site.url + "/corrections/x", headers=KEY, timeout=300).status_code == 404
    assert decide(site, pending["id"], state="perhaps").json()["error"].startswith("Invalid request: state parameter")


def test_only_reviewers_review(serve: Serve, site: Site) -> None:
    response = site.get("/corrections", headers=KEY)
    assert (response.status_code, response.json()) == (403, {"error": "Reviewing is disabled on this server."})
    closed = serve(admin_key="admin", limits={"minute": 5})
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic admin"}):
        response = closed.get("/corrections", headers=headers)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert closed.post("/corrections/import", headers={}).status_code == 401
    assert [closed.get("/corrections", headers=KEY).status_code for _ in range(2)] == [200, 429], "guesses are counted"


def test_pages(serve: Serve) -> None:
    site = serve(admin_key="admin")
    for i in range(5):
        site.post("/suggest", json=SUGGESTION | {"q": f"text {i}"})
    first = review(site, "", params={"limit": 2}).json()["corrections"]
    second = review(site, "", params={"limit": 2, "before": first[-1]["id"]}).json()["corrections"]
    assert [each["q"] for each in first + second] == ["text 4", "text 3", "text 2", "text 1"]
    assert len(review(site, "", params={"search": "XT 3", "source": "en", "target": "de"}).json()["corrections"]) == 1
    assert review(site, "", params={"limit": 0}).status_code == 400


def test_files(serve: Serve) -> None:
    site, other = serve(admin_key="admin"), serve(admin_key="admin")
    site.post("/suggest", json=SUGGESTION | {"s": "Ameise\n<Biene>."})
    document = review(site, "/export", params={"state": "pending"})
    assert document.headers["Content-Type"] == "application/x-tmx+xml"
    assert other.post("/corrections/import", data=document.content, headers=KEY).json() == {"imported": 1}
    assert translated(other) == "Ameise\n<Biene>."
    table = review(other, "/export", params={"format": "tsv", "source": "en", "target": "de"})
    assert table.text == "ant bee.\tAmeise <Biene>.\n"
    rows = {"format": "tsv", "source": "en", "target": "de"}
    sent = other.post("/corrections/import", data=b"cat\tKatze\nant\tAmeise\n", params=rows, headers=KEY)
    assert sent.json() == {"imported": 2} and translated(other, q="cat") == "Katze"


@pytest.mark.parametrize(
    ("query", "body", "said"),
    [
        ("", b"<tmx><body>", "not a TMX file"),
        ("", b'<!DOCTYPE t [<!ENTITY a "b">]><tmx>&a;</tmx>', "declares XML entities"),
        ("?format=tsv", b"a\tb", "name source and target"),
        ("?format=tsv&source=en&target=de", b"a", "line 1"),
        ("?format=xlsx", b"a", "format parameter"),
    ],
    ids=["cut", "entity", "languages", "line", "format"],
)
def test_files_that_are_refused(serve: Serve, query: str, body: bytes, said: str) -> None:
    response = serve(admin_key="admin").post("/corrections/import" + query, data=body, headers=KEY)
    assert response.status_code == 400 and said in response.json()["error"]
