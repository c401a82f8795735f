"""`kakehashi translate`: lines in, lines out."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kakehashi.alignment import pharaoh
from kakehashi.cli import translation
from kakehashi.data.corpus import write_lines
from kakehashi.data.terms import Wording
from kakehashi.translator import Translator

from .conftest import LINES, Run


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


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_weights_of_less_precision(precision: Any, run: Run, model: Path) -> None:
    ended = run("translate", model, "--precision", precision, "--scores", stdin=b"Guten Morgen!")
    (expected,) = Translator.load(model, precision, "cpu").alternatives(["Guten Morgen!"], 1)[0]
    assert ended.lines == [f"{expected.score:.4f}\t{expected.text}"]
    assert ended.lines != run("translate", model, "--scores", stdin=b"Guten Morgen!").lines
    assert run("translate", model, "--precision", "int4").code == 2


def test_prefix_and_sampled_alternatives(run: Run, model: Path, translator: Translator) -> None:
    ended = run("translate", model, "--prefix", "Zug", stdin="\n".join(LINES).encode())
    assert ended.lines == translator.translate(LINES, prefix="Zug")
    sampled = run("translate", model, "decoding=sample", "--alternatives", 3, "--jsonl", stdin=b"Guten Morgen!")
    (expected,) = translator.alternatives(["Guten Morgen!"], 3, kind="sample")
    assert [json.loads(line)["translation"] for line in sampled.lines] == [each.text for each in expected]


def test_glossary_and_forbidden_phrases(run: Run, model: Path, translator: Translator) -> None:
    Path("terms.tsv").write_text("Morgen\tWort1\n", encoding="utf-8")
    text, options = b"Guten Morgen!\nMorgens", ("--glossary", "terms.tsv", "--forbid", "word", "--forbid", "2")
    ended = run("translate", model, *options, "decoding.max_length=12", stdin=text)
    wording = Wording({"Morgen": "Wort1"}, forbidden=["word", "2"])
    assert ended.lines == translator.translate(["Guten Morgen!", "Morgens"], wording=wording, max_length=12)
    assert "Wort1" in ended.lines[0]
    Path("terms.tsv").write_text("Morgen", encoding="utf-8")
    wrong = run("translate", model, *options, stdin=text)
    assert wrong.code == 2 and "terms.tsv, line 1" in wrong.err


def test_scores_and_json_lines(run: Run, model: Path, translator: Translator) -> None:
    best, *_ = translator.alternatives(["Guten Morgen!"], 1)[0]
    scored = run("translate", model, "--scores", stdin=b"Guten Morgen!\n\n")
    assert scored.lines == [f"{best.score:.4f}\t{best.text}", "0.0000\t"]
    record, empty = (json.loads(line) for line in run("translate", model, "--jsonl", stdin="橋\n\n".encode()).lines)
    assert record["source"] == "橋" and record["translation"] == translator.translate(["橋"])[0]
    assert record.keys() == {"source", "translation", "score", "finished"} | ({"note"} & record.keys())
    assert (empty["translation"], empty["finished"]) == ("", True)


def test_alignment_in_lines_and_in_json(run: Run, model: Path, translator: Translator) -> None:
    lines = ["Guten Morgen!", "", "橋 der Brücke"]
    text = "\n".join(lines).encode()
    expected = list(translator.stream(lines, detail="links"))
    assert run("translate", model, "--alignment", stdin=text).lines == [
        f"{found.text}\t{pharaoh(found.source, found.text, found.links)}" for found in expected
    ]
    records = [json.loads(line) for line in run("translate", model, "--jsonl", "--alignment", stdin=text).lines]
    for record, found in zip(records, expected, strict=True):
        assert [(t["piece"], tuple(t["span"])) for t in record["tokens"]] == [(t.piece, t.span) for t in found.tokens]
        assert [t["log_probability"] for t in record["tokens"]] == pytest.approx(
            [t.log_probability for t in found.tokens], abs=1e-4
        )
        assert [(tuple(k["source"]), tuple(k["target"])) for k in record["links"]] == [
            (k.source, k.target) for k in found.links
        ]
    assert records[0]["links"] and not records[1]["links"]
    (record,) = [json.loads(line) for line in run("translate", model, "--jsonl", "--tokens", stdin=b"Morgen").lines]
    assert record["tokens"] and "links" not in record
    wrong = run("translate", model, "--tokens", stdin=text)
    assert wrong.code == 2 and "--jsonl" in wrong.err


def test_more_alternatives_than_the_beam_widen_it_and_change_nothing_else(
    run: Run, model: Path, translator: Translator
) -> None:
    found = translator.alternatives(["Guten Morgen!"], 4, size=4)
    assert len(found[0]) > 2, "more than the model's own beam, some of them of the same text"
    ended = run("translate", model, "--alternatives", 4, "--scores", stdin=b"Guten Morgen!")
    assert ended.lines == [f"{each.score:.4f}\t{each.text}" for each in found[0]]
