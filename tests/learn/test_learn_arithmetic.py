"""A tiny language model learns to add from texts alone, through the task and its own greedy search."""

from pathlib import Path

import pytest
import torch

from kakehashi.data.text import Arithmetic
from kakehashi.models.decoder_only import CausalTransformer, DecoderOnly
from kakehashi.models.stack import Layer, Stack
from kakehashi.nn.feedforward import ReLU
from kakehashi.tasks.language_model import LanguageModel, LanguageModelTask

CPU = torch.device("cpu")


def train(model: CausalTransformer, task: LanguageModelTask, steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3, betas=(0.9, 0.98), weight_decay=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min((n + 1) / 50, 1 - n / steps))
    sampler = task.sampler(tokens=1000, seed=1)
    for epoch in range(steps // len(sampler.plan(0))):
        for indices in sampler.plan(epoch):
            sums = task.loss(model, task.batch(indices, epoch, seed=1))
            optimizer.zero_grad()
            (sums.loss / sums.tokens).backward()
            optimizer.step()
            schedule.step()


@pytest.mark.slow
def test_it_learns_to_add(tmp_path: Path) -> None:
    """Of five seeds the worst answered 95 % of the sums that it had seen, and 65 % of those that it had not."""
    text = Arithmetic(digits=1, train=80, valid=10, test=10)
    task = LanguageModel(text=text, length=8).build(tmp_path, tmp_path / "cache")
    torch.manual_seed(1)
    stack = Stack(depth=1, layers=(Layer(feedforward=ReLU(size=128)),))
    config = DecoderOnly(width=32, heads=4, dropout=0.0, decoder=stack)
    model = config.build(task.source_vocabulary, task.target_vocabulary)
    unseen = [*task.texts["valid"], *task.texts["test"]]
    assert task.scores(model.eval(), unseen, CPU)["accuracy"] < 20
    train(model.train(), task, 800)
    model.eval()
    assert task.scores(model, task.texts["train"], CPU)["accuracy"] > 90
    assert task.scores(model, unseen, CPU)["accuracy"] > 50
