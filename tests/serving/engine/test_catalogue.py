"""Which models lead where, and which of them may stay in memory."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kakehashi.errors import UserError
from kakehashi.serving.engine.catalogue import Catalogue, Model, read_models
from kakehashi.serving.engine.protocol import Language, UnknownDirection

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


def test_directories(models: list[Path], tmp_path: Path, copied: Callable[[str], Path]) -> None:
    (own,) = read_models([models[0]])
    assert (own.name, own.source, own.target, own.score) == ("en-de", "en", "de", 0.0)
    assert own.size == (models[0] / "model.safetensors").stat().st_size
    other = copied("a/model")
    scores = [{"score": {"name": name, "value": value}} for name, value in (("bleu", 10), ("chrf", 50), ("chrf", 60))]
    (other / "card.json").write_text(json.dumps({"scores": scores}), "utf-8")
    assert read_models([other])[0].score == 55
    with pytest.raises(UserError, match="named twice"):
        read_models([other, tmp_path / "a" / ".." / "a" / "model"])
    (other / "model.safetensors").unlink()
    for path in (other, tmp_path):
        with pytest.raises(UserError, match="no model directory"):
            read_models([path])


def test_names_tell_models_apart(models: list[Path], copied: Callable[[str], Path]) -> None:
    directories = [models[0], copied("a/model"), copied("b/model"), copied("a-model"), copied("c/b/model")]
    names = [model.name for model in read_models(directories)]
    assert names[:2] + names[3:] == ["en-de", "a/model", "a-model", "c/b/model"]
    assert names[2].endswith("/b/model") and len(set(names)) == 5


@pytest.fixture
def copied(models: list[Path], tmp_path: Path) -> Callable[[str], Path]:
    """Makes a copy of en-de under another name."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(models[0], tmp_path / name))

    return copy
