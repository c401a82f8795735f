"""Training checkpoints: directories that are either whole or not there.

`checkpoint-00001000/` holds tensors.safetensors, state.json and manifest.json (the size and SHA-256 of the
other two). It is written under a hidden temporary name, flushed to the disk and renamed; so a process killed
at any moment leaves the earlier checkpoints and at most a temporary directory, which `prune` removes later.
No pickle: reading a checkpoint runs no code of its author.
"""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeAlias

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from kakehashi.data.corpus import sync
from kakehashi.errors import UserError

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

FORMAT_VERSION = 1
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
# A checkpoint that a second one of the same step replaces carries a suffix for the moment between the two renames.
NAME = re.compile(r"checkpoint-(\d{8,})(\.replaced-\w+)?")
HIDDEN_PREFIX = ".checkpoint-"
ABANDONED_SECONDS = 3600.0  # a temporary directory untouched for an hour belongs to no living save
MARGIN_BYTES = 1 << 20  # the manifest, directories, and what the file system keeps for itself

log = logging.getLogger(__name__)


def save(directory: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, JSON]) -> Path:
    """Writes the checkpoint of `step` and returns its path; it replaces one of the same step.

    Tensors may lie on any device; no two may share memory. UserError when the disk is full: the earlier checkpoints
    are untouched, and nothing of this one stays.
    """
    text = json.dumps(state, ensure_ascii=False, indent=1).encode()
    needed = sum(tensor.nbytes for tensor in tensors.values()) + len(text) + MARGIN_BYTES
    directory.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(directory).free < needed:
        raise _disk_full(directory, step, needed)
    temporary = directory / f"{HIDDEN_PREFIX}{step:08d}-{os.urandom(4).hex()}"
    temporary.mkdir()
    try:
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        safetensors.torch.save_file(contiguous, temporary / TENSORS)
        (temporary / STATE).write_bytes(text)
        (temporary / MANIFEST).write_bytes(_manifest(temporary))
        for name in (TENSORS, STATE, MANIFEST):
            sync(temporary / name)
        sync(temporary)
        final = _publish(temporary, directory / f"checkpoint-{step:08d}")
        sync(directory)
    except (OSError, SafetensorError) as error:
        if not _is_disk_full(error):
            raise
        raise _disk_full(directory, step, needed) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # gone already, by its renaming, when all went well
    return final


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, JSON]]:
    """The tensors (on the CPU) and the state of a checkpoint; UserError when it is damaged or not one."""
    if damage := _damage(path):
        raise UserError(f"The checkpoint {path} cannot be read: {damage}. Resume from an earlier one.")
    return safetensors.torch.load_file(path / TENSORS), json.loads((path / STATE).read_bytes())


def latest(directory: Path) -> Path | None:
    """The newest checkpoint that is whole, by reading it in full; damaged ones are passed over with a warning."""
    for path in _checkpoints(directory):
        damage = _damage(path)
        if damage is None:
            return path
        log.warning("The checkpoint %s is passed over: %s", path, damage)
    return None


def step_of(path: Path) -> int:
    """The step at which a checkpoint was taken, from its name."""
    match = NAME.fullmatch(path.name)
    assert match, f"{path} is not named as a checkpoint"
    return int(match[1])


def prune(directory: Path, keep: int, protect: Collection[Path] = ()) -> None:
    """Removes all checkpoints but the newest `keep` and those in `protect`, and what killed saves left behind.

    A checkpoint that is visibly incomplete does not count as one of the `keep`, and is removed once older than they.
    """
    if keep < 1:
        raise ValueError(f"a run must keep at least one checkpoint, not {keep}")
    protected = {path.resolve() for path in protect}
    kept = 0
    for path in _checkpoints(directory):
        if kept >= keep and path.resolve() not in protected:
            _remove(path)
        elif _visible_damage(path) is None:
            kept += 1
    for path in directory.glob(f"{HIDDEN_PREFIX}*"):
        if _seconds_untouched(path) > ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def random_state() -> dict[str, Tensor]:
    """The states of torch's random generators, as uint8 tensors: `random.cpu`, and `random.cuda` of the GPU in use."""
    states = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random.cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_state(tensors: Mapping[str, Tensor]) -> None:
    """Takes over what `random_state` gave. UserError when it names a GPU and this machine has none."""
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors:
        if not torch.cuda.is_available():
            raise UserError(
                "The checkpoint holds the random state of a GPU, and this machine has none. "
                "Resume on a machine like the one that the run was started on."
            )
        torch.cuda.set_rng_state(tensors["random.cuda"])


def _checkpoints(directory: Path) -> list[Path]:
    """Newest first; of two of the same step, the one that was not replaced first."""
    if not directory.is_dir():
        return []
    found = [(match, path) for path in directory.iterdir() if (match := NAME.fullmatch(path.name))]
    found.sort(key=lambda item: (int(item[0][1]), item[0][2] is None), reverse=True)
    return [path for _, path in found]


def _manifest(directory: Path) -> bytes:
    files = {
        name: {"bytes": (directory / name).stat().st_size, "sha256": _sha256(directory / name)}
        for name in (TENSORS, STATE)
    }
    return json.dumps({"format_version": FORMAT_VERSION, "files": files}, indent=1).encode()


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, reading every byte of it; None when nothing is."""
    if visible := _visible_damage(path):
        return visible
    for name, facts in json.loads((path / MANIFEST).read_bytes())["files"].items():
        if _sha256(path / name) != facts["sha256"]:
            return f"{name} has changed since it was written (its SHA-256 differs)"
    return None


def _visible_damage(path: Path) -> str | None:
    """As `_damage`, without reading the tensors: the manifest, the presence and the sizes of the files."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        if manifest["format_version"] != FORMAT_VERSION:
            return f"its format version is {manifest['format_version']}, this release reads {FORMAT_VERSION}"
        if manifest["files"].keys() != {TENSORS, STATE}:
            return f"{MANIFEST} does not list {TENSORS} and {STATE}"
        for name, facts in manifest["files"].items():
            size, written, _ = (path / name).stat().st_size, facts["bytes"], facts["sha256"]
            if size != written:
                return f"{name} has {size:,} bytes, {written:,} were written"
    except OSError as error:
        return f"{Path(error.filename).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is not readable"
    return None


def _publish(temporary: Path, final: Path) -> Path:
    """Renames into place. A directory can only be renamed over an empty one, so an older one steps aside first."""
    while True:
        try:
            temporary.rename(final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            break
        aside = final.with_name(f"{final.name}.replaced-{os.urandom(4).hex()}")
        try:
            final.rename(aside)
        except FileNotFoundError:  # another process has just done it
            continue
    for replaced in final.parent.glob(f"{final.name}.replaced-*"):
        _remove(replaced)
    return final


def _remove(path: Path) -> None:
    """Hidden first: a half-removed checkpoint must not look like a damaged one."""
    hidden = path.with_name(f".{path.name}.removed-{os.urandom(4).hex()}")
    try:
        path.rename(hidden)
    except FileNotFoundError:  # another process has just done it
        return
    shutil.rmtree(hidden, ignore_errors=True)


def _seconds_untouched(path: Path) -> float:
    try:
        newest = max(entry.stat().st_mtime for entry in (path, *path.iterdir()))
    except FileNotFoundError:  # its save has just renamed it
        return 0.0
    return time.time() - newest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_disk_full(error: OSError | SafetensorError) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return any(f"os error {code}" in str(error) for code in (errno.ENOSPC, errno.EDQUOT))


def _disk_full(directory: Path, step: int, needed: int) -> UserError:
    free = shutil.disk_usage(directory).free
    return UserError(
        f"The disk is full: the checkpoint of step {step} in {directory} needs {needed:,} bytes, {free:,} are free. "
        "The earlier checkpoints are whole: make room, then go on with --resume."
    )
