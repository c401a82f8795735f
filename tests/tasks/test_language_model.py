"""The language-modelling task: what is asked, what it costs, how it is scored, and what it leaves in a directory."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kakehashi.config import ConfigError, resolve
from kakehashi.data.corpus import write_lines
from kakehashi.data.subwords import BEGIN, END, PAD
from kakehashi.data.vocabulary import FIRST_PIECE, MASK
from kakehashi.models.decoder_only import DecoderOnly
from kakehashi.models.encoder_only import EncoderOnly
from kakehashi.models.protocol import Encoded, Output, State, Vocabulary
from kakehashi.models.stack import Stack
from kakehashi.tasks.language_model import LanguageModel, LanguageModelTask
from kakehashi.tasks.objectives import Causal, Masked
from kakehashi.training.recipe import Recipe

LINES = ["the house is red", "the tree is green", "the sea is blue", "a house", "架け橋"]
SUMS = {"kind": "arithmetic", "digits": 1, "train": 80, "valid": 10, "test": 10}


def config(directory: Path, **changes: object) -> LanguageModel:
    write_lines(directory / "train.txt", LINES * 4)
    write_lines(directory / "valid.txt", LINES[1:])
    tree = {"text": {"kind": "lines", "train": "train.txt", "valid": "valid.txt"}, "length": 32, **changes}
    return resolve(tree, LanguageModel, directory=directory)


def build(directory: Path, **changes: object) -> LanguageModelTask:
    return config(directory, **changes).build(directory, directory / "cache")


def network(task: LanguageModelTask) -> Any:
    torch.manual_seed(0)
    kind = DecoderOnly if isinstance(task.config.objective, Causal) else EncoderOnly
    part = "decoder" if kind is DecoderOnly else "encoder"
    model = kind.model_validate({"width": 16, "heads": 2, "dropout": 0, part: Stack(depth=1)})
    return model.build(task.source_vocabulary, task.target_vocabulary)


class Calculator:
    """Knows every sum, and says each next token with probability 3/4; to some questions it gives a wrong answer."""

    def __init__(self, task: LanguageModelTask, wrong: set[str]) -> None:
        self.task, self.wrong = task, wrong
        self.source_vocabulary = self.target_vocabulary = task.target_vocabulary
        self.max_length: int | None = None

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        return Encoded(source[:, :, None].float(), mask)

    def begin(self, encoded: Encoded) -> State:
        return State(len(encoded.states), torch.device("cpu"))

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        name = "read"
        before = state.carried(name)
        read = tokens if before is None else torch.cat((before, tokens), 1)
        state.carry(name, read)
        state.advance(tokens.shape[1])
        return self._output([self._next(row)[-1:] for row in read.tolist()])

    def decode(self, tokens: Tensor, encoded: Encoded) -> Output:
        return self._output([self._next(row) for row in tokens.tolist()])

    def _next(self, row: list[int]) -> list[int]:
        text = self.task.segmenter.decode(row)
        question, _, _ = text.partition("=")
        answer = eval(question) if question and "=" in text else 0
        whole = f"{question}={answer + (question in self.wrong)}"
        following = [*self.task.segmenter.encode(whole), END]
        return [(following + [END] * len(row))[i] for i in range(len(row))]

    def _output(self, wanted: list[list[int]]) -> Output:
        size = self.target_vocabulary.size
        logits = torch.full((len(wanted), len(wanted[0]), size), math.log(0.25 / (size - 1)))
        logits.scatter_(2, torch.tensor(wanted)[:, :, None], math.log(0.75))
        return Output(logits, torch.eye(size))


# What is asked


def test_a_causal_model_is_asked_for_every_token_and_the_end(tmp_path: Path) -> None:
    task = build(tmp_path)
    batch = task.batch(np.array([3, 4]), epoch=0, seed=1)
    house = task.segmenter.encode("a house")
    assert batch.input[0].tolist() == [BEGIN, *house] and batch.output[0].tolist() == [*house, END]
    assert batch.output[1].tolist()[3:] == [END] + [PAD] * 4
    assert batch.target_tokens == 8 + 4


def test_a_masked_model_is_asked_for_a_share(tmp_path: Path) -> None:
    ids, size = np.arange(FIRST_PIECE, FIRST_PIECE + 1000, dtype=np.int32), FIRST_PIECE + 1000
    seen, asked = Masked(share=0.15).example(ids, size, (1, 2, 3))
    places = asked != PAD
    assert places.sum() == 150 and (asked[places] == ids[places]).all() and (seen[~places] == ids[~places]).all()
    hidden, kept = (seen[places] == MASK).sum(), (seen[places] == ids[places]).sum()
    assert abs(hidden - 120) <= 15 and abs(kept - 15) <= 10 and hidden + kept < 150, "80, 10, 10"
    again, other = Masked().example(ids, size, (1, 2, 3)), Masked().example(ids, size, (1, 3, 3))
    assert (again[0] == seen).all() and (other[1] != asked).any(), "drawn by seed, epoch and index"
    assert (Masked(share=0.01).example(ids[:3], size, (1, 1, 1))[1] != PAD).sum() == 1, "at least one"


def test_a_stream_is_cut_at_other_places_in_each_epoch(tmp_path: Path) -> None:
    text = {"kind": "stream", "train": "train.txt", "valid": 0.1}
    task = build(tmp_path, text=text, length=8)
    first = [task.batch(np.array([1]), epoch, seed=1).output[0].tolist() for epoch in range(6)]
    assert len({str(row) for row in first}) > 2 and all(len(row) == 8 for row in first)
    assert first[3] == task.batch(np.array([1]), 3, seed=1).output[0].tolist()


# The loss and the scores


@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_the_loss_is_a_sum_that_padding_takes_no_part_in(objective: str, tmp_path: Path) -> None:
    task = build(tmp_path, objective=objective)
    model = network(task)
    parts = [task.loss(model, task.batch(np.array([i]), 0, 1)) for i in range(5)]
    whole = task.loss(model, task.batch(np.arange(5), 0, 1))
    assert whole.tokens == sum(part.tokens for part in parts)
    assert whole.loss.item() == pytest.approx(sum(part.loss.item() for part in parts), rel=1e-4)
    whole.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_scores_follow_from_the_loss(tmp_path: Path) -> None:
    task = build(tmp_path)
    scores = task.evaluate(network(task).eval(), torch.device("cpu"))
    assert tuple(scores) == task.config.metrics == ("loss", "perplexity", "bits_per_character")
    assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]))
    tokens = sum(len(task.segmenter.encode(line)) + 1 for line in LINES[1:])
    characters = sum(len(line) + 1 for line in LINES[1:])
    assert tokens == characters
    assert scores["bits_per_character"] == pytest.approx(scores["loss"] / math.log(2))


def test_scores_of_subwords_are_bits_per_character_too(tmp_path: Path) -> None:
    task = build(tmp_path, vocabulary="unigram", length=200)
    scores = task.evaluate(network(task).eval(), torch.device("cpu"))
    tokens = sum(len(task.segmenter.encode(line)) + 1 for line in LINES[1:])
    characters = sum(len(line) + 1 for line in LINES[1:])
    assert scores["bits_per_character"] == pytest.approx(scores["loss"] / math.log(2) * tokens / characters)


def test_a_masked_model_has_no_bits_per_character(tmp_path: Path) -> None:
    task = build(tmp_path, objective="masked")
    scores = [task.evaluate(network(task).eval(), torch.device("cpu")) for _ in range(2)]
    assert tuple(scores[0]) == ("loss", "perplexity") and scores[0] == scores[1], "hidden alike each time"


def test_no_text_of_the_development_set_is_left_out(tmp_path: Path) -> None:
    task = build(tmp_path, length=9)
    assert task.train.dropped == 12 and len(task.train.lengths) == 8
    scores = task.evaluate(network(task).eval(), torch.device("cpu"))
    assert scores["loss"] == pytest.approx(
        build(tmp_path, length=99).evaluate(network(task).eval(), torch.device("cpu"))["loss"], rel=1e-5
    )


def test_answers_are_counted_when_they_are_exact(tmp_path: Path) -> None:
    task = build(tmp_path, text=SUMS)
    questions = [text.partition("=")[0] for text in task.texts["valid"]]
    for wrong in (set[str](), set(questions[:3])):
        scores = task.evaluate(Calculator(task, wrong), torch.device("cpu"))
        assert scores["accuracy"] == 100 - 10 * len(wrong)


# Settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": {"kind": "unigram", "sampling": 0.1}}, "fixed"),
        ({"vocabulary": {"kind": "bpe", "vocabulary": "separate"}}, "one text"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **changes)


@pytest.mark.parametrize(
    ("objective", "model", "metric", "message"),
    [
        ("causal", "encoder_only", "auto", "objective=causal cannot train model.kind=encoder_only"),
        ("causal", "encoder_decoder", "auto", "objective=causal cannot train model.kind=encoder_decoder"),
        ("masked", "decoder_only", "auto", "objective=masked cannot train model.kind=decoder_only"),
        ("causal", "decoder_only", "bleu", "metric=bleu: a task of kind language_model is judged by loss, perplexity"),
        ("masked", "encoder_only", "accuracy", "metric=accuracy"),
    ],
)
def test_what_does_not_go_together_is_one_error(objective: str, model: str, metric: str, message: str) -> None:
    task = {"kind": "language_model", "text": SUMS, "objective": objective}
    tree = {"task": task, "model": model, "training": {"validation": {"metric": metric}}}
    with pytest.raises(ConfigError, match=message):
        resolve(tree, Recipe)


def test_the_vocabulary_is_kept_by_a_run_that_is_resumed(tmp_path: Path) -> None:
    first = build(tmp_path)
    write_lines(tmp_path / "train.txt", [line.upper() for line in LINES])
    again = first.config.build(tmp_path, tmp_path / "cache")
    assert again.segmenter.encode("the") == first.segmenter.encode("the")
    assert again.fingerprint != first.fingerprint, "the text is another"
    assert build(tmp_path, length=31).fingerprint != build(tmp_path).fingerprint
    assert task_files(tmp_path) == {"train.txt", "valid.txt", "vocabulary"}


def task_files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_vocabularies_are_one(tmp_path: Path) -> None:
    task = build(tmp_path)
    assert task.source_vocabulary == task.target_vocabulary == Vocabulary(task.segmenter.size)
