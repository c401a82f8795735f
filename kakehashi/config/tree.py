"""The tree between a recipe and its models: YAML 1.2 in and out, merging, the environment."""

import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.representer import SafeRepresenter

from kakehashi.config.base import Config, Written
from kakehashi.config.wording import ConfigError, nearest, show

Tree = Any  # dict[str, Tree] | list[Tree] | Written | int | float | bool | None

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}")  # `$${` is a `${` that is text


class _Constructor(SafeConstructor):
    """YAML 1.2's core schema has no dates: they stay text."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


class _Representer(SafeRepresenter):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> Any:
        """Escaped where YAML would fold it or a terminal would not show it (U+0085 and U+2028 are text)."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


_Representer.add_representer(str, _Representer.represent_str)


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)  # pure: the C parser speaks YAML 1.1
    yaml.Constructor, yaml.Representer = _Constructor, _Representer
    yaml.default_flow_style = False
    yaml.representer.sort_base_mapping_type_on_output = False
    yaml.width = 1 << 20  # a long text stays on its line
    return yaml


def parse(text: str, name: str, directory: Path) -> Tree:
    """One YAML document as a tree whose strings remember `directory`. Raises ConfigError with line and column."""
    try:
        return localise(_yaml().load(text), name, directory)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{name}{place}: not YAML: {error.problem or error.context}") from error
    except YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {error}") from error


def localise(node: Tree, name: str, directory: Path, above: tuple[int, ...] = ()) -> Tree:
    """A copy of a tree of plain values, whose strings remember `directory`."""
    if id(node) in above:
        raise ConfigError(f"{name}: an alias (*) stands inside of the node that it repeats")
    match node:
        case str():
            return node if isinstance(node, Written) else Written(node, directory)
        case Mapping():
            copy: dict[str, Tree] = {}
            for key, child in cast(Mapping[object, Tree], node).items():
                if not isinstance(key, str):
                    raise ConfigError(f"{name}: the key {show(key)} is no text: put it between quotes")
                copy[str(key)] = localise(child, name, directory, (*above, id(node)))
            return copy
        case list() | tuple():
            return [localise(child, name, directory, (*above, id(node))) for child in cast(Sequence[Tree], node)]
        case _:
            return node


def read(path: Path) -> dict[str, Tree]:
    """The mapping in a YAML file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(missing(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    tree = parse(text, str(path), Path(os.path.abspath(path)).parent)
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold a mapping (`key: value`), not {show(tree)}")
    return cast(dict[str, Tree], tree or {})


def missing(path: Path) -> str:
    """A recipe that does not exist, and its like in the same directory."""
    return f"{path}: no such file{nearest(path.name, sorted(file.name for file in path.parent.glob('*.y*ml')))}"


def plain(node: Any) -> Tree:
    """A config as a tree of plain values, which validates to the same config."""
    match node:
        case BaseModel():
            return {name: plain(value) for name, value in node}
        case str():
            return str(node).replace("${", "$${")
        case Mapping():
            return {str(key): plain(value) for key, value in cast(Mapping[str, Any], node).items()}
        case list() | tuple():
            return [plain(child) for child in cast(Sequence[Any], node)]
        case _:
            return node


def dump(config: Config) -> str:
    """The whole resolved tree as YAML: every default, absolute paths, keys as declared. Loads back equal."""
    stream = io.StringIO()
    _yaml().dump(plain(config), stream)
    return stream.getvalue()


def merge(base: Tree, over: Tree) -> Tree:
    """`over` upon `base`: mappings merge key by key; a changed `kind`, a list or a scalar replaces the whole node.

    Beside a mapping that has or may have a kind, a bare name is `{kind: name}`: it keeps the settings of that kind.
    """
    if isinstance(base, str) and isinstance(over, dict):
        base = {"kind": base}
    elif isinstance(base, dict) and "kind" in base and isinstance(over, str):
        over = {"kind": over}
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    below, above = cast(dict[str, Tree], base), cast(dict[str, Tree], over)
    if "kind" in below and "kind" in above and below["kind"] != above["kind"]:
        return above
    return below | {key: merge(below[key], value) if key in below else value for key, value in above.items()}


def substitute(node: Tree, path: tuple[str, ...] = ()) -> Tree:
    """`${NAME}` read from the environment in every string; `$${` is a `${` that is text."""
    match node:
        case dict():
            return {key: substitute(child, (*path, key)) for key, child in cast(dict[str, Tree], node).items()}
        case list():
            return [substitute(child, (*path, str(i))) for i, child in enumerate(cast(list[Tree], node))]
        case Written():
            # a relative path that comes from the environment is the shell's, not the recipe's
            directory = Path.cwd() if node.startswith("${") else node.directory
            return Written(_VARIABLE.sub(lambda match: _variable(match, node, path), node), directory)
        case _:
            return node


def _variable(match: re.Match[str], text: str, path: tuple[str, ...]) -> str:
    name = cast(str | None, match[1])
    if name is None:
        return "${"
    if name not in os.environ:
        reason = f"the environment has no variable {name!r}{nearest(name, os.environ)}"
        raise ConfigError(f"{'.'.join(path)} = {show(text)}: {reason} (set it, or write $${{ for a ${{ that is text)")
    return os.environ[name]
