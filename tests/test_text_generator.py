"""Text generation: it begins with the prompt, samples repeat, and directories come back as they were."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import kakehashi
from kakehashi.data.vocabulary import Characters, CharacterSegmenter
from kakehashi.decoding import Hypothesis, Sample, search
from kakehashi.errors import UserError
from kakehashi.models.decoder_only import DecoderOnly
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import Stack
from kakehashi.nn.positions import Learned
from kakehashi.text_generator import LanguageModelDirectory, TextGenerator


@pytest.fixture(scope="module")
def generator() -> TextGenerator:
    """An untrained model whose choices are clear."""
    segmenter = CharacterSegmenter("abcdefgh ")
    model = DecoderOnly(width=16, heads=2, decoder=Stack(depth=1))
    config = LanguageModelDirectory(
        model=model, vocabulary=Characters(), length=32, decoding=Sample(max_length=70, temperature=0.5)
    )
    torch.manual_seed(3)
    vocabulary = Vocabulary(segmenter.size)
    return TextGenerator(config, model.build(vocabulary, vocabulary).eval(), segmenter)


def test_a_text_begins_with_its_prompt(generator: TextGenerator) -> None:
    for prompt in ("", "a", "bad head", "é"):
        assert generator.generate(prompt)[0].startswith(prompt)


def test_samples_repeat_and_differ_by_seed(generator: TextGenerator) -> None:
    three = generator.generate("ab", count=3)
    assert three == generator.generate("ab", count=3) and len(set(three)) == 3
    assert generator.generate("ab", seed=2)[0] == three[1], "the second one has the second seed"
    assert generator.generate("abc")[0] != three[0]


def test_nothing_but_max_length_limits_it(generator: TextGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    emitted: list[int] = []

    def watched(*arguments: Any) -> list[list[Hypothesis]]:
        found = search(*arguments)
        emitted.append(len(found[0][0].tokens) + found[0][0].finished)
        return found

    monkeypatch.setattr("kakehashi.text_generator.search", watched)
    generator.generate("ab", min_length=60, max_length=60)
    assert emitted == [60], "an empty source and extra_length would have ended it at 50"


def test_a_model_of_few_places_stops_where_they_end(generator: TextGenerator) -> None:
    """With the source read as the beginning of the text, and with a prompt."""
    stack = Stack(depth=1, position=Learned(max_length=9))
    model = DecoderOnly(width=16, heads=2, decoder=stack).build(*[generator.causal.target_vocabulary] * 2).eval()
    decoding = Sample(min_length=30, max_length=30)
    source = torch.tensor([[260, 261, 2, 0], [260, 2, 0, 0]])
    found = search(model, source, source != 0, decoding)
    assert [len(best.tokens) + best.finished for (best,) in found] == [9 - 3, 9 - 2]
    few = replace(generator, model=model)
    with pytest.raises(UserError, match=r"the prompt has 9 tokens, and the model knows 9 places"):
        few.generate("abcdefgh ", max_length=4)
    assert few.generate("abcdefgh", max_length=4)


def test_a_beam_gives_its_best(generator: TextGenerator) -> None:
    found = generator.generate("ab", count=3, kind="beam", size=4, max_length=6)
    assert len(found) == 3 and all(text.startswith("ab") for text in found)
    with pytest.raises(UserError, match=r"raise decoding\.size"):
        generator.generate("ab", count=3, kind="greedy")


def test_a_saved_model_says_the_same(generator: TextGenerator, tmp_path: Path) -> None:
    generator.save(tmp_path / "model")
    loaded = kakehashi.load_language_model(tmp_path / "model", device="cpu")
    assert loaded.config == generator.config
    assert loaded.generate("ab", count=2) == generator.generate("ab", count=2)
    half = TextGenerator.load(tmp_path / "model", precision="bf16", device="cpu")
    assert half.causal.projection.weight.dtype == torch.bfloat16 and half.generate("ab")


def test_a_translator_is_no_generator(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("format_version: 1\nsource: en\n", "utf-8")
    with pytest.raises(UserError, match="is a translator: use it with kakehashi translate"):
        TextGenerator.load(tmp_path)
