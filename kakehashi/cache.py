"""Where lies what can be made again: tokenised corpora, compiled kernels."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$KAKEHASHI_CACHE, or ~/.cache/kakehashi."""
    base = os.environ.get("KAKEHASHI_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "kakehashi"
    return Path(base).expanduser()
