"""From a recipe, its `base:`s and its overrides to a validated config."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

from pydantic import ValidationError

from kakehashi.config.base import Config, Written, absolute
from kakehashi.config.mistakes import report
from kakehashi.config.overrides import override
from kakehashi.config.tree import Tree, localise, merge, missing, read, substitute
from kakehashi.config.wording import ConfigError, choices, show

T = TypeVar("T", bound=Config)


def load(path: Path, type: type[T], overrides: Sequence[str] = (), presets: Path | None = None) -> T:
    """The recipe in the YAML file `path`, upon its `base:`, under `overrides` (`key.path=value`, from left to right).

    `base:` is the name of a file in `presets` (without .yaml), or a path (with a slash or .yaml) relative to the file
    that says so. Raises ConfigError, which lists every mistake.
    """
    chain = (Path(os.path.abspath(path)),)
    return _finish(_with_base(read(path), str(path), presets, chain), type, overrides, str(path))


def resolve(
    tree: Mapping[str, Tree],
    type: type[T],
    overrides: Sequence[str] = (),
    presets: Path | None = None,
    directory: Path | None = None,
) -> T:
    """The same from a tree in memory, whose paths are relative to `directory` (default: the current one)."""
    name = "the configuration"
    local = cast(dict[str, Tree], localise(tree, name, Path(os.path.abspath(directory or "."))))
    return _finish(_with_base(local, name, presets, ()), type, overrides, name)


def _finish(tree: Tree, type: type[T], overrides: Sequence[str], name: str) -> T:
    for argument in overrides:
        tree = override(tree, argument, type)
    try:
        tree = substitute(tree)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    try:
        return type.model_validate(tree)
    except ValidationError as error:
        raise report(error, tree, type, name) from error


def _with_base(tree: dict[str, Tree], name: str, presets: Path | None, chain: tuple[Path, ...]) -> Tree:
    """The tree upon its `base:`, which may stand upon another."""
    if "base" not in tree:
        return tree
    over = {key: value for key, value in tree.items() if key != "base"}
    try:
        path = _base(tree["base"], presets)
        if path in chain:
            cycle = " -> ".join(str(link) for link in (*chain[chain.index(path) :], path))
            raise ConfigError(f"base = {show(tree['base'])}: a recipe cannot stand on itself: {cycle}")
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    return merge(_with_base(read(path), str(path), presets, (*chain, path)), over)


def _base(written: Tree, presets: Path | None) -> Path:
    """The file that a `base:` means."""
    if not isinstance(written, Written):
        raise ConfigError(f"base = {show(written)}: must be the name of a preset or the path of a recipe")
    base = cast(Written, substitute(written, ("base",)))
    if "/" in base or base.endswith((".yaml", ".yml")):
        path = Path(cast(str, absolute(base)))
        if not path.is_file():
            raise ConfigError(f"base = {show(base)}: {missing(path)}")
        return path
    known = sorted(file.stem for file in presets.glob("*.yaml")) if presets else []
    if presets is None or base not in known:
        raise ConfigError(f"base = {show(base)}: no such preset; {choices(known, base, 'presets')}")
    return Path(os.path.abspath(presets / f"{base}.yaml"))
