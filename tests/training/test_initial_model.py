"""Fine-tuning: a run that goes on from a model directory, with the vocabulary and the special ids of that model."""

import io
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file

from kakehashi.config import resolve
from kakehashi.data.corpus import write_lines
from kakehashi.data.listed import ListedSegmenter, Special
from kakehashi.data.phrasebook import generate
from kakehashi.data.subwords import Given, SegmenterPair
from kakehashi.errors import UserError
from kakehashi.models.protocol import Vocabulary
from kakehashi.training.recipe import Recipe
from kakehashi.training.run import train
from kakehashi.translator import ModelDirectory, Translator

from .conftest import TREE, log_of, quiet

PAIRS = generate("de", 80, seed=3)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A model as Marian has them: it begins with the padding, which is the last id, and 0 is the end."""
    written = io.BytesIO()
    trainer: Any = sentencepiece.SentencePieceTrainer
    lines = iter([text for pair in PAIRS for text in pair])
    trainer.train(sentence_iterator=lines, model_writer=written, vocab_size=150, minloglevel=2)
    processor: Any = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(written.getvalue())
    pieces = ["</s>", "<unk>", *(processor.id_to_piece(i) for i in range(3, 150)), "<pad>"]
    pad = len(pieces) - 1
    segmenter = ListedSegmenter(written.getvalue(), pieces, Special(pad=pad, begin=pad, end=0, unknown=1))
    tree = {**TREE["model"], "embeddings": {"pad": "frozen", "bias": "learned"}}
    recipe = {"source": "en", "target": "de", "model": tree, "subwords": Given().model_dump()}
    config = resolve(recipe, ModelDirectory)
    vocabulary = Vocabulary(segmenter.size, *segmenter.special)
    torch.manual_seed(4)
    network: Any = config.model.build(vocabulary, vocabulary)
    Translator(config, network.eval(), SegmenterPair(segmenter, segmenter)).save(tmp_path / "foreign")
    return tmp_path / "foreign"


def recipe_of(directory: Path, foreign: Path, **model: Any) -> Recipe:
    for name, pairs in (("train", PAIRS[:60]), ("valid", PAIRS[60:70]), ("test", PAIRS[70:])):
        write_lines(directory / f"{name}.en", [pair.source for pair in pairs])
        write_lines(directory / f"{name}.de", [pair.target for pair in pairs])
    task = {**TREE["task"], "subwords": {"kind": "given"}, "label_smoothing": 0.1}
    for name in ("train", "valid"):
        task[name] = str(directory / TREE["task"][name])
    task["test"] = {}
    tree = {**TREE["model"], "embeddings": {"pad": "frozen", "bias": "learned"}, **model}
    training = {**TREE["training"], "optimizer": {"kind": "adam"}, "steps": 16}
    return resolve({**TREE, "task": task, "model": tree, "training": training, "initial_model": str(foreign)}, Recipe)


def test_a_foreign_model_learns_on_and_its_padding_stays(foreign: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(recipe_of(tmp_path, foreign), run, cache=tmp_path / "cache", console=quiet())
    losses = [line["loss"] for line in log_of(run, "validation")]
    assert losses[-1] < losses[0] < 6
    before, after = (load_file(path / "model.safetensors") for path in (foreign, run / "last"))
    assert before.keys() == after.keys()
    table, bias = "source_embedding.table.weight", "projection.bias"
    assert torch.equal(before[table][-1], after[table][-1]) and torch.equal(before[bias][-1], after[bias][-1])
    assert not torch.equal(before[table][0], after[table][0]), "the end was learned"
    # what it started from is the foreign model and no other: 16 small steps away
    assert (before[table] - after[table]).abs().max() < 0.1
    old, new = (Translator.load(path, device="cpu") for path in (foreign, run / "model"))
    assert new.segmenters.source.fingerprint == old.segmenters.source.fingerprint
    assert len(new.translate(["Good morning!"], max_length=5)) == 1


def test_a_model_that_does_not_fit_is_refused_and_nothing_is_left(foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not fit(?s:.*)has shape"):
        train(recipe_of(tmp_path, foreign, width=32), tmp_path / "run", cache=tmp_path / "cache", console=quiet())
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="no model directory"):
        train(recipe_of(tmp_path, tmp_path / "no"), tmp_path / "run", cache=tmp_path / "cache", console=quiet())
    assert not (tmp_path / "run").exists()


def test_given_subwords_need_a_model(foreign: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, foreign).model_copy(update={"initial_model": None})
    with pytest.raises(UserError, match="come with a model"):
        train(recipe, tmp_path / "run", cache=tmp_path / "cache", console=quiet())
