"""Eole (the successor of OpenNMT-py, Klein et al. 2017, arXiv 1701.02810): its own loop, `eole.bin.run.train`, timed.

Its batches are of like length and stay within rows * the longest side. Tokens are counted by Eole (targets with their
ends, without padding). Its own entropy statistics of attention are off: they cost time and change nothing.
"""

from pathlib import Path
from typing import Any

from benchmarks.peers.workload import Clock, Workload, answer

NEVER = 10**9


def configuration(work: Workload) -> dict[str, Any]:
    """As its YAML file would hold it; texts are pieces, ready to be split at spaces."""
    size, pieces = work.size, Path(work.data, "pieces")
    return {
        "seed": work.seed,
        "share_vocab": True,
        "src_vocab": f"{work.data}/vocabulary.txt",
        "tgt_vocab": f"{work.data}/vocabulary.txt",
        "src_vocab_size": size.vocabulary,
        "tgt_vocab_size": size.vocabulary,
        "pad_token": "<pad>",
        "data": {
            name: {"path_src": str(pieces / f"{part}.source"), "path_tgt": str(pieces / f"{part}.target")}
            for name, part in (("corpus", "train"), ("valid", "valid"))
        },
        "report_every": work.warmup,
        "model": {
            "architecture": "transformer",
            "layers": size.depth,
            "heads": size.heads,
            "hidden_size": size.width,
            "transformer_ff": size.feedforward,
            "embeddings": {"word_vec_size": size.width, "position_encoding_type": "SinusoidalInterleaved"},
            "share_embeddings": True,
            "share_decoder_embeddings": True,
            "add_qkvbias": True,
            "add_final_linear_bias": True,
            "add_ffnbias": True,
            "generator_bias": False,
        },
        "training": {
            "model_path": f"{work.run}/model",
            "compute_dtype": work.precision,
            "train_steps": work.steps,
            "valid_steps": NEVER,
            "save_checkpoint_steps": NEVER,
            "batch_type": "tokens",
            "batch_size": work.tokens,
            "batch_size_multiple": 1,
            "bucket_size": 32_768,
            "num_workers": 0,
            "normalization": "tokens",
            "optim": "adamw",
            "adam_beta2": 0.98,
            "learning_rate": work.peak,
            "max_grad_norm": 1.0,
            "label_smoothing": 0.1,
            "dropout": [work.dropout],
            "attention_dropout": [work.dropout],
            "param_init_method": "xavier_uniform",
            "log_attention_entropy": False,
        },
    }


def main() -> None:
    work = Workload.read()
    import torch
    from eole import trainer
    from eole.bin.run.train import train
    from eole.config.run import TrainConfig

    torch.set_num_threads(work.threads)
    clock = Clock(work.warmup, work.steps)
    found: dict[str, Any] = {}

    class Observed(trainer.Trainer):
        """The loop as it is; after a step the clock looks."""

        def _train_step(self, *arguments: Any, step: int = 0) -> None:
            super()._train_step(*arguments, step=step)
            found["parameters"] = sum(parameter.numel() for parameter in self.model.parameters())
            *_, total, _ = arguments
            clock.step_ended(step, total.n_tokens)

    trainer.Trainer = Observed
    train(TrainConfig(**configuration(work)))
    answer({**clock.measured(), **found}, ["torch", "eole"])


if __name__ == "__main__":
    main()
