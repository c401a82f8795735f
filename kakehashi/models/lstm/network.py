"""The LSTM sequence-to-sequence model: what translated before the Transformer.

Shapes: N sentences, S source tokens, R = N * fanout hypotheses (N when training), L target tokens, M layers, D width.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from kakehashi.models.initialisation import initialise
from kakehashi.models.lstm.attention import AttentionConfig, Luong, Past
from kakehashi.models.lstm.layers import EncoderLayers, Layers, LSTMEncoder
from kakehashi.models.protocol import Encoded, Output, State, Vocabulary
from kakehashi.nn.dropout import Dropout
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.variant import Law, Variant


class LSTM(Variant):
    """An LSTM encoder and an LSTM decoder.

    The decoder's layers start from the last states of the encoder's, counted from the top; where it has more layers,
    its lowest share the encoder's bottom one.
    """

    breaks: ClassVar[Mapping[Law, str]] = {"rewind": "a recurrence cannot take back what it has read"}
    kind: Literal["lstm"] = "lstm"
    width: PositiveInt = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    embeddings: Embeddings = Embeddings()
    encoder: EncoderLayers = EncoderLayers()
    decoder: Layers = Layers()
    attention: AttentionConfig = Luong()

    def build(self, source: Vocabulary, target: Vocabulary) -> "LSTMModel":
        """Raises ValueError where the settings contradict each other."""
        return LSTMModel(self, source, target)


class LSTMModel(nn.Module):
    """Satisfies `models.protocol.Translating`."""

    max_length: int | None = None

    def __init__(self, config: LSTM, source: Vocabulary, target: Vocabulary) -> None:
        super().__init__()
        self.config, self.source_vocabulary, self.target_vocabulary = config, source, target
        tables = config.embeddings.build(source.size, target.size, config.width)
        self.source_embedding, self.target_embedding = tables
        self.encoder = LSTMEncoder(config.encoder, config.width, config.dropout)
        self.decoder = config.attention.build(config.decoder, config.width, config.dropout)
        self.dropout = Dropout(config.dropout)
        self.projection = config.embeddings.project(config.width, target.size)
        initialise(self)
        config.embeddings.connect(self.projection, self.target_embedding, target.pad)

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        """source [N, S] ids, mask [N, S] True where there is a token; padding must stand behind."""
        states, last = self.encoder(self.source_embedding(source), mask)
        return Encoded(states, mask, more={"last": last})

    def decode(self, tokens: Tensor, encoded: Encoded, alignment: bool = False) -> Output:
        """tokens [N, L], the first of them `begin` -> what follows each. Padding must stand behind."""
        return self._generate(tokens, encoded, None, alignment)

    def begin(self, encoded: Encoded) -> State:
        """An empty state, one hypothesis a sentence."""
        return encoded.begin()

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        """tokens [R, L] behind those taken in -> what follows each."""
        output = self._generate(tokens, Encoded.of(state), state, alignment)
        state.advance(tokens.shape[1])
        return output

    def _generate(self, tokens: Tensor, encoded: Encoded, state: State | None, alignment: bool) -> Output:
        past: Past = {"layers": self._start(encoded, len(tokens))}
        if state is not None and state.longest:
            past = {name: held for name in ("layers", "fed") if (held := state.carried(name)) is not None}
        hidden, weights, past = self.decoder(self.target_embedding(tokens), encoded, past, state)
        if state is not None:
            for name, value in past.items():
                state.carry(name, value)
        return Output(
            self.dropout(hidden), self.projection.weight, self.projection.bias, alignment=weights if alignment else None
        )

    def _start(self, encoded: Encoded, rows: int) -> Tensor:
        """What the decoder's layers remember before the first token, [R, M, 2, D]."""
        last = encoded.more["last"]
        above = last.shape[1] - self.config.decoder.depth
        layers = (torch.arange(self.config.decoder.depth, device=last.device) + above).clamp(min=0)
        return last[:, layers].repeat_interleave(rows // len(last), 0)
