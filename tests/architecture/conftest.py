"""The tree as text: what the architecture tests read. Nothing here imports the package."""

import ast
from pathlib import Path

import pytest

CODE = ("kakehashi", "tests", "studies", "benchmarks")


@pytest.fixture(scope="session")
def root() -> Path:
    """The directory of pyproject.toml."""
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def trees(root: Path) -> dict[str, ast.Module]:
    """Every Python file of the project, parsed: path from the root, with slashes -> syntax tree."""
    paths = sorted(path for folder in CODE for path in (root / folder).rglob("*.py"))
    found = {path.relative_to(root).as_posix(): ast.parse(path.read_text(encoding="utf-8"), path) for path in paths}
    assert "kakehashi/errors.py" in found, "the architecture tests look at the wrong tree"
    return found


@pytest.fixture(scope="session")
def package(trees: dict[str, ast.Module]) -> dict[str, ast.Module]:
    """The files of the package alone."""
    return {path: tree for path, tree in trees.items() if path.startswith("kakehashi/")}
