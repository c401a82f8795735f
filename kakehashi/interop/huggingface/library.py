"""The transformers library as one side of a comparison. Imported only where it is installed."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from kakehashi.interop.protocol import BATCH, LONGEST, Pieces


@dataclass(frozen=True)
class Transformers:
    """Satisfies `System`."""

    model: Any
    tokenizer: Any
    name: str = f"transformers {transformers.__version__}"

    @classmethod
    def load(cls, path: Path) -> "Transformers":
        """From the directory alone, without network."""
        transformers.logging.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it recommends a normaliser of punctuation, which it does not use
            model = transformers.AutoModelForSeq2SeqLM.from_pretrained(path, local_files_only=True, dtype=torch.float32)
            tokenizer = transformers.MarianTokenizer.from_pretrained(path, local_files_only=True)
        model.generation_config = transformers.GenerationConfig()  # its makers' settings would fill in for ours
        return cls(model.eval(), tokenizer)

    @property
    def longest(self) -> int:
        return self.model.config.max_position_embeddings

    def segment(self, text: str) -> Pieces:
        """Pieces that the vocabulary lacks are the unknown one. The tokenizer itself names ids by the target's list."""
        names = {id: piece for piece, id in self.tokenizer.encoder.items()}
        return [names[id] for id in self.tokenizer(text).input_ids[:-1]]

    def text(self, pieces: Pieces) -> str:
        return self.tokenizer.convert_tokens_to_string(pieces)

    @torch.inference_mode()
    def translate(self, sources: Sequence[Pieces], beam: int) -> list[Pieces]:
        found = list[Pieces]()
        for start in range(0, len(sources), BATCH):
            batch = self._source(sources[start : start + BATCH])
            outputs = self.model.generate(**batch, generation_config=self._search(beam))
            found += [self._pieces(row) for row in outputs[:, 1:].tolist()]
        return found

    @torch.inference_mode()
    def score(self, sources: Sequence[Pieces], targets: Sequence[Pieces]) -> list[list[float]]:
        config, found = self.model.config, list[list[float]]()
        for source, target in zip(sources, targets, strict=True):
            ids = [config.decoder_start_token_id, *self._target_ids(target), config.eos_token_id]
            output = self.model(**self._source([source]), decoder_input_ids=torch.tensor([ids[:-1]]))
            log_probabilities_LV = output.logits[0].log_softmax(-1)
            found.append(log_probabilities_LV.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist())
        return found

    def _search(self, beam: int) -> Any:
        config = self.model.config
        banned = {config.pad_token_id, config.decoder_start_token_id} - {config.eos_token_id}
        plain = {"length_penalty": 0.0, "early_stopping": True} if beam > 1 else {}
        return transformers.GenerationConfig(
            num_beams=beam,
            do_sample=False,
            max_new_tokens=LONGEST,
            **plain,
            bad_words_ids=[[id] for id in sorted(banned)],
            pad_token_id=config.pad_token_id,
            eos_token_id=config.eos_token_id,
            decoder_start_token_id=config.decoder_start_token_id,
        )

    def _source(self, sources: Sequence[Pieces]) -> dict[str, torch.Tensor]:
        rows = [[*self.tokenizer.convert_tokens_to_ids(each), self.tokenizer.eos_token_id] for each in sources]
        longest = max(map(len, rows))
        padded = [[*row, *[self.tokenizer.pad_token_id] * (longest - len(row))] for row in rows]
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        return {"input_ids": torch.tensor(padded), "attention_mask": torch.tensor(mask)}

    def _target_ids(self, pieces: Pieces) -> list[int]:
        target = self.tokenizer.target_encoder if self.tokenizer.separate_vocabs else self.tokenizer.encoder
        return [target.get(piece, target[self.tokenizer.unk_token]) for piece in pieces]

    def _pieces(self, ids: list[int]) -> Pieces:
        """Up to the end."""
        end = self.model.config.eos_token_id
        return self.tokenizer.convert_ids_to_tokens(ids[: ids.index(end)] if end in ids else ids)
