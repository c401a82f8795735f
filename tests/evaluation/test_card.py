import datetime
import json
import os
from pathlib import Path

import pytest
from pydantic import JsonValue, ValidationError

from kakehashi.errors import UserError
from kakehashi.evaluation.card import FORMAT_VERSION, Card, ScoreRecord, Speed, TrainingCorpus, TrainingRun
from kakehashi.evaluation.metrics import Score


@pytest.fixture
def card() -> Card:
    day = datetime.date(2026, 1, 31)
    settings: dict[str, JsonValue] = {"kind": "beam", "size": 5, "length_penalty": 1.0}
    bleu = Score("bleu", 38.25, "nrefs:1|case:mixed|tok:13a", 37.0, 39.5)
    chrf = Score("chrf", 64.0, "nrefs:1|nc:6")
    return Card(
        name="架け橋-en-ja",
        source="en",
        target="ja",
        data=(
            TrainingCorpus(
                files=("train.en.gz", "train.ja.gz"),
                pairs=29_000,
                dropped={"too long": 10, "empty": 2},
                content_hash="sha256:0123",
            ),
        ),
        training=TrainingRun(
            steps=8000,
            seconds=2465.4,
            parameters=2_600_000,
            device="cpu",
            seed=1,
            versions={"torch": "2.13.0"},
            losses={"train": 1.5, "valid": 1.625},
        ),
        scores=tuple(
            ScoreRecord(test_set="test_2016", score=each, decoding=settings, date=day) for each in (bleu, chrf)
        ),
        speed=Speed(sentences_per_second=123.4, conditions="2 threads, batches of 32"),
        model_licence="CC-BY-4.0",
    )


def test_a_card_reads_back_equal(card: Card, tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    card.write(path)
    assert Card.read(path) == card
    assert "架け橋" in path.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8"))["format_version"] == FORMAT_VERSION


def test_the_smallest_card_reads_back_and_renders(tmp_path: Path) -> None:
    card = Card(name="demo", source="en", target="de")
    card.write(tmp_path / "card.json")
    assert Card.read(tmp_path / "card.json") == card
    assert card.render().count("not stated") == 6


def test_writing_leaves_the_old_card_when_it_fails(card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "card.json"
    Card(name="old", source="en", target="ja").write(path)

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(UserError, match=r"cannot write the card.*disk full"):
            card.write(path)
    assert Card.read(path).name == "old"
    assert os.listdir(tmp_path) == ["card.json"]
    card.write(path)
    assert Card.read(path) == card


def test_a_newer_card_is_refused_whatever_else_it_holds(card: Card, tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    tree = {**card.model_dump(mode="json"), "format_version": FORMAT_VERSION + 1, "unheard_of": True}
    path.write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(UserError, match=f"format_version {FORMAT_VERSION + 1}.*reads up to {FORMAT_VERSION}"):
        Card.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a card"),
        ("[]", "is not a valid card"),
        ('{"name": "a", "source": "en", "target": "de", "sorce": 1}', "sorce: Extra inputs"),
        ('{"name": 1, "source": "en", "target": "de"}', "name: Input should be a valid string"),
        ('{"name": "a", "source": "en", "target": "de", "format_version": 0}', "format_version"),
        ('{"name": "a", "source": "en", "target": "de", "scores": [{"score": {"name": "bleu"}}]}', "scores.0.score"),
    ],
)
def test_a_wrong_card_is_told(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        Card.read(path)
    assert str(path) in str(caught.value)


def test_an_unreadable_card_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the card"):
        Card.read(tmp_path / "card.json")
    (tmp_path / "card.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match="is not a card"):
        Card.read(tmp_path / "card.json")


@pytest.mark.parametrize("path", ["/home/me/train.en", "data/train.en", "C:\\data\\train.en", ""])
def test_a_card_holds_no_paths(path: str) -> None:
    with pytest.raises(ValidationError, match="not a path"):
        TrainingCorpus(files=(path,), pairs=1, content_hash="sha256:0")


def test_impossible_numbers_are_refused(card: Card) -> None:
    with pytest.raises(ValidationError, match="more pairs dropped"):
        TrainingCorpus(files=("a",), pairs=1, dropped={"empty": 2}, content_hash="sha256:0")
    assert card.training is not None
    with pytest.raises(ValidationError, match="finite"):  # JSON has no NaN: the card would not read back
        TrainingRun.model_validate({**card.training.model_dump(), "losses": {"train": float("nan")}})


def test_render_in_english(card: Card) -> None:
    assert card.render() == (
        "架け橋-en-ja: en → ja\n"
        "\n"
        "Data\n"
        "  train.en.gz, train.ja.gz: pairs 28,988; dropped: too long 10, empty 2 (sha256:0123)\n"
        "\n"
        "Training\n"
        "  steps: 8,000\n"
        "  time: 0:41:05\n"
        "  parameters: 2,600,000\n"
        "  device: cpu\n"
        "  seed: 1\n"
        "  final losses: train 1.5000, valid 1.6250\n"
        "  versions: torch 2.13.0\n"
        "\n"
        "Scores\n"
        "  test_2016, 2026-01-31 (kind=beam, size=5, length_penalty=1.0)\n"
        "    BLEU: 38.2 [37.0, 39.5]  nrefs:1|case:mixed|tok:13a\n"
        "    chrF: 64.0  nrefs:1|nc:6\n"
        "\n"
        "Speed\n"
        "  123.4 sentences/s (2 threads, batches of 32)\n"
        "\n"
        "Licence\n"
        "  Data: not stated\n"
        "  Model: CC-BY-4.0"
    )


def test_render_in_japanese_differs_in_words_only(card: Card) -> None:
    english, japanese = card.render("en").split("\n"), card.render("ja").split("\n")
    assert len(english) == len(japanese)
    assert "評価" in japanese
    assert "  パラメータ数: 2,600,000" in japanese
    assert "  データ: 記載なし" in japanese
    assert not any(word in card.render("ja") for word in ("Data", "steps", "stated", "Licence"))
