from pathlib import Path

import numpy as np
import pytest

from kakehashi.data.check import overlap
from kakehashi.data.corpus import Corpus, Pair, brace_path, read_lines, write_lines
from kakehashi.data.holdout import DROP, VALID, Holdout, count_pairs, plan_holdout, write_holdout
from kakehashi.errors import UserError


def written(folder: Path, pairs: list[Pair], name: str = "all") -> Corpus:
    paths = folder / f"{name}.en", folder / f"{name}.de"
    for path, lines in zip(paths, zip(*pairs, strict=True), strict=True):
        write_lines(path, lines)
    return Corpus(files=brace_path(*paths))


def word(number: int) -> str:
    """A word of its own for each number: a digit would count as a word."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def numbered(count: int) -> list[Pair]:
    return [Pair(f"the number {word(i)}", f"die Zahl {word(i)}") for i in range(count)]


def split(corpus: Corpus, folder: Path) -> tuple[Holdout, list[Pair], list[Pair]]:
    """The counts, and both parts as they are written."""
    paths = [(folder / f"{part}.en", folder / f"{part}.de") for part in ("train", "valid")]
    plan = plan_holdout(corpus, seed=1)
    write_holdout(corpus, plan, paths[0], paths[1])
    train, valid = ([Pair(*pair) for pair in zip(*map(read_lines, pair), strict=True)] for pair in paths)
    return plan.counts, train, valid


@pytest.mark.parametrize(("pairs", "size"), [(100, 5), (2_000, 100), (20_400, 1_000)])
def test_a_twentieth_is_held_out_and_at_most_a_thousand(tmp_path: Path, pairs: int, size: int) -> None:
    plan = plan_holdout(written(tmp_path, numbered(pairs)), seed=1)
    assert plan.counts == Holdout(pairs, pairs - size, size, empty=0, shared=0, words=3 * pairs)
    assert (plan.parts == VALID).sum() == size and (plan.parts == DROP).sum() == 0
    places = np.flatnonzero(plan.parts == VALID)
    assert places.min() < pairs / 4 and places.max() > pairs * 3 / 4, "drawn from all of the text"


def test_what_is_written_is_the_whole_corpus_in_order(tmp_path: Path) -> None:
    pairs = numbered(400)
    counts, train, valid = split(written(tmp_path, pairs), tmp_path)
    assert (len(train), len(valid)) == (counts.train, counts.valid) == (380, 20)
    held = set(valid)
    assert train == [pair for pair in pairs if pair not in held]
    assert valid == [pair for pair in pairs if pair in held]


def test_the_seed_alone_decides(tmp_path: Path) -> None:
    corpus = written(tmp_path, numbered(300))
    one, same, other = (plan_holdout(corpus, seed).parts.tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_repeated_lines_stay_in_training(tmp_path: Path) -> None:
    repeated = [Pair("Yes.", f"Ja {i}.") for i in range(300)] + [Pair(f"No {i}.", "Nein.") for i in range(300)]
    counts, train, valid = split(written(tmp_path, repeated + numbered(1_000)), tmp_path)
    assert (counts.valid, counts.shared) == (80, 0)
    assert all(pair.source.startswith("the number") for pair in valid)
    assert len(train) == 1_520


def test_no_line_of_the_development_set_stays_in_training(tmp_path: Path) -> None:
    """Every line twice, written differently: as full-width, in capitals, with other spaces; so each pair held out
    costs another one."""
    pairs = numbered(150)
    pairs += [Pair(f"THE  NUMBER {word(i).upper()}", f"the other {i}") for i in range(75)]
    pairs += [Pair(f"another {i}", f"ｄｉｅ Ｚａｈｌ{word(i)}") for i in range(75, 150)]
    counts, train, valid = split(written(tmp_path, pairs), tmp_path)
    assert (counts.valid, counts.shared) == (15, 15)
    assert overlap(train, valid).lines() == []
    assert len(train) == 270


def test_a_pair_that_comes_often_counts_once(tmp_path: Path) -> None:
    counts, train, valid = split(written(tmp_path, numbered(120) * 30), tmp_path)
    assert (counts.valid, counts.shared) == (6, 6 * 29)
    assert len(set(valid)) == 6 and not set(valid) & set(train)


def test_empty_pairs_are_in_neither_part(tmp_path: Path) -> None:
    empty = [Pair("", "etwas"), Pair("something", " \t"), Pair("", "")]
    counts, train, valid = split(written(tmp_path, empty + numbered(200)), tmp_path)
    assert (counts.empty, counts.train, counts.valid, counts.words) == (3, 190, 10, 600)
    assert set(train) | set(valid) == set(numbered(200))


def test_long_and_untranslated_pairs_stay_in_training(tmp_path: Path) -> None:
    long = [Pair(f"{i} " + "word " * 200, f"{i} kurz") for i in range(500)]
    same = [Pair(f"https://example.org/{i}", f"https://example.org/{i}") for i in range(500)]
    _, _, valid = split(written(tmp_path, long + same + numbered(60)), tmp_path)
    assert len(valid) == 53 and all(pair.source.startswith("the number") for pair in valid)


def test_japanese_words_are_counted_by_two_characters(tmp_path: Path) -> None:
    pairs = [Pair(f"day {word(i)}", "今日は晴れ") for i in range(100)]
    corpus = written(tmp_path, pairs)
    assert count_pairs(corpus, corpus).words == 250, "(2 + 3) / 2 a pair"


def test_a_corpus_with_its_own_development_set_is_only_counted(tmp_path: Path) -> None:
    corpus = written(tmp_path, [*numbered(150), Pair("", "leer")])
    assert count_pairs(corpus, written(tmp_path, numbered(7), "dev")) == Holdout(151, 150, 7, 1, 0, 450)


def test_too_little_text_is_told(tmp_path: Path) -> None:
    corpus = written(tmp_path, [*numbered(99), *numbered(50), Pair("", "leer")])
    with pytest.raises(UserError, match=r"99 different pairs \(1 more have no text on a side\).* at least 100"):
        plan_holdout(corpus, seed=1)


def test_text_that_only_repeats_itself_is_told(tmp_path: Path) -> None:
    corpus = written(tmp_path, [Pair(f"line {i}", "dasselbe") for i in range(500)])
    with pytest.raises(UserError, match="of 500 pairs 499 share a line with the 1 that"):
        plan_holdout(corpus, seed=1)


def test_the_same_text_twice_is_told(tmp_path: Path) -> None:
    corpus = written(tmp_path, [Pair(f"line {i}", f"line {i}") for i in range(200)])
    with pytest.raises(UserError, match="source and target are the same text"):
        plan_holdout(corpus, seed=1)


def test_unequal_files_are_told_and_nothing_is_written(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.en", [str(i) for i in range(200)])
    write_lines(tmp_path / "a.de", [f"_{i}" for i in range(199)])
    with pytest.raises(UserError, match="200 lines"):
        plan_holdout(Corpus(files=brace_path(tmp_path / "a.en", tmp_path / "a.de")), seed=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.de", "a.en"]
