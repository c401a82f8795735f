"""The translator, on a model that copies: whatever is wrong with the way through it shows in the text."""

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kakehashi.data.corpus import Pair
from kakehashi.data.subwords import SegmenterPair, Unigram, train_subwords
from kakehashi.decoding import Beam, Greedy, Hypothesis
from kakehashi.errors import UserError
from kakehashi.models.protocol import Encoded, Output, State, Vocabulary
from kakehashi.models.stack import CrossStack, Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.embeddings import Embeddings
from kakehashi.translator import ModelDirectory, Translator

WORDS = ["the", "cat", "dog", "sees", "a", "house", "and", "runs", "home", "now"]
TEXTS = [" ".join(words) for words in itertools.islice(itertools.permutations(WORDS, 4), 0, 4000, 13)]


class Copier:
    """Emits the source, token by token, with probability 9/10 each (9/10 of the rest goes to "UNKNOWN", id 3)."""

    def __init__(self, size: int) -> None:
        self.source_vocabulary = self.target_vocabulary = Vocabulary(size)
        self.max_length: int | None = None
        self.longest = 0
        self.batches: list[tuple[int, ...]] = []

    def encode(self, source: Tensor, mask: Tensor) -> Encoded:
        self.batches.append(tuple(source.shape))
        self.longest = max(self.longest, source.shape[1])
        return Encoded(source[:, :, None].float(), mask)

    def begin(self, encoded: Encoded) -> State:
        state = State(len(encoded.states), encoded.states.device)
        state.sentence["source"] = encoded.states[:, :, 0].long()
        return state

    def step(self, tokens: Tensor, state: State, alignment: bool = False) -> Output:
        source = state.sentence["source"].repeat_interleave(state.fanout, 0)
        place = state.lengths.clamp(max=source.shape[1] - 1)
        wanted = source.gather(1, place[:, None])
        size = self.target_vocabulary.size
        logits = torch.full((len(tokens), size), math.log(0.01 / size))
        logits[:, 3] = math.log(0.09)
        logits.scatter_(1, wanted, math.log(0.9))
        state.advance(1)
        return Output(logits[:, None], torch.eye(size))

    def decode(self, tokens: Tensor, encoded: Encoded, alignment: bool = False) -> Output:
        raise NotImplementedError


@pytest.fixture(scope="module")
def segmenters() -> SegmenterPair:
    return train_subwords(Unigram(), [Pair(text + ".", text + "。") for text in TEXTS])


def config(**changes: Any) -> ModelDirectory:
    model = EncoderDecoder(width=16, heads=2, encoder=Stack(depth=1), decoder=CrossStack(depth=1))
    settings: dict[str, Any] = {"source": "en", "target": "de", "model": model, "subwords": Unigram(), **changes}
    return ModelDirectory(**settings)


@pytest.fixture
def copier(segmenters: SegmenterPair) -> Translator:
    return Translator(config(), Copier(segmenters.source.size), segmenters)


@pytest.fixture
def trained(segmenters: SegmenterPair) -> Translator:
    torch.manual_seed(0)
    vocabulary = Vocabulary(segmenters.source.size)
    settings = config(decoding=Beam(size=3, max_length=12))
    model = settings.model.build(vocabulary, vocabulary).eval()
    return Translator(settings, model, segmenters, card={"scores": {"BLEU": 12.5}, "名": "架け橋"})


# Text in, text out


def test_lines_come_back_in_order_and_blank_ones_stay(copier: Translator) -> None:
    lines = ["the cat sees a dog", "", "now", "   ", "the house and the home and the dog", "\u3000", "a cat"]
    assert copier.translate(lines) == lines
    assert copier.translate([]) == []


def test_long_and_short_lines_do_not_share_a_batch(copier: Translator) -> None:
    lines = TEXTS[:100] + [" ".join(TEXTS[:8])] * 3
    copier.batch_tokens = 300
    assert copier.translate(lines[::-1]) == lines[::-1]
    model = copier.model
    assert isinstance(model, Copier)
    assert all(rows * length <= 300 for rows, length in model.batches)
    assert len(model.batches) < 20


def test_a_text_of_several_lines_keeps_its_breaks(copier: Translator) -> None:
    text = "the cat runs\n\n  a dog sees\nhome\n"
    assert copier.translate([text]) == ["the cat runs\n\na dog sees\nhome\n"]


def test_characters_that_the_vocabulary_lacks_go_through(copier: Translator) -> None:
    lines = ["▁ 架け橋 🌉", "a\u2028b", "\u00e9\u0301"]
    assert copier.translate(lines) == lines


def test_stream_reads_no_more_than_its_window(copier: Translator) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        for word in itertools.cycle(WORDS):
            read += 1
            yield f"{word} {read}"

    stream = copier.stream(endless(), window=7, kind="greedy")
    for expected in range(1, 20):
        assert next(stream).text.endswith(f" {expected}")
        assert read <= (expected + 6) // 7 * 7
    one = copier.stream(endless(), window=1)
    before = read
    next(one)
    assert read == before + 1


def test_a_translation_carries_its_score(copier: Translator) -> None:
    (found,) = copier.stream(["the cat"], kind="greedy")
    tokens = len(copier.segmenters.source.encode("the cat")) + 1
    assert found.score == pytest.approx(tokens * math.log(0.9), abs=1e-3)
    assert (found.source, found.text, found.finished, found.note) == ("the cat", "the cat", True, "")


def test_alternatives_are_sorted_and_differ_in_text(copier: Translator) -> None:
    (found,) = copier.alternatives(["the cat sees"], 4)
    (best,) = copier.stream(["the cat sees"])
    assert (found[0].text, found[0].score) == (best.text, pytest.approx(best.score, abs=1e-5))
    assert len({a.text for a in found}) == len(found) > 1
    assert [a.score for a in found] == sorted((a.score for a in found), reverse=True)
    with pytest.raises(UserError, match="6 alternatives"):
        copier.alternatives(["the cat"], 6)


def test_hypotheses_of_equal_text_are_one_alternative(copier: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = copier.segmenters.source.encode
    ranked = [encode("cat"), encode("house"), encode("cat"), encode("dog")]
    found = [Hypothesis(tokens, -float(rank), -float(rank), [], True) for rank, tokens in enumerate(ranked)]
    monkeypatch.setattr("kakehashi.translator.search", lambda *_: [found])
    ((first, *others),) = copier.alternatives(["cat"], 5)
    assert (first.text, first.score) == ("cat", 0.0)
    assert [(a.text, a.score) for a in others] == [("house", -1.0), ("dog", -3.0)]


# Settings


def test_alternatives_by_sampling_are_those_of_the_seeds_that_follow(copier: Translator) -> None:
    sampled: dict[str, Any] = {"kind": "sample", "temperature": 3.0, "max_length": 4}
    (found,) = copier.alternatives(["the cat sees a house"], 5, seed=3, **sampled)
    each = [copier.translate(["the cat sees a house"], seed=seed, **sampled)[0] for seed in range(3, 8)]
    assert {translation.text for translation in found} == set(each) and len(found) > 1
    ranks = [(translation.finished, translation.score) for translation in found]
    assert ranks == sorted(ranks, reverse=True)


@pytest.mark.parametrize("decoding", [{"kind": "greedy"}, {"kind": "beam", "size": 3}, {"kind": "sample"}])
@pytest.mark.parametrize("prefix", ["dog", "the dog sees", "未知 ", "two  spaces"])
def test_a_translation_begins_with_its_prefix(trained: Translator, prefix: str, decoding: dict[str, Any]) -> None:
    texts = ["the cat", "", "a house and a dog\n\nnow", "now"]
    found = trained.translate(texts, prefix=prefix, max_length=6, **decoding)
    assert [text.startswith(prefix.rstrip()) for text in found] == [True, False, True, True]
    assert found[1] == ""
    assert found[3] == trained.translate(["now"], prefix=prefix, max_length=6, **decoding)[0]
    assert trained.translate(texts, prefix=" ", **decoding) == trained.translate(texts, **decoding)


def test_a_prefix_that_leaves_no_place_is_refused(copier: Translator) -> None:
    assert isinstance(copier.model, Copier)
    copier.model.max_length = 8
    with pytest.raises(UserError, match="the text to begin with has"):
        copier.translate(["cat"], prefix="the cat sees a house and the dog runs home")


def test_overrides_are_the_fields_of_decoding(copier: Translator) -> None:
    (cut,) = copier.stream(["the cat sees a dog and runs"], kind="greedy", max_length=3)
    assert not cut.finished
    assert "limit" in cut.note
    assert "the cat sees a dog and runs".startswith(cut.text)
    assert cut.text
    assert copier.translate(["the cat"], size=2, length_penalty=0.0) == ["the cat"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"siez": 3}, "size"),
        ({"size": 0}, "size"),
        ({"kind": "gredy"}, "greedy"),
        ({"kind": "greedy", "size": 2}, "size"),
    ],
)
def test_wrong_overrides_are_refused_before_a_line_is_read(
    copier: Translator, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        copier.stream(iter(()), **overrides)
    with pytest.raises(UserError, match="window"):
        copier.stream(iter(()), window=0)


# Over-long lines


def test_a_line_that_is_too_long_is_split_at_its_sentences_and_says_so(copier: Translator) -> None:
    copier.max_source_tokens = 12
    line = "the cat sees a dog.  now a dog runs home! and the house? a cat and a dog and the house."
    (found,) = copier.stream([line])
    assert found.text == line.replace(".  now", ". now")
    assert found.finished
    assert "split into 4 parts" in found.note
    assert isinstance(copier.model, Copier)
    assert copier.model.longest <= 12


def test_a_loop_is_noted_where_asked(copier: Translator) -> None:
    copier.loops = 3
    found = [translation.note for translation in copier.stream(["cat dog dog dog", "the cat dog dog", "", "now"])]
    assert ["repeats itself" in note for note in found] == [True, False, False, False]
    copier.loops = None
    assert [translation.note for translation in copier.stream(["cat dog dog dog"])] == [""]


def test_no_word_is_lost_whatever_the_line(copier: Translator) -> None:
    copier.max_source_tokens = 20
    for line in (" ".join(TEXTS[:30]), "猫" * 200, "a" * 500, ", ".join(TEXTS[:9]), "。".join(["犬と猫"] * 40)):
        (found,) = copier.stream([line], max_length=60)
        assert "".join(found.text.split()) == "".join(line.split())
        assert "split" in found.note
    assert isinstance(copier.model, Copier)
    assert copier.model.longest <= 20


def test_japanese_parts_are_joined_without_a_space(copier: Translator) -> None:
    line = "猫が走る。犬が見る。「家に帰る。」今。"
    for target, expected in (("ja", line), ("de", "猫が走る。 犬が見る。 「家に帰る。」 今。")):
        translator = Translator(config(target=target), copier.model, copier.segmenters, max_source_tokens=24)
        assert translator.translate([line]) == [expected]


def test_the_models_own_limit_holds(copier: Translator) -> None:
    model = Copier(copier.segmenters.source.size)
    model.max_length = 10
    translator = Translator(copier.config, model, copier.segmenters)
    assert translator.max_source_tokens == 10


# Model directories


def test_saved_and_loaded_it_translates_the_same(trained: Translator, tmp_path: Path) -> None:
    trained.save(tmp_path / "runs" / "model")
    moved = (tmp_path / "runs" / "model").rename(tmp_path / "elsewhere")
    loaded = Translator.load(moved, device="cpu")
    assert loaded.config == trained.config
    assert loaded.card == trained.card
    assert list(loaded.stream(TEXTS[:9])) == list(trained.stream(TEXTS[:9]))
    assert {path.name for path in moved.iterdir()} == {
        "config.yaml", "model.safetensors", "subwords.model", "card.json"
    }  # fmt: skip


def test_tied_weights_are_stored_once(trained: Translator, tmp_path: Path) -> None:
    trained.save(tmp_path / "model")
    stored = load_file(tmp_path / "model" / "model.safetensors")
    table = (trained.segmenters.source.size, 16)
    assert [tuple(tensor.shape) for tensor in stored.values()].count(table) == 1


def test_separate_vocabularies_have_their_own_sizes(segmenters: SegmenterPair, tmp_path: Path) -> None:
    target = train_subwords(Unigram(), [Pair(text, text) for text in TEXTS]).target
    pair = SegmenterPair(segmenters.source, target)
    model = EncoderDecoder(
        width=16, heads=2, embeddings=Embeddings(tie="target"), encoder=Stack(depth=1), decoder=CrossStack(depth=1)
    )
    settings = config(model=model, subwords=Unigram(vocabulary="separate"), decoding=Greedy(max_length=5))
    network = model.build(Vocabulary(pair.source.size), Vocabulary(target.size)).eval()
    translator = Translator(settings, network, pair)
    translator.save(tmp_path / "model")
    assert not (tmp_path / "model" / "card.json").exists()
    assert Translator.load(tmp_path / "model", device="cpu").translate(TEXTS[:3]) == translator.translate(TEXTS[:3])


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_less_precision_keeps_the_weights_but_for_rounding(precision: Any, trained: Translator, tmp_path: Path) -> None:
    trained.save(tmp_path / "model")
    loaded = Translator.load(tmp_path / "model", precision, device="cpu")
    scores = [[t.score for t in translator.stream(TEXTS[:5])] for translator in (trained, loaded)]
    assert scores[1] != scores[0]
    assert scores[1] == pytest.approx(scores[0], rel=0.05)


def test_a_model_directory_is_replaced_and_nothing_is_left_behind(trained: Translator, tmp_path: Path) -> None:
    place = tmp_path / "model"
    trained.save(place)
    (place / "stale.txt").write_text("of the old model")
    trained.card = None
    trained.save(place)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert sorted(path.name for path in place.iterdir()) == ["config.yaml", "model.safetensors", "subwords.model"]


def test_anything_else_is_not_replaced(trained: Translator, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="no model directory"):
        trained.save(tmp_path)
    with pytest.raises(UserError, match="no model directory"):
        trained.save(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_failed_save_leaves_the_old_model(
    trained: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.save(tmp_path / "model")
    before = trained.translate(TEXTS[:2])
    broken = Translator(trained.config, trained.model, trained.segmenters, card={"not JSON": object()})
    with pytest.raises(TypeError):
        broken.save(tmp_path / "model")
    assert Translator.load(tmp_path / "model", device="cpu").translate(TEXTS[:2]) == before

    def no_disk(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise OSError("no disk")
        return rename(self, target)

    rename = Path.rename
    monkeypatch.setattr(Path, "rename", no_disk)
    with pytest.raises(OSError, match="no disk"):
        trained.save(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert Translator.load(tmp_path / "model", device="cpu").translate(TEXTS[:2]) == before


def test_damaged_directories_are_refused_with_a_reason(trained: Translator, tmp_path: Path) -> None:
    place = tmp_path / "model"

    def refused(message: str) -> None:
        with pytest.raises(UserError, match=message):
            Translator.load(place, device="cpu")

    refused("no model directory")
    trained.save(place)
    weights, settings = place / "model.safetensors", place / "config.yaml"
    whole, text = weights.read_bytes(), settings.read_text("utf-8")

    weights.write_bytes(whole[: len(whole) // 2])
    refused("model.safetensors")
    weights.unlink()
    refused("model.safetensors")
    weights.write_bytes(whole)

    settings.write_text(text.replace("format_version: 1", "format_version: 2"), "utf-8")
    refused("update kakehashi")
    settings.write_text(text.replace("format_version: 1", "format_version: old"), "utf-8")
    refused("format_version")
    settings.write_text("[", "utf-8")
    refused("config.yaml")
    settings.write_text(text.replace("heads:", "haeds:"), "utf-8")
    refused("heads")
    settings.write_text(text, "utf-8")

    (place / "card.json").write_text("{", "utf-8")
    refused("card.json")
    (place / "card.json").write_text(json.dumps({"fine": 1}), "utf-8")
    (place / "subwords.model").unlink()
    refused("subwords.model")


def test_weights_that_do_not_fit_are_listed(trained: Translator, tmp_path: Path) -> None:
    trained.save(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    first, second = sorted(stored)[:2]
    stored["surprise"] = stored.pop(first)
    stored[second] = torch.zeros(1, 2, 3)
    save_file(stored, tmp_path / "model.safetensors")
    with pytest.raises(UserError) as raised:
        Translator.load(tmp_path, device="cpu")
    for part in (f"{first} is missing", "surprise is unexpected", f"{second} has shape [1, 2, 3]"):
        assert part in str(raised.value)
