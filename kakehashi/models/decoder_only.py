"""One causal stack: a language model, and a translator that reads [source; target] as one text.

A language model is a translator whose source is empty, so the protocol is the same. The target follows its source
without a gap, whatever the padding of the batch: positions, patterns and recurrences then see each row as if it were
alone, and padding stands behind.
Shapes: N sentences, S source tokens, R hypotheses (N when training), L target tokens, V vocabulary, D width.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import pad

from kakehashi.models.initialisation import initialise
from kakehashi.models.protocol import Encoded, Output, State, Vocabulary
from kakehashi.models.stack import Shared, Stack
from kakehashi.nn.embeddings import Embedding, Embeddings
from kakehashi.nn.mixers.protocol import Context
from kakehashi.nn.variant import Law, Variant


class DecoderOnly(Variant):
    """A causal stack, Radford et al. 2018 (GPT); as a translator: Liu et al. 2018 (arXiv 1801.10198), section 4.2.3.

    There is one table of embeddings, so that `embeddings.tie` decides only whether the output projection shares it.
    """

    kind: Literal["decoder_only"] = "decoder_only"
    width: PositiveInt = 512
    heads: PositiveInt = 8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    embeddings: Embeddings = Embeddings()
    decoder: Stack = Stack()

    def exceptions(self) -> Mapping[Law, str]:
        if any(layer.mixer.aligns for layer in self.decoder.layers[: self.decoder.depth]):
            return {}
        return {"alignment": "none of its layers attends to all that stands before a token"}

    def build(self, source: Vocabulary, target: Vocabulary) -> "CausalTransformer":
        """Raises ValueError where the settings contradict each other."""
        if source != target:
            raise ValueError(
                "a decoder_only model reads source and target as one text and needs one vocabulary for both: "
                "set task.subwords.vocabulary=joint"
            )
        return CausalTransformer(self, target)


class CausalTransformer(nn.Module):
    """Satisfies `models.protocol.Translating`."""

    def __init__(self, config: DecoderOnly, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config, self.source_vocabulary, self.target_vocabulary = config, vocabulary, vocabulary
        self.embedding = Embedding(vocabulary.size, config.width, config.embeddings.scale)
        self.decoder = config.decoder.build(Shared(config.width, config.heads, config.dropout), "causal", "decoder")
        self.projection = config.embeddings.project(config.width, vocabulary.size)
        initialise(self)
        config.embeddings.connect(self.projection, self.embedding, vocabulary.pad)

    @property
    def max_length(self) -> int | None:
        """Of source and target together."""
        return self.decoder.limit

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        """source [N, S] ids, mask [N, S] True where there is a token -> their embeddings [N, S, D]. S may be 0."""
        return Encoded(self.embedding(source), mask)

    def decode(self, tokens: Tensor, encoded: Encoded, alignment: bool = False) -> Output:
        """tokens [N, L], the first of them `begin` -> what follows each. Padding must stand behind."""
        x = self.embedding(tokens)
        real = torch.cat((encoded.mask, torch.ones_like(tokens, dtype=torch.bool)), 1)
        order = (~real).to(torch.uint8).argsort(dim=1, stable=True)  # the source's padding goes behind the target
        whole = _choose(torch.cat((encoded.states, x), 1), order)
        counted = torch.cat((encoded.mask, tokens != self.target_vocabulary.pad), 1).gather(1, order)
        positions = torch.arange(whole.shape[1], device=x.device)[None]
        output = self._generate(
            whole, Context(positions, counted=counted, losses=dict(encoded.losses)), encoded.mask if alignment else None
        )
        places = encoded.mask.sum(1, keepdim=True) + torch.arange(tokens.shape[1], device=x.device)
        aligned = None if output.alignment is None else _choose(output.alignment, places)
        return replace(output, hidden=_choose(output.hidden, places), alignment=aligned)

    def begin(self, encoded: Encoded) -> State:
        """A state that has taken in the source, one hypothesis a sentence.

        Raises ValueError where sources differ in length and a layer cannot `rewind` over their padding.
        """
        rows, length, _ = encoded.states.shape
        state = State(rows, encoded.states.device)
        state.sentence["source"] = encoded.mask
        lengths = encoded.mask.sum(1)
        if length:
            self._extend(encoded.states, state, alignment=False)
        if bool((lengths < length).any()):
            state.rewind(lengths)
        return state

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        """tokens [R, L] behind those taken in -> what follows each."""
        return self._extend(self.embedding(tokens), state, alignment)

    def _extend(self, x: Tensor, state: State, alignment: bool) -> Output:
        source = state.sentence["source"].repeat_interleave(state.fanout, 0) if alignment else None
        output = self._generate(x, Context(state.positions(x.shape[1]), state=state), source)
        state.advance(x.shape[1])
        return output

    def _generate(self, x: Tensor, context: Context, source: Tensor | None) -> Output:
        """`source` [R, S]: where the source's tokens are, to be told how x looks at them."""
        context.alignments = None if source is None else []
        hidden = self.decoder(x, context)
        aligned = _aligned(context.alignments, source) if source is not None and context.alignments else None
        return Output(hidden, self.projection.weight, self.projection.bias, alignment=aligned, losses=context.losses)


def _aligned(weights_RHQK: list[Tensor], source_RS: Tensor) -> Tensor:
    """How what each token gives to the source, on the mean of the heads, is shared among its tokens [R, L, S]."""
    size = source_RS.shape[1]
    means = [pad(block.mean(1), (0, size - block.shape[-1])) for block in weights_RHQK]  # cut, where it is negative
    given_RLS = torch.cat(means, 1) * source_RS[:, None]
    return given_RLS / given_RLS.sum(-1, keepdim=True).clamp(min=torch.finfo(given_RLS.dtype).tiny)


def _choose(x_NKD: Tensor, places_NL: Tensor) -> Tensor:
    """Row n's vectors at places_NL[n], [N, L, D]."""
    return x_NKD.gather(1, places_NL[:, :, None].expand(-1, -1, x_NKD.shape[2]))
