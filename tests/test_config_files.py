"""Files: YAML 1.2, `base:` chains, paths relative to where they were written, the environment."""

from pathlib import Path
from typing import Annotated, Literal

import pytest

from kakehashi.config import Config, ConfigError, Family, FilePath, dump, load, merge, resolve


class Adam(Config):
    kind: Literal["adam"] = "adam"
    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)


class Sgd(Config):
    kind: Literal["sgd"] = "sgd"
    momentum: float = 0.0


class Recipe(Config):
    language: str = "en"
    steps: int = 10
    optimizer: Annotated[Adam | Sgd, Family()] = Adam()
    train: FilePath = "train.tsv"
    test: FilePath | None = None


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, *overrides: str, presets: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, Recipe, overrides, presets)
    return str(caught.value)


def test_yaml_is_version_1_2(tmp_path: Path) -> None:
    text = "language: no\nsteps: 010\noptimizer: {kind: adam, rate: 1e-3, betas: [0, 5E-1]}\n"
    config = load(write(tmp_path / "a.yaml", text), Recipe)
    assert (config.language, config.steps, config.optimizer) == ("no", 10, Adam(rate=0.001, betas=(0.0, 0.5)))


@pytest.mark.parametrize("text", ["2016-01-01", "12:30:45", "yes", "off", "~x", "日本語", "'8'", "'null'", "'{en}'"])
def test_text_stays_text(tmp_path: Path, text: str) -> None:
    assert load(write(tmp_path / "a.yaml", f"language: {text}"), Recipe).language == text.strip("'")


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path / "a.yaml", "# nothing\n"), Recipe) == Recipe()


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    assert load(write(tmp_path / "a.yaml", "\ufeffsteps: 3"), Recipe).steps == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps: 1\nlanguage: en\nsteps: 2\n", ', line 3, column 1: not YAML: found duplicate key "steps"'),
        ("steps: 1\nlanguage: [a, b\n", ", line 3, column 1: not YAML: "),
        ("steps: 1\n\tlanguage: en\n", ", line 2, column 1: not YAML: "),
        ("a: 1\n---\nb: 2\n", ", line 2, column 1: not YAML: "),
        ("steps: !!python/object:os.system x\n", ", line 1, column 8: not YAML: "),
        ("steps: \x01\n", ": not YAML: "),
        ("- 1\n- 2\n", ": must hold a mapping (`key: value`), not [1, 2]"),
        ("1: 2\n", ": the key 1 is no text: put it between quotes"),
        ("language: &a [*a]\n", ": an alias (*) stands inside of the node that it repeats"),
    ],
)
def test_what_is_not_a_recipe(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path / "a.yaml", text)
    assert refused(path).startswith(f"{path}{expected}")


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"language: \xff")
    assert refused(path) == f"{path}: not UTF-8 at byte 10"


def test_a_mistake_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "step: 3")
    assert refused(path) == (
        f"{path}: step = 3: no key 'step' in the root; keys: language, steps, optimizer, train, test; "
        "did you mean 'steps'?"
    )


def test_a_missing_recipe(tmp_path: Path) -> None:
    write(tmp_path / "multi30k.yaml", "")
    path = tmp_path / "multi3k.yaml"
    assert refused(path) == f"{path}: no such file; did you mean 'multi30k.yaml'?"
    assert refused(tmp_path).startswith(f"{tmp_path}: ")


# Bases


def test_a_chain_of_bases_merges_in_order(tmp_path: Path) -> None:
    presets = tmp_path / "presets"
    write(presets / "plain.yaml", "steps: 1\noptimizer: {kind: adam, rate: 1.0}\nlanguage: de")
    write(presets / "small.yaml", "base: plain\nsteps: 2\noptimizer: {rate: 2.0, betas: [0.5, 0.5]}")
    write(tmp_path / "near" / "b.yaml", "base: small\nsteps: 3\noptimizer: {rate: 3.0}")
    path = write(tmp_path / "a.yaml", "base: near/b.yaml\noptimizer: {betas: [0.1, 0.2]}")
    config = load(path, Recipe, ["optimizer.rate=4"], presets)
    assert config == Recipe(steps=3, language="de", optimizer=Adam(rate=4.0, betas=(0.1, 0.2)), train=config.train)


@pytest.mark.parametrize(
    ("base", "over", "expected"),
    [
        ("{kind: adam, rate: 2.0}", "{kind: sgd}", Sgd()),
        ("{kind: adam, rate: 2.0}", "sgd", Sgd()),
        ("{kind: adam, rate: 2.0}", "{kind: adam}", Adam(rate=2.0)),
        ("{kind: adam, rate: 2.0}", "adam", Adam(rate=2.0)),
        ("{kind: adam, rate: 2.0}", "{betas: [0.1, 0.2]}", Adam(rate=2.0, betas=(0.1, 0.2))),
        ("adam", "{rate: 3.0}", Adam(rate=3.0)),
        ("sgd", "adam", Adam()),
    ],
)
def test_kinds_merge(tmp_path: Path, base: str, over: str, expected: object) -> None:
    write(tmp_path / "base.yaml", f"optimizer: {base}")
    path = write(tmp_path / "a.yaml", f"base: base.yaml\noptimizer: {over}")
    assert load(path, Recipe).optimizer == expected


def test_a_tree_in_memory_may_have_a_base(tmp_path: Path) -> None:
    write(tmp_path / "small.yaml", "steps: 7")
    assert resolve({"base": "small"}, Recipe, presets=tmp_path).steps == 7
    assert resolve({"base": "./small.yaml"}, Recipe, directory=tmp_path).steps == 7


def test_bases_that_turn_in_a_circle(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "base: b.yaml")
    write(tmp_path / "b.yaml", "base: ./a.yaml")
    assert f"a recipe cannot stand on itself: {path} -> {tmp_path / 'b.yaml'} -> {path}" in refused(path)
    write(tmp_path / "b.yaml", "base: b.yaml")
    assert "a recipe cannot stand on itself" in refused(path)


def test_a_missing_base(tmp_path: Path) -> None:
    for name in ("small", "paper-base"):
        write(tmp_path / "presets" / f"{name}.yaml", "")
    path = write(tmp_path / "a.yaml", "base: smal")
    assert refused(path, presets=tmp_path / "presets") == (
        f"{path}: base = 'smal': no such preset; presets: paper-base, small; did you mean 'small'?"
    )
    assert "no such preset; presets: none" in refused(path)
    write(path, "base: smal.yaml")
    assert refused(path).startswith(f"{path}: base = 'smal.yaml': {tmp_path / 'smal.yaml'}: no such file")
    write(path, "base: [small]")
    assert refused(path) == f"{path}: base = ['small']: must be the name of a preset or the path of a recipe"


# Paths


def test_paths_are_relative_to_the_file_where_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "far" / "base.yaml", "train: data/t.{en,de}.gz\ntest: ../x.tsv")
    write(tmp_path / "near" / "a.yaml", "base: ../far/base.yaml\ntest: x.tsv")
    config = load(Path("near/a.yaml"), Recipe)
    assert config.train == str(tmp_path / "far" / "data" / "t.{en,de}.gz")
    assert config.test == str(tmp_path / "near" / "x.tsv")
    assert load(Path("near/a.yaml"), Recipe, ["test=y/z.tsv"]).test == str(tmp_path / "y" / "z.tsv")
    assert load(Path("near/a.yaml"), Recipe, ["test=/z.tsv"]).test == "/z.tsv"
    assert load(Path("near/a.yaml"), Recipe, ["test=null"]).test is None
    assert resolve({"train": "t"}, Recipe, directory=Path("far")).train == str(tmp_path / "far" / "t")
    assert Recipe(train="t").train == Recipe.model_validate({"train": "t"}).train == str(tmp_path / "t")
    assert Recipe().train == str(tmp_path / "train.tsv")


def test_a_dumped_path_is_absolute_and_loads_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(write(tmp_path / "a.yaml", "train: t.tsv"), Recipe)
    assert f"train: {tmp_path / 't.tsv'}\n" in dump(config)
    monkeypatch.chdir(tmp_path)
    assert load(write(tmp_path / "run" / "config.yaml", dump(config)), Recipe) == config


# The environment


def test_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORPORA", "/corpora")
    monkeypatch.setenv("NEAR", "near")
    text = 'train: "${CORPORA}/t.tsv"\ntest: ${NEAR}/t.tsv\nlanguage: a-${NEAR}-$${NEAR}-$NEAR'
    config = load(write(tmp_path / "far" / "a.yaml", text), Recipe)
    assert config.train == "/corpora/t.tsv"
    assert config.test == str(tmp_path / "near" / "t.tsv")  # the shell's path, not the recipe's
    assert config.language == "a-near-${NEAR}-$NEAR"
    assert resolve({}, Recipe, ["test=${CORPORA}/x"]).test == "/corpora/x"


def test_a_variable_that_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAKEHASHI_CORPORA", "/corpora")
    monkeypatch.delenv("KAKEHASHI_CORPORAS", raising=False)
    path = write(tmp_path / "a.yaml", "train: ${KAKEHASHI_CORPORAS}/t.tsv")
    assert refused(path) == (
        f"{path}: train = '${{KAKEHASHI_CORPORAS}}/t.tsv': the environment has no variable 'KAKEHASHI_CORPORAS'; "
        "did you mean 'KAKEHASHI_CORPORA'? (set it, or write $${ for a ${ that is text)"
    )
    assert load(path, Recipe, ["train=/t.tsv"]).train == "/t.tsv"  # replaced before it was read


def test_merge_leaves_its_arguments_alone() -> None:
    base, over = {"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": [2]}
    assert merge(base, over) == {"a": {"b": 1, "d": 2}, "c": [2]}
    assert (base, over) == ({"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": [2]})
