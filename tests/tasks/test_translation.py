"""The translation task: its loss, its scores, and what it leaves in a run's directory."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kakehashi.config import resolve
from kakehashi.data.batching import Batch
from kakehashi.data.corpus import Pair, write_lines
from kakehashi.data.subwords import PAD, Unigram
from kakehashi.errors import UserError
from kakehashi.models.protocol import Encoded, Output, State, Vocabulary
from kakehashi.models.stack import CrossStack, Stack
from kakehashi.models.transformer import EncoderDecoder, Transformer
from kakehashi.tasks.translation import Translation, TranslationTask, pairs_of

PAIRS = [Pair(f"the {word} is {i}", f"das {word} ist {i}") for i in range(12) for word in ("house", "tree", "sea")]


class Knowing:
    """Says target i with probability 3/4 when it reads source i, whatever it is told before."""

    def __init__(self, task: TranslationTask) -> None:
        self.source_vocabulary, self.target_vocabulary = task.source_vocabulary, task.target_vocabulary
        self.max_length: int | None = None
        self.answers = {
            tuple(task.segmenters.source.encode(pair.source)): [*task.segmenters.target.encode(pair.target), 2]
            for pair in PAIRS
        }

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        return Encoded(source[:, :, None].float(), mask)

    def begin(self, encoded: Encoded) -> State:
        state = State(len(encoded.states), encoded.states.device)
        state.sentence = {"source": encoded.states[:, :, 0].long(), "mask": encoded.mask}
        return state

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        answers = self._answers(state.sentence["source"], state.sentence["mask"])
        places = state.lengths.tolist()
        state.advance(1)
        return self._output(
            [[answer[place] if place < len(answer) else 2] for answer, place in zip(answers, places, strict=True)]
        )

    def decode(self, tokens: Tensor, encoded: Encoded) -> Output:
        answers = self._answers(encoded.states[:, :, 0].long(), encoded.mask)
        return self._output([(answer + [2] * tokens.shape[1])[: tokens.shape[1]] for answer in answers])

    def _answers(self, source: Tensor, mask: Tensor) -> list[list[int]]:
        return [self.answers[tuple(row[known].tolist()[:-1])] for row, known in zip(source, mask, strict=True)]

    def _output(self, wanted: list[list[int]]) -> Output:
        size = self.target_vocabulary.size
        logits = torch.full((len(wanted), len(wanted[0]), size), math.log(0.25 / (size - 1)))
        logits.scatter_(2, torch.tensor(wanted)[:, :, None], math.log(0.75))
        return Output(logits, torch.eye(size))


def config(directory: Path, **changes: object) -> Translation:
    for name, pairs in {"train": PAIRS, "valid": PAIRS[5:25]}.items():
        write_lines(directory / f"{name}.en", [pair.source for pair in pairs])
        write_lines(directory / f"{name}.de", [pair.target for pair in pairs])
    tree = {"source": "en", "target": "de", "train": "train.{en,de}", "valid": "valid.{en,de}", **changes}
    return resolve(tree, Translation, directory=directory)


@pytest.fixture
def task(tmp_path: Path) -> TranslationTask:
    return config(tmp_path, label_smoothing=0).build(tmp_path, tmp_path / "cache")


def network(task: TranslationTask) -> Transformer:
    torch.manual_seed(0)
    model = EncoderDecoder(width=16, heads=2, dropout=0, encoder=Stack(depth=1), decoder=CrossStack(depth=1))
    return model.build(task.source_vocabulary, task.target_vocabulary)


def batches(task: TranslationTask) -> list[Batch]:
    return [task.batch(indices, epoch=0, seed=1) for indices in task.sampler(200, 1).plan(0)]


def test_the_loss_is_a_sum_over_real_tokens(task: TranslationTask) -> None:
    model = network(task)
    sums = [task.loss(model, batch) for batch in batches(task)]
    assert len(sums) > 1 and sum(each.tokens for each in sums) == int(task.shards.target_lengths.sum()) + len(PAIRS)
    whole = task.loss(model, task.batch(np.arange(len(PAIRS)), 0, 1))
    assert sum(each.loss.item() for each in sums) == pytest.approx(whole.loss.item(), rel=1e-5)
    assert whole.likelihood.item() == pytest.approx(whole.loss.item(), rel=1e-6), "without smoothing they are the same"


def test_padding_takes_no_part(task: TranslationTask) -> None:
    model, batch = network(task), batches(task)[0]
    rows = len(batch.source)
    pad, one = torch.full((rows, 3), PAD), torch.zeros(rows, 3, dtype=torch.bool)
    padded = Batch(
        source=torch.cat((batch.source, pad), 1),
        source_mask=torch.cat((batch.source_mask, one), 1),
        target_input=torch.cat((batch.target_input, pad), 1),
        target_output=torch.cat((batch.target_output, pad), 1),
        indices=batch.indices,
    )
    alone, with_padding = task.loss(model, batch), task.loss(model, padded)
    assert with_padding.tokens == alone.tokens == batch.target_tokens
    assert with_padding.loss.item() == pytest.approx(alone.loss.item(), rel=1e-5)


def test_smoothing_is_in_the_loss_and_not_in_the_likelihood(tmp_path: Path, task: TranslationTask) -> None:
    smooth = config(tmp_path, label_smoothing=0.3).build(tmp_path, tmp_path / "cache")
    model, batch = network(task), batches(task)[0]
    hard, soft = task.loss(model, batch), smooth.loss(model, batch)
    assert soft.likelihood.item() == pytest.approx(hard.likelihood.item(), rel=1e-6)
    assert abs(soft.loss.item() - hard.loss.item()) > 1e-3


def test_a_model_that_knows_the_answers_scores_100(task: TranslationTask) -> None:
    scores = task.evaluate(Knowing(task), torch.device("cpu"))
    assert scores.keys() == {"loss", "bleu", "chrf"}
    assert (scores["bleu"], scores["chrf"]) == pytest.approx((100, 100))
    assert scores["loss"] == pytest.approx(-math.log(0.75), rel=1e-5), "a mean over tokens, of all pairs"


def test_the_development_set_is_whole_whatever_its_lengths(tmp_path: Path) -> None:
    task = config(tmp_path, max_tokens=40).build(tmp_path, tmp_path / "cache")
    task.valid = [*PAIRS[:7], Pair("house " * 2500, "tree " * 2500), Pair("", "")]
    indices = sorted(int(i) for batch in task._valid_batches() for i in batch.indices)
    assert indices == list(range(9))


def test_subwords_are_kept_by_a_run_that_is_resumed(tmp_path: Path) -> None:
    first = config(tmp_path).build(tmp_path, tmp_path / "cache")
    before = {path.name: path.read_bytes() for path in (tmp_path / "subwords").iterdir()}
    write_lines(tmp_path / "train.en", [pair.source.upper() for pair in PAIRS])
    again = resolve(first.config.model_dump(), Translation).build(tmp_path, tmp_path / "cache")
    assert {path.name: path.read_bytes() for path in (tmp_path / "subwords").iterdir()} == before
    assert again.shards.path != first.shards.path, "the text is another, and is read anew"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_two_vocabularies(tmp_path: Path) -> None:
    task = config(tmp_path, subwords=Unigram(vocabulary="separate")).build(tmp_path, tmp_path / "cache")
    assert task.source_vocabulary == Vocabulary(task.segmenters.source.size)
    assert task.target_vocabulary == Vocabulary(task.segmenters.target.size)
    assert {path.name for path in (tmp_path / "subwords").iterdir()} == {"source.model", "target.model"}


def test_what_is_dropped_is_counted(tmp_path: Path) -> None:
    settings = config(tmp_path, max_tokens=40)
    write_lines(tmp_path / "train.en", ["", "house " * 60, *(pair.source for pair in PAIRS[2:])])
    task = settings.build(tmp_path, tmp_path / "cache")
    assert task.shards.dropped == {"empty source": 1, "source longer than max_tokens": 1}
    assert len(task.shards) == len(PAIRS) - 2


def test_an_empty_development_set_is_refused(tmp_path: Path) -> None:
    settings = config(tmp_path)
    (tmp_path / "valid.en").write_bytes(b"")
    (tmp_path / "valid.de").write_bytes(b"")
    with pytest.raises(UserError, match=r"valid\.en is empty"):
        settings.build(tmp_path, tmp_path / "cache")


def test_corpora_follow_one_another(tmp_path: Path) -> None:
    settings = config(tmp_path, valid=["valid.{en,de}", "train.{en,de}"])
    assert list(pairs_of(settings.valid)) == [*PAIRS[5:25], *PAIRS]


def test_both_directions_in_one_model(tmp_path: Path) -> None:
    """Swapped braces are the other direction; the one without a tag is judged and used."""
    train = ["train.{en,de}", {"files": "train.{de,en}", "tag": "en"}]
    task = config(tmp_path, train=train).build(tmp_path, tmp_path / "cache")
    tag, count = task.segmenters.source.tag("en"), len(PAIRS)
    both = task.batch(np.array([0, count]), 0, 1)
    assert both.source[1, 0] == tag and tag not in both.source[0]
    model = network(task)
    assert task.loss(model, both).loss.isfinite()
    assert task.evaluate(model.eval(), torch.device("cpu")).keys() == {"loss", "bleu", "chrf"}
    assert all(tag not in batch.source for batch in task._valid_batches())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"files": "train.{en,de}", "tag": "de"}}, "leave one corpus without a tag"),
        ({"valid": {"files": "valid.{en,de}", "tag": "de"}}, "valid: only training corpora take a tag"),
        ({"test": {"new": {"files": "valid.{en,de}", "tag": "de"}}}, r"test\.new: only training corpora take a tag"),
        ({"train": ["train.{en,de}", {"files": "train.{en,de}", "tag": "a b"}]}, "tag"),
    ],
)
def test_what_a_tag_cannot_be(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(tmp_path, **changes)
