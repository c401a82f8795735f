import random
import re
import unicodedata
from itertools import islice
from pathlib import Path
from typing import Literal

import pytest

from kakehashi.data import phrasebook
from kakehashi.data.phrasebook.grammar import Words, construction, draw
from kakehashi.errors import UserError

Target = Literal["ja", "de"]
TARGETS: tuple[Target, ...] = ("ja", "de")
GERMAN_NOUNS = re.compile(r"\b(?:mann|frau|kind|haus|bahnhof|zug|uhr|jahren?|tasse|euro|montag|mai|gleis|seiten)\b")


@pytest.fixture(scope="module")
def sample() -> list[Words]:
    """A hundred sentences of each construction that has as many."""
    rng = random.Random(5)
    return [said for each in phrasebook.CONSTRUCTIONS for said in islice(each.shuffled(rng), 100)]


@pytest.fixture(scope="module", params=TARGETS)
def divided(request: pytest.FixtureRequest) -> phrasebook.Split:
    return phrasebook.split(request.param, train=5000, dev=200, test=400, seed=1)


def test_there_are_far_more_than_forty_thousand_sentences() -> None:
    drawn = set(islice((said.en for said in draw(phrasebook.CONSTRUCTIONS, random.Random(0))), 40_000))
    assert len(drawn) == 40_000


@pytest.mark.parametrize("target", TARGETS)
def test_generated_pairs_are_distinct_and_depend_on_the_seed_alone(target: Target) -> None:
    pairs = phrasebook.generate(target, 1000, seed=3)
    assert len({pair.source for pair in pairs}) == len(pairs) == 1000
    assert pairs == phrasebook.generate(target, 1000, seed=3)
    assert pairs != phrasebook.generate(target, 1000, seed=4)


def test_both_targets_translate_the_same_sources() -> None:
    japanese, german = (phrasebook.generate(target, 300, seed=9) for target in TARGETS)
    assert [pair.source for pair in japanese] == [pair.source for pair in german]
    assert all(ja.target != de.target for ja, de in zip(japanese, german, strict=True))


def test_no_source_has_two_translations(sample: list[Words]) -> None:
    meanings: dict[str, Words] = {}
    for said in sample:
        assert meanings.setdefault(said.en, said) == said
    assert len(meanings) == len(sample), "two combinations of slot values say the same in English"


def test_split_has_the_sizes_asked_for_and_shares_no_source(divided: phrasebook.Split) -> None:
    assert [len(part) for part in divided] == [5000, 200, 400]
    train, dev, test = ({pair.source for pair in part} for part in divided)
    assert [len(train), len(dev), len(test)] == [5000, 200, 400]
    assert not train & dev and not train & test and not dev & test


def test_every_held_out_word_occurs_in_training(divided: phrasebook.Split) -> None:
    for side in (0, 1):
        known = {word for pair in divided.train for word in phrasebook.words(pair[side])}
        unknown = {word for pair in divided.dev + divided.test for word in phrasebook.words(pair[side])} - known
        assert not unknown


def test_every_construction_occurs_in_all_parts(divided: phrasebook.Split) -> None:
    openings = ("Could you please bring us", "Is there a", "If it ", "Please put the", "It takes", "For ", "Turn ")
    for part in divided:
        assert all(any(pair.source.startswith(opening) for pair in part) for opening in openings)


def test_split_depends_on_the_seed_alone_and_no_seed_leaks_into_another() -> None:
    one = phrasebook.split("ja", train=600, dev=20, test=20, seed=1)
    assert one == phrasebook.split("ja", train=600, dev=20, test=20, seed=1)
    other = phrasebook.split("ja", train=5000, dev=20, test=200, seed=2)
    assert one.train != other.train[:600]
    assert not {pair.source for pair in one.train} & {pair.source for pair in other.test}
    assert not {pair.source for pair in one.test} & {pair.source for pair in other.train}


def test_too_many_test_pairs_for_the_training_set_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="words that occur in 3 training pairs"):
        phrasebook.split("de", train=3, dev=5, test=5, seed=1)


def test_the_written_files_hold_the_pairs(tmp_path: Path) -> None:
    divided = phrasebook.split("ja", train=300, dev=10, test=12, seed=1)
    phrasebook.write(tmp_path, "ja", divided)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{part}.{language}" for part in ("dev", "test", "train") for language in ("en", "ja")
    ]
    lines = {path.name: path.read_text(encoding="utf-8").splitlines() for path in tmp_path.iterdir()}
    for part, pairs in divided._asdict().items():
        assert lines[f"{part}.en"] == [pair.source for pair in pairs]
        assert lines[f"{part}.ja"] == [pair.target for pair in pairs]


def test_text_is_composed_trimmed_and_single_spaced(sample: list[Words]) -> None:
    for text in (text for said in sample for text in said):
        assert unicodedata.is_normalized("NFC", text)
        assert text == text.strip() and "  " not in text and "{" not in text and "\n" not in text


def test_sentences_begin_and_end_as_their_language_wants(sample: list[Words]) -> None:
    for said in sample:
        assert (said.en[0].isupper() and said.de[0].isupper()) or said.de[0].isdigit()
        assert said.en[-1] == said.de[-1] and said.en[-1] in ".?"
        assert not said.en.endswith("..") and not said.de.endswith("..")
        assert said.ja.endswith("。") and said.ja.count("。") == 1
        if said.en.endswith("?"):
            assert said.ja.endswith("か。")


def test_japanese_is_unspaced_and_polite(sample: list[Words]) -> None:
    polite = (
        "です。",
        "ます。",
        "ました。",
        "ません。",
        "ください。",
        "でしょう。",
        "ますか。",
        "ですか。",
        "でしょうか。",
        "のですが。",
    )
    for said in sample:
        assert not re.search(r"\s", said.ja)
        assert said.ja.endswith(polite)
        assert not re.search(r"[a-zA-Z]", said.ja)


def test_sentences_are_three_to_twenty_words_long(sample: list[Words]) -> None:
    assert {len(said.en.split()) for said in sample} <= set(range(3, 21))
    assert {len(said.de.split()) for said in sample} <= set(range(3, 21))


def test_german_nouns_are_capitalised_and_prepositions_contracted(sample: list[Words]) -> None:
    for said in sample:
        assert not GERMAN_NOUNS.search(said.de)
        assert not re.search(r"\b(?:in|an|von|zu) dem\b|\bzu der\b|\bin das\b", said.de)
        assert not re.search(r"\b(?:ein|kein|mein|dies) (?:e|er|en|em|es)\b", said.de)


def test_the_walk_through_a_construction_is_a_permutation() -> None:
    each = construction(lambda one, two: Words(f"{one}{two}", "", ""), "abc", range(7))
    walked = [said.en for said in each.shuffled(random.Random(0))]
    assert each.size == 21
    assert sorted(walked) == [f"{one}{two}" for one in "abc" for two in range(7)]
    assert walked != sorted(walked)
    assert walked != [said.en for said in each.shuffled(random.Random(1))]


def test_a_small_construction_falls_silent_and_the_others_go_on() -> None:
    small = construction(lambda word: Words(word, "", ""), "ab")
    large = construction(lambda number: Words(str(number), "", ""), range(6))
    repeated = construction(lambda word: Words(word, "", ""), "bc")
    said = [drawn.en for drawn in draw((small, large, repeated), random.Random(0))]
    assert sorted(said) == ["0", "1", "2", "3", "4", "5", "a", "b", "c"]
