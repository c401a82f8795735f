"""Hugging Face MarianMT in the plain PyTorch loop that one writes by hand: batches of like length, fused AdamW.

A step has so many rows that rows * the longest side stays within the budget. With bf16 the forward pass is under
autocast and the weights stay in fp32.
"""

import random
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path

from benchmarks.peers.workload import Clock, Workload, answer

PAD, BEGIN, END = 0, 1, 2  # the numbers of the first lines of vocabulary.txt

Pair = tuple[list[int], list[int]]


def pairs_of(data: str) -> list[Pair]:
    """Ids of both sides, with the end."""
    ids = {piece: i for i, piece in enumerate(Path(data, "vocabulary.txt").read_text("utf-8").split("\n"))}
    sides = [Path(data, "pieces", f"train.{side}").read_text("utf-8").split("\n")[:-1] for side in ("source", "target")]
    rows = ([[*map(ids.__getitem__, line.split()), END] for line in side] for side in sides)
    return list(zip(*rows, strict=True))


def batches(pairs: list[Pair], tokens: int, seed: int) -> Iterator[list[Pair]]:
    """One epoch: sorted by length, ties by lot, cut by the budget, the steps shuffled."""
    lot = random.Random(seed)
    order = sorted(pairs, key=lambda pair: (len(pair[1]), len(pair[0]), lot.random()))
    steps: list[list[Pair]] = [[]]
    longest = 0
    for pair in order:
        longest = max(longest, *map(len, pair))
        if longest * (len(steps[-1]) + 1) > tokens:
            steps.append([])
            longest = max(map(len, pair))
        steps[-1].append(pair)
    lot.shuffle(steps)
    yield from steps


def main() -> None:
    work = Workload.read()
    import torch
    from torch.nn.functional import cross_entropy
    from torch.nn.utils.rnn import pad_sequence
    from transformers import MarianConfig, MarianMTModel

    torch.set_num_threads(work.threads)
    torch.manual_seed(work.seed)
    size = work.size
    config = MarianConfig(
        vocab_size=size.vocabulary,
        d_model=size.width,
        encoder_layers=size.depth,
        decoder_layers=size.depth,
        encoder_ffn_dim=size.feedforward,
        decoder_ffn_dim=size.feedforward,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        activation_function="relu",
        dropout=work.dropout,
        attention_dropout=work.dropout,
        scale_embedding=True,
        max_position_embeddings=512,
        pad_token_id=PAD,
        bos_token_id=BEGIN,
        eos_token_id=END,
        decoder_start_token_id=BEGIN,
        forced_eos_token_id=END,
    )
    model = MarianMTModel(config).train()
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=work.peak, betas=(0.9, 0.98), fused=True)
    precision = torch.autocast("cpu", dtype=torch.bfloat16) if work.precision == "bf16" else nullcontext()
    clock, pairs, tokens = Clock(work.warmup, work.steps), pairs_of(work.data), 0
    epochs = chain.from_iterable(batches(pairs, work.tokens, work.seed + epoch) for epoch in range(work.steps))
    for step, batch in zip(range(1, work.steps + 1), epochs, strict=False):
        sources, targets = (
            pad_sequence([torch.tensor(pair[side]) for pair in batch], batch_first=True, padding_value=PAD)
            for side in (0, 1)
        )
        begun = torch.cat([torch.full_like(targets[:, :1], BEGIN), targets[:, :-1]], 1)
        with precision:
            logits = model(input_ids=sources, attention_mask=sources != PAD, decoder_input_ids=begun).logits
            loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens += sum(len(target) for _, target in batch)
        clock.step_ended(step, tokens)
    parameters = sum(parameter.numel() for parameter in learnt)
    answer({**clock.measured(), "parameters": parameters}, ["torch", "transformers"])


if __name__ == "__main__":
    main()
