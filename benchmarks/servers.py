"""Translation servers in processes of their own, on loopback: ours, and LibreTranslate with the same weights."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket as Socket
from typing import Any

from benchmarks.client import Reply, Texts
from kakehashi.interop.argos import Argos
from kakehashi.translator import Translator

ROOT = Path(__file__).resolve().parents[1]
SLOWEST = 120.0  # seconds in which a server must be there
TICKS = os.sysconf("SC_CLK_TCK")


class NoServer(Exception):
    """It did not begin. The message is the last line that it wrote."""


@dataclass(frozen=True)
class Outcome:
    """What a client saw. `seconds`: of all; `busy`: seconds of a core that the client took."""

    replies: list[Reply]
    seconds: float
    busy: float


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    pid: int
    port: int
    languages: tuple[str, str]

    def load(self, texts: Sequence[Texts], **order: Any) -> Outcome:
        """Orders as in benchmarks/client.py. Raises RuntimeError where the client fails."""
        told = {"port": self.port, "languages": self.languages, "texts": texts, **order}
        command = [sys.executable, "-m", "benchmarks.client"]
        done = subprocess.run(command, cwd=ROOT, input=json.dumps(told), capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        answer = json.loads(done.stdout.splitlines()[-1])
        return Outcome([Reply(**each) for each in answer["replies"]], answer["seconds"], answer["busy"])

    def processes(self) -> list[int]:
        """It and those that it started."""
        children: dict[int, list[int]] = {}
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            if (fields := _fields(pid)) is not None:
                children.setdefault(int(fields[1]), []).append(pid)
        found = [self.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def busy(self) -> float:
        """Seconds of a core that they took so far, but for those that have ended."""
        each = filter(None, map(_fields, self.processes()))
        return sum(int(fields[11]) + int(fields[12]) for fields in each) / TICKS

    def memory(self) -> dict[int, int]:
        """Bytes of each: its own, and of what it shares an equal part."""
        return {pid: _proportional(pid) for pid in self.processes()}


def _fields(pid: int) -> list[str] | None:
    """What /proc tells of a process after its name; None where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


@dataclass(frozen=True)
class Ours:
    """`kakehashi serve`, one worker a core; `settings`: as on its command line."""

    settings: tuple[str, ...] = ()

    @contextmanager
    def running(self, model: Path, languages: tuple[str, str], peers: Path) -> Generator[Running]:
        with tempfile.TemporaryDirectory(prefix="kakehashi-server-") as folder, _free() as port:
            command = [sys.executable, "-m", "kakehashi", "serve", str(model.resolve()), "--port", str(port)]
            paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
            with _begun([*command, *self.settings], Path(folder), {"PYTHONPATH": paths}, port, languages) as server:
                yield server


@dataclass(frozen=True)
class LibreTranslate:
    """`translators`: sentences that CTranslate2 translates at once, in so many threads each; `weights`: their format
    in memory."""

    translators: int = 2
    threads: int = 1
    weights: str = "float32"

    @contextmanager
    def running(self, model: Path, languages: tuple[str, str], peers: Path) -> Generator[Running]:
        with tempfile.TemporaryDirectory(prefix="libretranslate-") as folder, _free() as port:
            _install(model, Path(folder, "packages"))
            variables = {
                "PYTHONPATH": str(ROOT),
                "LT_LOAD_ONLY": ",".join(languages),
                "LT_DISABLE_FILES_TRANSLATION": "true",
                "LT_DISABLE_WEB_UI": "true",
                "LT_PORT": str(port),
                "ARGOS_PACKAGES_DIR": f"{folder}/packages",
                "ARGOS_INTER_THREADS": str(self.translators),
                "ARGOS_INTRA_THREADS": str(self.threads),
                "ARGOS_COMPUTE_TYPE": self.weights,
                **{f"XDG_{name}_HOME": f"{folder}/{name}" for name in ("DATA", "CONFIG", "CACHE")},
            }
            command = [str(peers / "libretranslate" / "bin" / "python"), "-m", "benchmarks.peers.libretranslate"]
            with _begun(command, Path(folder), variables, port, languages) as server:
                yield server


def _install(model: Path, packages: Path) -> None:
    """Our export, as Argos Translate installs it: unpacked."""
    packages.mkdir()
    package = packages.parent / "model.argosmodel"
    Argos().write(Translator.load(model, "fp32", "cpu"), package)
    with zipfile.ZipFile(package) as members:
        members.extractall(packages)


@contextmanager
def _free() -> Generator[int]:
    """A port that nobody uses."""
    with Socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    yield port


@contextmanager
def _begun(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], port: int, languages: tuple[str, str]
) -> Generator[Running]:
    """The server, until the end of the block. Raises NoServer."""
    log = folder / "log"
    with log.open("wb") as file:
        own = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
        process = subprocess.Popen(command, cwd=folder, env=own, stdout=file, stderr=file)
    try:
        _await(process, port, languages, log)
        yield Running(process.pid, port, languages)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(SLOWEST)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: "subprocess.Popen[bytes]", port: int, languages: tuple[str, str], log: Path) -> None:
    """Returns when it has translated something, which has also loaded its model."""
    asked = dict(zip(("source", "target"), languages, strict=True)) | {"q": ["One.", "Two."]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/translate", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    begun = time.monotonic()
    while time.monotonic() < begun + SLOWEST and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=SLOWEST) as answer:
                answer.read()
                return
        except urllib.error.HTTPError as error:
            raise NoServer(error.read().decode()) from error
        except OSError:
            time.sleep(0.2)
    raise NoServer((log.read_text("utf-8").strip().splitlines() or ["it wrote nothing"])[-1])
