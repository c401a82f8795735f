"""ByteNet: Kalchbrenner et al. 2016 (arXiv 1610.10099). Dilated convolutions, and a decoder stacked on the encoder.

Time is linear in the length, and between any two tokens lies a path as long as the number of blocks.
Shapes: N sentences, S source tokens, R = N * fanout hypotheses (N when training), L tokens, V vocabulary, D width.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from kakehashi.config import Config
from kakehashi.models.initialisation import initialise
from kakehashi.models.protocol import Encoded, Output, State, Vocabulary
from kakehashi.nn.dropout import Dropout
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.mixers.convolution import Window
from kakehashi.nn.positions import Mode
from kakehashi.nn.variant import Law, Variant


class DilatedBlocks(Config):
    """`sets` times a block for each of `dilations` (section 3.5: doubling up to 16, then anew)."""

    sets: PositiveInt = 6
    kernel: PositiveInt = 3
    dilations: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 4, 8, 16)

    @property
    def reach(self) -> int:
        """How many positions before the token at hand a causal stack of them sees."""
        return self.sets * (self.kernel - 1) * sum(self.dilations)


class ByteNet(Variant):
    """A decoder that reads, beside each target token y_t, the encoder's state of the same number:

        x_t = E y_t + z_t,  z_t = 0 beyond the end of the source               dynamic unfolding, sections 3.1 and 3.2
        block(x) = x + W_3 r(W_2 window(r(W_1 r(x)))),  r(x) = max(0, norm(x))                     section 3.6, figure 3
        stack(x) = W r(x of the last block)

    with W_1 from D to D / 2 and W_3 back; z and hidden are what the stacks give. The encoder's windows stand around a
    token, the decoder's end at it. A target token sees the source up to the encoder's reach beyond its own position,
    however long the target: where translations are much shorter than their sources, the encoder must reach far.
    """

    breaks: ClassVar[Mapping[Law, str]] = {"alignment": "it has no attention"}
    kind: Literal["bytenet"] = "bytenet"
    width: PositiveInt = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    embeddings: Embeddings = Embeddings()
    encoder: DilatedBlocks = DilatedBlocks()
    decoder: DilatedBlocks = DilatedBlocks()

    def build(self, source: Vocabulary, target: Vocabulary) -> "ByteNetModel":
        """Raises ValueError where the settings contradict each other."""
        if self.width % 2:
            raise ValueError(f"the blocks of bytenet halve the width, which must be even, not {self.width}")
        return ByteNetModel(self, source, target)


class Rectified(nn.Module):
    """max(0, norm(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x).relu()


class DilatedBlock(nn.Module):
    """x [R, L, D] -> [R, L, D]."""

    def __init__(self, width: int, dropout: float, window: Window) -> None:
        super().__init__()
        half = width // 2
        self.window = window
        self.rectified = nn.ModuleList([Rectified(width), Rectified(half), Rectified(half)])
        self.inner, self.convolution = nn.Linear(width, half), nn.Linear(window.kernel * half, half)
        self.outer = nn.Linear(half, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None, state: State | None) -> Tensor:
        first, second, third = self.rectified
        y = second(self.inner(first(x)))
        y = third(self.convolution(self.window.taps(y, mask, state)))
        return x + self.dropout(self.outer(y))


class DilatedStack(nn.Module):
    """Blocks in a row, and a last matrix: x [R, L, D] -> [R, L, D]."""

    def __init__(self, config: DilatedBlocks, width: int, dropout: float, mode: Mode) -> None:
        super().__init__()
        dilations = enumerate(config.dilations * config.sets)
        windows = [Window(config.kernel, mode, f"{mode}.{i}", dilation) for i, dilation in dilations]
        self.blocks = nn.ModuleList(DilatedBlock(width, dropout, window) for window in windows)
        self.rectified, self.last = Rectified(width), nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None, state: State | None = None) -> Tensor:
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, mask, state)
        return self.last(self.rectified(x))


class ByteNetModel(nn.Module):
    """Satisfies `models.protocol.Translating`."""

    max_length: int | None = None

    def __init__(self, config: ByteNet, source: Vocabulary, target: Vocabulary) -> None:
        super().__init__()
        self.config, self.source_vocabulary, self.target_vocabulary = config, source, target
        tables = config.embeddings.build(source.size, target.size, config.width)
        self.source_embedding, self.target_embedding = tables
        self.encoder = DilatedStack(config.encoder, config.width, config.dropout, "bidirectional")
        self.decoder = DilatedStack(config.decoder, config.width, config.dropout, "causal")
        self.projection = config.embeddings.project(config.width, target.size)
        initialise(self)
        config.embeddings.connect(self.projection, self.target_embedding, target.pad)

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        """source [N, S] ids, mask [N, S] True where there is a token; padding must stand behind."""
        return Encoded(self.encoder(self.source_embedding(source), mask), mask)

    def decode(self, tokens: Tensor, encoded: Encoded, alignment: bool = False) -> Output:
        """tokens [N, L], the first of them `begin` -> what follows each. Padding must stand behind."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        return self._generate(tokens, positions, encoded, None)

    def begin(self, encoded: Encoded) -> State:
        """An empty state, one hypothesis a sentence."""
        return encoded.begin()

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        """tokens [R, L] behind those taken in -> what follows each."""
        output = self._generate(tokens, state.positions(tokens.shape[1]), Encoded.of(state), state)
        state.advance(tokens.shape[1])
        return output

    def _generate(self, tokens: Tensor, positions: Tensor, encoded: Encoded, state: State | None) -> Output:
        x = self.target_embedding(tokens) + unfolded(encoded, positions, tokens.shape[0])
        return Output(self.decoder(x, state=state), self.projection.weight, self.projection.bias)


def unfolded(encoded: Encoded, positions: Tensor, rows: int) -> Tensor:
    """z [R, L, D]: the encoder's states at these positions [1 or R, L] of each row's sentence, zero beyond its end."""
    sentences_R1 = torch.arange(rows, device=positions.device)[:, None] // (rows // encoded.states.shape[0])
    places_RL = positions.clamp(max=encoded.states.shape[1] - 1).expand(rows, -1)
    there_RL = encoded.mask[sentences_R1, places_RL] & (positions < encoded.states.shape[1])
    return encoded.states[sentences_R1, places_RL].masked_fill(~there_RL[..., None], 0)
