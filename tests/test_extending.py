"""The guide to a variant of one's own works: its class, added to a copy of the package as it says, keeps the laws."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
LAWS = "kerple and (future or padding or gradients)"
UNION = "kakehashi/nn/positions/__init__.py"

Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs `python -m ...` in a copy to which steps 1 and 2 of the guide were done; returns all that it prints."""
    copy = tmp_path_factory.mktemp("checkout")
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "kakehashi", copy / "kakehashi", ignore=without)
    shutil.copytree(ROOT / "tests" / "laws", copy / "tests" / "laws", ignore=without)
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, copy / name)
    code = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    path = re.findall(r"`(kakehashi/\S+/(\w+)\.py)`:$", GUIDE, re.MULTILINE)
    assert len(code) == len(path) == 1 and f"`{UNION}`" in GUIDE and "| Kerple, Family()]" in GUIDE
    file, module = path[0]
    (copy / file).write_text(code[0], encoding="utf-8")
    union = (copy / UNION).read_text(encoding="utf-8")
    added = re.sub(r"(PositionConfig = Annotated\[[^]]*?)(,\s*Family\(\))", r"\1 | Kerple\2", union)
    assert added != union
    imported = f"from kakehashi.nn.positions.{module} import Kerple\n"
    (copy / UNION).write_text(added.replace("from kakehashi", f"{imported}from kakehashi", 1), encoding="utf-8")

    def call(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=copy, env=environment, capture_output=True, text=True
        )
        return done.stdout + done.stderr

    return call


def test_the_guides_variant_keeps_the_laws(run: Run) -> None:
    said = run("pytest", "-q", "-p", "no:cacheprovider", "tests/laws/test_models.py", "-k", LAWS)
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said


def test_the_guides_messages_are_those_of_the_command(run: Run) -> None:
    said = run("kakehashi", "info", "tiny", "model.encoder.position=kerpel")
    shown = next(line for line in GUIDE.splitlines() if line.startswith("Error: "))
    for pattern in (r"presets/.*choices:", r"; did you mean .*$"):  # the kinds between them become more
        assert re.findall(pattern, said.strip()) == re.findall(pattern, shown) != []
