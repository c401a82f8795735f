"""What a configuration is declared with: `Config`, `Family`, `FilePath`; and its JSON Schema."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from kakehashi.config.places import alternatives, kinds
from kakehashi.config.wording import choices


def _accept_lists(node: object) -> None:
    """Let a YAML list fill a tuple, and a tuple a list; what they hold stays strict."""
    if isinstance(node, dict):
        schema = cast(dict[str, Any], node)
        if schema.get("type") in ("list", "tuple"):
            schema["strict"] = False
        for key, child in schema.items():
            if key not in ("metadata", "serialization", "default", "expected"):
                _accept_lists(child)
    elif isinstance(node, list | tuple):
        for child in cast(Sequence[object], node):
            _accept_lists(child)


class Config(BaseModel):
    """The base of every part's configuration: frozen, keyword-only, no unknown keys, strict types, finite numbers.

    Strict: neither "8" nor true is an integer; an integer is a number. Defaults are validated too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        _accept_lists(schema)
        return schema


class Family:
    """Marks a union of `Config`s, each with its own `kind`, as a family: `Position = Annotated[Rope | T5, Family()]`.

    A bare name stands for a kind with its defaults, in validation and in the JSON Schema. One variant is enough.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        variants = {kind: variant for variant in alternatives([source]) for kind in kinds(variant)}
        union = core_schema.tagged_union_schema(
            {kind: handler.generate_schema(variant) for kind, variant in variants.items()}, discriminator="kind"
        )
        return core_schema.no_info_before_validator_function(lambda value: _expand(value, list(variants)), union)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        union = handler.resolve_ref_schema(handler(core))
        names = list(union["discriminator"]["mapping"])
        return {"anyOf": [{"enum": names, "type": "string"}, *union["oneOf"]]}


def _expand(value: object, known: list[str]) -> object:
    """A bare name as a mapping; anything else as it is, once its kind is known."""
    match value:
        case BaseModel():
            kind = dict(value).get("kind")
        case Mapping():
            kind = cast(Mapping[str, object], value).get("kind")
            if kind is None:
                raise PydanticCustomError("kind", "has no `kind`; {choices}", {"choices": choices(known)})
        case _:
            kind = value
    if not isinstance(kind, str) or kind not in known:
        raise PydanticCustomError("kind", "no such kind; {choices}", {"choices": choices(known, kind)})
    return {"kind": str(kind)} if isinstance(value, str) else value


class Written(str):
    """A string of a recipe that knows the directory of the file in which it was written."""

    directory: Path

    def __new__(cls, text: str, directory: Path) -> "Written":
        written = super().__new__(cls, text)
        written.directory = directory
        return written


def absolute(value: object) -> object:
    """A path from the directory where it was written; from the current one when that is unknown."""
    if not isinstance(value, str):
        return value  # the strict type refuses it
    if not value:
        raise ValueError("must be a path, not an empty text")
    directory = value.directory if isinstance(value, Written) else Path.cwd()
    return os.path.normpath(directory / value)


FilePath = Annotated[str, BeforeValidator(absolute)]
"""A path in a recipe, relative to the file in which it was written; in an override, in an environment variable that it
begins with, or in Python, to the current directory. Absolute after validation."""


def schema(type: type[Config]) -> dict[str, Any]:
    """The JSON Schema of a recipe as it is written: `base:` may stand at its root, and so no key is required."""
    root = type.model_json_schema()
    _make_optional(root)
    fields = root["$defs"][root["$ref"].rpartition("/")[2]] if "$ref" in root else root
    base = {"type": "string", "description": "What the rest stands on: the name of a preset, or the path of a recipe."}
    fields["properties"] = {"base": base} | fields.get("properties", {})
    return root


def _make_optional(node: object) -> None:
    if isinstance(node, dict):
        mapping = cast(dict[str, Any], node)
        if isinstance(mapping.get("required"), list):  # a property of that name would be a mapping
            del mapping["required"]
        for child in mapping.values():
            _make_optional(child)
    elif isinstance(node, list):
        for child in cast(list[object], node):
            _make_optional(child)
