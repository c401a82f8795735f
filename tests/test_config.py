"""Validation: what a tree may hold, the bare names of families, and how mistakes are told."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BeforeValidator, Field, PositiveInt, ValidationError, model_validator

from kakehashi.config import Config, ConfigError, Family, FilePath, dump, is_override, resolve, schema
from kakehashi.errors import UserError


class Rope(Config):
    kind: Literal["rope"] = "rope"
    period: float = 10000.0


class T5(Config):
    kind: Literal["t5"] = "t5"
    buckets: PositiveInt = 32


Position = Annotated[Rope | T5, Family()]


class Full(Config):
    kind: Literal["full"] = "full"


class Both(Config):
    kind: Literal["both"] = "both"
    first: "Pattern" = Full()
    second: "Pattern" = Full()


Pattern = Annotated[Full | Both, Family()]


class Attention(Config):
    kind: Literal["attention"] = "attention"
    heads: PositiveInt | None = None
    pattern: Pattern = Full()


Mixer = Annotated[Attention, Family()]  # a family of one


class Layer(Config):
    mixer: Mixer = Attention()
    size: PositiveInt | Literal["auto"] = "auto"


class Corpus(Config):
    files: FilePath
    weight: float = Field(default=1.0, gt=0)


def _corpora(value: Any) -> Any:
    values = value if isinstance(value, list | tuple) else [value]
    return tuple({"files": item} if isinstance(item, str) else item for item in values)


class Model(Config):
    width: PositiveInt = 64
    heads: PositiveInt = 4
    dropout: float = Field(default=0.1, ge=0, lt=1)
    position: Position = Rope(period=500.0)
    layers: tuple[Layer, ...] = (Layer(), Layer(size=8))
    shape: tuple[int, int] | None = None
    tied: bool = True
    norm: Literal["layer", "rms"] = "rms"

    @model_validator(mode="after")
    def _divisible(self) -> "Model":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class Recipe(Config):
    model: Model = Model()
    train: Annotated[tuple[Corpus, ...], BeforeValidator(_corpora)] = ()
    run: FilePath | None = None
    notes: dict[str, str] = Field(default={})


def refused(tree: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(tree, Recipe, overrides)
    assert isinstance(caught.value, UserError)
    return str(caught.value)


def model(**fields: Any) -> dict[str, Any]:
    return {"model": fields}


def test_a_bare_name_is_a_kind_with_its_defaults() -> None:
    tree = model(position="t5", layers=["attention"]) | {}
    tree["model"]["layers"] = [{"mixer": "attention"}]
    config = resolve(tree, Recipe).model
    assert config.position == T5()
    assert config.layers == (Layer(mixer=Attention()),)
    assert resolve(model(position={"kind": "t5"}), Recipe) == resolve(model(position="t5"), Recipe)


def test_families_accept_bare_names_and_instances_in_python() -> None:
    assert Model.model_validate({"position": "t5"}).position == T5()
    assert Model(position=T5(buckets=8)).position == T5(buckets=8)


def test_a_family_may_hold_itself() -> None:
    tree = model(layers=[{"mixer": {"kind": "attention", "pattern": {"kind": "both", "first": "both"}}}])
    assert resolve(tree, Recipe).model.layers[0].mixer.pattern == Both(first=Both())


def test_lists_fill_tuples_and_integers_are_numbers() -> None:
    config = resolve(model(shape=[2, 3], dropout=0), Recipe).model
    assert config.shape == (2, 3)
    assert config.dropout == 0.0
    assert isinstance(config.dropout, float)


def test_configs_are_frozen_and_keyword_only() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Rope().period = 1.0  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError):
        Rope(1.0)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (model(width="8"), "model.width = '8': must be a whole number"),
        (model(width=True), "model.width = true: must be a whole number"),
        (model(width=2.0), "model.width = 2.0: must be a whole number"),
        (model(width=None), "model.width = null: must be a whole number"),
        (model(width=0), "model.width = 0: must be greater than 0"),
        (model(width=6), "model = {'width': 6}: width 6 is not a multiple of heads 4"),
        (model(dropout="0.1"), "model.dropout = '0.1': must be a number"),
        (model(dropout=False), "model.dropout = false: must be a number"),
        (model(dropout=1), "model.dropout = 1: must be less than 1"),
        (model(tied=1), "model.tied = 1: must be true or false"),
        (model(tied="no"), "model.tied = 'no': must be true or false"),
        (model(norm="rsm"), "model.norm = 'rsm': must be 'layer' or 'rms'; did you mean 'rms'?"),
        (model(position="rop"), "model.position = 'rop': no such kind; choices: rope, t5; did you mean 'rope'?"),
        (
            model(position={"kind": "rope5"}),
            "model.position.kind = 'rope5': no such kind; choices: rope, t5; did you mean 'rope'?",
        ),
        (model(position={"buckets": 3}), "model.position = {'buckets': 3}: has no `kind`; choices: rope, t5"),
        (model(position=7), "model.position = 7: no such kind; choices: rope, t5"),
        (
            model(position={"kind": "t5", "bukets": 3}),
            "model.position.bukets = 3: no key 'bukets' in model.position; keys: kind, buckets; "
            "did you mean 'buckets'?",
        ),
        (model(layers={"mixer": "attention"}), "model.layers = {'mixer': 'attention'}: must be a list"),
        (model(layers=[{}, {"mixer": 1}]), "model.layers.1.mixer = 1: no such kind; choices: attention"),
        (model(layers=[{}, 3]), "model.layers.1 = 3: must be a mapping"),
        (model(layers=[{"size": "big"}]), "model.layers.0.size = 'big': must be a whole number or 'auto'"),
        (model(shape=[1]), "model.shape.1: missing: it has no default"),
        (
            model(layers=[{"mixer": {"kind": "attention", "pattern": {"kind": "both", "second": "ful"}}}]),
            "model.layers.0.mixer.pattern.second = 'ful': no such kind; choices: full, both; did you mean 'full'?",
        ),
        ({"train": {"weight": 2}}, "train.files: missing: it has no default"),
        (
            {"train": {"files": "a", "wieght": 2}},
            "train.wieght = 2: no key 'wieght' in train; keys: files, weight; did you mean 'weight'?",
        ),
        ({"train": ["a", {"files": "b", "weight": 0}]}, "train.1.weight = 0: must be greater than 0"),
        ({"run": ""}, "run = '': must be a path, not an empty text"),
        ({"run": 3}, "run = 3: must be text"),
        ({"notes": {"a": 1}}, "notes.a = 1: must be text"),
        (
            {"modle": {}},
            "modle = {}: no key 'modle' in the root; keys: model, train, run, notes; did you mean 'model'?",
        ),
        (model(dropout=float("nan")), "model.dropout = nan: must be a finite number"),
    ],
)
def test_a_mistake_names_path_value_choices_and_nearest(tree: dict[str, Any], expected: str) -> None:
    assert refused(tree) == f"the configuration: {expected}"


def test_several_mistakes_stand_one_on_a_line() -> None:
    assert refused({"model": {"width": "8", "position": "rop", "depth": 3}}).split("\n") == [
        "the configuration: 3 mistakes:",
        "  model.width = '8': must be a whole number",
        "  model.position = 'rop': no such kind; choices: rope, t5; did you mean 'rope'?",
        "  model.depth = 3: no key 'depth' in model; keys: width, heads, dropout, position, layers, shape, tied, norm",
    ]


def test_a_long_value_is_cut() -> None:
    assert len(refused(model(width="x" * 10_000))) < 200


# Overrides


@pytest.mark.parametrize(
    ("tree", "overrides", "path", "expected"),
    [
        ({}, ["model.width=128"], "width", 128),
        ({}, ["model.dropout=1e-3"], "dropout", 1e-3),
        ({}, ["model.width=128", "model.width=32"], "width", 32),
        ({}, ["model.position=t5"], "position", T5()),
        # into a bare name, into what is absent, into a default
        (model(position="t5"), ["model.position.buckets=8"], "position", T5(buckets=8)),
        ({}, ["model.position.period=3"], "position", Rope(period=3.0)),
        (
            model(layers=[{"mixer": "attention"}]),
            ["model.layers.0.mixer.heads=2"],
            "layers",
            (Layer(mixer=Attention(heads=2)),),
        ),
        ({}, ["model.layers.1.mixer.heads=2"], "layers", (Layer(), Layer(mixer=Attention(heads=2), size=8))),
        # a value, a list and a changed kind replace the whole node
        (model(position={"kind": "t5", "buckets": 8}), ["model.position={kind: t5}"], "position", T5()),
        (model(position={"kind": "t5", "buckets": 8}), ["model.position.kind=rope"], "position", Rope()),
        (model(position={"kind": "t5", "buckets": 8}), ["model.position.kind=t5"], "position", T5(buckets=8)),
        ({}, ["model.layers=[{size: 3}]"], "layers", (Layer(size=3),)),
        ({}, ["model.shape=[2, 3]"], "shape", (2, 3)),
        (model(shape=[2, 3]), ["model.shape=null"], "shape", None),
        (model(shape=[2, 3]), ["model.shape.1=4"], "shape", (2, 4)),
    ],
)
def test_overrides(tree: dict[str, Any], overrides: list[str], path: str, expected: object) -> None:
    assert dict(resolve(tree, Recipe, overrides).model)[path] == expected


def test_an_override_does_not_change_the_tree_it_is_given() -> None:
    tree = model(width=8, layers=[{"size": 3}])
    resolve(tree, Recipe, ["model.width=16", "model.layers.0.size=4"])
    assert tree == model(width=8, layers=[{"size": 3}])


def test_an_override_reaches_a_corpus_a_mapping_and_the_root() -> None:
    tree = {"train": {"files": "/a"}}
    config = resolve(tree, Recipe, ["train.weight=2", "notes.who=me", "run=/runs/1"])
    assert (config.train[0].weight, config.notes, config.run) == (2.0, {"who": "me"}, "/runs/1")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("modle.width=3", "no key 'modle' in the root; keys: model, train, run, notes; did you mean 'model'?"),
        ("model.position.bucket=3", "no key 'bucket' in model.position; keys: kind, period"),
        ("model.position.perod=3", "no key 'perod' in model.position; keys: kind, period; did you mean 'period'?"),
        ("model.width.size=3", "model.width = 8 holds no keys"),
        ("model.layers.2.size=3", "no item '2' in model.layers, a list of 2 (the first is 0)"),
        ("model.layers.last.size=3", "no item 'last' in model.layers, a list of 2 (the first is 0)"),
        ("model.width", "an override is written key.path=value"),
    ],
)
def test_a_wrong_override(override: str, expected: str) -> None:
    assert refused(model(width=8), override) == f"{override}: {expected}"


def test_a_wrong_value_of_an_override() -> None:
    assert refused({}, "model.width=x") == "the configuration: model.width = 'x': must be a whole number"


def test_an_override_that_is_not_yaml() -> None:
    message = refused({}, "model.shape=[1, 2")
    assert message.startswith("the value of the override 'model.shape=[1, 2', line 1, column ")


def test_an_override_enters_a_default_that_is_a_bare_name() -> None:
    class Named(Config):
        position: Position = "t5"  # pyright: ignore[reportAssignmentType]

    assert Named().position == T5()
    assert resolve({}, Named, ["position.buckets=8"]).position == T5(buckets=8)


def test_is_override() -> None:
    assert is_override("model.width=3", Recipe)
    assert is_override("run=runs/a=b", Recipe)
    assert is_override("model.typo=3", Recipe)
    assert not is_override("model.width", Recipe)
    assert not is_override("data/a=b.yaml", Recipe)
    assert not is_override("--model=3", Recipe)


# JSON Schema


def test_the_schema_accepts_bare_names_paths_and_base() -> None:
    root = schema(Recipe)
    fields = root["$defs"]["Model"]["properties"]
    assert fields["position"]["anyOf"] == [
        {"enum": ["rope", "t5"], "type": "string"},
        {"$ref": "#/$defs/Rope"},
        {"$ref": "#/$defs/T5"},
    ]
    assert root["$defs"]["Layer"]["properties"]["mixer"]["anyOf"][0] == {"enum": ["attention"], "type": "string"}
    assert root["$defs"]["Corpus"]["properties"]["files"]["type"] == "string"
    assert root["$defs"]["Rope"]["properties"]["kind"]["const"] == "rope"
    assert root["properties"]["base"]["type"] == "string"
    assert root["additionalProperties"] is False


def test_the_schema_requires_nothing_since_a_base_may_supply_it() -> None:
    assert "required" in Corpus.model_json_schema()
    assert "required" not in schema(Recipe)["$defs"]["Corpus"]


def test_the_schema_of_a_type_that_holds_itself() -> None:
    assert schema(Both)["$defs"]["Both"]["properties"]["base"]["type"] == "string"


def test_dump_is_every_default_in_the_declared_order() -> None:
    assert dump(Model(position=T5(), layers=(), shape=(1, 2), dropout=1e-5)) == (
        "width: 64\nheads: 4\ndropout: 1e-05\nposition:\n  kind: t5\n  buckets: 32\nlayers: []\n"
        "shape:\n- 1\n- 2\ntied: true\nnorm: rms\n"
    )
