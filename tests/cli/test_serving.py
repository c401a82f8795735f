"""`kakehashi serve` before it begins, and `kakehashi corrections`."""

import io
import sys
from pathlib import Path

import pytest

from kakehashi.cli import serving
from kakehashi.data.corpus import Corpus, Pair, read_pairs
from kakehashi.errors import UserError
from kakehashi.serving.api import server
from kakehashi.serving.corrections.memory import Entry, Memory, MemorySettings
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "make the demo's with `kakehashi demo`"),
        (["limits.minut=1"], "did you mean 'minute'?"),
        (["--settings", "none.yaml"], "none.yaml: no such file"),
        (["--port", "99999"], "port = 99999"),
    ],
    ids=["nothing", "setting", "file", "port"],
)
def test_mistakes(run: Run, arguments: list[str], said: str) -> None:
    ended = run("serve", *arguments)
    assert ended.code == 2 and said in ended.err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_demo_is_offered_to_who_can_be_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun: list[object] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serving, "demo", lambda: begun.append("demo"))
    monkeypatch.setattr(server, "serve", lambda models, settings: begun.append((models, settings.port)))
    monkeypatch.setattr(sys, "stdin", Terminal("n\ny\n"))
    with pytest.raises(UserError, match="no model to serve"):
        serving.serve()
    assert begun == []
    serving.serve(["port=7"])
    assert begun == ["demo", ([serving.DEMO], 7)]
    serving.DEMO.mkdir(parents=True)
    serving.serve()
    assert begun[2:] == [([serving.DEMO], 5000)], "it is there: nothing is asked"


def test_corrections_in_and_out(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_text("ant\tAmeise\nbee\tBiene\n", "utf-8")
    ended = run("corrections", "import", "memory.sqlite", "in.tsv", "--from", "en", "--to", "de")
    assert (ended.code, ended.out) == (0, "2 corrections, approved\n")
    document = run("corrections", "export", "memory.sqlite").out
    (tmp_path / "out.tmx").write_text(document, "utf-8")
    assert (
        run("corrections", "import", "other.sqlite", "out.tmx", "--state", "pending").out == "2 corrections, pending\n"
    )
    assert (
        run("corrections", "export", "other.sqlite", "--format", "tsv").err == "Error: there are no such corrections\n"
    )
    table = run("corrections", "export", "other.sqlite", "--format", "tsv", "--state", "pending").out
    (tmp_path / "corpus.tsv").write_text(table, "utf-8")
    corpus = Corpus(files=str(tmp_path / "corpus.tsv"))
    assert list(read_pairs(corpus)) == [Pair("ant", "Ameise"), Pair("bee", "Biene")]


def test_a_tsv_file_holds_one_language_pair(run: Run, tmp_path: Path) -> None:
    memory = Memory.open(MemorySettings(database=str(tmp_path / "memory.sqlite")))
    memory.store([Entry("en", "de", "ant", "Ameise"), Entry("en", "fr", "ant", "fourmi")], "approved")
    memory.close()
    ended = run("corrections", "export", "memory.sqlite", "--format", "tsv", "--from", "en")
    assert ended.code == 2 and "there are en to de, en to fr" in ended.err
    assert run("corrections", "export", "memory.sqlite", "--format", "tsv", "--to", "fr").out == "ant\tfourmi\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "none.sqlite"], "no such database"),
        (["import", "m.sqlite", "none.tmx"], "there is no file none.tmx"),
        (["import", "m.sqlite", "x.tsv"], "x.tsv: a TSV file names no languages: add --from and --to"),
        (["import", "m.sqlite", "x.tmx"], "x.tmx: not a TMX file"),
        (["import", "m.sqlite", "x.tsv", "--from", "jp", "--to", "en"], "did you mean 'ja'?"),
        (["export", "x.tsv"], "not a database"),
    ],
    ids=["database", "file", "languages", "tmx", "code", "text"],
)
def test_mistakes_about_corrections(run: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    for name in ("x.tsv", "x.tmx"):
        (tmp_path / name).write_text("no\tXML " * 1_000, "utf-8")
    ended = run("corrections", *arguments)
    assert ended.code == 2 and said in ended.err.replace("\n", " ")
