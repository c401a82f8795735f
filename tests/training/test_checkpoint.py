"""Checkpoints: exact, atomic under kill -9, never trusted when damaged, and polite on a full disk."""

import errno
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from kakehashi.errors import UserError
from kakehashi.training import checkpoint
from kakehashi.training.checkpoint import latest, load, prune, random_state, restore_random_state, save

STATE: dict[str, checkpoint.JSON] = {
    "epoch": 2,
    "best": 38.1 / 3,
    "worst": -math.inf,
    "language": "日本語",
    "list": [1],
}


def tensors(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(40, 30, generator=generator)
    return {"w": matrix, "view": matrix.clone().T, "bf16": matrix.bfloat16(), "step": torch.tensor(7.0)}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    path = save(tmp_path / "new" / "run", 1000, tensors(), STATE)
    assert path.name == "checkpoint-00001000" and path == latest(tmp_path / "new" / "run")
    assert names(path) == ["manifest.json", "state.json", "tensors.safetensors"]
    loaded, state = load(path)
    assert same(loaded, tensors()) and state == STATE
    assert loaded["bf16"].dtype == torch.bfloat16
    assert names(path.parent) == [path.name], "no temporary name may stay"


def test_latest_is_the_highest_step_and_none_without_checkpoints(tmp_path: Path) -> None:
    assert latest(tmp_path) is None and latest(tmp_path / "absent") is None
    for step in (900, 123_456_789, 1000):
        save(tmp_path, step, tensors(), {})
    (tmp_path / "checkpoint-best").mkdir()
    assert latest(tmp_path) == tmp_path / "checkpoint-123456789"


def test_a_second_save_of_the_same_step_replaces_the_first(tmp_path: Path) -> None:
    save(tmp_path, 5, tensors(1), {"run": 1})
    path = save(tmp_path, 5, tensors(2), {"run": 2})
    loaded, state = load(path)
    assert same(loaded, tensors(2)) and state == {"run": 2}
    assert names(tmp_path) == [path.name]


def test_killed_between_the_two_renames_of_a_replacement(tmp_path: Path) -> None:
    path = save(tmp_path, 5, tensors(1), {})
    path.rename(tmp_path / f"{path.name}.replaced-0a1b")
    found = latest(tmp_path)
    assert found is not None and same(load(found)[0], tensors(1))
    assert latest(tmp_path) != save(tmp_path, 5, tensors(2), {})
    assert names(tmp_path) == [path.name]


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("hurt", [truncate, flip, empty, Path.unlink])
def test_a_damaged_one_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, hurt: Callable[[Path], None]
) -> None:
    good, bad = save(tmp_path, 1, tensors(), STATE), save(tmp_path, 2, tensors(), STATE)
    hurt(bad / file)
    with caplog.at_level(logging.WARNING):
        assert latest(tmp_path) == good
    assert str(bad) in caplog.text
    with pytest.raises(UserError, match="cannot be read") as refused:
        load(bad)
    assert file in str(refused.value) or (hurt is flip and file == "manifest.json")  # a flip in a digest accuses others


@pytest.mark.parametrize(
    "manifest", [[], {}, {"format_version": 2}, {"format_version": 1, "files": {}}, {"format_version": 1, "files": 3}]
)
def test_a_foreign_manifest_is_refused(tmp_path: Path, manifest: object) -> None:
    path = save(tmp_path, 1, tensors(), STATE)
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert latest(tmp_path) is None
    with pytest.raises(UserError, match="cannot be read"):
        load(path)


KILLED_SAVES = """
import os, signal, sys
from pathlib import Path
import safetensors.torch, torch
from kakehashi.training import checkpoint

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def half(tensors, path):
    path.write_bytes(safetensors.torch.save(tensors)[:1000])
    die()

for moment in ("tensors", "manifest", "rename"):
    child = os.fork()
    if child == 0:
        if moment == "tensors": safetensors.torch.save_file = half
        if moment == "manifest": checkpoint._manifest = die
        if moment == "rename": checkpoint._publish = die
        checkpoint.save(Path(sys.argv[1]) / moment, 2, {"w": torch.ones(1000)}, {})
    print(os.waitpid(child, 0)[1])
"""


def test_killed_in_the_middle_of_a_save_the_earlier_one_stands(tmp_path: Path) -> None:
    runs = [tmp_path / moment for moment in ("tensors", "manifest", "rename")]
    for run in runs:
        save(run, 1, tensors(), STATE)
    killed = subprocess.run([sys.executable, "-c", KILLED_SAVES, str(tmp_path)], capture_output=True, text=True)
    assert killed.stdout.split() == [str(int(signal.SIGKILL))] * 3, killed.stderr
    for run in runs:
        good = latest(run)
        assert good is not None and good.name == "checkpoint-00000001" and same(load(good)[0], tensors())
        (left,) = (name for name in names(run) if name != good.name)
        assert left.startswith(".checkpoint-00000002-")

        prune(run, keep=1)
        assert (run / left).exists(), "it might be a living save"
        for path in (*(run / left).iterdir(), run / left):
            os.utime(path, (0, 0))
        prune(run, keep=1)
        assert names(run) == [good.name]


def test_a_disk_without_room_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    good = save(tmp_path, 1, tensors(), STATE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=4_096))
    with pytest.raises(UserError, match=rf"{tmp_path} needs 1,0\d\d,\d\d\d bytes, 4,096 are free"):
        save(tmp_path, 2, tensors(), STATE)
    assert names(tmp_path) == [good.name] and latest(tmp_path) == good


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["os", "safetensors"],
)
def test_a_disk_that_fills_up_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def full(tensors: dict[str, Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    good = save(tmp_path, 1, tensors(), STATE)
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(UserError, match="disk is full"):
        save(tmp_path, 2, tensors(), STATE)
    assert names(tmp_path) == [good.name] and latest(tmp_path) == good


def test_other_errors_are_not_called_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        save(tmp_path / "file", 1, tensors(), {})
    shared = torch.ones(3)
    with pytest.raises(RuntimeError, match="share memory"):
        save(tmp_path, 1, {"one": shared, "two": shared}, {})
    assert names(tmp_path) == ["file"]


def test_concurrent_saves_of_one_step_leave_one_whole_checkpoint(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def repeat(seed: int) -> None:
        try:
            for _ in range(15):
                save(tmp_path, 3, tensors(seed), {"seed": seed})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=repeat, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert names(tmp_path) == ["checkpoint-00000003"]
    loaded, state = load(tmp_path / "checkpoint-00000003")
    assert isinstance(state["seed"], int) and same(loaded, tensors(state["seed"]))


def test_prune_keeps_the_newest_whole_ones_and_the_protected(tmp_path: Path) -> None:
    paths = [save(tmp_path, step, tensors(), {}) for step in (1, 2, 3, 4, 5)]
    truncate(paths[4] / "tensors.safetensors")
    prune(tmp_path, keep=2, protect=[paths[0]])
    assert names(tmp_path) == [paths[index].name for index in (0, 2, 3, 4)]
    prune(tmp_path, keep=9)
    assert len(names(tmp_path)) == 4
    with pytest.raises(ValueError, match="at least one"):
        prune(tmp_path, keep=0)


def test_the_random_state_continues_the_same_stream(tmp_path: Path) -> None:
    torch.manual_seed(11)
    torch.rand(3)
    path = save(tmp_path, 1, random_state(), {})
    expected = torch.rand(5)
    torch.manual_seed(12)
    restore_random_state(load(path)[0])
    assert torch.equal(torch.rand(5), expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_the_random_state_of_a_gpu_machine_is_refused_without_one() -> None:
    with pytest.raises(UserError, match="of a GPU, and this machine has none"):
        restore_random_state(random_state() | {"random.cuda": torch.zeros(16, dtype=torch.uint8)})
