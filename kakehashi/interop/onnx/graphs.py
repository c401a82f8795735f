"""The two graphs, traced by torch.onnx from the model protocol.

Which tensors a state holds, and which of their axes have any length, is read off two short runs, so that no variant
has to say it. `append` and self-attention know that they are being traced (`torch.compiler.is_exporting`).
Shapes: N sentences, S source tokens, F hypotheses a sentence, R = N * F, K tokens taken in, V vocabulary.
"""

import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kakehashi.interop.onnx.directory import ENCODER, PAST, PRESENT, STATES, STEP, Graph, Port
from kakehashi.models.protocol import State, Translating

SENTENCES, HYPOTHESES, SOURCE, TAKEN = "sentences", "hypotheses", "source", "past"
"""The names of the lengths that differ from call to call."""

_SENTENCES, _HYPOTHESES, _SOURCE, _TAKEN = 2, 3, 23, 17
"""Those of the runs; no size of a part is told by its number, only by its change."""

Axes = dict[int, str]
"""The axes of a tensor that have a name instead of a size."""


@dataclass(frozen=True)
class Held:
    """A tensor of the state, as an example, and its axes that differ."""

    example: Tensor
    axes: Axes


class EncoderGraph(nn.Module):
    """source [N, S], mask [N, S] -> the state's tensors per sentence."""

    def __init__(self, model: Translating, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, source: Tensor, mask: Tensor) -> list[Tensor]:
        state = _begun(self.model, source, mask)
        return [state.sentence[name].clone() for name in self.names]  # a graph cannot give what it was given


class StepGraph(nn.Module):
    """tokens [N, F], length [] = K, the state's tensors per sentence [N, ...] and per hypothesis [N, F, ...] -> logits
    [N, F, V] and those per hypothesis with the token in them."""

    def __init__(self, model: Translating, sentence: list[str], past: Mapping[str, Held]) -> None:
        super().__init__()
        self.model, self.sentence, self.past = model, sentence, past

    def forward(self, tokens: Tensor, length: Tensor, sentence: list[Tensor], past: list[Tensor]) -> list[Tensor]:
        state = State(tokens.shape[0], tokens.device)
        state.fanout = tokens.shape[1]
        state.sentence = dict(zip(self.sentence, sentence, strict=True))
        state.hypothesis = {name: each.flatten(0, 1) for name, each in zip(self.past, past, strict=True)}
        state.lengths = length.expand(tokens.numel())
        cached = [each.shape[3] for each, held in zip(past, self.past.values(), strict=True) if 3 in held.axes]
        state.shortest = state.longest = cached[0] if cached else 0
        logits = self.model.step(tokens.reshape(-1, 1), state).logits[:, 0]
        found = [logits, *(state.hypothesis[name] for name in self.past)]
        return [each.unflatten(0, tokens.shape) for each in found]


def _begun(model: Translating, source: Tensor, mask: Tensor) -> State:
    """The state behind the first token: by then all is there that is computed once a sentence."""
    state = model.begin(model.encode(source, mask))
    model.step(source.new_full((source.shape[0], 1), model.target_vocabulary.begin), state)
    return state


@torch.no_grad()
def export(model: Translating, directory: Path) -> dict[str, Graph]:
    """Writes both graphs of a model in evaluation. What they take and give, by file."""
    longest = _SOURCE if model.max_length is None else min(_SOURCE, model.max_length - 1)  # at it, a table is whole
    sentence, past = _held(model, longest)
    step = StepGraph(model, list(sentence), past)
    inputs = (
        torch.full((_SENTENCES, _HYPOTHESES), model.target_vocabulary.begin),
        torch.tensor(0),
        [held.example for held in sentence.values()],
        [held.example for held in past.values()],
    )
    axes = {0: SENTENCES, 1: HYPOTHESES}, {}, *([held.axes for held in part.values()] for part in (sentence, past))
    names = ["tokens", "length", *sentence, *(PAST + name for name in past)]
    graphs = {STEP: _write(step, inputs, axes, names, ["logits", *(PRESENT + name for name in past)], directory / STEP)}
    asked = {STATES, *(port.name for port in graphs[STEP].inputs)}
    encoder = EncoderGraph(model, [name for name in sentence if name in asked])
    inputs, axes = _source(model, longest), ({0: SENTENCES, 1: SOURCE},) * 2
    return graphs | {ENCODER: _write(encoder, inputs, axes, ["source", "mask"], encoder.names, directory / ENCODER)}


def _held(model: Translating, longest: int) -> tuple[dict[str, Held], dict[str, Held]]:
    """The state's tensors per sentence, and per hypothesis."""
    shorter, state = (_begun(model, *_source(model, length)) for length in (longest - 1, longest))
    sentence: dict[str, Held] = {}
    for name, tensor in state.sentence.items():
        grown = [axis for axis, size in enumerate(tensor.shape) if size != shorter.sentence[name].shape[axis]]
        sentence[name] = Held(tensor, {0: SENTENCES, **dict.fromkeys(grown, SOURCE)})
    past: dict[str, Held] = {}
    for name, tensor in state.hypothesis.items():
        rows, *sizes = tensor.shape
        axes: Axes = {0: SENTENCES, 1: HYPOTHESES}
        if name in state.caches:
            sizes[1], axes[3] = min(_TAKEN, longest - 1), TAKEN
        past[name] = Held(tensor.new_zeros(rows, _HYPOTHESES, *sizes), axes)
    return sentence, past


def _source(model: Translating, length: int) -> tuple[Tensor, Tensor]:
    source = torch.full((_SENTENCES, length), model.source_vocabulary.end)
    return source, torch.ones_like(source, dtype=torch.bool)


def _write(
    graph: nn.Module, inputs: tuple[Any, ...], axes: tuple[Any, ...], names: list[str], given: list[str], path: Path
) -> Graph:
    """Traces and writes a graph, without inputs that it does not use."""
    with _quiet():
        program = torch.onnx.export(
            graph.eval(), inputs, dynamic_shapes=axes, input_names=names, output_names=given, verbose=False
        )
    assert program is not None
    values = program.model.graph.inputs
    for value in [value for value in values if not value.uses()]:
        values.remove(value)
    program.save(path)
    inputs, outputs = (tuple(map(_port, side)) for side in (values, program.model.graph.outputs))
    return Graph(inputs=inputs, outputs=outputs)


@contextmanager
def _quiet() -> Generator[None]:
    """torch.onnx tells of libraries that we do not need, and of its own code to come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _port(value: Any) -> Port:
    sizes = (size if isinstance(size, int) else str(size.value) for size in value.shape)
    return Port(name=value.name, type=value.dtype.numpy().name, shape=tuple(sizes))
