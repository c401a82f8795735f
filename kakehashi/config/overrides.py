"""Overrides of a recipe, as the command line writes them: `key.path=value`, the value in YAML."""

from pathlib import Path
from typing import Any, cast

from kakehashi.config.base import Config
from kakehashi.config.places import keys, kinds, models, step
from kakehashi.config.tree import Tree, localise, parse, plain
from kakehashi.config.wording import ConfigError, show, unknown_key


def is_override(argument: str, type: type[Config]) -> bool:
    """Whether an argument of a command is `key.path=value`: its left side begins with a field of `type`."""
    path, equals, _ = argument.partition("=")
    return bool(equals) and path.split(".")[0] in type.model_fields


def override(tree: Tree, argument: str, type: type[Config]) -> Tree:
    """The tree with `value` in the place of the node at `key.path`. Raises ConfigError for a path `type` has not."""
    path, equals, text = argument.partition("=")
    if not equals:
        raise ConfigError(f"{argument}: an override is written key.path=value")
    value = parse(text, f"the value of the override {argument!r}", Path.cwd())
    try:
        return _set(tree, [type], (), path.split("."), value, None)
    except ConfigError as error:
        raise ConfigError(f"{argument}: {error}") from error


def _set(node: Tree, types: list[Any], path: tuple[str, ...], rest: list[str], value: Tree, default: Any) -> Tree:
    """The node at `path`, of one of `types`, with `value` in the place of what lies under `rest`."""
    if not rest:
        return value
    opened = _opened(node, types, default)
    if isinstance(opened, list):
        return _set_item(cast(list[Tree], opened), types, path, rest, value)
    if not isinstance(opened, dict):
        raise ConfigError(f"{'.'.join(path)} = {show(opened)} holds no keys")
    mapping, key = cast(dict[str, Tree], opened), rest[0]
    below = step(types, mapping, key)
    if not below:
        raise ConfigError(unknown_key(path, key, keys(types, mapping)))
    if rest == ["kind"] and mapping.get("kind") != value:
        return {"kind": value}  # a changed kind replaces the whole node
    fields = [model.model_fields[key] for model in models(types, mapping) if key in model.model_fields]
    inner = fields[0].get_default(call_default_factory=True, validated_data={}) if fields else None
    return mapping | {key: _set(mapping.get(key), below, (*path, key), rest[1:], value, inner)}


def _set_item(items: list[Tree], types: list[Any], path: tuple[str, ...], rest: list[str], value: Tree) -> list[Tree]:
    if not rest[0].isdecimal() or int(rest[0]) >= len(items):
        raise ConfigError(f"no item {rest[0]!r} in {'.'.join(path)}, a list of {len(items)} (the first is 0)")
    index = int(rest[0])
    item = _set(items[index], step(types, items, index), (*path, rest[0]), rest[1:], value, None)
    return [*items[:index], item, *items[index + 1 :]]


def _opened(node: Tree, types: list[Any], default: Any) -> Tree:
    """What an override may enter: a bare name as a mapping, what is absent as its default."""
    if node is None:
        tree = localise(plain(default), "the default", Path.cwd())
        node = tree if isinstance(tree, dict | list | str) else {}
    if isinstance(node, str) and any(node in kinds(model) for model in models(types, node)):
        return {"kind": node}
    return node
