"""A Transformer in int8 as one call a batch for its encoder, and one a token for its decoder.

For encoder-decoders of common parts (`fits`), where the kernels are: full multi-head attention, ReLU or Swish, layer
norm before or after, positions that are sinusoidal, learned, rotary or none; the numbers are those of models/int8.py.
Shapes: N sentences, S source tokens, T those of all sentences without padding, R hypotheses, L tokens, K tokens taken
in, D width, C size of a head, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn

from kakehashi.models.protocol import Encoded, Output, State
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, LayerModule, Stack, StackModule
from kakehashi.models.transformer import Transformer
from kakehashi.native import kernels
from kakehashi.native.library import library
from kakehashi.nn.embeddings import Embedding
from kakehashi.nn.feedforward import ReLU, Swish
from kakehashi.nn.mixers.attention import Attention, MultiHeadAttention
from kakehashi.nn.norms import LayerNorm
from kakehashi.nn.positions import Position
from kakehashi.nn.positions.absolute import Learned, NoPosition, Sinusoidal
from kakehashi.nn.positions.rotary import Rope, RopePosition, rotations

_PLACES = 64  # positions that are computed at once


def fits(model: object) -> TypeGuard[Transformer]:
    """Whether the kernels are here, and know all its parts."""
    if not isinstance(model, Transformer) or library() is None:
        return False
    config = model.config
    sizes = config.width, config.width // config.heads
    return (
        all(size % kernels.LANES == 0 for size in sizes)
        and _known(config.encoder, *sizes)
        and _known(config.decoder, *sizes)
    )


def _known(stack: Stack | CrossStack, width: int, head: int) -> bool:
    positions = isinstance(stack.position, Sinusoidal | Learned | Rope | NoPosition)
    common = positions and isinstance(stack.norm, LayerNorm)
    return common and stack.placement in ("pre", "post") and all(_known_layer(each, head) for each in stack.layers)


def _known_layer(layer: Layer | CrossLayer, head: int) -> bool:
    mixers = [layer.mixer, layer.cross] if isinstance(layer, CrossLayer) else [layer.mixer]
    plain = all(isinstance(mixer, Attention) and _plain(mixer, head) for mixer in mixers)
    feedforward, skips = layer.feedforward, set(layer.skip.model_dump().values())
    known = isinstance(feedforward, ReLU | Swish) and feedforward.size % kernels.LANES == 0
    return plain and known and skips == {1.0}


def _plain(mixer: Attention, head: int) -> bool:
    other = mixer.model_copy(update={"key_size": None, "value_size": None})
    return other == Attention() and {mixer.key_size, mixer.value_size} <= {None, head}


class Following(State):
    """Keys and values stay where they were written; hypotheses, and what a search chooses, are lists of places.

    memory [T, depth, 2, D]: the source's keys and values; starts [N + 1]: where sentences begin there; held
    [.., depth, 2, D]: those of what was emitted, `used` of them so far.
    """

    def __init__(self, mask_NS: Tensor, memory: Tensor) -> None:
        super().__init__(len(mask_NS), mask_NS.device)
        self.memory, self.starts = memory, _starts(mask_NS)
        self.sentence = {"number": torch.arange(len(mask_NS)), "mask": mask_NS}
        self.held, self.used = memory.new_empty(0, *memory.shape[1:]), 0

    def places(self, rows: int) -> Tensor:
        """Where each hypothesis' tokens are, with a new place for the next [R, K + 1]."""
        new_R = torch.arange(self.used, self.used + rows, dtype=torch.int32)
        self.used += rows
        if self.used > len(self.held):
            room = self.held.new_empty(max(16 * rows, self.used + self.used // 2), *self.held.shape[1:])
            room[: len(self.held)] = self.held
            self.held = room
        return self.append("places", new_R[:, None, None, None])[:, 0, :, 0]


def _starts(mask_NS: Tensor) -> Tensor:
    starts = torch.zeros(len(mask_NS) + 1, dtype=torch.long)
    torch.cumsum(mask_NS.sum(1), 0, out=starts[1:])
    return starts


class Int8Transformer:
    """Satisfies `models.protocol.Translating`. The model, in fp32, stays: its embeddings and norms are used."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self.source_vocabulary, self.target_vocabulary = model.source_vocabulary, model.target_vocabulary
        self.max_length = model.max_length
        self.encoder, self.decoder = (_stack(stack, model.config.heads) for stack in (model.encoder, model.decoder))
        self.project = kernels.Linear(model.projection.weight, model.projection.bias)
        crosses = [cast(MultiHeadAttention, layer.cross) for layer in _layers(model.decoder)]
        self.memory = _joined([linear for cross in crosses for linear in (cross.key, cross.value)])
        sizes = model.config.width, model.config.width // model.config.heads
        self.places = [_Places(stack, *sizes) for stack in (model.encoder, model.decoder)]

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        mask = self.model.seen(source, mask)
        row_T, place_T = mask.nonzero(as_tuple=True)
        x_TD = _embedded(self.model.source_embedding, source[row_T, place_T])
        turns = self.places[0].add(x_TD, place_T, mask.shape[1])
        self.encoder.encode(x_TD, _starts(mask), turns)
        states_NSD = x_TD.new_zeros(*mask.shape, x_TD.shape[1])
        states_NSD[row_T, place_T] = x_TD
        return Encoded(states_NSD, mask)

    def decode(self, tokens: Tensor, encoded: Encoded, alignment: bool = False) -> Output:
        return self.step(tokens, self.begin(encoded), alignment)

    def begin(self, encoded: Encoded) -> Following:
        memory = self.memory(encoded.states[encoded.mask])
        return Following(encoded.mask, memory.view(len(memory), self.decoder.depth, 2, self.decoder.width))

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        assert isinstance(state, Following)
        memory = state.memory
        aligned = memory.new_zeros(*tokens.shape, state.sentence["mask"].shape[1]) if alignment else None
        hidden = memory.new_empty(*tokens.shape, self.decoder.width)
        for i in range(tokens.shape[1]):
            weights_RS = memory.new_zeros(len(tokens), aligned.shape[2]) if aligned is not None else None
            hidden[:, i] = self._step(tokens[:, i], state, weights_RS)
            if aligned is not None and weights_RS is not None:
                aligned[:, i] = _at_their_places(weights_RS, state.sentence["mask"])
        weight, bias = self.model.projection.weight, self.model.projection.bias
        return Output(hidden, weight, bias, alignment=aligned, project=self.project)

    def _step(self, token_R: Tensor, state: Following, aligned_RS: Tensor | None) -> Tensor:
        x_RD = _embedded(self.model.target_embedding, token_R)
        end = state.longest + 1
        places = state.lengths if state.shortest < state.longest else slice(end - 1, end)
        turns = self.places[1].add(x_RD, places, end)
        places_RK = state.places(len(x_RD))
        self.decoder.step(
            x_RD,
            state.held,
            places_RK,
            state.lengths,
            state.memory,
            state.starts,
            state.sentence["number"],
            state.sentence["mask"].shape[1],
            None if aligned_RS is None else (cast(int, self.model.decoder.aligning), aligned_RS),
            turns,
        )
        state.advance(1)
        return x_RD


class _Places:
    """What a stack does with its tokens by their places, computed as far as was needed: `table` is added once, `turns`
    (None unless positions are rotary) turn queries and keys in each layer."""

    def __init__(self, stack: StackModule, width: int, head: int) -> None:
        self.stack, self.head = stack, head
        self.table_KD = torch.empty(0, width)
        self.turns: Tensor | None = None

    def add(self, x_RD: Tensor, places: Tensor | slice, end: int) -> Tensor | None:
        """Adds to x in place what stands at its places, all of them below `end`; their turns [R, 2, C / 2]."""
        if end > len(self.table_KD):
            self._reach(end)
        x_RD.add_(self.table_KD[places])
        return None if self.turns is None else self.turns[places].expand(len(x_RD), -1, -1).contiguous()

    def _reach(self, end: int) -> None:
        self.stack.check_length(end)
        limit = end + _PLACES if self.stack.limit is None else min(end + _PLACES, self.stack.limit)
        position, places_1K = cast(Position, self.stack.positions[0]), torch.arange(limit)[None]
        self.table_KD = position.embed(torch.zeros(1, limit, self.table_KD.shape[1]), places_1K)[0].detach()
        if isinstance(position, RopePosition):
            self.turns = rotations(places_1K, self.head, position.theta)[:, 0, 0].transpose(0, 1).float().contiguous()


def _embedded(embedding: Embedding, tokens: Tensor) -> Tensor:
    return embedding.table.weight.detach().index_select(0, tokens).mul_(embedding.factor)


def _at_their_places(weights_RS: Tensor, mask_NS: Tensor) -> Tensor:
    """Weights of each row's first tokens, where the padding leaves them."""
    mask_RS = mask_NS.repeat_interleave(len(weights_RS) // len(mask_NS), 0)
    first_RS = torch.arange(mask_RS.shape[1]) < mask_RS.sum(1, keepdim=True)
    return torch.zeros_like(weights_RS).masked_scatter_(mask_RS, weights_RS[first_RS])


def _stack(stack: StackModule, heads: int) -> kernels.Stack:
    norm = stack.norm if isinstance(stack.norm, nn.LayerNorm) else None
    return kernels.Stack([_layer(layer) for layer in _layers(stack)], norm, heads)


def _layers(stack: StackModule) -> list[LayerModule]:
    return [layer for layer in stack.layers if isinstance(layer, LayerModule)]


def _layer(layer: LayerModule) -> kernels.Layer:
    own, cross, feed = (cast(Any, part) for part in (layer.mixer, layer.cross, layer.feedforward))
    residuals = (layer.mixer_residual, layer.cross_residual, layer.feedforward_residual)
    return kernels.Layer(
        own=_joined([own.query, own.key, own.value], own.score.scale),
        mix=_joined([own.output]),
        query=None if cross is None else _joined([cross.query], cross.score.scale),
        read=None if cross is None else _joined([cross.output]),
        inner=_joined([feed.inner]),
        outer=_joined([feed.outer]),
        norms=[cast(nn.LayerNorm, residual.norm) for residual in residuals if residual is not None],
        activation="relu" if feed.activation is torch.relu_ else "swish",
    )


def _joined(linears: Sequence[nn.Linear], scale: float = 1.0) -> kernels.Linear:
    """Several in one, the first of them scaled."""
    first, *others = linears
    weights = [first.weight * scale, *(linear.weight for linear in others)]
    return kernels.Linear(torch.cat(weights), torch.cat([first.bias * scale, *(linear.bias for linear in others)]))
