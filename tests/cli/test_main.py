"""The command as a process: locales, pipes that close, disks that are full, `python -m kakehashi`."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import LINES

KAKEHASHI = (sys.executable, "-m", "kakehashi")


def command(*arguments: object, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    words = [*KAKEHASHI, *map(str, arguments)]
    return subprocess.run(words, input=stdin, env=os.environ | variables, capture_output=True, timeout=600, check=False)


def test_python_dash_m() -> None:
    ended = command("--help")
    assert ended.returncode == 0 and b"translate" in ended.stdout
    wrong = command("--nonsense")
    assert wrong.returncode == 2 and b"No such option" in wrong.stderr and b"Traceback" not in wrong.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=["C", "ASCII", "Latin-1"],
)
def test_output_is_utf8_in_every_locale(variables: dict[str, str], model: Path) -> None:
    text = "\n".join(LINES).encode()
    ended = command("translate", model, "--jsonl", stdin=text, **variables)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.decode("utf-8").removesuffix("\n").split("\n")
    assert len(lines) == len(LINES)
    assert all(f'"source": "{source}"' in line for source, line in zip(LINES, lines, strict=True))


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_command_silently(model: Path) -> None:
    words = [*KAKEHASHI, "translate", str(model)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(b"\n"), "the first line is answered while the input is open"
        process.stdout.close()
        process.stdin.write(b"two\n")
        process.stdin.close()
        complaints = [line for line in process.stderr.read().split(b"\n") if line and not line.startswith(b"Note:")]
        assert complaints == []
        assert process.wait(timeout=600) == -signal.SIGPIPE


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [("schema",), ("translate", "MODEL")], ids=["schema", "translate"])
def test_a_full_disk_is_one_message(arguments: tuple[str, ...], model: Path) -> None:
    words = [*KAKEHASHI, *(str(model) if word == "MODEL" else word for word in arguments)]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(words, input=b"one\n", stdout=full, stderr=subprocess.PIPE, timeout=600, check=False)
    assert ended.returncode == 2
    assert ended.stderr.decode().strip().split("\n")[-1] == "Error: cannot use the output: No space left on device"
