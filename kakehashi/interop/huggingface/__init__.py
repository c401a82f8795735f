"""Hugging Face: MarianMT models in; post-norm models out as MarianMT, pre-norm ones as Pegasus.

Pegasus and not M2M100 for pre-norm: its sinusoids are Marian's, those of the paper with sines and cosines in two
halves; M2M100's have other frequencies and begin at another place, so that no model of ours is one.
Files: `config.json`, `generation_config.json`, `model.safetensors` (or an old `pytorch_model.bin`), `source.spm`,
`target.spm`, `vocab.json` (and `target_vocab.json`), `tokenizer_config.json`. The library is needed by `open` alone.
To CTranslate2 there is no way through these files: its converter takes every Marian model to begin with a zero vector,
and would change the translations of ours silently.
"""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from torch import nn

from kakehashi.data.subwords import Given
from kakehashi.errors import UserError
from kakehashi.interop.huggingface import settings, vocabulary, weights
from kakehashi.interop.protocol import Languages, System
from kakehashi.models.protocol import Translating, Vocabulary
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.translator import ModelDirectory, Translator


class HuggingFace:
    """Satisfies `Format`."""

    name = "huggingface"
    library = "transformers"
    rounds = False

    def recognises(self, path: Path) -> bool:
        return (path / settings.FILE).is_file() and "model_type" in _tree(path / settings.FILE)

    def read(self, path: Path, languages: Languages) -> Translator:
        """Raises UserError for another architecture, a missing or damaged file, and an option that we lack."""
        config = settings.Settings.read(_tree(path / settings.FILE), path / settings.FILE)
        tokenizer = _tree(path / vocabulary.SETTINGS) if (path / vocabulary.SETTINGS).exists() else {}
        source, target = languages.of(path, tokenizer.get("source_lang"), tokenizer.get("target_lang"))
        tensors = weights.read(path)
        segmenters = vocabulary.read(path, config, tokenizer)
        joint = segmenters.source.size == segmenters.target.size and config.tie == "all"
        given = Given(vocabulary="joint" if joint or segmenters.source is segmenters.target else "separate")
        model = config.model(biased=weights.biased(tensors))
        try:
            network = model.build(*(Vocabulary(each.size, *each.special) for each in segmenters))
        except ValueError as error:
            raise UserError(f"{path / settings.FILE}: {error}") from error
        weights.fill(network, tensors, config.tie, path)
        directory = ModelDirectory(
            source=source, target=target, model=model, subwords=given, decoding=settings.decoding(_generation(path))
        )
        return Translator(directory, cast(Translating, network.eval()), segmenters)

    def check(self, translator: Translator) -> None:
        settings.check(translator.config.model)

    def write(self, translator: Translator, path: Path) -> None:
        self.check(translator)
        config, model = translator.config, cast(EncoderDecoder, translator.config.model)
        special = translator.model.target_vocabulary
        path.mkdir()
        sizes = [segmenter.size for segmenter in translator.segmenters]
        _write(path / settings.FILE, settings.tree(model, special, sizes))
        _write(path / "generation_config.json", settings.generation_tree(config.decoding, special))
        stored = settings.POSITIONS if model.encoder.placement == "pre" else 0  # Pegasus wants what Marian computes
        weights.write(cast(nn.Module, translator.model), model.embeddings.tie, stored, path)
        vocabulary.write(translator.segmenters, (config.source, config.target), path)

    def open(self, path: Path) -> System | None:
        if find_spec("transformers") is None:
            return None
        from kakehashi.interop.huggingface.library import Transformers

        return Transformers.load(path)


def _generation(path: Path) -> dict[str, Any]:
    """Old directories keep what generation needs in config.json."""
    own = path / "generation_config.json"
    return _tree(own if own.exists() else path / settings.FILE)


def _tree(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no settings")
    return found


def _write(path: Path, tree: dict[str, Any]) -> None:
    path.write_text(json.dumps(tree, ensure_ascii=False, indent=2) + "\n", "utf-8")
