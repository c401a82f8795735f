"""`kakehashi serve` under more than it can do, with a model whose right answers are known."""

from pathlib import Path

import pytest

from benchmarks.servers import Ours, Running
from benchmarks.serving_load import Phase, dying, judged, watched
from tests.serving.conftest import sentences, shifted

SECONDS = 20.0
TEXTS = sentences(200, seed=-5)
RIGHT = [shifted(text) for text in TEXTS]
GROWTH = 1.25  # times the memory of a third of the time, at the end


def capacity(server: Running) -> float:
    """Requests a second, all of them answered."""
    server.load(TEXTS, clients=16)
    outcome = server.load(TEXTS * 5, clients=16)
    assert judged("", outcome, 0.0, RIGHT * 5).right == 5 * len(TEXTS)
    return len(outcome.replies) / outcome.seconds


def offered(server: Running, rate: float) -> Phase:
    return judged("", server.load(TEXTS, rate=rate, seconds=SECONDS, seed=1), rate, RIGHT)


def whole(phase: Phase) -> bool:
    """Whether every request was answered rightly, or told when to come back."""
    return (phase.other, phase.silent, phase.lost) == (0, 0, 0)


@pytest.mark.slow
def test_ten_times_the_capacity(models: list[Path], tmp_path: Path) -> None:
    settings = ("engine.workers=1", "engine.batch_tokens=1", "engine.capacity=32")
    with Ours(settings).running(models[0], ("en", "de"), tmp_path) as server:
        rate = capacity(server)
        with watched(server, SECONDS / 3) as memory:
            beyond = offered(server, 10 * rate)
        assert whole(beyond), beyond
        assert beyond.right > rate and beyond.refused > beyond.right
        assert memory[-1] < GROWTH * memory[0]
        after = offered(server, rate / 4)
        assert whole(after), after


@pytest.mark.slow
def test_workers_killed_again_and_again_lose_nothing(models: list[Path], tmp_path: Path) -> None:
    with Ours(("engine.workers=2",)).running(models[0], ("en", "de"), tmp_path) as server:
        rate = capacity(server)
        with dying(server) as dead:
            worn = offered(server, rate / 4)
        assert whole(worn), worn
        assert len(dead) >= 2 and worn.right > 0
