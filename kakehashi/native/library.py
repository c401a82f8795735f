"""Compiles kernels.c for this very processor, once, and keeps the result in the cache."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from kakehashi.cache import cache_folder

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
    """The kernels; None where there are none (`trouble` says why): torch then does the same more slowly."""
    loaded = _loaded()
    return None if isinstance(loaded, str) else loaded


def trouble() -> str:
    """Why there are no kernels, or ""."""
    loaded = _loaded()
    return loaded if isinstance(loaded, str) else ""


@cache
def _loaded() -> ctypes.CDLL | str:
    key = hashlib.sha256("\0".join([_SOURCE.read_text("utf-8"), *_FLAGS, _processor()]).encode()).hexdigest()[:32]
    path = cache_folder() / f"kernels-{key}.so"
    if not path.exists() and (reason := _compiled(path)):
        return reason
    loaded = ctypes.CDLL(str(path))
    for name, types in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = [_TYPES[each] for each in types.split()], None
    return loaded


def _compiled(path: Path) -> str:
    """Makes the library at `path`; what went wrong, or ""."""
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None:
        return "there is no C compiler (cc, or what CC names)"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder, path.name)
            command = [compiler, *_FLAGS, "-o", str(made), str(_SOURCE), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                return f"{compiler} cannot compile them: {(done.stderr.strip().splitlines() or ['no reason told'])[0]}"
            made.replace(path)
    except OSError as error:
        return str(error)
    return ""


def _processor() -> str:
    """What the code is compiled for: a cache may be shared by machines that differ."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    known = dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part")))
    return "\n".join([platform.system(), platform.machine(), platform.processor(), *known])
