"""A stack of layers: the trunk of every Transformer here, encoder and decoder alike.

A layer is a list of sub-layers (mixer, cross-attention, feed-forward), each in a residual block (nn/residual.py).
Shapes: R rows, L tokens, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kakehashi.config import Config
from kakehashi.errors import UserError
from kakehashi.nn.dropout import Dropout
from kakehashi.nn.feedforward import FeedForward, ReLU
from kakehashi.nn.mixers import CrossMixer, Mixer
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.mixers.protocol import Context, Limited, MixerConfig, Sized
from kakehashi.nn.norms import LayerNorm, Norm
from kakehashi.nn.positions import Mode, Position, PositionConfig, Sinusoidal
from kakehashi.nn.positions.protocol import HeadSizes
from kakehashi.nn.residual import PLACEMENTS, Depth, Placement, Residual


@dataclass(frozen=True)
class Shared:
    """What a model's parts share: width, attention heads, dropout rate."""

    width: int
    heads: int
    dropout: float


class Skip(Config):
    """The factor on each sub-layer's residual connection: 0 removes it, 2 doubles it."""

    mixer: float = 1.0
    feedforward: float = 1.0


class CrossSkip(Skip):
    """The same with attention over the source."""

    cross: float = 1.0


class Layer(Config):
    """A mixer and a feed-forward."""

    mixer: Mixer = Attention()
    feedforward: FeedForward = ReLU()
    skip: Skip = Skip()


class CrossLayer(Config):
    """A mixer, attention over the encoded source, and a feed-forward."""

    mixer: Mixer = Attention()
    cross: CrossMixer = Attention()
    feedforward: FeedForward = ReLU()
    skip: CrossSkip = CrossSkip()


class Trunk(Config):
    """What stacks have in common. Where the norm stands in each residual block is its `placement`."""

    depth: PositiveInt = 6
    position: PositionConfig = Sinusoidal()
    placement: Placement = "pre"
    norm: Norm = LayerNorm()


class Stack(Trunk):
    """`depth` layers; the listed ones are tiled over the depth."""

    layers: tuple[Layer, ...] = Field(default=(Layer(),), min_length=1)

    def build(self, shared: Shared, mode: Mode, name: str, read_by: int = 0) -> "StackModule":
        """`read_by`: layers of the decoder that looks at what this stack encodes."""
        return StackModule(self, self.layers, Depth(self.depth, sublayers=2, read_by=read_by), shared, mode, name)


class CrossStack(Trunk):
    """A stack whose layers also look at an encoded source."""

    layers: tuple[CrossLayer, ...] = Field(default=(CrossLayer(),), min_length=1)

    def build(self, shared: Shared, mode: Mode, name: str) -> "StackModule":
        return StackModule(self, self.layers, Depth(self.depth, sublayers=3), shared, mode, name)


class LayerModule(nn.Module):
    """x [R, L, D] -> [R, L, D]. `residual(skip)` makes a residual block; `gain` is that of the blocks."""

    def __init__(
        self, layer: Layer | CrossLayer, residual: Callable[[float], Residual], shared: Shared, mode: Mode, name: str
    ) -> None:
        super().__init__()
        self.mixer = _mixer(layer.mixer, shared, mode, f"{name}.mixer")
        self.mixer_residual = residual(layer.skip.mixer)
        self.cross = self.cross_residual = None
        if isinstance(layer, CrossLayer):
            self.cross = _mixer(layer.cross, shared, "cross", f"{name}.cross")
            self.cross_residual = residual(layer.skip.cross)
        self.feedforward = layer.feedforward.build(shared.width)
        self.feedforward_residual = residual(layer.skip.feedforward)
        self.gain = self.feedforward_residual.gain

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = self.mixer_residual(x, lambda y: self.mixer(y, context))
        if self.cross is not None and self.cross_residual is not None:
            cross = self.cross
            x = self.cross_residual(x, lambda y: cross(y, context))
        return self.feedforward_residual(x, lambda y: self.feedforward(y, context))


def _mixer(config: MixerConfig, shared: Shared, mode: Mode, name: str) -> nn.Module:
    if mode not in config.modes:
        raise ValueError(
            f"{name}: a mixer of kind {dict(config)['kind']} cannot be {mode}, only {' or '.join(sorted(config.modes))}"
        )
    return config.build(shared.width, shared.heads, mode, name)


def _sizes(config: MixerConfig, mixer: nn.Module, shared: Shared) -> HeadSizes:
    if config.attends and isinstance(mixer, Sized):
        return mixer.sizes
    head = shared.width // shared.heads
    return HeadSizes(shared.width, shared.heads, head, head)


class StackModule(nn.Module):
    """Embedded tokens x [R, L, D] -> [R, L, D].

    recomputes: in training each layer keeps its input alone, and its backward pass computes the rest a second time
    (`recompute_layers`).
    aligning: the layer whose attention tells the alignment, of those that can the last but one, which agrees best with
    what people align (Garg et al. 2019, arXiv 1909.02074, section 3.2); of two the last, since the first looks around.
    """

    def __init__(
        self,
        trunk: Trunk,
        layers: Sequence[Layer | CrossLayer],
        depth: Depth,
        shared: Shared,
        mode: Mode,
        name: str,
    ) -> None:
        super().__init__()
        self.name, self.recomputes = name, False
        tiled = [layers[i % len(layers)] for i in range(trunk.depth)]
        placement = PLACEMENTS[trunk.placement]

        def residual(skip: float) -> Residual:
            return placement(lambda: trunk.norm.build(shared.width), shared.dropout, skip, depth)

        self.dropout = Dropout(shared.dropout)
        modules = [LayerModule(layer, residual, shared, mode, f"{name}.{i}") for i, layer in enumerate(tiled)]
        self.layers = nn.ModuleList(modules)
        aligning = [i for i, layer in enumerate(tiled) if isinstance(layer, CrossLayer) or layer.mixer.aligns]
        self.aligning = aligning[-2 if len(aligning) > 2 else -1] if aligning else None
        attending = [i for i, layer in enumerate(tiled) if layer.mixer.attends]
        if trunk.position.in_attention and not attending:
            raise ValueError(f"{name}: positions of kind {trunk.position.kind} act in attention, and no layer has any")
        sizes = {i: _sizes(tiled[i].mixer, modules[i].mixer, shared) for i in attending or [0]}
        built = {i: trunk.position.build(sizes[i], mode) for i in sizes}  # for each, so that each is checked
        one, *_ = built.values()
        self.positions = nn.ModuleList([one] if one.shared else [built.get(i, Position()) for i in range(trunk.depth)])
        self.norm = nn.Identity() if placement.ends_normed else trunk.norm.build(shared.width)
        limits = [part.limit for part in (one, *(module.mixer for module in modules)) if isinstance(part, Limited)]
        self.limit = min((limit for limit in limits if limit is not None), default=None)
        """The longest sequence that it can take; None: any."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        positions, state = context.positions, context.state
        self.check_length(x.shape[1] + (state.longest if state else 0))
        keys = positions if state is None else state.slots(x.shape[1])
        bound = [
            replace(context, alignments=None, position=p, position_context=p.prepare(positions, keys))
            for p in self._positions()
        ]
        x = self.dropout(bound[0].position.embed(x, positions))
        for i, layer in enumerate(self.layers):
            own = bound[i % len(bound)]
            if i == self.aligning and context.alignments is not None:
                own = replace(own, alignments=context.alignments)
            x = self._through(layer, x, own)
        return self.norm(x)

    def _through(self, layer: nn.Module, x: Tensor, context: Context) -> Tensor:
        if not (self.recomputes and self.training and torch.is_grad_enabled()):
            return layer(x, context)
        return checkpoint(layer, x, context, use_reentrant=False)  # pyright: ignore[reportReturnType]

    def check_length(self, length: int) -> None:
        """Raises UserError where its parts do not know so many places."""
        if self.limit is not None and length > self.limit:
            raise UserError(
                f"{self.name}: a sequence of {length} tokens, and its parts know {self.limit} places at most: "
                "raise their max_length, or leave longer sentences out"
            )

    def _positions(self) -> list[Position]:
        return [p for p in self.positions if isinstance(p, Position)]


def recompute_layers(model: nn.Module) -> None:
    """Memory for time: a training step then holds one tensor [R, L, D] a layer, and takes a quarter longer.

    Chen et al. 2016 (arXiv 1604.06174), each layer a segment. The second time, dropout draws the same masks, so that
    gradients are the same bits. Raises UserError where the model has no stack of layers.
    """
    stacks = [module for module in model.modules() if isinstance(module, StackModule)]
    if not stacks:
        raise UserError("training.recompute=layers: this kind of model has no stack of layers; use recompute=none")
    for stack in stacks:
        stack.recomputes = True
