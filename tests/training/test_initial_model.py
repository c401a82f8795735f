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
from kakehashi.data.extension import origins
from kakehashi.data.listed import ListedSegmenter, Special
from kakehashi.data.phrasebook import generate
from kakehashi.data.subwords import Extended, Given, SegmenterPair, Unigram, train_subwords
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


def recipe_of(directory: Path, foreign: Path, subwords: Any = "given", **model: Any) -> Recipe:
    for name, pairs in (("train", PAIRS[:60]), ("valid", PAIRS[60:70]), ("test", PAIRS[70:])):
        write_lines(directory / f"{name}.en", [pair.source for pair in pairs])
        write_lines(directory / f"{name}.de", [pair.target for pair in pairs])
    task = {**TREE["task"], "subwords": subwords, "label_smoothing": 0.1}
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


EXTENDED = {"kind": "extended", "pieces": 40}


def started(recipe: Recipe, directory: Path) -> tuple[Any, Any]:
    """The task of a new run, and its model before the first step."""
    directory.mkdir()
    recipe.task.adopt(Path(str(recipe.initial_model)), directory)
    task = recipe.task.build(directory, directory / "cache")
    network: Any = recipe.model.build(task.source_vocabulary, task.target_vocabulary)
    task.start(network, Path(str(recipe.initial_model)))
    return task, network.eval()


def test_new_pieces_start_as_the_mean_of_those_that_they_replace(foreign: Path, tmp_path: Path) -> None:
    task, network = started(recipe_of(tmp_path, foreign, EXTENDED), tmp_path / "run")
    old = Translator.load(foreign, device="cpu")
    size, new = old.segmenters.source.size, task.segmenters.source
    assert size < new.size == network.target_vocabulary.size and new.special == old.segmenters.source.special
    instead, _ = origins(old.segmenters, task.segmenters)
    before = load_file(foreign / "model.safetensors")
    for name, after in (("source_embedding.table.weight", network.target_embedding.table.weight),
                        ("projection.bias", network.projection.bias)):  # fmt: skip
        assert torch.equal(after[:size], before[name])
        for row, replaced in zip(after[size:], instead, strict=True):
            torch.testing.assert_close(row, sum(before[name][id] for id in replaced) / len(replaced))
    assert network.projection.weight is network.source_embedding.table.weight


def test_where_no_new_piece_stands_the_model_is_the_old_one(foreign: Path, tmp_path: Path) -> None:
    """But for what the new pieces take: of each token's probability at most the mean of those that they replace."""
    task, network = started(recipe_of(tmp_path, foreign, EXTENDED), tmp_path / "run")
    old = Translator.load(foreign, device="cpu")
    size, encode = old.segmenters.source.size, task.segmenters.source.encode
    known = encode("a e i o u")
    assert max(known) < size
    source = torch.tensor([[*known, 0]])
    begun = torch.tensor([[old.model.target_vocabulary.begin]])
    logits = [
        model.decode(begun, model.encode(source, torch.ones_like(source, dtype=torch.bool))).logits[0, 0]
        for model in (old.model, network)
    ]
    torch.testing.assert_close(logits[1][:size], logits[0])
    instead, _ = origins(old.segmenters, task.segmenters)
    most = torch.stack([logits[0].exp()[ids].mean() for ids in instead])
    assert (logits[1][size:].exp() <= most + 1e-6).all()


def test_it_learns_on_with_new_pieces(foreign: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe = recipe_of(tmp_path, foreign, EXTENDED)
    train(recipe, run, cache=tmp_path / "cache", console=quiet())
    losses = [line["loss"] for line in log_of(run, "validation")]
    assert losses[-1] < losses[0]
    before, after = (load_file(path / "model.safetensors") for path in (foreign, run / "last"))
    table = "source_embedding.table.weight"
    pad = len(before[table]) - 1
    assert len(after[table]) > pad + 1 and torch.equal(before[table][pad], after[table][pad])
    new = Translator.load(run / "model", device="cpu")
    assert new.config.subwords == Extended(pieces=40) and new.segmenters.source.special.pad == pad
    assert len(new.translate(["Good morning!"], max_length=5)) == 1
    train(recipe, run, resume=True, cache=tmp_path / "cache", console=quiet())


@pytest.mark.parametrize("tie", ["target", "none"])
def test_each_table_grows_by_the_pieces_of_its_own_side(tie: str, tmp_path: Path) -> None:
    segmenters = train_subwords(Unigram(size=330, vocabulary="separate"), PAIRS[:20])
    tree = {**TREE["model"], "embeddings": {"tie": tie}}
    subwords = {"kind": "unigram", "vocabulary": "separate"}
    config = resolve({"source": "en", "target": "de", "model": tree, "subwords": subwords}, ModelDirectory)
    network: Any = config.model.build(*(Vocabulary(each.size) for each in segmenters))
    Translator(config, network.eval(), segmenters).save(tmp_path / "old")
    subwords = {**EXTENDED, "vocabulary": "separate"}
    recipe = recipe_of(tmp_path, tmp_path / "old", subwords, embeddings={"tie": tie})
    task, grown = started(recipe, tmp_path / "run")
    rows = origins(segmenters, task.segmenters)
    assert rows[0] and rows[1] and rows[0] != rows[1]
    tables = [(network.source_embedding.table, grown.source_embedding.table, rows[0]),
              (network.target_embedding.table, grown.target_embedding.table, rows[1]),
              (network.projection, grown.projection, rows[1])]  # fmt: skip
    for old, new, instead in tables:
        expected = torch.stack([old.weight[ids].mean(0) for ids in instead])
        torch.testing.assert_close(new.weight, torch.cat([old.weight, expected]))
    assert (grown.projection.weight is grown.target_embedding.table.weight) == (tie == "target")


def test_new_pieces_come_from_what_is_seen(foreign: Path, tmp_path: Path) -> None:
    """Old text that is mixed in counts for as much as its weight says."""
    write_lines(tmp_path / "old.en", ["Thunderbolt"] * 500)
    write_lines(tmp_path / "old.de", ["Blitzableiter"] * 500)

    def learned(weight: float) -> set[str]:
        recipe = recipe_of(tmp_path, foreign, EXTENDED)
        train = [str(tmp_path / "train.{en,de}"), {"files": str(tmp_path / "old.{en,de}"), "weight": weight}]
        tree = {**recipe.model_dump(), "task": {**recipe.task.model_dump(), "train": train}}
        task, _ = started(resolve(tree, Recipe), tmp_path / f"run-{weight}")
        return {task.segmenters.source.piece(id) for id in range(task.segmenters.source.size)}

    assert "▁Thunderbolt" in learned(0.5)
    assert not any("hund" in piece for piece in learned(0.002))


def test_a_model_that_does_not_fit_is_refused_and_nothing_is_left(foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not fit(?s:.*)has shape"):
        train(recipe_of(tmp_path, foreign, width=32), tmp_path / "run", cache=tmp_path / "cache", console=quiet())
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="no model directory"):
        train(recipe_of(tmp_path, tmp_path / "no"), tmp_path / "run", cache=tmp_path / "cache", console=quiet())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("subwords", ["given", "extended"])
def test_subwords_of_a_model_need_one(subwords: str, foreign: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, foreign, subwords).model_copy(update={"initial_model": None})
    with pytest.raises(UserError, match="come with a model"):
        train(recipe, tmp_path / "run", cache=tmp_path / "cache", console=quiet())
