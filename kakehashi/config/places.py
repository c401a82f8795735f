"""Which types may stand at a place of a configuration's tree: what overrides and messages ask of the models."""

import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import BaseModel


def alternatives(annotations: Iterable[Any]) -> list[Any]:
    """The members of unions, whatever they are annotated with; null is left out."""
    members: list[Any] = []
    for annotation in annotations:
        origin = get_origin(annotation)
        if origin is Annotated:
            members += alternatives(get_args(annotation)[:1])
        elif origin in (Union, types.UnionType):
            members += alternatives(get_args(annotation))
        elif annotation is not types.NoneType:
            members.append(annotation)
    return members


def kinds(variant: type[BaseModel]) -> tuple[str, ...]:
    """The values of the discriminator of a member of a family; none for a model outside of families."""
    field = variant.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def models(annotations: Iterable[Any], node: object) -> list[type[BaseModel]]:
    """The models that may stand here: one, if `node` says its kind.

    A mapping may also stand for a list of one, where a validator of ours makes it so (a list of corpora).
    """
    found: list[type[BaseModel]] = []
    for annotation in alternatives(annotations):
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.append(annotation)
        elif isinstance(node, Mapping) and get_origin(annotation) in (list, tuple):
            found += models(get_args(annotation)[:1], node)
    kind = cast(Mapping[str, object], node).get("kind") if isinstance(node, Mapping) else node
    return [model for model in found if isinstance(kind, str) and kind in kinds(model)] or found


def keys(annotations: Iterable[Any], node: object) -> list[str]:
    """The keys that may stand here."""
    return list(dict.fromkeys(name for model in models(annotations, node) for name in model.model_fields))


def step(annotations: Iterable[Any], node: object, key: str | int) -> list[Any]:
    """The types of what lies under `key`; an empty list when there can be no such key."""
    members = alternatives(annotations)
    found: list[Any] = [
        model.model_fields[key].annotation
        for model in models(members, node)
        if isinstance(key, str) and key in model.model_fields
    ]
    for annotation in members:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            found.append(arguments[1])
        elif origin in (list, tuple) and isinstance(key, int):
            fixed = origin is tuple and ... not in arguments
            found += arguments[key : key + 1] if fixed else arguments[:1]
    return found
