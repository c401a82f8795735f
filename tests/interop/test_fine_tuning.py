"""A model of others learns on here, and is still what their own tools take it for."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from ctranslate2.converters import TransformersConverter
from safetensors.torch import load_file, save_file

from kakehashi.config import resolve
from kakehashi.data.corpus import write_lines
from kakehashi.interop.ctranslate2.directory import CTranslate2
from kakehashi.interop.huggingface import HuggingFace
from kakehashi.interop.ours import Ours
from kakehashi.interop.parity import compare
from kakehashi.interop.protocol import Languages, Limits
from kakehashi.interop.transfer import export_model, import_model
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.training.recipe import Recipe
from kakehashi.training.run import train
from kakehashi.translator import Translator
from tests.training.conftest import TREE, quiet

from .conftest import PAIRS, Marian

TABLE, BIAS = "source_embedding.table.weight", "projection.bias"


@pytest.fixture
def opus(marian: Marian, tmp_path: Path) -> Path:
    """As OPUS's models are: they begin with the padding, whose vector is zero."""
    path = marian()
    tensors = load_file(path / "model.safetensors")
    tensors["model.shared.weight"][-1] = 0
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    import_model(HuggingFace(), path, tmp_path / "general", Languages(), tolerance=1e-4)
    return tmp_path / "general"


def recipe_of(folder: Path, general: Path) -> Recipe:
    """The optimiser that recipes have unless they say otherwise, with far more weight decay."""
    for name, pairs in (("train", PAIRS[:60]), ("valid", PAIRS[60:70])):
        write_lines(folder / f"{name}.en", [pair.source for pair in pairs])
        write_lines(folder / f"{name}.de", [pair.target for pair in pairs])
    files: dict[str, Any] = {name: f"{folder}/{name}.{{en,de}}" for name in ("train", "valid")}
    task = {**TREE["task"], **files, "test": {}, "subwords": "given", "label_smoothing": 0.1}
    training = {**TREE["training"], "optimizer": {"kind": "adamw", "weight_decay": 1.0}}
    model = Translator.load(general, device="cpu").config.model.model_dump()
    return resolve({**TREE, "task": task, "model": model, "training": training, "initial_model": str(general)}, Recipe)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of transformers and its tokenizer
def test_a_tuned_model_is_the_same_one_behind_the_stock_converter(opus: Path, tmp_path: Path) -> None:
    """The converter drops the padding's row and begins with a vector of zeros: wrong as soon as that row has moved."""
    train(recipe_of(tmp_path, opus), tmp_path / "run", cache=tmp_path / "cache", console=quiet())
    before, after = (load_file(path / "model.safetensors") for path in (opus, tmp_path / "run" / "model"))
    assert not after[TABLE][-1].any() and torch.equal(before[BIAS][-1], after[BIAS][-1])
    assert (before[TABLE][:-1] != after[TABLE][:-1]).any(1).all() and not torch.equal(before[BIAS], after[BIAS])
    tuned = Translator.load(tmp_path / "run" / "model", device="cpu")
    assert cast(EncoderDecoder, tuned.config.model).embeddings.pad == "frozen"
    export_model(HuggingFace(), tmp_path / "run" / "model", tmp_path / "exported", tolerance=1e-4)
    TransformersConverter(str(tmp_path / "exported"), copy_files=["source.spm", "target.spm"]).convert(
        str(tmp_path / "there")
    )
    theirs = CTranslate2().open(tmp_path / "there")
    assert theirs is not None
    limits = Limits(log_probability=0.01, identical=1.0)  # the padding has some probability here, and none there
    assert compare(Ours(tuned), theirs, {}, limits=limits).failures() == []
