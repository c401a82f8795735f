"""Files and functions that one can take in at a glance: at most 400 lines and 60 lines, in the tests too."""

import ast
from collections.abc import Iterator
from pathlib import Path

LONGEST_FILE = 400
LONGEST_FUNCTION = 60

# "path::qualified name" of a longer function -> the reason why it is better in one piece.
REASONS: dict[str, str] = {}


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Qualified name and number of lines of every function below `node`, nested ones and methods included."""
    for child in ast.iter_child_nodes(node):
        name = prefix
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}.{child.name}".lstrip(".")
            if not isinstance(child, ast.ClassDef):
                yield name, (child.end_lineno or child.lineno) - child.lineno + 1
        yield from functions(child, name)


def test_no_long_file(root: Path, trees: dict[str, ast.Module]) -> None:
    lengths = {path: len((root / path).read_text(encoding="utf-8").split("\n")) - 1 for path in trees}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_long_function(trees: dict[str, ast.Module]) -> None:
    lengths = {f"{path}::{name}": length for path, tree in trees.items() for name, length in functions(tree)}
    long = {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION}
    assert {name: length for name, length in long.items() if name not in REASONS} == {}
    assert REASONS.keys() <= long.keys(), "an excuse that nobody needs any more"


def test_the_measure_sees_nested_functions() -> None:
    source = """class A:
    def f(self):
        async def g():
            pass
        if self:
            def h(): ...
"""
    assert dict(functions(ast.parse(source))) == {"A.f": 5, "A.f.g": 2, "A.f.h": 1}
