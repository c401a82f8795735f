"""What who runs a server sees: health, figures, logs without anything personal, a description that is true."""

import asyncio
import json
import logging
import re
import sqlite3
from io import StringIO
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any

import pytest
import requests

from kakehashi.serving.api.logs import JsonLines
from kakehashi.serving.api.server import bound
from tests.serving.api.conftest import Serve, Site

SECRET = "Geheimnis"
GOOD: dict[str, Any] = {"q": "ant", "source": "en", "target": "de"}


def test_health_and_readiness(site: Site) -> None:
    assert site.get("/health").json() == {"status": "ok"}
    assert site.get("/ready").json() == {"status": "ready"}


def test_short_answers_do_not_wait_for_more() -> None:
    """An answer of two packets waited for the client's delayed acknowledgement, 40 ms."""

    async def waits() -> int:
        taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            taken.set_result(writer.get_extra_info("socket").getsockopt(IPPROTO_TCP, TCP_NODELAY))
            writer.close()

        with bound("127.0.0.1", 0) as listening:
            server = await asyncio.start_server(connected, sock=listening)
            _, writer = await asyncio.open_connection(*listening.getsockname())
            found = await taken
            writer.close()
            server.close()
        return found

    assert asyncio.run(waits()) == 1


def test_figures(serve: Serve) -> None:
    site = serve(metrics={"enabled": True})
    site.translate(**GOOD | {"q": ["ant", "bee", "bee bee"]})
    site.post("/suggest", json=GOOD | {"s": SECRET})
    site.translate(**GOOD, api_key=SECRET)
    site.get(f"/{SECRET}", headers={"X-Forwarded-For": "203.0.113.7"})
    text = site.get("/metrics").text
    for line in (
        'kakehashi_http_request_duration_seconds_count{endpoint="/translate",status="200"} 2.0',
        'kakehashi_http_request_duration_seconds_count{endpoint="none",status="404"} 1.0',
        'kakehashi_items_total{endpoint="/translate"} 4.0',
        "kakehashi_memory_answers_total 1.0",
        'kakehashi_model_loaded{model="en-de"} 1.0',
        "kakehashi_workers 1.0",
        "kakehashi_http_requests_in_flight 1.0",
    ):
        assert line in text
    assert not re.search(rf"{SECRET}|203\.0\.113|127\.0\.0\.1|ant", text)


def test_figures_are_off_or_for_who_bears_a_token(serve: Serve, site: Site) -> None:
    assert site.get("/metrics").status_code == 404
    closed = serve(metrics={"enabled": True, "token": "T"})
    assert closed.get("/metrics").status_code == 401
    assert closed.get("/metrics", headers={"Authorization": "Bearer T"}).status_code == 200


@pytest.fixture
def log() -> Any:
    """All that loggers say, as the server writes it."""
    stream = StringIO()
    handler, root = logging.StreamHandler(stream), logging.getLogger()
    handler.setFormatter(JsonLines())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(level)


def test_logs_hold_ids_and_nothing_personal(serve: Serve, log: Any) -> None:
    site = serve(admin_key=SECRET + "key")
    response = site.translate(**GOOD | {"q": SECRET}, api_key=SECRET)
    site.post("/suggest", params=GOOD | {"s": SECRET})
    site.get(f"/{SECRET}", headers={"X-Request-ID": SECRET, "Authorization": f"Bearer {SECRET}"})
    requests.request(SECRET, site.url, timeout=300)
    site.post("/translate", data=SECRET, headers={"Content-Type": "application/json"})
    site.get("/health")  # when this is answered, the lines before it are written
    lines = [line for line in log() if line["message"] == "request" and line["endpoint"] != "/health"]
    assert len(lines) == 5
    first = lines[0]
    assert first["request"] == response.headers["X-Request-ID"] and first["endpoint"] == "/translate"
    assert (first["method"], first["status"], first["bytes"]) == ("POST", 200, len(response.request.body or b""))
    written = json.dumps(log())
    assert SECRET not in written and "127.0.0.1" not in written.replace("http://127.0.0.1", "")


def test_a_fault_of_ours_is_answered_and_logged_without_its_message(
    site: Site, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(site.memory, "answers", fail)
    response = site.translate(**GOOD)
    assert response.status_code == 500
    assert response.json()["error"].startswith("The server encountered an internal error and was unable to complete")
    (line,) = [line for line in log() if line["level"] == "error"]
    assert line["error"] == "RuntimeError" and line["raised"][-1].endswith(" fail")
    assert line["request"] == response.headers["X-Request-ID"] and SECRET not in json.dumps(log())


def test_a_database_that_is_away_is_told(site: Site) -> None:
    with sqlite3.connect(site.memory.settings.database) as connection:
        connection.execute("DROP TABLE corrections")
    connection.close()
    response = site.translate(**GOOD)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


def test_where_the_queue_is_full_a_text_is_refused_unread(
    site: Site, engine: Any, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = engine.status().refused
    with requests.Session() as session:
        with monkeypatch.context() as patch:
            patch.setattr(engine._waiting, "capacity", 0)
            for body in (b"{", b"x" * 3_000_000):
                response = session.post(site.url + "/translate", data=body, timeout=300)
                assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
                assert response.json() == {"error": "The server is busy: try again later."}
            assert site.get("/languages").status_code == 200
        assert session.post(site.url + "/translate", json=GOOD, timeout=300).status_code == 200
    assert engine.status().refused == before + 2
    assert [line["endpoint"] for line in log() if line.get("status") == 503] == ["/translate"] * 2


def test_a_client_that_goes_away_has_its_texts_dropped(site: Site, engine: Any) -> None:
    before = engine.status()
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(site.url + "/translate", json=GOOD | {"q": ["ant bee cat " * 5] * 3_000}, timeout=0.7)
    while (now := engine.status()).waiting + now.running:
        pass
    assert now.sentences - before.sentences < 3_000
    assert site.translate(**GOOD).status_code == 200


def test_the_description_names_every_route(site: Site) -> None:
    paths = site.get("/spec").json()["paths"]
    assert {
        "/translate",
        "/detect",
        "/languages",
        "/suggest",
        "/frontend/settings",
        "/health",
        "/ready",
    } <= paths.keys()
    body = paths["/translate"]["post"]["requestBody"]["content"]
    assert body.keys() == {"application/json", "application/x-www-form-urlencoded"}
    assert body["application/json"]["schema"]["required"] == ["q", "source", "target"]


def test_the_description_is_shown_without_other_hosts(site: Site) -> None:
    page = site.get("/docs").text
    assert re.findall(r'(?:src|href)="(\w+:)?//', page) == []
    (script,) = re.findall(r'<script src="([^"]+)"', page)
    assert site.get(script).status_code == 200
