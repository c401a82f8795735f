"""Keys, rates, sizes, CORS, and errors as JSON wherever they come from."""

import socket
from typing import Any

import pytest
import requests

from tests.serving.api.conftest import Serve, Site

GOOD: dict[str, Any] = {"q": "ant", "source": "en", "target": "de"}
INVALID = {"error": "Invalid API key"}


def test_without_keys_any_key_passes(site: Site) -> None:
    assert site.translate(**GOOD, api_key="whatever").status_code == 200
    assert site.translate(**GOOD, api_key=5).status_code == 200


def test_keys(serve: Serve) -> None:
    site = serve(access={"keys": [{"key": "good", "characters": 5}]}, limits={"characters": 3})
    long = GOOD | {"q": "ant a"}
    assert site.translate(**GOOD).status_code == 200
    assert site.translate(**long).status_code == 400
    for sent in ({"json": long | {"api_key": "good"}}, {"json": long | {"apiKey": "good"}}):
        assert site.post("/translate", **sent).status_code == 200
    assert site.post("/translate", json=long, headers={"Authorization": "Bearer good"}).status_code == 200
    assert site.post("/translate", params=long | {"api_key": "good"}).status_code == 200
    for sent in ({"json": GOOD | {"api_key": "bad"}}, {"json": {"api_key": "bad"}}, {"data": {"api_key": "bad"}}):
        response = site.post("/translate", **sent)
        assert (response.status_code, response.json()) == (403, INVALID), "before anything else is looked at"
    assert site.get("/languages").status_code == 200
    assert site.get("/frontend/settings").json()["apiKeys"] is True


def test_a_key_is_required(serve: Serve) -> None:
    site = serve(access={"required": True, "keys": [{"key": "good"}]})
    for nothing in ({}, {"api_key": ""}, {"api_key": None}):
        response = site.translate(**GOOD, **nothing)
        assert response.json() == {"error": "Please contact the server operator to get an API key"}
        assert response.status_code == 400
    assert site.translate(**GOOD, api_key="good").status_code == 200


def test_slowdown(serve: Serve) -> None:
    site = serve(limits={"minute": 2})
    assert site.translate(**GOOD | {"q": ["ant", "bee"]}).status_code == 200
    response = site.post("/translate", data="{", headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()) == (429, {"error": "Slowdown: 2 per 1 minute"})
    assert 0 < int(response.headers["Retry-After"]) <= 61
    assert site.post("/detect", json={"q": "a"}).status_code == 429
    assert site.get("/languages").status_code == 200


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"[1]", "Invalid JSON format"),
        (b'"text"', "Invalid JSON format"),
        (b"{", "The browser (or proxy) sent a request that this server could not understand."),
        (b"", "The browser (or proxy) sent a request that this server could not understand."),
        (b'{"q": "\xff"}', "The browser (or proxy) sent a request that this server could not understand."),
        (b'{"q": "\\ud800"}', "The browser (or proxy) sent a request that this server could not understand."),
        (b'{"q": NaN}', "The browser (or proxy) sent a request that this server could not understand."),
        (b"[" * 200_000, "The browser (or proxy) sent a request that this server could not understand."),
        (
            b'{"q":' * 100_000 + b"1" + b"}" * 100_000,
            "The browser (or proxy) sent a request that this server could not understand.",
        ),
        (
            b'{"q": ' + b"1" * 10_000 + b"}",
            "The browser (or proxy) sent a request that this server could not understand.",
        ),
    ],
    ids="list text cut empty utf8 surrogate nan deep deeper number".split(),
)
def test_json_that_is_none(site: Site, body: bytes, error: str) -> None:
    response = site.post("/translate", data=body, headers={"Content-Type": "application/json; charset=utf-8"})
    assert (response.status_code, response.json()) == (400, {"error": error})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"q=%ff&source=en&target=de"),
        ("application/x-www-form-urlencoded", b"q=\xff&source=en&target=de"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=b"] * 2_000)),
        (
            "multipart/form-data; boundary=X",
            b'--X\r\nContent-Disposition: form-data; name="q"\r\n\r\n\xff\r\n--X--\r\n',
        ),
        ("multipart/form-data; boundary=X", b"nonsense"),
        ("multipart/form-data", b""),
    ],
    ids=["escaped", "raw", "fields", "part", "nonsense", "boundary"],
)
def test_forms_that_are_none(site: Site, kind: str, body: bytes) -> None:
    response = site.post("/translate", data=body, headers={"Content-Type": kind})
    assert response.status_code == 400
    assert response.json()["error"].startswith("The browser (or proxy) sent")


def test_query_strings_that_are_none(site: Site) -> None:
    assert site.post("/translate?q=%ff&source=en&target=de").status_code == 400


def test_a_body_that_is_too_large(serve: Serve) -> None:
    site = serve(limits={"body": 1_000})
    error = {"error": "The data value transmitted exceeds the capacity limit."}
    for body in (b"x" * 1_001, iter([b"x" * 600] * 2)):  # the second in chunks, its length unannounced
        response = site.post("/translate", data=body, headers={"Content-Type": "application/json"})
        assert (response.status_code, response.json()) == (413, error)
        assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_a_body_that_is_announced_too_large_is_not_waited_for(serve: Serve) -> None:
    address = serve(limits={"body": 1_000}).url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=300) as connection:
        connection.sendall(b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert b" 413 " in connection.recv(1_000)


def test_half_a_request_harms_nobody(site: Site) -> None:
    host, port = site.url.removeprefix("http://").split(":")
    for end in (socket.SHUT_WR, None):
        with socket.create_connection((host, int(port)), timeout=300) as connection:
            connection.sendall(b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            if end is not None:
                connection.shutdown(end)
                connection.recv(1_000)
    assert site.translate(**GOOD).status_code == 200


def test_routes_that_are_none(site: Site) -> None:
    response = site.get("/translate")
    assert (response.status_code, response.json()) == (405, {"error": "Method Not Allowed"})
    assert response.headers["Allow"] == "POST"
    response = site.get("/nowhere")
    assert (response.status_code, response.json()) == (404, {"error": "Not Found"})


def test_cors(site: Site) -> None:
    expected = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Headers": "Authorization, Content-Type",
        "Access-Control-Expose-Headers": "Authorization",
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Max-Age": "1728000",
    }
    preflight = requests.options(site.url + "/translate", timeout=300)
    assert (preflight.status_code, preflight.content) == (200, b"")
    for response in (preflight, site.get("/languages"), site.get("/nowhere"), site.translate()):
        assert expected.items() <= response.headers.items()


def test_head(site: Site) -> None:
    response = requests.head(site.url + "/health", timeout=300)
    assert (response.status_code, response.content) == (200, b"")
