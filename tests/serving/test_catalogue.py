"""Which models lead where, and which of them may stay in memory."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kakehashi.errors import UserError
from kakehashi.serving.catalogue import Catalogue, Model
from kakehashi.serving.protocol import Language, UnknownDirection

ANY = 10**9


def model(name: str, score: float = 0.0, size: int = 10) -> Model:
    """`name`: "en-de", or "en-de.2"."""
    source, target = name.split(".")[0].split("-")
    return Model(name, Path(name), source, target, score, size)


def catalogue(*names: str, memory: int = ANY, **scores: float) -> Catalogue:
    return Catalogue([model(name, scores.get(name.replace("-", "_").replace(".", "_"), 0.0)) for name in names], memory)


def test_routes() -> None:
    all_of = catalogue("en-de", "de-fr", "fr-ja")
    assert all_of.route("en", "en") == ()
    assert all_of.route("en", "de") == ("en-de",)
    assert all_of.route("en", "fr") == ("en-de", "de-fr")
    for source, target in (("en", "ja"), ("de", "en"), ("xx", "de")):  # three models, and none
        with pytest.raises(UnknownDirection) as told:
            all_of.route(source, target)
        assert (told.value.source, told.value.target) == (source, target)


def test_a_direct_way_comes_first_and_then_the_score() -> None:
    assert catalogue("en-de", "de-fr", "en-fr", en_de=90, de_fr=90).route("en", "fr") == ("en-fr",)
    assert catalogue("en-de", "en-de.2", en_de=40, en_de_2=50).route("en", "de") == ("en-de.2",)
    assert catalogue("en-de", "en-de.2").route("en", "de") == ("en-de",)
    two_ways = catalogue("en-de", "de-ja", "en-fr", "fr-ja", en_de=50, de_ja=20, en_fr=40, fr_ja=40)
    assert two_ways.route("en", "ja") == ("en-fr", "fr-ja")


def test_a_model_by_name() -> None:
    both = catalogue("en-de", "en-de.2", en_de=50)
    assert both.route("en", "de", "en-de.2") == ("en-de.2",)
    for name in ("nobody", "en-de.2"):
        with pytest.raises(UnknownDirection):
            both.route("de", "en", name)


def test_languages() -> None:
    found = catalogue("en-de", "de-pt-br".replace("-br", ""), "x-en").languages()
    assert found[0] == Language("de", "German", ("de", "pt"))
    assert found[1] == Language("en", "English", ("de", "en", "pt"))
    assert found[3] == Language("x", "x", ("de", "en", "x"))
    assert catalogue("en-de", "fr-de").sources == ("en", "fr")


def test_memory() -> None:
    three = catalogue("en-de", "de-fr", "fr-en", memory=20)
    assert [three.use(name) for name in ("en-de", "de-fr", "en-de", "fr-en", "fr-en", "en-de")] == [
        [], [], [], ["de-fr"], [], [],
    ]  # fmt: skip
    assert list(three.used) == ["fr-en", "en-de"]
    small = catalogue("en-de", "de-fr", memory=5)
    assert [small.use(name) for name in ("en-de", "de-fr", "de-fr")] == [[], ["en-de"], []]


def test_a_directory(models: list[Path], tmp_path: Path, copied: Callable[[Path], Path]) -> None:
    own = Model.read(models[0])
    assert (own.name, own.source, own.target, own.score) == ("en-de", "en", "de", 0.0)
    assert own.size == (models[0] / "model.safetensors").stat().st_size
    other = copied(models[0])
    scores = [{"score": {"name": name, "value": value}} for name, value in (("bleu", 10), ("chrf", 50), ("chrf", 60))]
    (other / "card.json").write_text(json.dumps({"scores": scores}), "utf-8")
    assert Model.read(other).score == 55
    (other / "model.safetensors").unlink()
    for path in (other, tmp_path):
        with pytest.raises(UserError, match="no model directory"):
            Model.read(path)


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Makes a copy of a model directory."""

    def copy(directory: Path) -> Path:
        new = tmp_path / directory.name
        new.mkdir()
        for file in directory.iterdir():
            (new / file.name).write_bytes(file.read_bytes())
        return new

    return copy
