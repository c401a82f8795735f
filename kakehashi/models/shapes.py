"""The shape of every tensor on a sentence's way through a Transformer, as the readers of the paper know them.

Measured, not computed from the configuration: hooks on the modules look at one real forward pass. Layers of the same
shapes are one part: "encoder layers 0-5".
Shapes: S source tokens, T target tokens, L either, D width, H heads, C key size, V value size of a head.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kakehashi.models.stack import LayerModule, StackModule
from kakehashi.models.transformer import Transformer
from kakehashi.nn.mixers.attention import MultiHeadAttention


@dataclass(frozen=True)
class Shape:
    """One tensor: where it is, what it is called, its dimensions (without the batch), and what it is."""

    part: str
    name: str
    dimensions: tuple[int, ...]
    meaning: str = ""


_Row = tuple[str, tuple[int, ...], str]
"""A `Shape` whose part is not yet known: name, dimensions, meaning."""

_KINDS: dict[str, tuple[str, str]] = {
    "bidirectional": ("self-attention", ""),
    "causal": ("masked self-attention", "; none for tokens ahead"),
    "cross": ("cross-attention", "; target x source"),
}
_FEEDFORWARD = {
    "gate": "what opens and closes the middle",
    "inner": "the wide middle",
    "outer": "back to the width",
    "router": "a score for each expert",
}


def shapes(model: Transformer, source_length: int, target_length: int) -> list[Shape]:
    """The tensors of one sentence pair, in the order in which they come to be.

    Lengths count all tokens that a stack takes in. Attention's rows say what one head has, and all heads together.
    """
    if min(source_length, target_length) < 1:
        raise ValueError(f"lengths must be 1 or more, not {source_length} and {target_length}")
    device = model.projection.weight.device
    source = torch.full((1, source_length), model.source_vocabulary.end, device=device)
    target = torch.full((1, target_length), model.target_vocabulary.end, device=device)
    with torch.no_grad(), _evaluating(model):
        with _watching(model.encoder) as encoder:
            encoded = model.encode(source, torch.ones_like(source, dtype=torch.bool))
        with _watching(model.decoder) as decoder:
            output = model.decode(target, encoded)
    return [
        Shape("encoder", "X", encoder.input, "embedded source tokens with their positions"),
        *_fold("encoder", encoder.layers),
        Shape("encoder", "output", _dimensions(encoded.states), "the encoded source"),
        Shape("decoder", "Y", decoder.input, "embedded target tokens with their positions"),
        *_fold("decoder", decoder.layers),
        Shape("decoder", "output", _dimensions(output.hidden), "what the projection reads"),
        Shape("projection", "logits", _dimensions(output.logits), "a score for each word of the target vocabulary"),
    ]


def parameter_shapes(model: nn.Module) -> list[Shape]:
    """Every parameter tensor by its name in the model file; a shared table comes once, under its first name."""
    unique = dict(model.named_parameters())
    found: list[Shape] = []
    for part, module in model.named_children():
        rows: list[_Row] = [
            (name, tuple(parameter.shape), "")
            for name, parameter in module.named_parameters()
            if f"{part}.{name}" in unique
        ]
        if isinstance(module, StackModule):
            layers: list[list[_Row]] = [
                [(name, tuple(parameter.shape), "") for name, parameter in layer.named_parameters()]
                for layer in module.layers
            ]
            found += _fold(part, layers)
            rows = [row for row in rows if not row[0].startswith("layers.")]
        found += [Shape(part, *row) for row in rows]
    return found


class _Watched:
    """What the hooks on one stack have seen: the input of its first layer, and the rows of each layer."""

    def __init__(self, depth: int) -> None:
        self.input: tuple[int, ...] = ()
        self.layers: list[list[_Row]] = [[] for _ in range(depth)]


@contextmanager
def _watching(stack: StackModule) -> Generator[_Watched]:
    """Hooks on all layers of a stack, taken off again at the end."""
    watched = _Watched(len(stack.layers))
    handles = [handle for i, layer in enumerate(stack.layers) for handle in _watch_layer(layer, watched, i)]
    try:
        yield watched
    finally:
        for handle in handles:
            handle.remove()


def _watch_layer(layer: nn.Module, watched: _Watched, index: int) -> Iterator[Any]:
    """Hooks that write a layer's rows as they are computed. The caller removes the handles."""
    assert isinstance(layer, LayerModule)
    rows = watched.layers[index]
    if index == 0:

        def first(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            watched.input = _dimensions(inputs[0])

        yield layer.register_forward_pre_hook(first)
    for mixer in (layer.mixer, layer.cross):
        if mixer is not None:
            yield from _watch_mixer(mixer, rows)
    for name, module in layer.feedforward.named_children():  # an expert's tokens are not a sentence's: no row for them
        if isinstance(module, nn.Linear):
            yield module.register_forward_hook(_Append(rows, f"feed-forward: {name}", _FEEDFORWARD.get(name, "")))


class _Append:
    """A forward hook: appends the output's shape [..., L, D] as a row."""

    def __init__(self, rows: list[_Row], name: str, meaning: str) -> None:
        self.rows, self.name, self.meaning = rows, name, meaning

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.rows.append((self.name, tuple(output.shape[-2:]), self.meaning))


def _watch_mixer(mixer: nn.Module, rows: list[_Row]) -> Iterator[Any]:
    """Attention in detail; any other mixer by its output."""
    if not isinstance(mixer, MultiHeadAttention):
        yield mixer.register_forward_hook(_Append(rows, "mixer: output", ""))
        return
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, output: seen.__setitem__(name, output)

    def before_output(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen["concatenated"] = inputs[0]

    def done(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        rows.extend(_attention(mixer, seen, output))
        seen.clear()

    for name, linear in (("query", mixer.query), ("key", mixer.key), ("value", mixer.value)):
        yield linear.register_forward_hook(keep(name))
    yield mixer.output.register_forward_pre_hook(before_output)
    yield mixer.register_forward_hook(done)


def _attention(mixer: MultiHeadAttention, seen: Mapping[str, Tensor], output: Tensor) -> Iterator[_Row]:
    """The first head's Q, K, V, as seen, taken through the kernel by itself: fused kernels never show the scores."""
    kind, remark = _KINDS[mixer.mode]
    sizes = {"query": mixer.sizes.key, "key": mixer.sizes.key, "value": mixer.sizes.value}
    heads = [seen[name].unflatten(-1, (-1, size)).transpose(1, 2) for name, size in sizes.items()]
    weights = mixer.score.weights(heads[0], heads[1], None)[:, 0]
    q, k, v = (head[:, 0] for head in heads)
    yield f"{kind}, one head: Q", _dimensions(q), "what each token looks for"
    yield f"{kind}, one head: K", _dimensions(k), "what each token is found by"
    yield f"{kind}, one head: V", _dimensions(v), "what each token hands over"
    yield f"{kind}, one head: scores", _dimensions(weights), f"{mixer.score.formula}, soft-max over each row{remark}"
    yield f"{kind}, one head: output", _dimensions(weights @ v), "scores times V"
    yield f"{kind}: {mixer.sizes.heads} heads", _dimensions(seen["concatenated"]), "all heads, concatenated"
    yield f"{kind}: output", _dimensions(output), "times W_O"


def _dimensions(tensor: Tensor) -> tuple[int, ...]:
    """Without the batch."""
    return tuple(tensor.shape[1:])


def _fold(stack: str, layers: list[list[_Row]]) -> list[Shape]:
    """Layers whose rows are equal become one part, in the order of their first."""
    alike: dict[tuple[_Row, ...], list[int]] = {}
    for index, rows in enumerate(layers):
        alike.setdefault(tuple(rows), []).append(index)
    return [Shape(_label(stack, indices), *row) for rows, indices in alike.items() for row in rows]


def _label(stack: str, indices: list[int]) -> str:
    """encoder layer 3; encoder layers 0-5; encoder layers 0, 2-3."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return f"{stack} layer{'s' if len(indices) > 1 else ''} {', '.join(texts)}"


@contextmanager
def _evaluating(model: nn.Module) -> Generator[None]:
    """No dropout, so that looking draws no random number; every module's mode comes back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
