"""Ten thousand hostile requests: none makes the server fail, crash or wait."""

import json
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.api.conftest import Serve, Site

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
    *["PATCH /corrections/1", "GET /corrections", "GET /languages", "GET /translate", "BREW /%ff"],
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
BODIES = st.one_of(
    st.dictionaries(st.sampled_from(FIELDS), VALUES).map(lambda tree: json.dumps(tree).encode()),
    VALUES.map(lambda tree: json.dumps(tree).encode()),
    st.lists(st.tuples(st.sampled_from(FIELDS), st.binary(max_size=20))).map(
        lambda pairs: b"&".join(name.encode() + b"=" + value for name, value in pairs)
    ),
    st.binary(max_size=200),
    DEEP,
)


def status(site: Site, request: bytes, *, whole: bool) -> int | None:
    """What the server answers to bytes, of which perhaps some are missing; None where it says nothing."""
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=300) as connection:
        try:
            connection.sendall(request)
            if not whole:
                connection.shutdown(socket.SHUT_WR)
            line = connection.makefile("rb").readline()
        except OSError:  # it answered, and closed, before it had read all
            return None
    return int(line.split()[1]) if line else None


@pytest.mark.slow
def test_no_request_makes_the_server_fail(serve: Serve) -> None:
    site = serve(admin_key="admin", limits={"characters": 1_000})

    @settings(max_examples=10_000, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(ROUTES),
        st.sampled_from(KINDS),
        BODIES,
        st.integers(-3, 3).map(lambda cut: max(cut, 0)),
    )
    def hold(route: str, kind: str, body: bytes, cut: int) -> None:
        head = f"{route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer admin\r\n"
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        sent = head.encode() + body
        answer: Any = status(site, sent[: len(sent) - cut], whole=not cut)
        assert answer is None if answer is None else answer < 500 or answer == 503

    hold()
    assert site.translate(q="ant", source="en", target="de").json() == {"translatedText": "bee"}
