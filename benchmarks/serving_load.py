"""What a server does at its capacity and far beyond it: who is answered, how, and how late.

Requests of all phases but the first come on their own (Poisson), and their latency counts from the moment at which
they were due. Right is the answer that the server gave when it had nothing else to do.
"""

import os
import random
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.client import Reply, Texts
from benchmarks.servers import Outcome, Running
from benchmarks.serving_table import quantiles

REFUSED = (429, 503)
SENTENCES = 200
CLIENTS = 32  # who ask at once when the capacity is measured
SHARES = (0.5, 0.9)  # of the capacity
BEYOND = 10.0  # times the capacity
DYING, BETWEEN_DEATHS = 0.3, 5.0  # of the capacity; seconds
ROUNDED = 0.01  # share of the answers that may be others: in another batch, sums are rounded otherwise


@dataclass(frozen=True)
class Phase:
    """`offered`: requests a second; `right`, `other`: of those answered; `silent`: refused without a word on when to
    come back; `lost`: neither answered nor refused; `latency`: of those answered, in seconds; `client`: seconds of a
    core that the client took; `memory`: bytes of all processes, after a third of the time and at the end."""

    name: str
    offered: float
    seconds: float
    right: int
    other: int
    refused: int
    silent: int
    lost: int
    latency: dict[str, float]
    client: float
    memory: tuple[int, int] = (0, 0)
    deaths: int = 0

    @property
    def kept(self) -> bool:
        """Whether all was answered rightly, or refused as it should be."""
        return self.other <= ROUNDED * (self.right + self.other) and not self.silent and not self.lost


def prove(server: Running, sentences: Sequence[str], seconds: float) -> Iterator[Phase]:
    """`seconds`: of the overload; the others take a quarter of it, that of the deaths a half."""
    sentences = sentences[:SENTENCES]
    truths = [each.found for each in sorted(server.load(sentences, clients=1).replies, key=lambda each: each.place)]
    server.load(sentences, clients=CLIENTS)
    full = server.load(list(sentences) * 5, clients=CLIENTS)
    capacity = len(full.replies) / full.seconds
    yield judged(f"{CLIENTS} clients", full, capacity, truths * 5)

    def offered(name: str, share: float, time: float) -> Phase:
        rate = share * capacity
        return judged(name, server.load(sentences, rate=rate, seconds=time, seed=1), rate, truths)

    for share in SHARES:
        yield offered(f"{share:.0%} of the capacity", share, seconds / 4)
    with watched(server, seconds / 3) as memory:
        beyond = offered(f"{BEYOND:.0f} times the capacity", BEYOND, seconds)
    yield replace(beyond, memory=(memory[0], memory[-1]))
    with dying(server) as dead:
        worn = offered(f"{DYING:.0%}, a worker killed every {BETWEEN_DEATHS:.0f} s", DYING, seconds / 2)
    yield replace(worn, deaths=len(dead))


def judged(name: str, outcome: Outcome, rate: float, truths: Sequence[Texts | None]) -> Phase:
    replies = outcome.replies
    answered = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status in REFUSED]
    right = sum(reply.found == truths[reply.place] for reply in answered)
    return Phase(
        name,
        rate,
        outcome.seconds,
        right,
        len(answered) - right,
        len(refused),
        sum(not _comes_back(reply) for reply in refused),
        len(replies) - len(answered) - len(refused),
        quantiles([reply.seconds for reply in answered]),
        outcome.busy,
    )


def _comes_back(reply: Reply) -> bool:
    return reply.retry_after is not None and reply.retry_after.isdigit() and int(reply.retry_after) >= 1


@contextmanager
def watched(server: Running, after: float) -> Generator[list[int]]:
    """The memory of all processes after so many seconds and, last, at the end."""
    found: list[int] = []
    timer = threading.Timer(after, lambda: found.append(sum(server.memory().values())))
    timer.start()
    yield found
    timer.join()
    found.append(sum(server.memory().values()))


@contextmanager
def dying(server: Running) -> Generator[list[int]]:
    """Kills one worker after the other; the processes that were."""
    dead: list[int] = []
    over, draw = threading.Event(), random.Random(1)

    def kill() -> None:
        while not over.wait(BETWEEN_DEATHS):
            if alive := workers(server):
                dead.append(draw.choice(alive))
                os.kill(dead[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield dead
    finally:
        over.set()
        killer.join()


def workers(server: Running) -> list[int]:
    return [pid for pid in server.processes() if "kakehashi.serving.engine.worker" in _command(pid)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def table(phases: Sequence[Phase]) -> Iterator[str]:
    yield "| offered | requests/s | answered | of them other | refused | not told when | lost | p50 | p95 | p99 |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for each in phases:
        counts = (each.right + each.other, each.other, each.refused, each.silent, each.lost)
        times = (f"{1000 * each.latency[share]:,.0f} ms" for share in ("p50", "p95", "p99"))
        yield f"| {each.name} | {each.offered:.1f} | {' | '.join(map('{:,}'.format, counts))} | {' | '.join(times)} |"
    for each in phases:
        if each.memory != (0, 0):
            first, last = (f"{size / 2**20:,.0f} MiB" for size in each.memory)
            yield f"\nMemory of all processes at {each.name}: {first} after a third of the time, {last} at the end."
        if each.deaths:
            yield f"\nWorkers killed: {each.deaths}."
    yield "\nOther: not letter by letter as when nothing else was asked. Not told when: no Retry-After."
    busiest = max(each.client / each.seconds for each in phases)
    yield f"\nThe client took at most {busiest:.0%} of a core."
