import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from kakehashi.config import ConfigError, dump
from kakehashi.data import phrasebook
from kakehashi.data.check import overlap
from kakehashi.data.corpus import read_lines, read_pairs, write_lines
from kakehashi.data.holdout import Holdout
from kakehashi.errors import UserError
from kakehashi.tasks.translation import Translation
from kakehashi.training import defaults
from kakehashi.training.defaults import demo_recipe, recipe_for
from kakehashi.training.recipe import Recipe, load_recipe


def texts(folder: Path, count: int = 400, names: tuple[str, str] = ("train.en", "train.de")) -> tuple[Path, Path]:
    paths = folder / names[0], folder / names[1]
    write_lines(paths[0], (f"The number is {i}." for i in range(count)))
    write_lines(paths[1], (f"Die Zahl ist {i}." for i in range(count)))
    return paths


def task_of(recipe: Recipe) -> Translation:
    assert isinstance(recipe.task, Translation)
    return recipe.task


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def chosen(words: int, pairs: int, valid: int = 1000, overrides: tuple[str, ...] = ()) -> defaults.Choice:
    """What the table says of so many words a side."""
    task = {"kind": "translation", "source": "en", "target": "de", "train": "t.tsv", "valid": "v.tsv"}
    return defaults._choice(Holdout(pairs, pairs - valid, valid, 0, 0, words), task, overrides)


# --- Two texts


def test_two_texts_make_a_recipe_and_two_parts(tmp_path: Path) -> None:
    choice = recipe_for(*texts(tmp_path), tmp_path / "run")
    task = task_of(choice.recipe)
    assert (task.source, task.target, task.test) == ("en", "de", {})
    assert sorted(files(tmp_path / "run/data")) == ["origin.json", "train.de", "train.en", "valid.de", "valid.en"]
    train, valid = ([pair for corpus in part for pair in read_pairs(corpus)] for part in (task.train, task.valid))
    assert (len(train), len(valid)) == (380, 20)
    assert overlap(train, valid).lines() == []
    assert all(re.findall(r"\d+", source) == re.findall(r"\d+", target) for source, target in [*train, *valid])


def test_the_user_is_told_what_was_chosen(tmp_path: Path) -> None:
    source, target = texts(tmp_path)
    said = recipe_for(source, target, tmp_path / "run").reasons
    assert [line.partition(":")[0] for line in said] == ["Languages", "Data", "Model", "Training"]
    assert "of 400 pairs, 20 " in said[1] and "preset tiny" in said[2]
    again = recipe_for(source, target, tmp_path / "other", ("en", "de"), ["training.steps=77"]).reasons
    assert [line.partition(":")[0] for line in again] == ["Data", "Model", "Training"], "said by the user himself"
    assert "77 steps" in again[-1], "the user's own settings are told"


def test_what_was_left_out_is_told(tmp_path: Path) -> None:
    source, target = texts(tmp_path, 200)
    write_lines(source, ["", *read_lines(source)])
    write_lines(target, ["leer", *read_lines(target)])
    said = recipe_for(source, target, tmp_path / "run").reasons[1]
    assert "of 201 pairs, 10 " in said and "left out: 1 without text on a side." in said


def test_the_recipe_is_an_ordinary_one(tmp_path: Path) -> None:
    recipe = recipe_for(*texts(tmp_path), tmp_path / "run").recipe
    path = tmp_path / "elsewhere" / "recipe.yaml"
    write_lines(path, dump(recipe).splitlines())
    assert load_recipe(path) == recipe


def test_a_second_call_finds_the_data_and_writes_nothing(tmp_path: Path) -> None:
    source, target = texts(tmp_path)
    first = recipe_for(source, target, tmp_path / "run")
    write_lines(tmp_path / "run/recipe.yaml", dump(first.recipe).splitlines())
    before = files(tmp_path / "run")
    stamps = [path.stat().st_mtime_ns for path in sorted((tmp_path / "run/data").iterdir())]
    assert recipe_for(source, target, tmp_path / "run") == first
    assert files(tmp_path / "run") == before
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "run/data").iterdir())] == stamps
    assert recipe_for(source, target, tmp_path / "another").recipe.training == first.recipe.training
    assert files(tmp_path / "another/data") == files(tmp_path / "run/data"), "the split is the seed's"


def test_other_text_is_not_taken_for_the_same(tmp_path: Path) -> None:
    source, target = texts(tmp_path)
    recipe_for(source, target, tmp_path / "run")
    before = files(tmp_path / "run")
    with pytest.raises(UserError, match=r"other text or settings \(languages\): choose another run=DIR"):
        recipe_for(source, target, tmp_path / "run", ("en", "nl"))
    write_lines(source, [*list(read_lines(source))[:-1], "Something else."])
    with pytest.raises(UserError, match=r"other text or settings \(sha256\)"):
        recipe_for(source, target, tmp_path / "run")
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize("name", ["notes.txt", "data/mine.txt"])
def test_somebody_elses_folder_is_left_alone(tmp_path: Path, name: str) -> None:
    write_lines(tmp_path / "run" / name, ["mine"])
    with pytest.raises(UserError, match="choose another run=DIR"):
        recipe_for(*texts(tmp_path), tmp_path / "run")
    assert list(files(tmp_path / "run")) == [name]


def test_a_mistake_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        recipe_for(*texts(tmp_path), tmp_path / "run", overrides=["training.stepz=3"])
    assert not (tmp_path / "run").exists()


def test_an_interruption_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(defaults, "write_holdout", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recipe_for(*texts(tmp_path), tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
    monkeypatch.undo()
    assert task_of(recipe_for(*texts(tmp_path), tmp_path / "run").recipe).train[0].paths[0].exists()


def test_a_development_set_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    own = texts(tmp_path, 7, ("dev.en", "dev.de"))
    source, target = texts(tmp_path)
    choice = recipe_for(source, target, tmp_path / "run", valid=own, test={"news": own})
    task = task_of(choice.recipe)
    assert task.train[0].paths == (source, target)
    assert task.valid[0].paths == own and task.test["news"][0].paths == own
    assert not (tmp_path / "run").exists()
    assert choice.recipe.training.validation.metric == "chrf", "seven pairs are few"


def test_a_table_holds_both_languages(tmp_path: Path) -> None:
    path = tmp_path / "corpus.en-de.tsv.gz"
    write_lines(path, (f"The number is {i}.\tDie Zahl ist {i}." for i in range(300)))
    task = task_of(recipe_for(path, None, tmp_path / "run").recipe)
    assert (task.source, task.target) == ("en", "de")
    assert len(list(read_pairs(task.train[0]))) == 285 and len(list(read_pairs(task.valid[0]))) == 15


def test_one_language_may_be_on_both_sides(tmp_path: Path) -> None:
    recipe = recipe_for(*texts(tmp_path, names=("old.txt", "new.txt")), tmp_path / "run", ("de", "de")).recipe
    assert [path.name for path in task_of(recipe).train[0].paths] == ["train.source", "train.target"]


def test_a_path_with_braces_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_lines(tmp_path / "${HOME}.tsv", (f"The number is {i}.\tDie Zahl ist {i}." for i in range(300)))
    with pytest.raises(UserError, match="rename it"):
        recipe_for(tmp_path / "${HOME}.tsv", None, tmp_path / "run", ("en", "de"))
    with pytest.raises(UserError, match="rename it"):
        recipe_for(*texts(tmp_path), tmp_path / "a,b")
    assert not (tmp_path / "a,b").exists() and not (tmp_path / "run").exists()


# --- Mistakes


@pytest.mark.parametrize(
    ("names", "languages", "message"),
    [
        (("a.txt", "b.txt"), (None, None), "no language code in the name of a.txt and b.txt: .*--from en --to ja"),
        (("a.en", "b.txt"), (None, None), "a.en and b.txt: add one, as in --to ja"),
        (("a.en", "b.de"), (None, "jp"), "'jp' is not a language code; did you mean 'ja'"),
        (("a.tsv", "b.de"), ("en", "de"), "a.tsv holds both languages by its name: leave out --target"),
    ],
)
def test_names_that_do_not_do(
    tmp_path: Path, names: tuple[str, str], languages: tuple[str | None, str | None], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        recipe_for(*texts(tmp_path, names=names), tmp_path / "run", languages)
    assert not (tmp_path / "run").exists()


def test_one_file_twice_is_a_mistake(tmp_path: Path) -> None:
    source, _ = texts(tmp_path)
    (tmp_path / "link").symlink_to(source)
    for again in (source, tmp_path / "link"):
        with pytest.raises(UserError, match="are the same file"):
            recipe_for(source, again, tmp_path / "run", ("en", "de"))


def test_one_language_without_its_translation_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name its translation with --target FILE"):
        recipe_for(texts(tmp_path)[0], None, tmp_path / "run", ("en", "de"))


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    source, target = texts(tmp_path, 150)
    with pytest.raises(UserError, match="there is no file"):
        recipe_for(source, tmp_path / "none.de", tmp_path / "run")
    with pytest.raises(UserError, match="is a folder"):
        recipe_for(source, tmp_path, tmp_path / "run", ("en", "de"))
    os.mkfifo(tmp_path / "pipe.de")
    with pytest.raises(UserError, match=r"pipe.de is a pipe"):
        recipe_for(source, tmp_path / "pipe.de", tmp_path / "run")
    write_lines(target, ["one line"])
    with pytest.raises(UserError, match="150 lines"):
        recipe_for(source, target, tmp_path / "run")
    with pytest.raises(UserError, match="50 different pairs, which is too little"):
        recipe_for(*texts(tmp_path, 50), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- The table


@pytest.mark.parametrize(
    ("words", "pairs", "width", "tokens", "passes"),
    [
        (2_000, 200, 128, 2_048, 100),
        (49_000, 5_000, 128, 2_048, 100),
        (51_000, 5_000, 128, 4_096, 40),
        (370_000, 29_000, 128, 4_096, 36),
        (1_400_000, 165_000, 256, 8_192, 20),
        (4_100_000, 300_000, 512, 25_000, 10),
    ],
)
def test_the_amount_of_text_decides(words: int, pairs: int, width: int, tokens: int, passes: int) -> None:
    recipe = chosen(words, pairs, valid=min(1000, pairs // 20)).recipe
    training = recipe.training
    assert (recipe.model.width, training.batch.tokens) == (width, tokens)
    seen = training.steps * tokens / (2.6 * words + 2 * pairs) / 1.1
    assert seen == pytest.approx(passes, rel=0.15)
    assert training.steps == 20 * training.validation.every and training.validation.patience == 5


def test_more_text_never_means_a_smaller_model_or_more_dropout() -> None:
    recipes = [chosen(10**exponent, 10**exponent // 10 + 200).recipe for exponent in range(3, 10)]
    widths = [recipe.model.width for recipe in recipes]
    dropouts = [recipe.model.dropout for recipe in recipes]
    assert widths == sorted(widths) and dropouts == sorted(dropouts, reverse=True)


def test_a_run_ends() -> None:
    training = chosen(10**10, 10**9).recipe.training
    assert training.steps == 100_000 and training.validation.every == 5_000


def test_the_rate_has_time_to_rise_and_fall() -> None:
    for words in (1_000, 30_000, 100_000, 10**6, 10**8):
        training = chosen(words, words // 10).recipe.training
        schedule = training.schedule
        assert schedule.shortened(training.steps) == schedule
        assert schedule.rate(training.steps // 4, training.steps, 128) > 0.8 * schedule.rate(
            training.steps // 10, training.steps, 128
        )
        assert schedule.rate(training.steps, training.steps, 128) == 0


def test_bleu_judges_only_where_it_is_steady() -> None:
    assert chosen(10_000, 1_000, valid=50).recipe.training.validation.metric == "chrf"
    assert chosen(100_000, 10_000, valid=500).recipe.training.validation.metric == "bleu"
    assert "without a better chrF" in chosen(10_000, 1_000, valid=50).reasons[1]


def test_the_users_settings_win() -> None:
    overrides = ("training.steps=5", "model.dropout=0.7", "training.validation.patience=0")
    recipe, reasons = (
        chosen(10_000, 2_000, overrides=overrides).recipe,
        chosen(10_000, 2_000, overrides=overrides).reasons,
    )
    assert (recipe.training.steps, recipe.model.dropout) == (5, 0.7)
    assert reasons[1].endswith("the development set is translated.")


def test_a_large_model_without_a_gpu_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults.torch.cuda, "is_available", lambda: False)
    assert "There is no GPU" in chosen(10**8, 10**7).reasons[-1]
    assert not any("GPU" in reason for reason in chosen(10**6, 10**5).reasons)
    monkeypatch.setattr(defaults.torch.cuda, "is_available", lambda: True)
    assert not any("GPU" in reason for reason in chosen(10**8, 10**7).reasons)


# --- The demo


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("DEMO_TRAIN", 800), ("DEMO_DEV", 20), ("DEMO_TEST", 30)):
        monkeypatch.setattr(defaults, name, size)


@pytest.mark.parametrize("pair", phrasebook.PAIRS)
@pytest.mark.usefixtures("small_demo")
def test_the_demo_has_its_corpus_and_a_recipe(tmp_path: Path, pair: str) -> None:
    recipe = demo_recipe(tmp_path / "run", pair, ["training.steps=3"])
    task = task_of(recipe)
    assert f"{task.source}-{task.target}" == pair and recipe.training.steps == 3
    parts = [list(read_pairs(part[0])) for part in (task.train, task.valid, task.test["test"])]
    assert [len(part) for part in parts] == [800, 20, 30]
    sources = [pair.source for part in parts for pair in part]
    assert len(set(sources)) == 850, "unseen combinations"
    before = files(tmp_path / "run")
    assert demo_recipe(tmp_path / "run", pair, ["training.steps=3"]) == recipe
    assert files(tmp_path / "run") == before
    write_lines(tmp_path / "recipe.yaml", dump(recipe).splitlines())
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.usefixtures("small_demo")
def test_the_demo_refuses_other_languages_and_other_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not speak 'en-fr': choose en-ja or en-de"):
        demo_recipe(tmp_path / "run", "en-fr")
    demo_recipe(tmp_path / "run", "en-de")
    with pytest.raises(UserError, match=r"\(phrasebook\): choose another run=DIR"):
        demo_recipe(tmp_path / "run", "en-ja")
    write_lines(tmp_path / "mine/photo.txt", ["mine"])
    with pytest.raises(UserError, match="choose another run=DIR"):
        demo_recipe(tmp_path / "mine", "en-ja")


def test_the_origin_says_what_the_data_was_made_from(tmp_path: Path) -> None:
    recipe_for(*texts(tmp_path), tmp_path / "run")
    origin = json.loads((tmp_path / "run/data/origin.json").read_text(encoding="utf-8"))
    assert origin["languages"] == ["en", "de"] and origin["counts"]["valid"] == 20
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in origin["sha256"])
