"""Habits that a reader relies on: telling names, a docstring a module, no pickle, no trace of one machine."""

import ast
import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest

EMPTY_NAMES = {"common", "helpers", "misc", "util", "utils"}
PICKLERS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
MACHINE = re.compile(
    r"(?<![\w.}*-])/(?:home|Users|root|work|opt|mnt|srv)/(?!me\b)\w"  # a directory of one machine; /home/me is nobody's
    r"|\b[A-Z]:\\\w"
    r"|file:/{2}|/simple/?(?=[\s\"'`]|$)|pythonhosted\.org|registry\.npmjs"  # the address of a registry
)


def pickles(tree: ast.Module) -> list[int]:
    """Lines that read or write pickles: code that runs when a file is opened. `weights_only=True` runs none."""
    lines: list[int] = []
    tensors_alone = {
        node.func
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "weights_only" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True
    }
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(alias.name.split(".")[0] in PICKLERS for alias in names):
                lines.append(node.lineno)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in PICKLERS:
                lines.append(node.lineno)
            case ast.ImportFrom(module="torch", names=names) if {"load", "save"} & {alias.name for alias in names}:
                lines.append(node.lineno)
            case ast.Attribute(value=ast.Name(id="torch"), attr="load" | "save") if node not in tensors_alone:
                lines.append(node.lineno)
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                lines.append(node.lineno)
            case _:
                pass
    return lines


def test_names_say_something(trees: dict[str, ast.Module]) -> None:
    assert [path for path in trees if EMPTY_NAMES & set(PurePosixPath(path).with_suffix("").parts)] == []


def test_every_module_has_a_docstring(package: dict[str, ast.Module]) -> None:
    assert [path for path, tree in package.items() if not ast.get_docstring(tree)] == []


def test_no_pickle(trees: dict[str, ast.Module]) -> None:
    assert [f"{path}:{line}" for path, tree in trees.items() for line in pickles(tree)] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import dump",
        "def late():\n    import dill.source",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "from torch import save",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_a_pickle_is_seen(source: str) -> None:
    assert len(pickles(ast.parse(source))) == 1


def test_tensors_alone_are_no_pickle() -> None:
    assert pickles(ast.parse("torch.load(path, weights_only=True)")) == []


@pytest.fixture(scope="module")
def tracked(root: Path) -> list[Path]:
    """The files under version control; outside a checkout the test is skipped."""
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run([git, "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
    return [root / name for name in listing.decode().split("\0") if name and (root / name).is_file()]


def test_no_trace_of_a_machine(root: Path, tracked: list[Path]) -> None:
    found: list[str] = []
    for path in tracked:
        data = path.read_bytes()
        if b"\0" in data:  # binary
            continue
        for number, line in enumerate(data.decode("utf-8").split("\n"), 1):
            if match := MACHINE.search(line):
                found.append(f"{path.relative_to(root)}:{number}: {match[0]}")
    assert tracked, "git knows no file: add them first"
    assert found == []


@pytest.mark.parametrize("place", ["home/ana", "Users/ana", "work/main", "opt/mirror"])
def test_a_machine_path_is_seen(place: str) -> None:
    assert MACHINE.search(f"data: /{place}") and MACHINE.search(f'"/{place}"')
    assert not MACHINE.search(f"../{place}") and not MACHINE.search(f"https://example.org/{place}")
