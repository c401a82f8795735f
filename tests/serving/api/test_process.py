"""`kakehashi serve` as a process: begun, told to stop, killed."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

ASKED: dict[str, Any] = {"q": "ant bee.", "source": "en", "target": "de"}


@dataclass
class Running:
    process: "subprocess.Popen[str]"
    url: str

    def post(self, path: str, **parameters: Any) -> requests.Response:
        return requests.post(self.url + path, json=parameters, timeout=300)

    def ended(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=300)


@contextmanager
def running(folder: Path, *arguments: object) -> Generator[Running]:
    """The command in a folder; its standard error tells the port."""
    command = [sys.executable, "-m", "kakehashi", "serve", *map(str, arguments), "--port", "0", "engine.workers=1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        lines = (json.loads(line)["message"] for line in process.stderr)
        url = next(line.removeprefix("listening on ") for line in lines if line.startswith("listening on"))
        reader = threading.Thread(target=process.stderr.read)  # so that the process never waits for one
        reader.start()
        try:
            yield Running(process, url)
        finally:
            process.kill()
            reader.join()


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_on_kill_9(models: list[Path], tmp_path: Path) -> None:
    with running(tmp_path, models[0]) as server:
        assert server.post("/suggest", **ASKED, s="Ameise.").status_code == 200
        assert server.ended(signal.SIGKILL) == -signal.SIGKILL
    with running(tmp_path, models[0]) as server:
        assert server.post("/translate", **ASKED).json() == {"translatedText": "Ameise."}
        assert server.ended(signal.SIGTERM) == 0


@pytest.mark.slow
def test_sigterm_finishes_what_was_accepted(models: list[Path], tmp_path: Path) -> None:
    answers: list[requests.Response] = []
    with running(tmp_path, models[0], "engine.batch_tokens=1", "metrics.enabled=true", "drain=300") as server:
        texts = ["ant bee cat dog."] * 100

        def ask() -> None:
            answers.append(server.post("/translate", **ASKED | {"q": texts}))

        asking = threading.Thread(target=ask)
        asking.start()
        while "kakehashi_engine_accepted_total 0.0" in requests.get(server.url + "/metrics", timeout=300).text:
            pass
        assert server.ended(signal.SIGTERM) == 0
        asking.join()
    assert answers[0].json() == {"translatedText": ["bee cat dog eel."] * 100}


@pytest.mark.slow
def test_who_goes_away_does_not_end_the_server(models: list[Path], tmp_path: Path) -> None:
    """Writing to a connection that the client has reset raises SIGPIPE, of which other commands end."""
    with running(tmp_path, models[0]) as server:
        server.process.send_signal(signal.SIGPIPE)
        assert server.post("/translate", **ASKED).json() == {"translatedText": "bee cat."}
        assert server.ended(signal.SIGTERM) == 0


@pytest.mark.slow
def test_a_full_queue_is_told_and_what_was_accepted_is_answered(models: list[Path], tmp_path: Path) -> None:
    with running(tmp_path, models[0], "engine.capacity=2", "engine.batch_tokens=1") as server:
        with ThreadPoolExecutor(30) as pool:
            responses = list(pool.map(lambda _: server.post("/translate", **ASKED), range(300)))
        assert server.ended(signal.SIGTERM) == 0
    assert {response.status_code for response in responses} == {200, 503}
    for response in responses:
        if response.status_code == 200:
            assert response.json() == {"translatedText": "bee cat."}
        else:
            assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.slow
def test_a_port_that_is_taken(models: list[Path], tmp_path: Path) -> None:
    with running(tmp_path, models[0]) as server:
        port = server.url.rpartition(":")[2]
        command = [sys.executable, "-m", "kakehashi", "serve", str(models[0]), f"port={port}", "engine.workers=1"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2 and f"cannot listen on 127.0.0.1, port {port}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_model_that_is_none(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "kakehashi", "serve", str(tmp_path), "port=0"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert str(tmp_path) in ended.stderr and "Traceback" not in ended.stderr
