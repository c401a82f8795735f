"""Laws by hypothesis: what is dumped loads back equal; merging is associative where a place keeps its shape."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field
from ruamel.yaml import YAML

from kakehashi.config import Config, Family, FilePath, dump, load, merge, resolve


class Rope(Config):
    kind: Literal["rope"] = "rope"
    period: float = 10000.0


class Named(Config):
    kind: Literal["named"] = "named"
    name: str = ""
    inner: "Position" = Rope()


Position = Annotated[Rope | Named, Family()]


class Recipe(Config):
    position: Position = Rope()
    positions: tuple[Position, ...] = ()
    size: int | Literal["auto"] = "auto"
    rate: float | None = None
    on: bool = False
    path: FilePath = "x"
    notes: dict[str, str | int | bool | None] = Field(default={})
    grid: list[list[float]] = Field(default=[])


texts = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="${}AB :#-'\"\\\n\t", max_size=10),
    st.sampled_from(["no", "true", "null", "~", "1e3", "0o7", "0x1F", ".inf", "2016-01-01", "=", "<<", "12:30", "*a"]),
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
positions = st.recursive(
    st.builds(Rope, period=numbers),
    lambda inner: st.builds(Named, name=texts, inner=inner),
    max_leaves=3,
)
recipes = st.builds(
    Recipe,
    position=positions,
    positions=st.lists(positions, max_size=2).map(tuple),
    size=st.integers() | st.just("auto"),
    rate=st.none() | numbers,
    on=st.booleans(),
    path=texts.filter(bool).filter(lambda text: "\0" not in text),
    notes=st.dictionaries(texts, st.one_of(texts, st.integers(), st.booleans(), st.none()), max_size=3),
    grid=st.lists(st.lists(numbers, max_size=2), max_size=2),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(recipe=recipes)
def test_what_is_dumped_loads_back_equal(folder: Path, recipe: Recipe) -> None:
    path = folder / "config.yaml"
    text = dump(recipe)
    path.write_text(text, encoding="utf-8", newline="")
    loaded = load(path, Recipe)
    assert loaded == recipe
    assert dump(loaded) == text


@settings(max_examples=15, deadline=None, derandomize=True)
@given(recipe=recipes)
def test_a_validated_tree_validates_to_itself(recipe: Recipe) -> None:
    assert resolve(YAML(typ="safe", pure=True).load(dump(recipe.model_copy(update={"notes": {}}))), Recipe) == (
        recipe.model_copy(update={"notes": {}})
    )


# Every place keeps its shape (mapping or leaf) in the three trees, and no kind comes back after another: a merged
# tree cannot remember what a change of kind, or a leaf in the place of a mapping, has thrown away.


def nodes(kind: str) -> st.SearchStrategy[Any]:
    fields = st.dictionaries(st.sampled_from("xyz"), st.integers(0, 9), max_size=3)
    return st.just(kind) | fields.map(lambda settings: {"kind": kind} | settings)


def trees(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    plain = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9) | st.lists(st.integers(0, 9)), max_size=3)
    inner = st.fixed_dictionaries({}, optional={"family": nodes(kind), "plain": plain})
    return st.fixed_dictionaries({}, optional={"family": nodes(kind), "plain": plain, "inner": inner, "leaf": texts})


def canonical(tree: Any) -> Any:
    """The tree with its bare names written out."""
    if not isinstance(tree, dict):
        return tree
    return {
        key: {"kind": value} if key == "family" and isinstance(value, str) else canonical(value)
        for key, value in tree.items()
    }


kinds_in_order = st.lists(st.sampled_from(["p", "q", "r"]), min_size=3, max_size=3).map(sorted)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(three=kinds_in_order.flatmap(lambda kinds: st.tuples(*(trees(kind) for kind in kinds))))
def test_merging_is_associative(three: tuple[Any, Any, Any]) -> None:
    a, b, c = three
    assert canonical(merge(merge(a, b), c)) == canonical(merge(a, merge(b, c)))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(tree=trees("p"))
def test_merging_with_nothing_or_with_itself_changes_nothing(tree: Any) -> None:
    assert merge(tree, {}) == merge({}, tree) == tree
    assert merge(tree, tree) == tree


@settings(max_examples=100, deadline=None, derandomize=True)
@given(a=trees("p"), b=trees("q"))
def test_a_bare_name_is_its_mapping(a: Any, b: Any) -> None:
    assert canonical(merge(a, b)) == canonical(merge(canonical(a), b)) == canonical(merge(a, canonical(b)))
