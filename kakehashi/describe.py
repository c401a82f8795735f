"""What a model is, in words, figures and a drawing, for `kakehashi info`: a model directory, or one that nobody has
trained, of a preset or a recipe.

The latter is built on torch's meta device: shapes and counts without numbers, so that the largest takes no memory.
"""

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import Field
from torch import nn

from kakehashi.config import Config, FilePath, load
from kakehashi.decoding import Beam, Decoding
from kakehashi.diagram import draw
from kakehashi.directory import CARD, task_of
from kakehashi.errors import UserError
from kakehashi.evaluation.card import Card
from kakehashi.models import ModelConfig
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.shapes import Shape, parameter_shapes
from kakehashi.models.shapes import shapes as tensor_shapes
from kakehashi.models.transformer import Transformer
from kakehashi.nn.feedforward import ExpertsFeedForward
from kakehashi.text_generator import LanguageModelDirectory, TextGenerator
from kakehashi.training.recipe import PRESETS, Training
from kakehashi.translator import ModelDirectory, Translator

STACKS = ("encoder", "decoder")  # all other parameters are tables: embeddings and the projection to the vocabulary


class Preset(Config):
    """What a preset or a recipe may say: of its task only a part need be known."""

    task: dict[str, Any] = Field(default_factory=dict)
    model: ModelConfig
    training: Training = Training()
    decoding: Decoding = Beam()
    initial_model: FilePath | None = None


_Found = tuple[list[str], Config, nn.Module]
"""Lines of text, a model's configuration, and the model."""


def describe(
    model: Path, shapes: int | None = None, vocabulary: int | None = None, overrides: Sequence[str] = ()
) -> str:
    """A model as text; with `shapes`, also each tensor's shape for a source and a target of that length.

    model: a model directory, the name of a preset or the path of a recipe. vocabulary: joint subwords at which what is
    not trained is counted (default: as its task says, or 37,000). overrides: `key.path=value`, on what is not trained.
    Raises UserError when `model` is none of these, is damaged, or contradicts itself.
    """
    lines, _, network = _find(model, vocabulary, overrides)
    if shapes is not None:
        title = f"shapes of the tensors, for a source and a target of {shapes} tokens"
        if isinstance(network, Transformer):
            lines += ["", title, *_table(tensor_shapes(_with_values(network), shapes, shapes))]
        else:
            lines += ["", f"{title}: shown for models of kind encoder_decoder only"]
        lines += ["", "shapes of the parameters", *_table(parameter_shapes(network))]
    return "\n".join(lines)


def diagram(model: Path, overrides: Sequence[str] = ()) -> str:
    """A model drawn from its configuration, as SVG. Arguments and errors as those of `describe`."""
    _, config, network = _find(model, None, overrides)
    return draw(config, network, str(model))


def parameters(model: nn.Module) -> dict[str, int]:
    """How many numbers each part holds: embeddings, encoder, decoder. What parts share is counted once."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        part = name.partition(".")[0]
        counts[part if part in STACKS else "embeddings"] += parameter.numel()
    return {part: counts[part] for part in ("embeddings", *STACKS) if part in counts}


def _with_values(model: Transformer) -> Transformer:
    """A network that was built without memory gets some where it must: tokens choose their experts by value."""
    if not model.projection.weight.is_meta or not any(isinstance(m, ExpertsFeedForward) for m in model.modules()):
        return model
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def _find(model: Path, vocabulary: int | None, overrides: Sequence[str]) -> _Found:
    if (model / "config.yaml").is_file():
        if overrides:
            raise UserError(f"{overrides[0]}: {model} is trained, and stays as it is; change a preset or a recipe")
        return _directory(model)
    if (PRESETS / f"{model}.yaml").is_file():
        return _untrained(PRESETS / f"{model}.yaml", f"{model}: a preset", vocabulary, overrides)
    if model.is_file():
        return _untrained(model, f"{model}: a recipe", vocabulary, overrides)
    raise UserError(f"{model} is neither a model directory nor a preset nor a recipe{_hint(model)}")


def _directory(path: Path) -> _Found:
    opened = _language_model(path) if task_of(path) == "language_model" else _translator(path)
    head, config, network, vocabulary = opened
    lines = [
        head,
        "",
        *_model(config.model, network),
        vocabulary,
        _row("decoding", _brief(config.decoding)),
        _row("files", f"{_size(sum(file.stat().st_size for file in _files(path)))}"),
        *(_row(f"  {file.name}", _size(file.stat().st_size)) for file in _files(path)),
    ]
    if (path / CARD).exists():
        lines += ["", Card.read(path / CARD).render()]
    return lines, config.model, network


def _translator(path: Path) -> tuple[str, ModelDirectory, nn.Module, str]:
    """The first line, the configuration, the network, and the row of its vocabulary."""
    translator = Translator.load(path, device="cpu")
    config = translator.config
    sizes = _counts({segmenter.size for segmenter in translator.segmenters})
    subwords = f"{config.subwords.kind}, {config.subwords.vocabulary}: {' and '.join(sizes)}"
    network = cast(nn.Module, translator.model)
    return f"{path}: {config.source} → {config.target}", config, network, _row("subwords", subwords)


def _language_model(path: Path) -> tuple[str, LanguageModelDirectory, nn.Module, str]:
    """As `_translator`."""
    generator = TextGenerator.load(path, device="cpu")
    config = generator.config
    vocabulary = f"{config.vocabulary.kind}: {generator.segmenter.size:,}; sequences of up to {config.length:,} tokens"
    return f"{path}: a language model", config, generator.model, _row("vocabulary", vocabulary)


def _untrained(path: Path, name: str, vocabulary: int | None, overrides: Sequence[str]) -> _Found:
    preset = load(path, Preset, overrides, PRESETS)
    size = vocabulary or _subwords(preset.task)
    joint = Vocabulary(size)
    try:
        with torch.device("meta"):
            model = preset.model.build(joint, joint).eval()
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
    lines = [f"{name}, counted at {size:,} joint subwords", ""]
    lines += _model(preset.model, model)
    training = preset.training
    lines += [
        _row("training", f"{training.steps:,} steps of {training.batch.tokens:,} tokens, {training.precision}"),
        _row("  optimizer", _brief(training.optimizer)),
        _row("  schedule", _brief(training.schedule)),
        _row("  averaging", _brief(training.averaging)),
        _row("decoding", _brief(preset.decoding)),
    ]
    return lines, preset.model, model


def _subwords(task: dict[str, Any]) -> int:
    match task:
        case {"subwords": {"size": int(size)}}:
            return size
        case _:
            return 37_000  # the paper's


def _model(config: Config, model: nn.Module) -> list[str]:
    """Settings and parameters, a row each."""
    counts = parameters(model)
    return [
        *_settings("model", config),
        _row("parameters", f"{sum(counts.values()):,}"),
        *(_row(f"  {part}", f"{count:,}") for part, count in counts.items()),
    ]


def _settings(label: str, config: Config) -> list[str]:
    """A row of its own for the settings, and below it for each part that is no variant of a family."""
    parts = [(name, part) for name, value in config for part in (value if isinstance(value, tuple) else (value,))]
    groups = [
        (name, part) for name, part in parts if isinstance(part, Config) and "kind" not in type(part).model_fields
    ]
    own = config.model_copy(update={name: None for name, _ in groups})
    indented = " " * (len(label) - len(label.lstrip()) + 2)
    return [_row(label, _brief(own)), *(row for name, part in groups for row in _settings(indented + name, part))]


def _brief(value: object) -> str:
    """A setting on one line: beam(size=5, ...); what is not set is left out."""
    match value:
        case Config():
            settings = {name: each for name, each in value if each is not None and each != ()}
            kind = settings.pop("kind", "")
            text = ", ".join(f"{name}={_brief(each)}" for name, each in settings.items())
            return f"{kind}({text})" if kind and text else str(kind) or text
        case tuple():
            return f"[{', '.join(map(_brief, value))}]"
        case _:
            return str(value)


def _table(rows: Sequence[Shape]) -> list[str]:
    """A heading a part, a row a tensor: name, shape, meaning."""
    dimensions = ["x".join(map(str, row.dimensions)) for row in rows]
    name_width, width = max(len(row.name) for row in rows), max(map(len, dimensions))
    lines: list[str] = []
    for part, group in groupby(zip(rows, dimensions, strict=True), key=lambda item: item[0].part):
        lines.append(f"  {part}")
        lines += [f"    {row.name:<{name_width}}  {text:<{width}}  {row.meaning}".rstrip() for row, text in group]
    return lines


def _row(label: str, text: str) -> str:
    return f"{label:<24}{text}"


def _counts(numbers: set[int]) -> list[str]:
    return [f"{number:,}" for number in numbers]


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_file())


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"


def _hint(model: Path) -> str:
    if (model / "model" / "config.yaml").is_file():
        return f": it is a run, whose model is {model / 'model'}"
    presets = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    near = get_close_matches(str(model), presets, n=1)
    return f"; presets: {', '.join(presets)}" + (f"; did you mean {near[0]!r}?" if near else "")
