"""Ten thousand hostile requests: none makes the server fail, crash or wait."""

import json
import re
import signal
import socket
import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.api.test_process import running

MANY, AT_ONCE = 10_000, 10  # requests
PATIENCE = 120  # seconds, on a machine with other work

FIELDS = [
    "q",
    "source",
    "target",
    "format",
    "alternatives",
    "glossary",
    "model",
    "s",
    "api_key",
    "apiKey",
    "confidence",
]
KINDS = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=X", "text/plain", ""]
ROUTES = [
    *["POST /translate", "POST /translate", "POST /detect", "POST /suggest", "POST /corrections/import"],
    *[
        "POST /translate_file",
        "PATCH /corrections/1",
        "GET /corrections",
        "GET /languages",
        "GET /translate",
        "BREW /%ff",
    ],
]

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["en", "de", "auto", "html", "", "0", "-1", "1e999", "\ud800", "\0", "x" * 100_000, "ant bee."]),
    st.text(max_size=30),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)
DEEP = st.builds(
    lambda opened, times: opened.encode() * times, st.sampled_from(["[", '{"q":', '{"q":["']), st.integers(1, 9_999)
)
NEARLY = st.fixed_dictionaries(  # what the engine gets to see
    {"q": VALUES | st.just("ant bee."), "source": st.sampled_from(["en", "auto"]), "target": st.just("de")},
    optional={name: VALUES for name in FIELDS if name not in ("q", "source", "target")},
)
FORM = st.lists(
    st.tuples(
        st.sampled_from(
            [*FIELDS, 'file"; filename="a.docx', 'file"; filename="a.html', 'file"; filename="a.xliff', '"']
        ),
        st.binary(max_size=60) | st.sampled_from([b"en", b"de", b"<p>ant", b"PK\x03\x04"]),
    )
).map(
    lambda parts: (
        b"".join(
            b'--X\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n' + value + b"\r\n"
            for name, value in parts
        )
        + b"--X--\r\n"
    )
)
BODIES = st.one_of(
    NEARLY.map(lambda tree: json.dumps(tree).encode()),
    FORM,
    st.dictionaries(st.sampled_from(FIELDS), VALUES).map(lambda tree: json.dumps(tree).encode()),
    VALUES.map(lambda tree: json.dumps(tree).encode()),
    st.lists(st.tuples(st.sampled_from(FIELDS), st.binary(max_size=20))).map(
        lambda pairs: b"&".join(name.encode() + b"=" + value for name, value in pairs)
    ),
    st.binary(max_size=200),
    DEEP,
)


PARTING = ["none", "none", "half", "whole", "reset"]  # what the client closes before it has read the answer


@dataclass(frozen=True)
class Hostile:
    """A request whose last `cut` bytes are not sent, and which end of the connection is closed then."""

    route: str
    kind: str
    body: bytes
    cut: int
    parting: str

    @property
    def sent(self) -> bytes:
        head = f"{self.route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer admin\r\n"
        whole = f"{head}Content-Type: {self.kind}\r\nContent-Length: {len(self.body)}\r\n\r\n".encode() + self.body
        return whole[: max(1, len(whole) - self.cut)]

    @property
    def parted(self) -> str:
        """A server waits for what does not come: the client must end that."""
        return "half" if self.cut and self.parting == "none" else self.parting


REQUESTS = st.builds(
    Hostile,
    st.sampled_from(ROUTES),
    st.sampled_from(KINDS),
    BODIES,
    st.one_of(st.just(0), st.just(0), st.integers(1, 400)),
    st.sampled_from(PARTING),
)


def status(url: str, request: Hostile) -> int | None:
    """What the server answers; None where it says nothing, or nobody listens."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        try:
            connection.sendall(request.sent)
            if request.parted == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if request.parted in ("reset", "whole"):
                return None
            if request.parted == "half":
                connection.shutdown(socket.SHUT_WR)
            line = connection.makefile("rb").readline()
        except TimeoutError:
            raise
        except OSError:  # it answered, and closed, before it had read all
            return None
    return int(line.split()[1]) if line else None


@pytest.mark.slow
def test_ten_thousand_requests_and_the_server_still_serves(models: list[Path], tmp_path: Path) -> None:
    """Against the command as a process. At a time some are on their way; an answer that does not come in PATIENCE
    seconds is a failure, and so is a request that the server has not forgotten at the end."""
    told = ["admin_key=admin", "limits.characters=1000", "metrics.enabled=true"]
    counts = Counter[int | None]()
    with running(tmp_path, *models, *told) as server, ThreadPoolExecutor(AT_ONCE) as pool:

        @settings(max_examples=MANY // AT_ONCE, suppress_health_check=list(HealthCheck))
        @given(st.lists(REQUESTS, min_size=AT_ONCE, max_size=AT_ONCE))
        def hold(some: list[Hostile]) -> None:
            found = list(pool.map(status, [server.url] * len(some), some))
            counts.update(found)
            assert not [each for each in found if each and each >= 500 and each != 503]

        hold()
        assert server.process.poll() is None
        assert server.post("/translate", q="ant", source="en", target="de").json() == {"translatedText": "bee"}
        assert in_flight(server.url) == 1, "this one"
        assert server.ended(signal.SIGTERM) == 0
    assert counts.total() >= MANY and counts[200] > MANY / 100 and counts[400] > MANY / 10 and counts[None] > MANY / 10


def in_flight(url: str) -> float:
    """Requests that are being answered, once all that clients have left are given up."""
    count = 0.0
    for _ in range(100):
        text = requests.get(url + "/metrics", timeout=PATIENCE).text
        found = re.search(r"^kakehashi_http_requests_in_flight (.*)$", text, re.MULTILINE)
        assert found
        if (count := float(found[1])) == 1:
            break
        sleep(0.1)
    return count
