"""From a model's configuration to what a figure shows of it: towers of blocks, blocks of residual parts.

Nothing here lists kinds: a part is known by its base class (a mixer, a position), by its place (`layers`, `cross`) or
else drawn as it is, its class as label and its options in small words. A new variant is drawn from the line on which
it is declared; where a position acts is seen from the hooks that its module overrides.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from torch import nn

from kakehashi.config import Config
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.mixers.protocol import MixerConfig
from kakehashi.nn.positions import Mode, Position

Role = Literal["embedding", "attention", "mixer", "feedforward", "norm", "linear", "softmax", "other"]
Hook = Literal["embed", "rotate", "bias", "values"]


@dataclass(frozen=True)
class Part:
    """A box: its label, small words below, and what it is. mode: of a mixer, else None. skip: the factor on the
    residual connection round it."""

    label: str
    notes: tuple[str, ...]
    role: Role
    mode: Mode | None = None
    config: Config | None = None
    skip: float = 1.0


@dataclass(frozen=True)
class Residual:
    """What a residual block does besides adding: the norms before the part, behind it, behind the sum; and what stands
    for the factor on x where that is not 1."""

    before: bool = False
    inside: bool = False
    after: bool = False
    factor: str = ""


PLACEMENTS: Mapping[str, Residual] = {
    "pre": Residual(before=True),
    "post": Residual(after=True),
    "sandwich": Residual(before=True, inside=True),
    "deepnorm": Residual(after=True, factor="α"),
}


@dataclass(frozen=True)
class Block:
    """Equal layers: their numbers from 1 on, their parts, and options of the layer itself."""

    numbers: tuple[int, ...]
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tower:
    """A stack: its blocks, its position and where that acts. norm, residual: None where there is none."""

    name: str
    mode: Mode
    blocks: tuple[Block, ...]
    position: Part | None = None
    hooks: frozenset[Hook] = frozenset()
    norm: Part | None = None
    residual: Residual | None = None


@dataclass(frozen=True)
class Network:
    """A whole model. tie: which tables are one. others: further parts of the model, behind its last tower."""

    kind: str
    notes: tuple[str, ...]
    towers: tuple[Tower, ...]
    width: int
    heads: int
    tie: str = "none"
    scale: str = "none"
    others: tuple[Part, ...] = ()


def words(name: str) -> str:
    """feed_forward -> feed forward."""
    return name.replace("_", " ")


def kind_of(config: Config) -> str:
    return str(dict(config).get("kind", type(config).__name__))


def options(config: Config, without: Sequence[str] = ()) -> tuple[str, ...]:
    """Its settings in small words: sizes always, the rest where it is not the default; None is no setting."""
    found: list[str] = []
    for name, value in config:
        usual = _is_default(config, name) and type(value) is not int
        if name == "kind" or name in without or value is None or usual:
            continue
        found.append(f"{words(name)} {brief(value)}")
    return tuple(found)


def _is_default(config: Config, name: str) -> bool:
    return dict(config)[name] == type(config).model_fields[name].default


def brief(value: object) -> str:
    """A setting in a few words: `window (size 32)`."""
    match value:
        case Config():
            said = ", ".join(options(value))
            kind = words(kind_of(value)) if "kind" in type(value).model_fields else ""
            return f"{kind} ({said})" if kind and said else kind or said
        case tuple():
            return f"({'; '.join(brief(each) for each in cast(tuple[object, ...], value))})"
        case str():
            return words(value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def read(config: Config, model: nn.Module) -> Network:
    """What a figure shows of a configuration and the model that it builds (on any device).

    Parts without a kind are structure: towers. One with `decoder` in its name, or alone in a model of such a kind, is
    causal.
    """
    fields: dict[str, Any] = dict(config)
    configs = [name for name, value in fields.items() if isinstance(value, Config) and name != "embeddings"]
    parts = [name for name in configs if "kind" in type(fields[name]).model_fields]  # variants, not structure
    towers = [name for name in configs if name not in parts]
    embeddings: dict[str, str] = dict(fields["embeddings"]) if "embeddings" in fields else {}
    said = f"{fields.get('kind', '')} " if len(towers) == 1 else ""
    modules = dict(model.named_children())
    usual = {name for name, value in fields.items() if isinstance(value, str) and _is_default(config, name)} | {"kind"}
    return Network(
        kind=words(kind_of(config)),
        notes=tuple(
            f"{words(name)} {brief(value)}"
            for name, value in fields.items()
            if name not in usual and value is not None and not isinstance(value, Config)
        ),
        towers=tuple(
            _tower(name, config, "causal" if "decoder" in said + name else "bidirectional", modules.get(name, model))
            for name in towers
        )
        or (_whole(config, parts),),
        width=fields.get("width", 0),
        heads=fields.get("heads", 1),
        tie=embeddings.get("tie", "none"),
        scale=embeddings.get("scale", "none"),
        others=tuple(
            _part(name, fields[name], "cross" if len(towers) > 1 and "attention" in name else None)
            for name in (parts if towers else ())
            if kind_of(fields[name]) != "none"
        ),
    )


def _whole(config: Config, parts: Sequence[str]) -> Tower:
    """A model without stacks: one block of all its parts, or one box."""
    fields: dict[str, Any] = dict(config)
    found = tuple(_part(name, fields[name], None) for name in parts)
    box = Part(type(config).__name__, (), "mixer")
    return Tower("", "bidirectional", (Block(tuple(range(1, fields.get("depth", 1) + 1)), found or (box,)),))


def _tower(name: str, model: Config, mode: Mode, module: nn.Module) -> Tower:
    config: Config = dict(model)[name]
    fields: dict[str, Any] = dict(config)
    layers: tuple[Config, ...] = fields.get("layers", ())
    depth: int = fields.get("depth", len(layers) or 1)
    known = ("depth", "layers", "position", "norm", "placement")
    numbers = tuple(range(1, depth + 1))
    box = Part(type(model).__name__, options(config, known), "mixer", mode, config)
    position, norm, placement = fields.get("position"), fields.get("norm"), fields.get("placement")
    placed = kind_of(placement) if isinstance(placement, Config) else placement
    unknown = Residual(after=True, factor=words(str(placed)))
    hooks = _hooks(module)
    acting = _acting(position, hooks) if isinstance(position, Config) else ()
    return Tower(
        name=words(name),
        mode=mode,
        blocks=tuple(_blocks(layers, numbers, mode, acting, options(config, known))) or (Block(numbers, (box,)),),
        position=_part("position", position, mode) if isinstance(position, Config) else None,
        hooks=hooks,
        norm=_part("norm", norm, mode) if isinstance(norm, Config) and kind_of(norm) != "none" else None,
        residual=PLACEMENTS.get(placed, unknown) if placed is not None else None,
    )


def _blocks(
    layers: Sequence[Config], numbers: Sequence[int], mode: Mode, acting: tuple[str, ...], notes: tuple[str, ...]
) -> Iterator[Block]:
    """The layers as they are tiled over the depth; equal ones are one block, in the order of their first.

    acting: what is said of the position where a mixer uses it. notes: what is said of every block.
    """
    alike: dict[Config, list[int]] = {}
    for number in numbers if layers else ():
        alike.setdefault(layers[(number - 1) % len(layers)], []).append(number)
    for layer, found in alike.items():
        fields: dict[str, Any] = dict(layer)
        skip: dict[str, float] = dict(fields.pop("skip", ()))
        parts: list[Part] = []
        for name, value in fields.items():
            for each in cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,):
                if isinstance(each, Config):
                    part = _part(name, each, "cross" if name == "cross" else mode)
                    attends = isinstance(each, MixerConfig) and each.attends and part.mode != "cross"
                    said = (*part.notes, *acting) if attends else part.notes
                    parts.append(replace(part, notes=said, skip=skip.get(name, 1.0)))
        drawn = [name for name, value in layer if isinstance(value, Config | tuple)]
        yield Block(tuple(found), tuple(parts), (*notes, *options(layer, drawn)))


def _acting(position: Config, hooks: frozenset[Hook]) -> tuple[str, ...]:
    """What a position does inside attention, in a few words."""
    places: dict[Hook, str] = {"rotate": "on Q and K", "bias": "on the scores", "values": "on the values"}
    where = [place for hook, place in places.items() if hook in hooks]
    settings = f" ({', '.join(options(position))})" if options(position) else ""
    return (f"{type(position).__name__}{settings} {' and '.join(where)}",) if where else ()


def _part(name: str, config: Config, mode: Mode | None) -> Part:
    label, settings = type(config).__name__, options(config)
    match name, config:
        case _, Attention():
            label = "Masked Multi-Head Attention" if mode == "causal" else "Multi-Head Attention"
            return Part(label, settings, "attention", mode, config)
        case _, MixerConfig():
            return Part(label, settings, "mixer", mode, config)
        case "feedforward", _:
            return Part("Feed Forward", (label, *settings), "feedforward", None, config)
        case "norm", _:
            return Part("Norm", settings if kind_of(config) == "layer" else (label, *settings), "norm", None, config)
        case "position", _:
            return Part(label, settings, "other", None, config)
        case _:
            return Part(words(name).capitalize(), (label, *settings), "other", mode, config)


def _hooks(module: nn.Module) -> frozenset[Hook]:
    """Where a stack's positions act: the hooks that they do not leave as they are."""
    kinds = {type(position) for position in module.modules() if isinstance(position, Position)}
    acts: dict[Hook, bool] = {
        "embed": any(kind.embed is not Position.embed for kind in kinds),
        "rotate": any(kind.rotate is not Position.rotate for kind in kinds),
        "bias": any(kind.bias is not Position.bias for kind in kinds),
        "values": any(kind.values is not Position.values for kind in kinds),
    }
    return frozenset(hook for hook, does in acts.items() if does)


def runs(numbers: Sequence[int]) -> str:
    """1, 3-5."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][-1] == number - 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found)


def outline(network: Network) -> str:
    """The figure in words, from bottom to top."""
    said: list[str] = [network.kind, *network.notes]
    for tower in network.towers:
        said.append(tower.name)
        if tower.position is not None and tower.hooks:
            said.append(f"{tower.position.label} positions")
        for block in tower.blocks:
            parts = ", ".join(" ".join([part.label, *part.notes]) for part in block.parts)
            said.append(f"{len(block.numbers)} times {parts}")
    return "; ".join(said)
