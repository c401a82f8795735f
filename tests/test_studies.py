"""The studies: their data, their runs as recipes that load, their tables."""

from pathlib import Path

import pytest

from kakehashi.data.corpus import Pair, write_lines
from kakehashi.data.subwords import Extended
from kakehashi.tasks.translation import Translation
from kakehashi.training.recipe import load_recipe
from studies.adaptation import study
from studies.adaptation.study import BEFORE, FINETUNE, Row, overrides, put, rows, split, table

PAIRS = [Pair(f"Press key {i // 2}", f"Taste {i}") for i in range(2400)]


def test_no_line_of_one_part_stands_in_another() -> None:
    pairs = [*PAIRS, *(Pair(f"press  KEY {i}", f"Die Taste {i}") for i in range(1200))]
    parts = split(pairs)
    assert (len(parts["test"]), len(parts["valid"]), len(parts["train"])) == (500, 250, 450 * 3)
    lines = [{"".join(pair.source.lower().split()) for pair in part} for part in parts.values()]
    assert [len(each) for each in lines] == [500, 250, 450] and len(set.union(*lines)) == 1200
    assert split(pairs) == parts


LINES = {100: 10, 1000: 20, None: 30}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the runs count the lines of."""
    monkeypatch.setenv("KAKEHASHI_DATA", str(tmp_path))
    names = {"train" if size is None else f"train-{size}": count for size, count in LINES.items()}
    for name, count in {**names, "old": 1000}.items():
        for language in ("en", "de"):
            write_lines(tmp_path / f"{name}.{language}", ["a"] * count)
    return tmp_path


@pytest.mark.parametrize("row", [row for row in rows() if row != BEFORE], ids=lambda row: row.name)
def test_every_run_is_a_recipe(row: Row, data: Path) -> None:
    recipe = load_recipe(FINETUNE, overrides(row, data, 1.0))
    task = recipe.task
    assert isinstance(task, Translation) and set(task.test) == {"gnome", "general"}
    assert [corpus.weight for corpus in task.train] == ([1, LINES[row.pairs] / 1000] if row.mixed else [1])
    assert isinstance(task.subwords, Extended) == row.extended
    assert (recipe.initial_model is None) == (row.start == "scratch")
    assert recipe.training.steps == study.STEPS[row.start][row.pairs]


def test_each_choice_is_tried_with_each_other() -> None:
    adapted = {(row.pairs, row.extended, row.mixed) for row in rows() if row.start == "general" and row != BEFORE}
    assert adapted == {(n, e, m) for n in (100, 1000, None) for e in (False, True) for m in (False, True)}
    assert len({row.name for row in rows()}) == len(rows()) == 1 + 12 + 3


def test_the_table_says_what_was_measured(tmp_path: Path) -> None:
    scores = {name: {metric: {"value": value} for metric in ("bleu", "chrf")} for name, value in
              (("gnome", 1.25), ("general", 30.0))}  # fmt: skip
    found = {
        BEFORE: {"scores": scores, "seconds": 30},
        Row("general", None, True, True): {"scores": scores, "seconds": 90},
    }
    lines = table(found)
    assert lines[2] == "| general | 0 |  |  | 1.2 | 1.2 | 30.0 | 30.0 | 0.5 |"
    assert lines[3] == "| general | all | yes | mixed in | 1.2 | 1.2 | 30.0 | 30.0 | 1.5 |"
    document = tmp_path / "README.md"
    document.write_text("a\n<!-- table -->\nold\n<!-- end -->\nb\n", encoding="utf-8")
    put(lines, document)
    put(lines, document)
    text = document.read_text(encoding="utf-8")
    assert text == "\n".join(["a", "<!-- table -->", *lines, "<!-- end -->", "b\n"])
