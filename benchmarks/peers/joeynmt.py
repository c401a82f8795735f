"""JoeyNMT (Kreutzer et al. 2019, arXiv 1907.12484): its own training loop, `joeynmt.training.train`, timed.

Its token batches are drawn at random, without regard to length, and end when rows * the longest side reach the budget.
Tokens are counted by JoeyNMT (`stats.total_tokens`: targets with their ends, without padding).
"""

import time
from typing import Any

from benchmarks.peers.workload import Clock, Size, Workload, answer

NEVER = 10**9


def configuration(work: Workload) -> dict[str, Any]:
    """As its YAML file would hold it. Timed: pieces, ready to be split at spaces. Judged by BLEU: text."""
    judged = work.minutes is not None
    every = work.every if judged else work.warmup
    data = f"{work.data}/{'text' if judged else 'pieces'}"
    return {
        "name": "benchmark",
        "joeynmt_version": "2.3.0",
        "model_dir": work.run,
        "use_cuda": False,
        "random_seed": work.seed,
        "data": {
            "train": f"{data}/train",
            "dev": f"{data}/valid",
            "dataset_type": "plain",
            **{side: _side(language, work, judged) for side, language in (("src", "source"), ("trg", "target"))},
        },
        "testing": {"batch_size": 4096, "batch_type": "token", "max_output_length": 100, "eval_metrics": ["bleu"]},
        "training": {
            "optimizer": "adamw",
            "adam_betas": [0.9, 0.98],
            "learning_rate": work.peak,
            "learning_rate_min": 1e-9,
            "learning_rate_warmup": work.rising,
            "scheduling": "warmupinversesquareroot",
            "clip_grad_norm": 1.0,
            "label_smoothing": 0.1,
            "normalization": "tokens",
            "batch_size": work.tokens,
            "batch_type": "token",
            "epochs": NEVER,
            "updates": NEVER if judged else work.steps,
            "logging_freq": every,
            "validation_freq": every if judged else every * NEVER,
            "early_stopping_metric": "bleu",
            "keep_best_ckpts": 1,
            "print_valid_sents": [],
        },
        "model": {
            "tied_embeddings": True,
            "tied_softmax": True,
            "encoder": _stack(work.size, work.dropout),
            "decoder": _stack(work.size, work.dropout),
        },
    }


def _side(language: str, work: Workload, judged: bool) -> dict[str, Any]:
    split = {"level": "word"}
    if judged:
        split = {
            "level": "bpe",
            "tokenizer_type": "sentencepiece",
            "tokenizer_cfg": {"model_file": f"{work.data}/subwords/subwords.model"},
        }
    return {"lang": language, "max_length": 256, "voc_file": f"{work.data}/vocabulary.txt", **split}


def _stack(size: Size, dropout: float) -> dict[str, Any]:
    return {
        "type": "transformer",
        "num_layers": size.depth,
        "num_heads": size.heads,
        "embeddings": {"embedding_dim": size.width, "scale": True, "dropout": dropout},
        "hidden_size": size.width,
        "ff_size": size.feedforward,
        "dropout": dropout,
        "layer_norm": size.placement,
    }


def main() -> None:
    started = time.perf_counter()
    work = Workload.read()
    import torch
    from joeynmt import training
    from joeynmt.helpers_for_ddp import get_logger

    torch.set_num_threads(work.threads)
    get_logger("", log_file=f"{work.run}/train.log")
    clock = Clock(work.warmup, work.steps)
    found: dict[str, Any] = {"curve": []}

    class Observed(training.TrainManager):
        """The loop as it is; after a line of its log the clock looks, after a validation the score is noted."""

        def _log_scores(self, *arguments: Any) -> None:
            super()._log_scores(*arguments)
            found["parameters"] = sum(parameter.numel() for parameter in self.model.parameters())
            clock.step_ended(self.stats.steps, self.stats.total_tokens)

        def _add_report(self, valid_scores: dict[str, float], new_best: bool = False) -> None:
            super()._add_report(valid_scores, new_best)
            minutes = (time.perf_counter() - started) / 60
            found["curve"].append({"minutes": minutes, "step": self.stats.steps, "bleu": valid_scores["bleu"]})
            self.stats.is_max_update = work.minutes is not None and minutes >= work.minutes

    training.TrainManager = Observed
    training.train(rank=0, world_size=None, cfg=configuration(work), skip_test=True)
    answer({**found, **(clock.measured() if work.minutes is None else {})}, ["torch", "joeynmt"])


if __name__ == "__main__":
    main()
