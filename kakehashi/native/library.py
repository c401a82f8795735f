"""Compiles kernels.c for this very processor, once, and keeps the result in the cache.

`CC` names the compiler, with options of its own if need be; where it is set and empty, there are no kernels.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from kakehashi.cache import cache_folder

_log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("kernels.c")
_FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")
_SIGNATURES = {  # pointers, 32 and 64 bits
    "linear": "p p i p",
    "encode": "p p i p p",
    "step": "p p i p p l p p p p i i i p p",
    "log_sum_exp": "p i i p",
    "best": "p p p i i i i p p p p",
}
_TYPES = {"p": ctypes.c_void_p, "i": ctypes.c_int32, "l": ctypes.c_int64}


def library() -> ctypes.CDLL | None:
    """The kernels; None where there are none (`trouble` says why): torch then does the same."""
    loaded = _loaded()
    return None if isinstance(loaded, str) else loaded


def trouble() -> str:
    """Why there are no kernels, or ""."""
    loaded = _loaded()
    return loaded if isinstance(loaded, str) else ""


@cache
def _loaded() -> ctypes.CDLL | str:
    try:
        compiler = shlex.split(os.environ.get("CC", "cc"))
        if not compiler:
            return "CC is empty, which switches them off"
        path = cache_folder() / f"kernels-{_key()}.so"
        if not path.exists() and (reason := _compiled(path, compiler)):
            return reason
        loaded = ctypes.CDLL(str(path))
    except (OSError, RuntimeError, ValueError) as error:  # a cache that is read-only, or no place for code; no home; CC
        return str(error)
    for name, types in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = [_TYPES[each] for each in types.split()], None
    return loaded


def _compiled(path: Path, compiler: list[str]) -> str:
    """Makes the library at `path`; what went wrong, or ""."""
    program = shutil.which(compiler[0])
    if program is None:
        return f"there is no C compiler {compiler[0]} (cc, or what CC names)"
    _log.info("compiling kernels for this processor, once: %s", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder, path.name)
        command = [program, *compiler[1:], *_FLAGS, "-o", str(made), str(_SOURCE), "-lm"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            said = next((line for line in done.stderr.splitlines() if "error" in line), "no reason told")
            return f"{program} cannot compile them: {said}"
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(path)
    return ""


def _key() -> str:
    """What the code is made of, for and against: machines that differ may share a cache."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    processor = dict.fromkeys(line for line in lines if line.startswith(("model name", "flags")))
    machine = [platform.system(), platform.machine(), *platform.libc_ver(), *processor]
    return hashlib.sha256("\0".join([_SOURCE.read_text("utf-8"), *_FLAGS, *machine]).encode()).hexdigest()[:32]
