"""A model with known probabilities, independent of the networks of the package."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from kakehashi.models.protocol import Encoded, Output, State, Vocabulary


class TableModel:
    """The next token's logits depend on the last two tokens, the position and the source, by random tables.

    `end_bias` is added to the end's logit; `temperature` divides all.
    """

    def __init__(self, seed: int, size: int = 5, end_bias: float = 0.0, temperature: float = 0.5) -> None:
        generator = torch.Generator().manual_seed(seed)

        def table(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator) / temperature / 2

        self.source_vocabulary = self.target_vocabulary = Vocabulary(size)
        self.max_length: int | None = None
        self.last, self.before, self.position, self.source = (
            table(size, size), table(size, size), table(300, size), table(size, size)
        )  # fmt: skip
        self.bias = torch.zeros(size)
        self.bias[2] = end_bias
        self.steps: list[int] = []

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        return Encoded(self.source[source] * mask[:, :, None], mask)

    def begin(self, encoded: Encoded) -> State:
        state = State(len(encoded.states), encoded.states.device)
        state.sentence["mean"] = encoded.states.sum(1) / encoded.mask.sum(1, keepdim=True)
        state.hypothesis["before"] = torch.zeros(len(encoded.states), dtype=torch.long)
        return state

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        assert tokens.shape[1] == 1
        self.steps.append(len(tokens))
        mean = state.sentence["mean"].repeat_interleave(state.fanout, 0)
        last, before = tokens[:, 0], state.hypothesis["before"]
        logits = self.last[last] + self.before[before] + self.position[state.lengths] + mean + self.bias
        state.hypothesis["before"] = last
        state.advance(1)
        return Output(logits[:, None], torch.eye(logits.shape[1]))

    def decode(self, tokens: Tensor, encoded: Encoded, alignment: bool = False) -> Output:
        before = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], 1)
        mean = encoded.states.sum(1) / encoded.mask.sum(1, keepdim=True)
        position = self.position[: tokens.shape[1]]
        logits = self.last[tokens] + self.before[before] + position + mean[:, None] + self.bias
        return Output(logits, torch.eye(logits.shape[2]))


def sources(lengths: list[int], size: int, seed: int, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Random sources of these lengths (the end included), each the same whatever the padding and the others."""
    longest = max(lengths) + padding
    source = torch.zeros(len(lengths), longest, dtype=torch.long)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(1000 * seed + row)
        source[row, : length - 1] = torch.randint(3, size, (length - 1,), generator=generator)
        source[row, length - 1] = 2
    return source, torch.arange(longest) < torch.tensor(lengths)[:, None]


@pytest.fixture
def tables() -> SimpleNamespace:
    return SimpleNamespace(model=TableModel, sources=sources)
