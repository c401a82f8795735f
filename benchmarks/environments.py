"""The peers' virtual environments, one each, because they need other versions of the same packages than we do.

Without a GPU, torch's CPU build saves gigabytes: set TORCH_INDEX to the index of it, as for the Makefile.
"""

import os
import shutil
import subprocess
import venv
from collections.abc import Iterable
from pathlib import Path

DEFAULT = Path("~/.cache/kakehashi/peers").expanduser()
TORCH = "torch==2.13.0"
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    # of what JoeyNMT 2.3.0 imports, setuptools' pkg_resources and importlib_metadata are not in its own list
    "joeynmt": ("joeynmt==2.3.0", "sentencepiece<0.2", "importlib_metadata", "setuptools<80"),
    "eole": ("eole==0.6.4", "aiohttp"),
    "marian": ("transformers==5.23.0",),
    "libretranslate": ("libretranslate==1.9.6",),
}
TRAINING = ("joeynmt", "eole", "marian")


def python(folder: Path, peer: str) -> Path:
    """The interpreter of a peer's environment."""
    return folder / peer / "bin" / "python"


def ready(folder: Path, peer: str) -> bool:
    """Whether it is there, and made of what is asked for today."""
    stamp = folder / peer / "requirements.txt"
    return stamp.exists() and stamp.read_text(encoding="utf-8").split("\n") == [TORCH, *REQUIREMENTS[peer]]


def set_up(folder: Path, peers: Iterable[str]) -> None:
    """Makes the environments that are not ready. Torch comes first, and alone, so that no peer chooses another one."""
    index = os.environ.get("TORCH_INDEX")
    for peer in peers:
        if ready(folder, peer):
            continue
        packages = REQUIREMENTS[peer]
        print(f"{folder / peer}: {', '.join((TORCH, *packages))}", flush=True)
        shutil.rmtree(folder / peer, ignore_errors=True)
        venv.create(folder / peer, with_pip=True)
        pip = [str(python(folder, peer)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *(["--extra-index-url", index] if index else []), TORCH], check=True)
        subprocess.run([*pip, TORCH, *packages], check=True)
        (folder / peer / "requirements.txt").write_text("\n".join([TORCH, *packages]), encoding="utf-8")
