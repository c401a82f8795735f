"""Who may import whom: the directions of docs/design.md, read from the syntax of every file, inside functions too."""

import ast
import graphlib
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Each part and the parts right below it. What those may import, it may import too; `errors` is everyone's.
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "cache": set(),
    "native": {"cache"},
    "config": {"errors"},
    "nn": {"config"},
    "data": {"config"},
    "models": {"nn", "native"},
    "decoding": {"models"},
    "directory": {"data"},
    "alignment": {"data"},
    "confidence": {"config"},
    "translator": {"directory", "models", "decoding", "alignment", "confidence"},
    "text_generator": {"directory", "models", "decoding"},
    "evaluation": {"errors"},
    "tasks": {"translator", "text_generator", "evaluation"},
    "training": {"tasks", "cache"},
    "diagram": {"models"},
    "describe": {"training", "diagram"},
    "comparison": {"training"},
    "compression": {"training"},
    "interop": {"translator", "evaluation"},
    "explanation": {"translator", "models"},
    "serving": {"translator", "data", "explanation"},
}
ABOVE_ALL = {"__init__", "__main__", "cli"}


def reach(part: str) -> set[str]:
    """The parts that `part` may import, itself included."""
    return {part}.union(*(reach(below) for below in BELOW[part]))


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported(path: str, tree: ast.Module, modules: set[str]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a file imports: a module of `modules` where the import reaches one."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                folder = path.split("/")[:-level] if level else []
                origin = ".".join([*folder, *([module] if module else [])])
                for alias in names:
                    name = f"{origin}.{alias.name}"
                    yield node.lineno, name if name in modules else origin
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name
            case _:
                pass


def part_of(module: str) -> str:
    """kakehashi.nn.state -> nn; kakehashi -> __init__."""
    return [*module.split("."), "__init__"][1]


def violations(package: dict[str, ast.Module]) -> list[str]:
    modules = {module_name(path) for path in package}
    found: list[str] = []
    for path, tree in package.items():
        part = part_of(module_name(path))
        if part in ABOVE_ALL:
            continue
        for line, target in imported(path, tree, modules):
            if target.split(".")[0] == "kakehashi" and part_of(target) not in reach(part):
                found.append(f"{path}:{line}: {part} may not import {target}")
    return found


def cycle(package: dict[str, ast.Module]) -> list[str]:
    modules = {module_name(path) for path in package}
    graph = {
        module_name(path): {target for _, target in imported(path, tree, modules) if target in modules}
        for path, tree in package.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_every_part_has_its_place(package: dict[str, ast.Module]) -> None:
    parts = {part_of(module_name(path)) for path in package} - ABOVE_ALL
    assert parts <= BELOW.keys(), f"give each a row in BELOW, and docs/design.md: {sorted(parts - BELOW.keys())}"


def test_imports_go_down_only(package: dict[str, ast.Module]) -> None:
    assert violations(package) == []


def test_no_import_cycle(package: dict[str, ast.Module]) -> None:
    assert cycle(package) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("kakehashi/nn/norms.py", "from kakehashi.models.stack import Stack"),
        ("kakehashi/nn/norms.py", "from kakehashi import models"),
        ("kakehashi/nn/norms.py", "from ..models import stack"),
        ("kakehashi/nn/norms.py", "def late():\n    import kakehashi.models.stack"),
        ("kakehashi/nn/norms.py", "importlib.import_module('kakehashi.models.stack')"),
        ("kakehashi/data/corpus.py", "from kakehashi.nn import state"),
        ("kakehashi/evaluation/metrics.py", "from kakehashi.config import Config"),
        ("kakehashi/training/loop.py", "import kakehashi"),
        ("kakehashi/tasks/translation.py", "from kakehashi import load"),
    ],
)
def test_a_forbidden_direction_is_seen(path: str, source: str) -> None:
    others = {f"kakehashi/{name}.py": ast.parse("") for name in ("models/__init__", "models/stack", "nn/state")}
    assert len(violations({**others, path: ast.parse(source)})) == 1


def test_a_cycle_is_seen() -> None:
    family = {
        "kakehashi/nn/mixers/__init__.py": "from .attention import Attention",
        "kakehashi/nn/mixers/attention.py": "",
    }
    assert cycle({path: ast.parse(source) for path, source in family.items()}) == []
    family["kakehashi/nn/mixers/attention.py"] = "from kakehashi.nn.mixers import Mixer"
    assert cycle({path: ast.parse(source) for path, source in family.items()}) != []


def declared(root: Path, *, development: bool) -> set[str]:
    """The distributions that pyproject.toml names, with or without those of the extra `dev`."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    chosen = [project["dependencies"], *(extras[name] for name in extras if development or name != "dev")]
    return {canonicalize_name(Requirement(text).name) for texts in chosen for text in texts}


def undeclared(files: dict[str, ast.Module], allowed: set[str]) -> list[str]:
    """Imports of what neither Python nor an allowed distribution provides."""
    providers = packages_distributions()
    ours = sys.stdlib_module_names | {"kakehashi", "tests", "benchmarks", "studies"}
    return [
        f"{path}:{line}: {target}"
        for path, tree in files.items()
        for line, target in imported(path, tree, set())
        if (top := target.split(".")[0]) not in ours
        and allowed.isdisjoint(canonicalize_name(name) for name in providers.get(top, []))
    ]


def test_every_import_is_declared(root: Path, trees: dict[str, ast.Module], package: dict[str, ast.Module]) -> None:
    assert undeclared(package, declared(root, development=False)) == []
    here = {path: tree for path, tree in trees.items() if not path.startswith("benchmarks/peers/")}  # theirs: elsewhere
    assert undeclared(here, declared(root, development=True)) == []


def test_an_undeclared_import_is_seen() -> None:
    assert len(undeclared({"kakehashi/nn/norms.py": ast.parse("def late():\n    import pytest")}, {"torch"})) == 1
