"""Sampling: the distribution that is drawn from. That a sample depends on its sentence alone is a law."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from kakehashi.decoding import Greedy, Sample, draws, search
from kakehashi.decoding.strategies.protocol import Frontier

PROBABILITIES = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05])


def frequencies(rows: int = 20_000, logits: Tensor | None = None, **settings: Any) -> Tensor:
    """How often each token is drawn for as many different sentences."""
    logits = PROBABILITIES.log() if logits is None else logits
    keys = draws.keys(torch.arange(rows)[:, None], torch.ones(rows, 1, dtype=torch.bool))
    frontier = Frontier(logits.expand(rows, -1), logits.logsumexp(-1).expand(rows), torch.zeros(rows, 1), keys, 1)
    candidates = Sample(**settings).build().expand(frontier)
    expected = logits.log_softmax(-1)[candidates.tokens]
    torch.testing.assert_close(candidates.log_probabilities, expected)  # the model's own, whatever was cut
    return torch.bincount(candidates.tokens[:, 0], minlength=len(logits)) / rows


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, PROBABILITIES),
        ({"temperature": 0.5}, PROBABILITIES**2 / (PROBABILITIES**2).sum()),
        ({"temperature": 2.0}, PROBABILITIES**0.5 / (PROBABILITIES**0.5).sum()),
        ({"top_k": 2}, torch.tensor([4, 3, 0, 0, 0]) / 7),
        ({"top_k": 9}, PROBABILITIES),
        ({"top_p": 0.75}, torch.tensor([40, 30, 15, 0, 0]) / 85),
        ({"top_p": 0.39}, torch.tensor([1.0, 0, 0, 0, 0])),
        ({"top_k": 3, "top_p": 0.5}, torch.tensor([4, 3, 0, 0, 0]) / 7),
    ],
    ids=str,
)
def test_tokens_come_as_often_as_they_should(settings: dict[str, Any], expected: Tensor) -> None:
    found = frequencies(**settings)
    assert (found - expected).abs().max() < 0.012  # 3.4 standard deviations of 0.5
    assert not found[expected == 0].any(), "what is cut never comes"


def test_a_forbidden_token_never_comes() -> None:
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf])
    found = frequencies(logits=logits)
    assert found[[0, 2, 4]].tolist() == [0, 0, 0] and (found[[1, 3]] > 0.2).all()


def test_the_seed_decides(tables: SimpleNamespace) -> None:
    model, (source, mask) = tables.model(3), tables.sources([4, 2, 6], 5, 1)

    def texts(**settings: Any) -> list[list[int]]:
        return [found[0].tokens for found in search(model, source, mask, Sample(max_length=12, **settings))]

    assert texts(seed=1) == texts(seed=1)
    assert len({str(texts(seed=seed)) for seed in range(6)}) > 3
    cold = [found[0].tokens for found in search(model, source, mask, Greedy(max_length=12))]
    assert texts(temperature=1e-3) == texts(top_k=1) == cold, "without heat it is greedy"
