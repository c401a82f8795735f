"""The command line in this process: what each command prints, and that a mistake is one message and exit code 2."""

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from kakehashi import cli
from kakehashi.cli import translation
from kakehashi.data.corpus import Pair, read_lines, write_lines
from kakehashi.data.subwords import Unigram, train_subwords
from kakehashi.decoding import Beam
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossStack, Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.training.recipe import PRESETS
from kakehashi.translator import ModelDirectory, Translator

COMMANDS = ("train", "translate", "evaluate", "check", "info", "schema", "demo")
LINES = ["Guten Morgen!", "", "日本語の文。", "مرحبا بالعالم", "👩‍👩‍👧 🌉", "  ", "a\u2028b\u0085c"]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.removesuffix("\n").split("\n")


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    """Runs a command as `main` does, in a directory of its own, with some bytes as its standard input."""
    handler = signal.getsignal(signal.SIGPIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAKEHASHI_CACHE", str(tmp_path.with_name("cache")))

    def call(*arguments: object, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "argv", ["kakehashi", *map(str, arguments)])
        (tmp_path / ".stdin").write_bytes(stdin)
        code: Any = 0
        with (tmp_path / ".stdin").open() as file, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", file)
            try:
                cli.main()
            except SystemExit as end:
                code = end.code or 0
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    yield call
    signal.signal(signal.SIGPIPE, handler)


@pytest.fixture(scope="module")
def translator() -> Translator:
    """An untrained model: what it says makes no sense, but is always the same."""
    segmenters = train_subwords(Unigram(), [Pair(f"word{i} and {i}", f"Wort{i} und {i}") for i in range(40)])
    model = EncoderDecoder(width=16, heads=2, encoder=Stack(depth=1), decoder=CrossStack(depth=1))
    config = ModelDirectory(
        source="en",
        target="de",
        model=model,
        subwords=Unigram(),
        decoding=Beam(size=2, length_penalty=0.3, max_length=6),
    )
    torch.manual_seed(5)
    vocabulary = Vocabulary(segmenters.source.size)
    return Translator(config, model.build(vocabulary, vocabulary).eval(), segmenters)


@pytest.fixture(scope="module")
def model(translator: Translator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cli") / "model"
    translator.save(directory)
    return directory


# translate


def test_lines_in_lines_out(run: Run, model: Path, translator: Translator) -> None:
    expected = translator.translate(LINES)
    assert expected[1] == "" and expected[5] == "  "
    text = "\n".join(LINES).encode()
    for arguments, stdin in (((), text), (("-",), text + b"\n"), ((), b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))):
        ended = run("translate", model, *arguments, stdin=stdin)
        assert (ended.code, ended.out) == (0, "".join(f"{line}\n" for line in expected))
    write_lines(Path("input.txt.gz"), LINES)
    assert run("translate", model, "input.txt.gz").lines == expected


def test_each_line_is_answered_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with open(reading) as stdin, open(writing, "wb", buffering=0) as keyboard, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        windows = translation._windows("-")
        keyboard.write("橋\nhalf a l".encode())
        assert next(windows) == ["橋"]
        keyboard.write("ine ü".encode()[:-1])
        assert next(windows) == []
        keyboard.write("ü".encode()[1:] + b"\n\nend")
        assert next(windows) == ["half a line ü", ""]
        keyboard.close()
        assert list(windows) == [["end"]]


def test_decoding_can_be_changed(run: Run, model: Path, translator: Translator) -> None:
    ended = run("translate", model, "decoding=greedy", "decoding.max_length=3", stdin="\n".join(LINES).encode())
    assert ended.lines == translator.translate(LINES, kind="greedy", max_length=3)
    assert ended.lines != translator.translate(LINES)
    assert "may be incomplete" in ended.err, "nothing is cut silently"


def test_scores_and_json_lines(run: Run, model: Path, translator: Translator) -> None:
    best, *_ = translator.alternatives(["Guten Morgen!"], 1)[0]
    scored = run("translate", model, "--scores", stdin=b"Guten Morgen!\n\n")
    assert scored.lines == [f"{best.score:.4f}\t{best.text}", "0.0000\t"]
    record, empty = (json.loads(line) for line in run("translate", model, "--jsonl", stdin="橋\n\n".encode()).lines)
    assert record["source"] == "橋" and record["translation"] == translator.translate(["橋"])[0]
    assert record.keys() == {"source", "translation", "score", "finished"} | ({"note"} & record.keys())
    assert (empty["translation"], empty["finished"]) == ("", True)


def test_more_alternatives_than_the_beam_widen_it_and_change_nothing_else(
    run: Run, model: Path, translator: Translator
) -> None:
    found = translator.alternatives(["Guten Morgen!"], 4, size=4)
    assert len(found[0]) > 2, "more than the model's own beam, some of them of the same text"
    ended = run("translate", model, "--alternatives", 4, "--scores", stdin=b"Guten Morgen!")
    assert ended.lines == [f"{each.score:.4f}\t{each.text}" for each in found[0]]


# evaluate


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


# check, info, schema, help


def test_check_reports_and_writes_the_clean_corpus(run: Run) -> None:
    write_lines(Path("a.en"), [f"one sentence with the number {i}" for i in range(30)] + ["nothing"])
    write_lines(Path("a.de"), [f"ein Satz mit der Nummer {i}" for i in range(30)] + [""])
    ended = run("check", "a.en", "a.de")
    assert ended.code == 0 and ended.lines[0] == "31 pairs: 30 to keep, 1 to drop"
    report = json.loads(run("check", "a.en", "a.de", "--output", "clean", "--json").out)
    assert report["dropped"] == {"empty": 1}
    assert len(list(read_lines(Path("clean/clean.en")))) == len(list(read_lines(Path("clean/clean.de")))) == 30


def test_info_describes_a_model_and_a_preset(run: Run, model: Path) -> None:
    assert run("info", model).code == run("info", "tiny").code == 0
    shapes = re.sub(r"[\s,]", "", run("info", "paper-base", "--shapes", 50).out)
    assert "50×512" in shapes or "50x512" in shapes


def accepts(schema: dict[str, Any], node: Any, root: dict[str, Any]) -> bool:
    """A validator of as much of JSON Schema as pydantic writes; it refuses to skip what it does not know."""
    known = {"$defs", "$ref", "additionalProperties", "anyOf", "const", "default", "description", "discriminator"}
    known |= {"enum", "exclusiveMaximum", "exclusiveMinimum", "items", "maxItems", "maximum", "minItems", "minimum"}
    known |= {"oneOf", "prefixItems", "properties", "title", "type"}
    assert schema.keys() <= known, schema.keys() - known
    if "$ref" in schema:
        return accepts(root["$defs"][schema["$ref"].rpartition("/")[2]], node, root)
    if any(not any(accepts(each, node, root) for each in schema[key]) for key in ("anyOf", "oneOf") if key in schema):
        return False
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": int | float}
    if "type" in schema and schema["type"] != "null" and not isinstance(node, types[schema["type"]]):
        return False
    if (schema.get("type") == "null" and node is not None) or node not in schema.get("enum", [node]):
        return False
    if "const" in schema and node != schema["const"]:
        return False
    if isinstance(node, dict):
        fields, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        below = [(fields.get(key, rest), value) for key, value in node.items()]
        return all(each is True or (each is not False and accepts(each, value, root)) for each, value in below)
    if isinstance(node, list) and "prefixItems" not in schema:
        return all(accepts(schema.get("items", {}), value, root) for value in node)
    return True


def test_the_schema_accepts_every_preset(run: Run) -> None:
    root = json.loads(run("schema").out)
    presets = sorted(PRESETS.glob("*.yaml"))
    assert len(presets) >= 5
    for path in presets:
        tree = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
        assert accepts(root, json.loads(json.dumps(tree)), root), path.name
    tree = {"model": {"kind": "encoder_decoder", "encoder": {"position": "sinusoidal"}}}
    assert accepts(root, tree, root)
    assert not accepts(root, tree | {"modle": {}}, root)
    assert not accepts(root, {"model": {"kind": "encoder_decoder", "encoder": {"position": "sinus"}}}, root)
    assert not accepts(root, {"training": {"steps": "many"}}, root)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_an_example(command: str, run: Run) -> None:
    ended = run(command, "--help")
    assert ended.code == 0
    assert re.search(rf"Example:.*kakehashi {command}", ended.out, re.DOTALL)
    assert command in run("--help").out


# Mistakes

RECIPE = """\
base: tiny
task: {kind: translation, source: en, target: de, train: "train.{en,de}", valid: "valid.{en,de}"}
"""
FILES = {
    "recipe.yaml": RECIPE.encode(),
    "key.yaml": RECIPE.encode() + b"modle: {width: 3}\n",
    "type.yaml": RECIPE.encode() + b"training: {steps: many}\n",
    "preset.yaml": b"base: tinny\n",
    "broken.yaml": b"task: [\n",
    "latin.yaml": "# für\n".encode("latin-1") + RECIPE.encode(),
    "train.en": b"one\ntwo\nthree\n",
    "train.de": b"eins\nzwei\n",
    "latin.txt": "gut\nfür\n".encode("latin-1"),
    "empty.txt": b"",
    "pairs.tsv": b"one\teins\ntwo\n",
    "folder/config.yaml": b"format_version: 1\nsource: en\n",
}
MODEL = "THE MODEL"
MISTAKES = [
    ("train", "give a recipe"),
    ("train recipe.yaml --source train.en --target train.de", "give a recipe"),
    ("train recipe.yaml --from en", "--from"),
    ("train absent.yaml", "absent.yaml"),
    ("train key.yaml", "no key 'modle'.*did you mean 'model'"),
    ("train type.yaml", r"training.steps.*'many'"),
    ("train preset.yaml", "no such preset.*did you mean 'tiny'"),
    ("train broken.yaml", "broken.yaml"),
    ("train latin.yaml", "latin.yaml.*UTF-8"),
    ("train recipe.yaml model.widht=3", "model.widht=3.*did you mean 'width'"),
    ("train recipe.yaml model.width=wide", "model.width.*'wide'"),
    ("train recipe.yaml model.heads=3", "width 128 is not a multiple of heads 3"),
    ("train recipe.yaml training", "key.path=value"),
    ("train recipe.yaml", "train.en has 3 lines and .*train.de has 2"),
    ("train --source train.en --target train.de", "3.*2"),
    ("train recipe.yaml --rseume", "No such option"),
    ("trian", "No such command"),
    ("translate", "Missing argument"),
    ("translate absent", "absent is no model directory"),
    ("translate folder", "folder/config.yaml"),
    (f"translate {MODEL} absent.txt", "there is no file"),
    (f"translate {MODEL} latin.txt", "latin.txt, line 2.*UTF-8"),
    (f"translate {MODEL} train.en train.de", "one file at a time"),
    (f"translate {MODEL} model.width=3", "only decoding can be changed"),
    (f"translate {MODEL} decoding.sise=3", "did you mean 'size'"),
    (f"translate {MODEL} decoding=bean", "did you mean 'beam'"),
    (f"translate {MODEL} --alternatives 0", "alternatives"),
    (f"translate {MODEL} --alternatives 3 decoding=greedy", "--alternatives 3 needs a beam"),
    ("evaluate", "--reference FILE is needed"),
    ("evaluate --reference train.de", "give a model with --source, or --hypothesis"),
    ("evaluate --reference train.de --hypothesis train.de", "--language is needed"),
    ("evaluate --reference train.de --hypothesis train.en --language de", "train.en has 3 lines and train.de has 2"),
    ("evaluate --reference train.de --hypothesis train.de --language german", "'german' is not a language code"),
    ("evaluate --reference train.de --hypothesis train.de --language de --metric blue", "did you mean 'bleu'"),
    (f"evaluate {MODEL} --reference train.de", "--source"),
    (f"evaluate {MODEL} --reference train.de --source train.en", "train.en has 3 lines and train.de has 2"),
    ("check", "Missing argument"),
    ("check train.en", "train.en"),
    ("check train.en train.de", "train.en has 3 lines and .*train.de has 2"),
    ("check pairs.tsv", "pairs.tsv, line 2"),
    ("check latin.txt train.de", "latin.txt, line 2.*UTF-8"),
    ("check empty.txt train.de", "empty.txt is empty"),
    ("info absent", "neither a model directory nor a preset"),
    (f"info {MODEL} --shapes none", "shapes"),
    ("demo --pair en-fr", "en-fr"),
]


@pytest.mark.parametrize(("command", "message"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_mistake_is_one_message_and_exit_code_2(command: str, message: str, run: Run, model: Path) -> None:
    for name, content in FILES.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content)
    before = sorted(Path().rglob("*"))
    ended = run(*(str(model) if word == "MODEL" else word for word in command.replace(MODEL, "MODEL").split()))
    assert ended.code == 2
    assert re.search(message, " ".join(ended.err.replace("│", " ").split()), re.DOTALL), ended.err
    assert "Traceback" not in ended.err and ended.err.count("Error") <= 1
    assert ended.out == "" and [path for path in sorted(Path().rglob("*")) if path.name != ".stdin"] == before


def test_bad_bytes_on_standard_input(run: Run, model: Path) -> None:
    ended = run("translate", model, stdin="gut\nfür\n".encode("latin-1"))
    assert ended.code == 2 and "standard input, line 2: byte 2 is not UTF-8" in ended.err
