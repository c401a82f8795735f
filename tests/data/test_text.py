"""Text for language models: streams, lines, and sums that are never in two sets."""

from pathlib import Path
from typing import Any

import pytest

from kakehashi.config import Config, ConfigError, resolve
from kakehashi.data.corpus import write_lines
from kakehashi.data.text import Arithmetic, Text
from kakehashi.errors import UserError


class Holder(Config):
    text: Text


def text(tree: Any, directory: Path = Path()) -> Text:
    return resolve({"text": tree}, Holder, directory=directory).text


def test_a_stream_is_the_file_as_it_is(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.txt.gz", ["one", "", "three"])
    write_lines(tmp_path / "b.txt", ["four"])
    tree = {"kind": "stream", "train": ["a.txt.gz", "b.txt"], "valid": "b.txt", "test": {"more": "a.txt.gz"}}
    read = text(tree, tmp_path).read()
    assert read == {"train": ["one\n\nthree\n", "four\n"], "valid": ["four\n"], "more": ["one\n\nthree\n"]}
    assert text(tree, tmp_path).names == ("a.txt.gz", "b.txt")


def test_a_share_is_held_out_at_the_end(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.txt", [str(i) for i in range(10)])
    stream = text({"kind": "stream", "train": "a.txt", "valid": 0.3}, tmp_path).read()
    assert stream == {"train": ["0\n1\n2\n3\n4\n5\n6\n"], "valid": ["7\n8\n9\n"]}
    lines = text({"kind": "lines", "train": "a.txt", "valid": 0.3}, tmp_path).read()
    assert lines == {"train": list("0123456"), "valid": list("789")}


def test_blank_lines_are_no_texts(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.txt", ["one", " ", "", "two"])
    assert text({"kind": "lines", "train": "a.txt", "valid": "a.txt"}, tmp_path).read()["train"] == ["one", "two"]


@pytest.mark.parametrize("kind", ["stream", "lines"])
def test_an_empty_file_is_told(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match=r"a\.txt"):
        text({"kind": kind, "train": "a.txt", "valid": 0.1}, tmp_path).read()


@pytest.mark.parametrize("valid", [0, 1, 1.5, -0.1])
def test_a_share_is_between_nothing_and_all(valid: float) -> None:
    with pytest.raises(ConfigError, match=r"text\.valid"):
        text({"kind": "stream", "train": "a.txt", "valid": valid})


def test_problems_are_right_and_in_one_set_only() -> None:
    config = Arithmetic(digits=2, operations=("+", "-", "*"), train=700, valid=100, test=200)
    read = config.read()
    assert {name: len(found) for name, found in read.items()} == {"train": 700, "valid": 100, "test": 200}
    problems = [problem for found in read.values() for problem in found]
    assert len(set(problems)) == 1000
    for problem in problems:
        question = config.question(problem)
        assert question.endswith("=") and eval(question[:-1]) == int(problem.removeprefix(question))
    assert {next(sign for sign in "+*-" if sign in p.partition("=")[0]) for p in problems} == set("+-*")


def test_the_seed_decides_the_problems() -> None:
    assert Arithmetic(seed=2).read() == Arithmetic(seed=2).read() != Arithmetic(seed=3).read()


def test_all_problems_can_be_asked_and_no_more() -> None:
    read = Arithmetic(digits=1, train=80, valid=10, test=10).read()
    assert len({problem for found in read.values() for problem in found}) == 100
    with pytest.raises(ValueError, match=r"101 problems asked, but there are 100 with 1 digits"):
        Arithmetic(digits=1, train=81, valid=10, test=10)
