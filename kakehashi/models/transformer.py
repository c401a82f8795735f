"""The encoder-decoder Transformer: two stacks and their embeddings. Vaswani et al. 2017 (arXiv 1706.03762).

Shapes: N sentences, S source tokens, R hypotheses (N when training), L target tokens, V vocabulary, D width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from kakehashi.models.initialisation import initialise
from kakehashi.models.protocol import Encoded, Output, State, Vocabulary
from kakehashi.models.stack import CrossStack, Shared, Stack
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.mixers.protocol import Context, Losses
from kakehashi.nn.variant import Variant


class EncoderDecoder(Variant):
    """An encoder over the source and a causal decoder that looks at it.

    source_end: the end of the source is a token like others; or the encoder does not see it, for models that were
    trained without one (OpenNMT-py's).
    """

    kind: Literal["encoder_decoder"] = "encoder_decoder"
    width: PositiveInt = 512
    heads: PositiveInt = 8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    embeddings: Embeddings = Embeddings()
    source_end: Literal["seen", "hidden"] = "seen"
    encoder: Stack = Stack()
    decoder: CrossStack = CrossStack()

    def build(self, source: Vocabulary, target: Vocabulary) -> "Transformer":
        """Raises ValueError where the settings contradict each other."""
        return Transformer(self, source, target)


class Transformer(nn.Module):
    """Satisfies `models.protocol.Translating`."""

    def __init__(self, config: EncoderDecoder, source: Vocabulary, target: Vocabulary) -> None:
        super().__init__()
        self.config, self.source_vocabulary, self.target_vocabulary = config, source, target
        shared = Shared(config.width, config.heads, config.dropout)
        tables = config.embeddings.build(source.size, target.size, config.width)
        self.source_embedding, self.target_embedding = tables
        self.encoder = config.encoder.build(shared, "bidirectional", "encoder", read_by=config.decoder.depth)
        self.decoder = config.decoder.build(shared, "causal", "decoder")
        self.projection = config.embeddings.project(config.width, target.size)
        initialise(self)
        config.embeddings.connect(self.projection, self.target_embedding, target.pad)

    @property
    def max_length(self) -> int | None:
        """The shorter of what the two stacks can take."""
        return min((stack.limit for stack in (self.encoder, self.decoder) if stack.limit is not None), default=None)

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        """source [N, S] ids, mask [N, S] True where there is a token -> states [N, S, D]."""
        mask = self.seen(source, mask)
        context = Context(positions=torch.arange(source.shape[1], device=source.device)[None], mask=mask)
        states = self.encoder(self.source_embedding(source), context)
        return Encoded(states, mask, losses=context.losses)

    def seen(self, source: Tensor, mask: Tensor) -> Tensor:
        """Which tokens the encoder looks at."""
        return mask & (source != self.source_vocabulary.end) if self.config.source_end == "hidden" else mask

    def decode(self, tokens: Tensor, encoded: Encoded, alignment: bool = False) -> Output:
        """tokens [N, L], the first of them `begin` -> what follows each. Padding must stand behind."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        counted = tokens != self.target_vocabulary.pad
        context = Context(positions, counted=counted, memory=encoded, losses=Losses(encoded.losses))
        return self._generate(tokens, context, alignment)

    def begin(self, encoded: Encoded) -> State:
        """An empty state, one hypothesis a sentence."""
        return encoded.begin()

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        """tokens [R, L] behind those taken in -> what follows each."""
        context = Context(positions=state.positions(tokens.shape[1]), memory=Encoded.of(state), state=state)
        output = self._generate(tokens, context, alignment)
        state.advance(tokens.shape[1])
        return output

    def _generate(self, tokens: Tensor, context: Context, alignment: bool) -> Output:
        context.alignments = [] if alignment else None
        hidden = self.decoder(self.target_embedding(tokens), context)
        aligned = context.alignments[0].mean(1) if context.alignments else None
        return Output(hidden, self.projection.weight, self.projection.bias, alignment=aligned, losses=context.losses)
