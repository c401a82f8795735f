"""A prompt in, a text out: generates with a model directory that holds a language model."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from kakehashi.config import Config, merge, resolve
from kakehashi.data.vocabulary import TextSegmenter, load_vocabulary, save_vocabulary
from kakehashi.data.vocabulary import Vocabulary as VocabularyConfig
from kakehashi.decoding import Beam, Decoding, Sample, search
from kakehashi.directory import Precision, load_model, read_card, read_config, save
from kakehashi.errors import UserError
from kakehashi.models import ModelConfig
from kakehashi.models.decoder_only import CausalTransformer
from kakehashi.models.protocol import Vocabulary


class LanguageModelDirectory(Config):
    """What `config.yaml` of a language model's directory says. length: tokens of the longest sequence it has seen."""

    format_version: Literal[1] = 1
    task: Literal["language_model"] = "language_model"
    model: ModelConfig
    vocabulary: VocabularyConfig
    length: int
    decoding: Decoding = Beam()


class _Overridden(Config):
    decoding: Decoding


@dataclass
class TextGenerator:
    """A trained language model with all that it needs to write text."""

    config: LanguageModelDirectory
    model: nn.Module
    segmenter: TextSegmenter
    card: dict[str, Any] | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def load(cls, directory: Path | str, precision: Precision = "fp32", device: str = "auto") -> "TextGenerator":
        """Opens a model directory. `device`: torch's name of one; "auto" takes a GPU where there is one.

        Raises UserError when a file is missing, damaged, of another format version, or does not fit the others.
        """
        directory = Path(directory)
        config = read_config(directory, LanguageModelDirectory, "language_model")
        segmenter = load_vocabulary(config.vocabulary, directory)
        vocabulary = Vocabulary(segmenter.size)
        model = config.model.build(vocabulary, vocabulary)
        place = load_model(model, directory, precision, device)
        return cls(config, model, segmenter, read_card(directory), place)

    def save(self, directory: Path | str) -> None:
        """Writes a model directory; one that stands there is replaced only when the new one is complete.

        Raises UserError when something else stands at `directory`.
        """
        save(Path(directory), self.config, self.model, partial(save_vocabulary, self.segmenter), self.card)

    @property
    def causal(self) -> CausalTransformer:
        """The model, if it is one that generates. Raises UserError."""
        if not isinstance(self.model, CausalTransformer):
            raise UserError(
                "a model of kind encoder_only fills in what is hidden, and cannot continue a text: "
                "train one with model.kind=decoder_only and task.objective=causal"
            )
        return self.model

    def generate(self, prompt: str = "", count: int = 1, **overrides: Any) -> list[str]:
        """`count` texts that begin with the prompt; `overrides` are fields of `decoding`: `temperature=0.8, seed=3`.

        A search gives its best ones; sampling draws each with a seed of its own, from `seed` upwards. Their length is
        limited by `max_length` (tokens, the prompt not counted): there is no source for `extra_length` to add to.
        """
        decoding = self._decoding(overrides)
        decoding = decoding.model_copy(update={"extra_length": decoding.max_length})
        if isinstance(decoding, Sample):
            seeds = range(decoding.seed, decoding.seed + count)
            return [self._continued(prompt, decoding.model_copy(update={"seed": seed}), 1)[0] for seed in seeds]
        return self._continued(prompt, decoding, count)

    def _continued(self, prompt: str, decoding: Decoding, count: int) -> list[str]:
        model, given = self.causal, self.segmenter.encode(prompt)
        if model.max_length is not None and len(given) >= model.max_length:
            raise UserError(
                f"the prompt has {len(given)} tokens, and the model knows {model.max_length} places: cut it"
            )
        start = torch.tensor([[model.target_vocabulary.begin, *given]], device=self.device)
        empty = start[:, :0]
        (found,) = search(model, empty, empty.bool(), decoding, count, start)
        return [self.segmenter.decode([*given, *hypothesis.tokens]) for hypothesis in found]

    def _decoding(self, overrides: dict[str, Any]) -> Decoding:
        tree = merge({"decoding": self.config.decoding.model_dump()}, {"decoding": overrides})
        return resolve(tree, _Overridden).decoding
