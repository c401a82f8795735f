"""Every preset and every recipe that we ship can be loaded."""

from pathlib import Path

import pytest

from kakehashi.config import load
from kakehashi.tasks.translation import Translation
from kakehashi.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
PRESETS = sorted((ROOT / "kakehashi" / "presets").rglob("*.y*ml"))
RECIPES = sorted((ROOT / "configs").rglob("*.y*ml"))

# A preset says nothing of data, so it is loaded as a recipe's base.
TASK = "task: {kind: translation, source: en, target: de, train: train.tsv, valid: valid.tsv}"


def load_recipe(path: Path) -> Recipe:
    return load(path, Recipe, presets=ROOT / "kakehashi" / "presets")


def test_both_kinds_exist() -> None:
    assert PRESETS and RECIPES


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_loads(preset: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"base: {preset.stem}\n{TASK}\n", encoding="utf-8")
    task = load_recipe(recipe).task
    assert isinstance(task, Translation) and (task.source, task.target) == ("en", "de")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAKEHASHI_DATA", "data")  # a recipe names its files; it is read without them
    assert load_recipe(recipe).training.steps > 0
