"""Asks a server for translations, and says how each request went.

    python -m benchmarks.client  reads an order, {"port", "texts", "clients"} or {"port", "texts", "rate", "seconds"},
                                 from its standard input and answers on its last line: {"replies", "seconds", "busy"}

`clients`: so many ask, each again when it is answered, until every element of `texts` was asked for once: a text, or a
list of texts. `rate`: requests come on their own, so many a second in the mean (Poisson), whether the server keeps up
or not, and their latency counts from the moment at which they were due, so that no wait is left out.

Notable: a process of its own, on raw sockets and with nothing but Python's own modules, so that it takes little of the
machine that it measures and can say how much: `busy`, seconds of a core.
"""

import asyncio
import json
import random
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

IDLE = 1.0  # seconds after which a connection is not used again: servers close theirs after some more
WORST = 120.0  # seconds for which an answer is waited for
LOST = 0  # the status of a request that was not answered

Texts = str | list[str]


@dataclass(frozen=True)
class Reply:
    """`place`: of what was asked for, in `texts`; `begun`: when it was due, in seconds from the beginning; `seconds`:
    until its answer was there; `retry_after`: what the header says; `found`: the translation or translations."""

    place: int
    begun: float
    seconds: float
    status: int
    retry_after: str | None
    found: Texts | None


class Connection:
    """One connection, kept for as long as both sides want. Raises OSError or EOFError where the server breaks off."""

    def __init__(self, port: int) -> None:
        self.port, self.used = port, 0.0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        writer.write(
            b"POST /translate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        status, headers = _head(await reader.readuntil(b"\r\n\r\n"))
        answer = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            self.close()
        self.used = time.perf_counter()
        return status, headers, answer

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None


def _head(data: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = data.decode("latin-1").rstrip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}


class Client:
    """Keeps the clock and the replies."""

    def __init__(self, port: int, texts: Sequence[Texts], languages: tuple[str, str]) -> None:
        source, target = languages
        asked = ({"q": each, "source": source, "target": target} for each in texts)
        self.bodies = [json.dumps(each).encode() for each in asked]
        self.port, self.replies = port, list[Reply]()
        self.start = time.perf_counter()

    async def all(self, clients: int) -> None:
        """Everything once."""
        places = iter(range(len(self.bodies)))
        connections = [Connection(self.port) for _ in range(clients)]
        await asyncio.gather(*(self._one_after_another(places, each) for each in connections))

    async def at(self, rate: float, seconds: float, seed: int) -> None:
        """As they come: everything in turn, over and over."""
        draw, due, place, kept = random.Random(seed), 0.0, 0, deque[Connection]()
        async with asyncio.TaskGroup() as group:
            while (due := due + draw.expovariate(rate)) < seconds:
                if (wait := self.start + due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                group.create_task(self._with_any(place % len(self.bodies), due, kept))
                place += 1
        for each in kept:
            each.close()

    async def _one_after_another(self, places: Iterator[int], connection: Connection) -> None:
        for place in places:
            await self._ask(place, time.perf_counter() - self.start, connection)
        connection.close()

    async def _with_any(self, place: int, due: float, kept: deque[Connection]) -> None:
        connection = kept.pop() if kept else Connection(self.port)
        if connection.used < time.perf_counter() - IDLE:
            connection.close()
        await self._ask(place, due, connection)
        kept.append(connection)

    async def _ask(self, place: int, begun: float, connection: Connection) -> None:
        status, after, found = LOST, None, None
        try:
            async with asyncio.timeout(WORST):
                status, headers, body = await connection.post(self.bodies[place])
            after = headers.get("retry-after")
            found = json.loads(body).get("translatedText")
        except (OSError, EOFError, ValueError):  # TimeoutError is an OSError
            connection.close()
        ended = time.perf_counter() - self.start
        self.replies.append(Reply(place, begun, ended - begun, status, after, found))


def main() -> None:
    order: dict[str, Any] = json.load(sys.stdin)
    client, busy = Client(order["port"], order["texts"], tuple(order["languages"])), time.process_time()
    if "clients" in order:
        asyncio.run(client.all(order["clients"]))
    else:
        asyncio.run(client.at(order["rate"], order["seconds"], order["seed"]))
    measured = {"seconds": time.perf_counter() - client.start, "busy": time.process_time() - busy}
    print(json.dumps({"replies": [asdict(each) for each in client.replies], **measured}))


if __name__ == "__main__":
    main()
