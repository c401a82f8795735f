"""Where translated files wait to be fetched: for a while, and not more than fits."""

import re
import shutil
import tempfile
import threading
import time
import uuid
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt

from kakehashi.config import Config

_NO_NAME = re.compile(r"[^\w.-]+")
_LONGEST = 100  # characters of a file's own name


class FileSettings(Config):
    """Files that are translated."""

    enabled: bool = Field(default=True, description="Whether files are translated.")
    keep: PositiveFloat = Field(default=1_800.0, description="Seconds for which a translated file can be fetched.")
    space: PositiveInt = Field(default=2**30, description="Bytes of all of them; the oldest makes room for the newest.")


@dataclass(frozen=True)
class _Kept:
    path: Path
    size: int
    until: float


class Shelf:
    """A folder for temporary files, which goes with the server. Threads may share it."""

    def __init__(self, settings: FileSettings) -> None:
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix="kakehashi-files-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()  # of `_kept`

    def put(self, name: str, target: str, data: bytes) -> str:
        """Keeps a translation into `target` of the file `name`; returns the name by which it is fetched, which nobody
        can guess. Raises OSError where there is no room on the disk."""
        given = Path(name)
        readable = _NO_NAME.sub("_", given.stem)[:_LONGEST]
        kept_as = f"{uuid.uuid4()}.{readable}_{target}{given.suffix.lower()}"
        path = self._folder / kept_as
        with self._lock:
            self._tidy(len(data))
        try:
            path.write_bytes(data)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        with self._lock:
            self._kept[kept_as] = _Kept(path, len(data), time.monotonic() + self._settings.keep)
        return kept_as

    def get(self, name: str) -> Path | None:
        """None where it is not there, or no longer."""
        with self._lock:
            self._tidy(0)
            kept = self._kept.get(name)
        return kept and kept.path

    def _tidy(self, coming: int) -> None:
        """Drops what is too old, and the oldest where there is no room for what comes."""
        room = self._settings.space - coming
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if oldest.until > time.monotonic() and sum(kept.size for kept in self._kept.values()) <= room:
                return
            self._kept.popitem(last=False)
            oldest.path.unlink(missing_ok=True)
