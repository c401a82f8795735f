"""The benchmarks of training: what is read out of logs, what the tables say, and the data that all systems get."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks import corpora, environments, time_to_quality, training
from benchmarks.peers import eole, joeynmt, marian
from benchmarks.peers.workload import Clock, Size, Workload
from benchmarks.training_table import tables
from kakehashi.data.corpus import Pair
from kakehashi.data.subwords import Segmenter, Unigram
from kakehashi.errors import UserError

TINY = Size(depth=4, width=128, feedforward=256, heads=4, vocabulary=300, placement="pre")
START = datetime(2026, 1, 2, tzinfo=UTC)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


LOG: list[dict[str, Any]] = [
    {"step": 0, "time": at(30), "kind": "note", "message": "9 training pairs"},
    {"step": 20, "time": at(40.5), "kind": "train", "tokens": 1000},
    {"step": 40, "time": at(60), "kind": "train", "tokens": 2500},
    {"step": 40, "time": at(90), "kind": "validation", "bleu": 12.5},
    {"step": 60, "time": at(120.75), "kind": "train", "tokens": 5000},
    {"step": 60, "time": at(150), "kind": "validation", "bleu": 20.0},
    {"step": 60, "time": at(180), "kind": "end", "peak_memory": 2**30},
]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random") / "data"
    corpora.random_words(folder, TINY.vocabulary, valid=3)
    return folder


def test_our_log_gives_tokens_and_seconds_between_the_ends_of_two_steps() -> None:
    assert training.timed(LOG, 20, 60) == {"tokens": 4000, "seconds": 80.25, "peak_memory": 2**30}


def test_the_clock_of_the_peers_leaves_the_warm_up_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, now = Clock(first=2, last=4), iter([10.0, 12.5])
    monkeypatch.setattr("benchmarks.peers.workload.time.perf_counter", lambda: next(now))
    for step in range(1, 6):
        clock.step_ended(step, 100 * step)
    assert clock.measured() == {"tokens": 200, "seconds": 2.5}


def line(session: str, system: str, turn: int, **found: Any) -> dict[str, Any]:
    conditions = {"session": session, "model": "small", "threads": 2, "machine": "2 cores", "load": 0.5 * turn}
    return {**conditions, "system": system, "round": turn, "warmup": 20, "steps": 60, **found}


def run(session: str, system: str, turn: int, speed: float) -> dict[str, Any]:
    found = {"tokens": 40 * 3000, "seconds": 40 * 3000 / speed, "parameters": 9421824, "peak_memory": 2**31}
    return line(session, system, turn, **found)


def test_the_table_compares_within_a_round_and_shows_the_last_session() -> None:
    lines = [
        run("2026-01-01T00:00:00", "ours", 1, 1.0),
        line("2026-01-02T00:00:00", "operations", 1, operations=50e6),
        *(line("2026-01-02T00:00:00", "ceiling", turn, ceiling=1e12 / turn) for turn in (1, 2, 3)),
        *(run("2026-01-02T00:00:00", "ours", turn, 9000 / turn) for turn in (1, 2, 3)),
        *(run("2026-01-02T00:00:00", "joeynmt", turn, 1000 / turn) for turn in (1, 2)),
        line("2026-01-02T00:00:00", "eole", 1, failed="no such option"),
    ]
    text = "\n".join(tables(lines))
    assert "### small, Multi30k, English to German, 2 threads (2026-01-02)" in text
    assert "2 cores, load 0.5 to 1.5; steps 21 to 60." in text
    assert "50 million operations a target token; the product: 0.50 (0.33 to 1.00) TFLOP/s." in text
    ours = "| 4,500 (3,000 to 9,000) | 1.00 | 45.0% | 2.00 GiB | 3,000 | 9,421,824 |"
    assert f"| Kakehashi, bf16 {ours}" in text
    assert "| 750 (500 to 1,000) | 9.00 | 5.0% | 2.00 GiB | 3,000 | 9,421,824 |" in text
    assert "| Eole 0.6.4, fp32 | failed: no such option |" in text


def test_all_systems_get_the_same_pieces(words: Path) -> None:
    segmenter = Segmenter.load(words / "subwords" / "subwords.model")
    vocabulary = (words / "vocabulary.txt").read_text("utf-8").split("\n")[:-1]
    assert len(vocabulary) == segmenter.size == TINY.vocabulary
    text, pieces = ((words / kind / "train.target").read_text("utf-8").split("\n")[0] for kind in ("text", "pieces"))
    ids = [vocabulary.index(piece) for piece in pieces.split()]
    assert segmenter.encode(text) == ids and segmenter.decode(ids) == text
    assert marian.pairs_of(str(words))[0][1] == [*ids, marian.END]


def test_text_is_cut_by_subwords_learnt_from_it(tmp_path: Path) -> None:
    pairs = [Pair(f"a dog and {n} cats", f"ein Hund und {n} Katzen") for n in range(50)]
    corpora.of_pairs(tmp_path, Unigram(size=285), pairs, pairs[:2])
    assert (tmp_path / "text/valid.source").read_text("utf-8") == "a dog and 0 cats\na dog and 1 cats\n"
    whole = (tmp_path / "pieces/valid.target").read_text("utf-8").replace(" ", "")
    assert whole == "▁ein▁Hund▁und▁0▁Katzen\n▁ein▁Hund▁und▁1▁Katzen\n"


def test_batches_of_the_plain_loop_keep_within_the_budget_and_lose_nobody() -> None:
    pairs = [([1] * (1 + n % 7), [2] * (1 + n % 5)) for n in range(100)]
    steps = list(marian.batches(pairs, tokens=40, seed=1))
    assert sorted(pair for step in steps for pair in step) == sorted(pairs)
    assert all(len(step) * max(max(map(len, pair)) for pair in step) <= 40 for step in steps)
    assert steps != list(marian.batches(pairs, tokens=40, seed=2))


def test_peers_are_asked_for_the_same_model() -> None:
    work = Workload("data", "run", TINY, dropout=0.2)
    theirs = joeynmt.configuration(work)
    for stack in ("encoder", "decoder"):
        assert theirs["model"][stack]["num_layers"] == 4 and theirs["model"][stack]["ff_size"] == 256
        assert theirs["model"][stack]["layer_norm"] == "pre" and theirs["model"][stack]["dropout"] == 0.2
    assert theirs["data"]["train"] == "data/pieces/train" and theirs["data"]["src"]["level"] == "word"
    model = eole.configuration(work)["model"]
    assert (model["layers"], model["hidden_size"], model["transformer_ff"], model["heads"]) == (4, 128, 256, 4)


def test_a_judged_peer_gets_text_and_validates_as_often_as_it_logs() -> None:
    theirs = joeynmt.configuration(Workload("data", "run", TINY, minutes=5, every=50))
    assert theirs["data"]["dev"] == "data/text/valid" and theirs["data"]["trg"]["tokenizer_type"] == "sentencepiece"
    assert theirs["training"]["validation_freq"] == theirs["training"]["logging_freq"] == 50


def test_an_environment_of_other_packages_is_made_anew(tmp_path: Path) -> None:
    assert not environments.ready(tmp_path, "eole")
    (tmp_path / "eole").mkdir()
    stamp = tmp_path / "eole" / "requirements.txt"
    stamp.write_text("\n".join([environments.TORCH, *environments.REQUIREMENTS["eole"]]))
    assert environments.ready(tmp_path, "eole")
    stamp.write_text("torch==1.0\neole==0.6.4")
    assert not environments.ready(tmp_path, "eole")


def test_minutes_of_a_run_add_up_and_the_curve_starts_with_the_raw_text() -> None:
    found = time_to_quality.phases(LOG, START, START + timedelta(seconds=240))
    assert found["minutes"] == {"data": 0.5, "training": 2.5, "test sets": 1.0}
    assert found["curve"] == [
        {"minutes": 1.5, "step": 40, "bleu": 12.5},
        {"minutes": 2.5, "step": 60, "bleu": 20.0},
    ]


RECIPE = """base: tiny
task:
  kind: translation
  source: en
  target: de
  train: "${KAKEHASHI_DATA}/train.{en,de}"
  valid: "${KAKEHASHI_DATA}/valid.{en,de}"
  test: {held_out: "${KAKEHASHI_DATA}/test.{en,de}"}
  subwords: {kind: unigram, size: 400}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_levers_are_read_from_the_command_line_and_from_a_file(tmp_path: Path) -> None:
    expected = ("wide", ("model.width=192", "task.subwords={kind: bpe}"))
    assert time_to_quality.named("wide: model.width=192 'task.subwords={kind: bpe}'") == expected
    file = tmp_path / "levers.yaml"
    file.write_text("baseline:\nwide: [model.width=192, 'task.subwords={kind: bpe}']\nbf: training.precision=fp32\n")
    assert time_to_quality.levers(file) == [("baseline", ()), expected, ("bf", ("training.precision=fp32",))]


def test_a_run_is_known_by_its_recipe_and_not_by_the_folder_of_the_data(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(folder: str, seed: int, *overrides: str) -> str:
        monkeypatch.setenv("KAKEHASHI_DATA", folder)
        return time_to_quality.Run("any", recipe, overrides, seed, threads=1).key

    assert key("/a/b", 1) == key("/c", 1) == key("/c", 1, "model.width=128")
    assert len({key("/c", 1), key("/c", 2), key("/c", 1, "model.dropout=0.3")}) == 3


def test_the_model_of_a_recipe_is_given_to_joeynmt(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAKEHASHI_DATA", "data")
    run = time_to_quality.Run("any", recipe, (), 1, threads=1)
    assert time_to_quality.plain(run) == (Size(4, 128, 256, 4, 400, "pre"), Unigram(size=400))
    deeper = time_to_quality.Run("any", recipe, ("model.decoder.depth=2",), 1, threads=1)
    with pytest.raises(UserError, match="as many layers on both sides"):
        time_to_quality.plain(deeper)


def test_an_unknown_test_set_is_told_before_anything_is_run(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAKEHASHI_DATA", "data")
    monkeypatch.setattr("sys.argv", ["time_to_quality", str(recipe), "--test", "nowhere"])
    with pytest.raises(SystemExit, match="2"):
        time_to_quality.main()
    assert "no translation with a test set 'nowhere'" in capsys.readouterr().err


def quality(name: str, seed: int, bleu: float, processes: int = 1) -> dict[str, Any]:
    return {
        "name": name,
        "recipe": "multi30k.yaml",
        "overrides": ["model.width=192"],
        "threads": 2,
        "processes": processes,
        "seed": seed,
        "minutes": {"data": 1.0, "training": 10.0 + seed, "test sets": 0.5},
        "scores": {"bleu": bleu, "bleu_tokenized_lowercase": bleu + 1},
        "curve": [{"minutes": 5.0, "step": 10, "bleu": bleu}, {"minutes": 9.0, "step": 20, "bleu": bleu + 2}],
    }


def test_seeds_are_averaged_and_curves_drawn(tmp_path: Path) -> None:
    lines = [quality("wide", 1, 37.0), quality("wide", 2, 39.0), quality("other", 1, 30.0, processes=2)]
    rows = list(time_to_quality.table(lines))
    settings = "multi30k.yaml model.width=192"
    assert rows[2] == (
        f"| wide: {settings} (2 threads) | 2 | 13.0 ± 0.7 (0.5) | 38.00 ± 1.41 | 39.00 ± 1.41 | 40.00 ± 1.41 |"
    )
    assert rows[3] == f"| other: {settings} (2 processes of 1 thread) | 1 | 12.5 (0.5) | 30.00 | 31.00 | 32.00 |"
    time_to_quality.plot(lines, tmp_path / "curve.svg")
    drawn = (tmp_path / "curve.svg").read_text("utf-8")
    assert "wide" in drawn and "minutes from the raw text" in drawn


@pytest.mark.slow
def test_our_side_of_the_benchmark_runs(words: Path, tmp_path: Path) -> None:
    work = Workload(str(words), str(tmp_path), TINY, tokens=128, steps=40)
    found = training.run_ours(work, "tiny")
    assert found["tokens"] > 20 * 60 and found["seconds"] > 0 and found["parameters"] > 10**6
    assert 1e6 < training.operations(work, "tiny")["operations"] < 1e8
