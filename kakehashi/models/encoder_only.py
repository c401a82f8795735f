"""One bidirectional stack that says what stands at each place: BERT without its second sentence and its pooler.

Shapes: N sequences, S tokens, V vocabulary, D width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from kakehashi.models.initialisation import initialise
from kakehashi.models.protocol import Encoded, Output, Vocabulary
from kakehashi.models.stack import Shared, Stack
from kakehashi.nn.embeddings import Embedding, Embeddings
from kakehashi.nn.mixers.protocol import Context
from kakehashi.nn.variant import Variant


class EncoderOnly(Variant):
    """A bidirectional stack, Devlin et al. 2019 (arXiv 1810.04805), section 3; pre-norm unless `placement: post`.

    There is one table of embeddings, so that `embeddings.tie` decides only whether the output projection shares it.
    """

    kind: Literal["encoder_only"] = "encoder_only"
    width: PositiveInt = 512
    heads: PositiveInt = 8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    embeddings: Embeddings = Embeddings()
    encoder: Stack = Stack()

    def build(self, source: Vocabulary, target: Vocabulary) -> "BidirectionalTransformer":
        """Raises ValueError where the settings contradict each other."""
        if source != target:
            raise ValueError("an encoder_only model writes in the vocabulary that it reads: give it one for both")
        return BidirectionalTransformer(self, source)


class BidirectionalTransformer(nn.Module):
    """Satisfies `models.protocol.Predicting`."""

    def __init__(self, config: EncoderOnly, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.embedding = Embedding(vocabulary.size, config.width, config.embeddings.scale)
        shared = Shared(config.width, config.heads, config.dropout)
        self.encoder = config.encoder.build(shared, "bidirectional", "encoder")
        self.projection = nn.Linear(config.width, vocabulary.size)
        initialise(self)
        config.embeddings.connect(self.projection, self.embedding, vocabulary.pad)

    @property
    def max_length(self) -> int | None:
        """The longest sequence that it can take; None: any."""
        return self.encoder.limit

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        """source [N, S] ids, mask [N, S] True where there is a token -> states [N, S, D]."""
        context = Context(positions=torch.arange(source.shape[1], device=source.device)[None], mask=mask)
        states = self.encoder(self.embedding(source), context)
        return Encoded(states, mask, losses=context.losses)

    def predict(self, encoded: Encoded) -> Output:
        """What stands at each place: logits [N, S, V]."""
        return Output(encoded.states, self.projection.weight, self.projection.bias, losses=encoded.losses)
