"""onnxruntime with an exported directory: a model for our own search, and so one side of a comparison.

Shapes: N sentences, S source tokens, F hypotheses a sentence, R = N * F, L tokens, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from kakehashi.data.subwords import SegmenterPair
from kakehashi.errors import UserError
from kakehashi.interop.onnx import directory
from kakehashi.interop.onnx.directory import ENCODER, PAST, PRESENT, STATES, STEP, Graph, Port
from kakehashi.interop.ours import Ours
from kakehashi.models.protocol import Encoded, Output, State, Vocabulary


class GraphModel:
    """Satisfies `models.protocol.Translating`: two graphs instead of a network.

    What they remember of each hypothesis goes out and in again whole, so that there is no `rewind`.
    Raises UserError when a file is missing or damaged.
    """

    def __init__(
        self, path: Path, graphs: Mapping[str, Graph], source: Vocabulary, target: Vocabulary, max_length: int | None
    ) -> None:
        self.source_vocabulary, self.target_vocabulary, self.max_length = source, target, max_length
        self._encoder, self._step = (_session(path / name) for name in (ENCODER, STEP))
        self._graphs = graphs

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        names = [port.name for port in self._graphs[ENCODER].outputs]
        outputs = self._encoder.run(names, {"source": source.numpy(), "mask": mask.numpy()})
        given = dict(zip(names, map(torch.from_numpy, outputs), strict=True))
        return Encoded(given[STATES], mask, more=given)

    def begin(self, encoded: Encoded) -> State:
        state = State(len(encoded.states), encoded.states.device)
        state.sentence = dict(encoded.more)
        return state

    def decode(self, tokens: Tensor, encoded: Encoded, alignment: bool = False) -> Output:
        return self.step(tokens, self.begin(encoded))

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        """One run for each token. The graphs tell no alignment."""
        logits = torch.stack([self._next(tokens_R, state) for tokens_R in tokens.unbind(1)], 1)
        return Output(logits, logits, project=lambda projected: projected)  # the graph has done it

    def _next(self, tokens_R: Tensor, state: State) -> Tensor:
        """Logits [R, V]."""
        batch = -1, state.fanout
        fed: dict[str, np.ndarray[Any, Any]] = {"tokens": tokens_R.reshape(batch).numpy()}
        for port in self._graphs[STEP].inputs:
            if port.name.startswith(PAST):
                held = state.carried(port.name.removeprefix(PAST))
                fed[port.name] = _empty(port, fed["tokens"].shape) if held is None else held.unflatten(0, batch).numpy()
            elif port.name in state.sentence:
                fed[port.name] = state.sentence[port.name].numpy()
            elif port.name == "length":
                fed[port.name] = np.array(state.longest)
        names = [port.name for port in self._graphs[STEP].outputs]
        found = dict(zip(names, self._step.run(names, fed), strict=True))
        for name, value in found.items():
            if name.startswith(PRESENT):
                state.carry(name.removeprefix(PRESENT), torch.from_numpy(value).flatten(0, 1))
        state.advance(1)
        return torch.from_numpy(found["logits"]).flatten(0, 1)


def _empty(port: Port, batch: tuple[int, ...]) -> "np.ndarray[Any, Any]":
    """What is remembered before the first token, for [N, F] hypotheses."""
    return np.zeros((*batch, *(size if isinstance(size, int) else 0 for size in port.shape[2:])), port.type)


def _session(path: Path) -> Any:
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many kinds, none of which is exported
        raise UserError(f"onnxruntime cannot read {path}: {error}") from error


@dataclass(frozen=True)
class Graphs:
    """Satisfies `Translates`: what an exported directory is for our search."""

    model: GraphModel
    segmenters: SegmenterPair
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def load(cls, path: Path) -> "Graphs":
        """Raises UserError when a file is missing or damaged."""
        settings, segmenters = directory.read(path)
        source, target = (Vocabulary(each.size, *each.special) for each in segmenters)
        return cls(GraphModel(path, settings.graphs, source, target, settings.max_length), segmenters)


def opened(path: Path) -> Ours:
    return Ours(Graphs.load(path), f"onnxruntime {onnxruntime.__version__}")
