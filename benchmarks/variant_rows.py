"""The rows of docs/variants.md, read from the configuration itself: each variant of each family, each choice of a name.

A row is the preset `tiny` with one part changed, wherever that part can stand, or another whole model of its width.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args, get_origin

import torch

from kakehashi.config import Config, load
from kakehashi.config.places import alternatives, kinds
from kakehashi.describe import Preset
from kakehashi.models import ModelConfig
from kakehashi.models.protocol import Vocabulary
from kakehashi.training.recipe import PRESETS

SUBWORDS = 6000

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Row:
    """A model: the part that is changed, how, and the whole configuration."""

    part: str
    choice: str
    config: Config

    @property
    def name(self) -> str:
        return f"{self.part} {self.choice}"


def rows() -> list[Row]:
    """The preset `tiny` with each choice at each place, and the other whole models."""
    tiny = load(PRESETS / "tiny.yaml", Preset, presets=PRESETS).model
    groups: dict[tuple[str, str], dict[Place, Any]] = {}
    for place, part, choice, value in _choices(tiny, (), ()):
        groups.setdefault((part, choice), {})[place] = value
    found = [Row(part, choice, config) for (part, choice), places in groups.items() for config in _with(tiny, places)]
    choices = Counter(row.part for row in found)
    found = [row for row in found if choices[row.part] > 1]  # else only tiny's own can stand there
    for kind in alternatives([ModelConfig]):
        name, model = kinds(kind)[0], _like(kind, tiny)
        found.append(Row("model", name, model))
        for place, part, choice, value in _choices(model, (), ()) if kind is not type(tiny) else ():
            if len(place) == 1:  # a family that this model alone has; stacks have had their rows
                found += [Row(f"{name} {part}", choice, config) for config in _with(model, {place: value})]
    return found


def _choices(config: Config, place: Place, names: tuple[str, ...]) -> Iterator[tuple[Place, str, str, Any]]:
    """Place, part, choice and value of all that could stand at each place of a configuration, what stands there too."""
    for name, value in config:
        annotation = type(config).model_fields[name].annotation
        here, part = (*place, name), ".".join([*names, name])
        family = [each for each in alternatives([annotation]) if isinstance(each, type) and issubclass(each, Config)]
        variants = [each for each in family if kinds(each)] if isinstance(value, Config) else []
        for each in variants if len(variants) > 1 else ():
            yield here, part, kinds(each)[0], _sized(each, value)
        for choice in get_args(annotation) if get_origin(annotation) is Literal and name != "kind" else ():
            yield here, part, str(choice), choice
        if isinstance(value, Config):
            yield from _choices(value, here, (*names, name) if variants else names)
        elif isinstance(value, tuple):
            for i, each in enumerate(cast(tuple[object, ...], value)):
                if isinstance(each, Config):
                    yield from _choices(each, (*here, i), names)


def _sized(kind: type[Config], instead: Config) -> Config:
    """A variant with its defaults, each `size` in it as much smaller as that of the part that it replaces."""
    if type(instead) is kind:
        return instead
    usual, actual = (dict(each).get("size", 1) for each in (type(instead)(), instead))

    def shrunk(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        return {k: v * actual // usual if k == "size" else shrunk(v) for k, v in cast(dict[str, Any], node).items()}

    return kind.model_validate(shrunk(kind().model_dump()))


def _with(config: Config, places: Mapping[Place, Any]) -> list[Config]:
    """The configuration with these values at all places where they can stand; none where that is nowhere."""
    whole = _changed(config, places)
    if _builds(whole):
        return [whole]
    possible = {place: value for place, value in places.items() if _builds(_changed(config, {place: value}))}
    return [_changed(config, possible)] if possible else []


def _changed(config: Config, places: Mapping[Place, Any]) -> Config:
    def put(node: Any, place: Place, value: Any) -> Any:
        if not place:
            return value
        head, *rest = place
        if isinstance(node, tuple):
            return tuple(put(each, tuple(rest), value) if i == head else each for i, each in enumerate(node))
        return node.model_copy(update={head: put(dict(node)[head], tuple(rest), value)})

    for place, value in places.items():
        config = put(config, place, value)
    return config


def _builds(config: Any) -> bool:
    vocabulary = Vocabulary(SUBWORDS)
    try:
        with torch.device("meta"):
            config.build(vocabulary, vocabulary)
    except ValueError:
        return False
    return True


def _like(kind: type[Config], tiny: Config) -> Config:
    """Another model with tiny's width, rates and stacks."""
    ours, usual = dict(tiny), dict(kind())
    stacks = {type(value): value for value in reversed(list(ours.values())) if isinstance(value, Config)}
    same = {name: ours[name] for name in usual if name in ours and type(ours[name]) is type(usual[name])}
    alike = {name: stacks[type(value)] for name, value in usual.items() if type(value) in stacks}
    return kind().model_copy(update={**alike, **same, "kind": kinds(kind)[0]})
