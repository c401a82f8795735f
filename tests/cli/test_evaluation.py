"""`kakehashi evaluate`: translations, and texts of which a language model says how likely they are."""

import json
import math
from pathlib import Path

import pytest

from kakehashi.data.corpus import write_lines

from .conftest import Run


@pytest.fixture
def texts() -> dict[str, Path]:
    """References, and two outputs of which the second is better."""
    references = [f"the number {i} is a good number of its own" for i in range(12)]
    files = {
        "reference": references,
        "bad": [line.replace("good number", "well numeral") for line in references],
        "good": [line.replace("good", "fine") if i % 2 else line for i, line in enumerate(references)],
        "source": [f"word{i}" for i in range(12)],
        "short": references[:-1],
    }
    for name, lines in files.items():
        write_lines(Path(f"{name}.txt"), lines)
    return {name: Path(f"{name}.txt") for name in files}


def test_anyones_output_is_scored(run: Run, texts: dict[str, Path]) -> None:
    arguments = ("evaluate", "--hypothesis", texts["bad"], "--reference", texts["reference"], "--language", "en")
    table = run(*arguments)
    assert table.code == 0 and "bleu" in table.out and "|tok:13a|" in table.out
    result = json.loads(run(*arguments, "--json", "--metric", "bleu", "--metric", "ter").out)
    bleu, ter = result["scores"]["bad.txt"]
    assert (bleu["name"], ter["name"]) == ("bleu", "ter")
    assert 0 < bleu["low"] <= bleu["value"] <= bleu["high"] < 100 and "tok:13a" in bleu["signature"]
    assert result["comparison"] == []


def test_two_outputs_are_compared(run: Run, texts: dict[str, Path]) -> None:
    files = ("--hypothesis", texts["bad"], "--hypothesis", texts["good"], "--reference", texts["reference"])
    ended = run("evaluate", *files, "--language", "en", "--metric", "chrf", "--json")
    (compared,) = json.loads(ended.out)["comparison"]
    assert compared["difference"] > 0 and compared["p_value"] < 0.05, "the second against the first"
    assert "chrf: +" in run("evaluate", *files, "--language", "en", "--metric", "chrf").out


def test_a_model_is_scored_in_its_own_language(run: Run, model: Path, texts: dict[str, Path]) -> None:
    files = ("--source", texts["source"], "--reference", texts["reference"])
    result = json.loads(run("evaluate", model, *files, "--json").out)
    assert [score["name"] for score in result["scores"][str(model)]] == ["bleu", "chrf", "ter"]
    assert run("evaluate", model, *files, "--precision", "int8", "--json").code == 0
    nobody = run("evaluate", "--hypothesis", texts["good"], *files[2:], "--language", "en", "--precision", "int8")
    assert nobody.code == 2 and "--precision" in nobody.err, "nothing is translated"


def test_a_text_is_scored(run: Run, generator: Path) -> None:
    write_lines(Path("text.txt"), ["abc", "cab"])
    (scores,) = json.loads(run("evaluate", generator, "--text", "text.txt", "--json").out)["scores"].values()
    values = {score["name"]: score["value"] for score in scores}
    assert values["perplexity"] == pytest.approx(math.exp(values["loss"]))
    assert values["bits_per_character"] == pytest.approx(values["loss"] / math.log(2)), "characters are its tokens"
    assert "length:8" in run("evaluate", generator, "--text", "text.txt").out


def test_confidence_is_calibrated(run: Run, model: Path, texts: dict[str, Path]) -> None:
    files = ("--source", texts["source"], "--reference", texts["reference"])
    ended = run("calibrate", model, *files)
    assert ended.code == 0 and "calibration error" in ended.lines[0] and "AUROC" in ended.lines[1]
    assert {"calibration.json", "reliability.svg"} <= {path.name for path in model.iterdir()}
    result = json.loads(run("evaluate", model, *files, "--reliability", "shown.svg", "--json").out)["reliability"]
    assert result["sentences"]["error"][1] < result["sentences"]["error"][0], "the text that it was fitted to"
    assert Path("shown.svg").read_text("utf-8").startswith("<?xml")
    wrong = run("evaluate", "--hypothesis", texts["good"], *files[2:], "--language", "en", "--reliability", "x.svg")
    assert wrong.code == 2 and "--reliability" in wrong.err
    wrong = run("evaluate", model, "--text", texts["source"], "--reliability", "x.svg")
    assert wrong.code == 2 and "nothing else" in wrong.err
