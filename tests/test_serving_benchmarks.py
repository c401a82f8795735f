"""The benchmark of serving: its client against a server with known answers, its counts, and what its tables say."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from benchmarks.client import Reply
from benchmarks.servers import Outcome, Running
from benchmarks.serving import Work, translations
from benchmarks.serving_load import judged, table
from benchmarks.serving_table import quantiles, tables


class Upper(BaseHTTPRequestHandler):
    """Answers in capitals; refuses "busy" with a time to come back, "rude" without; breaks off at "gone"."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        q = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["q"]
        if q == "gone":
            self.close_connection = True
            return
        body = json.dumps({"translatedText": [each.upper() for each in q] if isinstance(q, list) else q.upper()})
        self.send_response(503 if q in ("busy", "rude") else 200)
        self.send_header("Content-Length", str(len(body)))
        if q == "busy":
            self.send_header("Retry-After", "3")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Upper) as upper:
        thread = threading.Thread(target=upper.serve_forever)
        thread.start()
        yield Running(0, upper.server_port, ("en", "de"))
        upper.shutdown()
        thread.join()


def test_so_many_clients_ask_for_everything_once(server: Running) -> None:
    work = Work(clients=3, size=2)
    asked = work.requests(["a", "b", "c", "d", "e"])
    assert asked == [["a", "b"], ["c", "d"], ["e"]]
    outcome = server.load(asked, clients=work.clients)
    assert translations(outcome) == ["A", "B", "C", "D", "E"]
    assert all(0 < reply.seconds <= outcome.seconds for reply in outcome.replies) and outcome.busy > 0
    assert Work(1, 1, share=0.4).requests(["a", "b", "c", "d", "e"]) == ["a", "b"]


def test_requests_that_come_on_their_own_and_what_becomes_of_them(server: Running) -> None:
    asked = ["a", "busy", "rude", "gone"]
    outcome = server.load(asked, rate=100.0, seconds=1.0, seed=1)
    assert 60 < len(outcome.replies) < 150
    begun = sorted(reply.begun for reply in outcome.replies)
    assert begun[-1] < 1.0 and begun[0] > 0
    found = judged("x", outcome, 100.0, ["A", None, None, None])
    each = len(outcome.replies) // 4
    assert {found.right, found.silent, found.lost} <= {each, each + 1} and found.other == 0
    assert found.refused in (2 * each, 2 * each + 1, 2 * each + 2) and not found.kept
    assert judged("x", server.load(["a", "busy"], clients=1), 0.0, ["A", None]).kept
    assert judged("x", server.load(["a", "busy"], clients=1), 0.0, ["B", None]).other == 1
    with pytest.raises(RuntimeError, match="503"):
        translations(outcome)


def test_latency_counts_from_the_moment_at_which_a_request_was_due() -> None:
    replies = [Reply(0, begun=0.1 * n, seconds=n / 100, status=200, retry_after=None, found="A") for n in range(1, 101)]
    found = judged("x", Outcome(replies, 10.0, 0.5), 10.0, ["A"])
    assert found.latency == quantiles([n / 100 for n in range(1, 101)]) == {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    lines = list(table([found]))
    assert lines[2] == "| x | 10.0 | 100 | 0 | 0 | 0 | 0 | 500 ms | 950 ms | 990 ms |"
    assert lines[-1] == "\nThe client took at most 5% of a core."


def test_quantiles_are_times_that_were_measured() -> None:
    assert quantiles([3.0, 1.0, 2.0]) == {"p50": 2.0, "p95": 3.0, "p99": 3.0}


def line(session: str, system: str, turn: int, seconds: float, size: int = 1) -> dict[str, Any]:
    conditions = {"session": session, "model": "m", "machine": "2 cores", "load": turn, "clients": 20, "size": size}
    found = {"p50": 0.1, "p95": 0.2, "p99": 0.3, "items": 100, "busy": 1.0, "client": 0.1, "memory": 2**20, "bleu": 30}
    return {**conditions, **found, "system": system, "round": turn, "seconds": seconds}


def test_the_table_shows_the_last_session_and_our_fastest_against_each() -> None:
    old = [line("2026-01-01T00", "ours", 1, 99.0)]
    new = [line("2026-01-02T00", "ours", 1, 2.0), line("2026-01-02T00", "ours-int8", 1, 1.0)]
    new += [line("2026-01-02T00", "libretranslate", turn, 2.0 * turn) for turn in (1, 2)]
    lines = list(tables([*old, *new, line("2026-01-02T00", "ours", 1, 2.0, size=20)]))
    assert lines[:3] == ["### m (2026-01-02)", "", "2 cores, load 1 to 2; the client's share: 10%."]
    assert "**20 clients, single texts**" in lines and "**20 clients, lists of 20**" in lines
    own = "| 100 | 200 | 300 | 10.0 ms | 1 MiB | 30.00 |"
    assert f"| Kakehashi, int8 | 100.0 | 1.00 {own}" in lines
    peer = "| LibreTranslate, fp32, two translators of one thread | 37.5 (25.0 to 50.0) | 2.00 "
    assert peer + own in lines
