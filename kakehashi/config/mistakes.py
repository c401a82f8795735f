"""pydantic's errors told as mistakes in the recipe: where it was written, what is allowed."""

import re
from collections.abc import Mapping
from typing import NamedTuple, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from kakehashi.config.base import Config
from kakehashi.config.places import keys, step
from kakehashi.config.tree import Tree
from kakehashi.config.wording import ConfigError, nearest, show, unknown_key

_REASONS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "none_required": "must be null",
}


class _Mistake(NamedTuple):
    path: tuple[str, ...]
    value: str  # " = VALUE", or nothing for what is absent
    reason: str


def report(error: ValidationError, tree: Tree, type: type[Config], name: str) -> ConfigError:
    """Every mistake on a line; what several members of a union say of one value is joined."""
    reasons: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for details in error.errors():
        mistake = _mistake(details, tree, type)
        reasons.setdefault((mistake.path, mistake.value), []).append(mistake.reason)
    lines: list[str] = []
    for (path, value), said in reasons.items():
        if any(len(other) > len(path) and other[: len(path)] == path for other, _ in reasons):
            continue  # another member of a union took the value further: its mistake is the one to mend
        first, *others = dict.fromkeys(said)
        joined = " or ".join([first, *(reason.removeprefix("must be ") for reason in others)])
        lines.append(f"{'.'.join(path) or 'the root'}{value}: {joined}")
    if len(lines) == 1:
        return ConfigError(f"{name}: {lines[0]}")
    return ConfigError("\n  ".join([f"{name}: {len(lines)} mistakes:", *lines]))


def _mistake(details: ErrorDetails, tree: Tree, type: type[Config]) -> _Mistake:
    """One of pydantic's errors, placed in the tree as it was written."""
    node, types, path = tree, [type], ()
    keyed = details["type"] in ("missing", "extra_forbidden")  # their location ends with a key, always
    for part in details["loc"][:-1] if keyed else details["loc"]:
        if _holds(node, part):  # else: a member of a union, or what a validator wrapped around the value
            types, node, path = step(types, node, part), node[part], (*path, str(part))
    if keyed:
        key = str(details["loc"][-1])
        if details["type"] == "missing":
            return _Mistake((*path, key), "", "missing: it has no default")
        return _Mistake((*path, key), f" = {show(details['input'])}", unknown_key(path, key, keys(types, node)))
    if details["type"] == "kind" and isinstance(node, Mapping) and "kind" in node:
        return _Mistake((*path, "kind"), f" = {show(cast(Tree, node['kind']))}", details["msg"])
    return _Mistake(path, f" = {show(node)}", _reason(details))


def _holds(node: Tree, part: str | int) -> bool:
    match node:
        case Mapping():
            return part in node and part != cast(Mapping[str, Tree], node).get("kind")  # pydantic adds the kind itself
        case list():
            return isinstance(part, int) and part < len(cast(list[Tree], node))
        case _:
            return False


def _reason(details: ErrorDetails) -> str:
    if details["type"] in _REASONS:
        return _REASONS[details["type"]]
    message = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message.replace("Input should be", "must be").replace("Input should have", "must have")
    if details["type"] == "literal_error":
        message += nearest(details["input"], re.findall(r"'([^']*)'", message))
    return message
