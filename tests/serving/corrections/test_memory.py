"""The translation memory: what answers, in which state, and that nothing acknowledged is lost."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sql
from sqlalchemy import event
from sqlalchemy.dialects import postgresql

from kakehashi.errors import UserError
from kakehashi.serving.corrections import memory as module
from kakehashi.serving.corrections.memory import (
    Duplicate,
    Entry,
    Memory,
    MemorySettings,
    Selection,
    importing,
    suggesting,
)

Opened = Callable[..., Memory]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> MemorySettings:
    """Those of a new database."""
    if request.param == "sqlite":
        return MemorySettings(database=str(tmp_path / "corrections.sqlite"))
    server, name = request.getfixturevalue("postgresql"), f"memory_{uuid4().hex}"
    engine = sql.create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT", poolclass=sql.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return MemorySettings(database=f"{server}/{name}")


@pytest.fixture
def opened(settings: MemorySettings) -> Iterator[Opened]:
    """Opens the memory, perhaps with other settings; all are closed with the test."""
    with ExitStack() as memories:

        def opened(**changes: object) -> Memory:
            return memories.enter_context(closing(Memory.open(settings.model_copy(update=changes))))

        yield opened


def entry(source: str, target: str, languages: tuple[str, str] = ("en", "ja")) -> Entry:
    return Entry(*languages, source, target)


def answer(memory: Memory, text: str) -> str | None:
    (found,) = memory.answers("en", "ja", [text])
    return found and found.entry.target


def test_trusted_corrections_answer_at_once_and_the_newest_wins(opened: Opened) -> None:
    memory = opened()
    assert answer(memory, "Hello.") is None
    memory.add(entry("Hello.", "こんにちは。"))
    assert answer(memory, "Hello.") == "こんにちは。"
    memory.add(entry("Hello.", "やあ。"))
    assert answer(memory, "Hello.") == "やあ。"
    memory.add(entry("Hello.", "こんにちは。"))  # back again
    assert answer(memory, "Hello.") == "こんにちは。"
    assert len(memory.page(Selection())) == 2
    assert memory.answers("ja", "en", ["Hello."]) == [None], "only in its direction"


def test_reviewed_corrections_answer_once_approved(opened: Opened) -> None:
    memory = opened(suggestions="review")
    memory.add(entry("Hello.", "one"))
    memory.add(entry("Hello.", "two"))
    assert answer(memory, "Hello.") is None
    two, one = memory.page(Selection(state="pending"))
    memory.decide(one.id, "approved")
    assert answer(memory, "Hello.") == "one"
    memory.decide(two.id, "approved")
    assert answer(memory, "Hello.") == "two"
    memory.add(entry("Hello.", "one"))
    assert answer(memory, "Hello.") == "two", "a suggestion does not overrule a reviewer"
    memory.decide(two.id, "rejected")
    assert answer(memory, "Hello.") == "one"


def test_what_is_rejected_stays_rejected(opened: Opened) -> None:
    memory = opened()
    memory.add(entry("Hello.", "nonsense"))
    memory.decide(memory.page(Selection())[0].id, "rejected")
    memory.add(entry("Hello.", "nonsense"))
    assert answer(memory, "Hello.") is None


def test_editing(opened: Opened) -> None:
    memory = opened()
    memory.add(entry("Hello.", "one"))
    memory.add(entry("Hello.", "two"))
    two, one = memory.page(Selection())
    edited = memory.decide(one.id, "approved", " three ")
    assert edited and (edited.entry.target, edited.state) == ("three", "approved")
    assert answer(memory, "Hello.") == "three"
    with pytest.raises(Duplicate):
        memory.decide(one.id, target="two")
    assert memory.decide(99, "approved") is None
    assert (two.entry.source, two.created <= edited.changed) == ("Hello.", True)


def test_same_texts(opened: Opened) -> None:
    memory = opened()
    memory.add(entry(" Cafe\u0301\r\nbar\n", "x"))
    assert answer(memory, "\tCaf\u00e9\nbar") == "x"
    assert answer(memory, "cafe\u0301\nbar") is None
    assert answer(memory, "Caf\u00e9 bar") is None


def test_many_texts_at_once(opened: Opened) -> None:
    memory = opened()
    assert memory.store((entry(f"text {i}", f"T{i}") for i in range(1_200)), "approved") == 1_200
    found = memory.answers("en", "ja", [f"text {i}" for i in range(1_300)])
    assert [each and each.entry.target for each in found] == [f"T{i}" for i in range(1_200)] + [None] * 100
    assert [each.entry.source for each in memory.all(Selection())] == [f"text {i}" for i in range(1_200)]


def test_an_import_is_all_or_nothing_and_decides(opened: Opened) -> None:
    memory = opened(suggestions="review")
    memory.add(entry("Hello.", "one"))
    with pytest.raises(ValueError):
        memory.store([entry("Hello.", "one"), entry("Bye.", " ")], "approved")
    assert answer(memory, "Hello.") is None
    memory.store([entry("Hello.", "one")] * 2, "approved")
    assert answer(memory, "Hello.") == "one"
    assert len(memory.page(Selection())) == 1


@pytest.mark.parametrize("text", ["a\0b", "a\ud800", "\ufffe", "\x1b[0m", "  \n "])
def test_what_is_no_text_is_refused(opened: Opened, text: str) -> None:
    with pytest.raises(ValueError):
        opened().add(entry("Hello.", text))


def test_similar_texts(opened: Opened) -> None:
    memory = opened(threshold=80.0)
    sources = ["The cat sat on the mat.", "The cat sat on a mat.", "The cats sat on the mats.", "A dog.", "The cat" * 9]
    memory.store((entry(source, source.upper()) for source in sources), "approved")
    matches = memory.similar("en", "ja", "  The cat sat on the mat.")
    assert [match.correction.entry.source for match in matches] == [sources[0], sources[1], sources[2]] or [
        match.correction.entry.source for match in matches
    ] == [sources[0], sources[2], sources[1]]
    assert matches[0].score == 100 and all(80 <= match.score < 100 for match in matches[1:])
    assert memory.similar("en", "ja", "") == memory.similar("en", "ja", "x" * 10_000) == []


def test_lengths_rule_out_nothing_that_is_similar_enough(opened: Opened) -> None:
    """`a` * n is like `a` * m by 200 * min / (n + m) percent: the bound on the lengths must be no tighter."""
    for threshold in (50.0, 75.0, 90.0):
        memory = opened(threshold=threshold)
        memory.store((entry("a" * n, f"{n}") for n in range(1, 80)), "approved")
        found = {int(match.correction.entry.target) for match in memory.similar("en", "ja", "a" * 20, limit=100)}
        assert found == {n for n in range(1, 80) if 200 * min(n, 20) / (n + 20) >= threshold}


def test_pages_and_searches(opened: Opened) -> None:
    memory = opened()
    memory.store((entry(f"Source {i}", f"Target 100% {i}") for i in range(5)), "approved")
    memory.store([entry("Quelle", "Ziel", ("de", "en"))], "rejected")
    first = memory.page(Selection(state="approved"), limit=2)
    second = memory.page(Selection(state="approved"), before=first[-1].id, limit=2)
    assert [each.entry.source for each in first + second] == ["Source 4", "Source 3", "Source 2", "Source 1"]
    assert [each.entry.source for each in memory.page(Selection(search="0% 3"))] == ["Source 3"]
    assert [each.entry.source for each in memory.page(Selection(search="QUELLE"))] == ["Quelle"]
    assert memory.page(Selection(search="_")) == []
    assert memory.page(Selection(source_language="de", target_language="en"))[0].state == "rejected"
    assert memory.directions("approved") == [("en", "ja")]


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_sqlite_syncs_each_transaction(opened: Opened) -> None:
    memory = opened()
    with memory._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_what_add_returned_from_survives_kill_9(opened: Opened, settings: MemorySettings) -> None:
    writer = """
import sys
from kakehashi.serving.corrections.memory import Entry, Memory, MemorySettings
memory = Memory.open(MemorySettings(database=sys.argv[1]))
number = 0
while True:
    memory.add(Entry("en", "ja", f"text {number}", "right"))
    print(number, flush=True)
    number += 1
"""
    process = subprocess.Popen([sys.executable, "-c", writer, settings.database], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    acknowledged = [int(process.stdout.readline()) for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    found = opened().answers("en", "ja", [f"text {number}" for number in acknowledged])
    assert len(found) >= 20 and None not in found


def test_databases_that_are_none_of_ours(opened: Opened, settings: MemorySettings, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database " * 1_000, "utf-8")
    memory = opened()
    with memory._engine.begin() as connection:
        connection.execute(sql.update(module._FORMAT).values(version=99))
    for place, said in (
        (settings.database, "format 99"),
        (str(tmp_path / "text"), "not a database"),
        (str(tmp_path / "no" / "folder.sqlite"), "unable to open"),
        ("mysql://user:secret@host/name", "SQLite or PostgreSQL"),
        ("nonsense://", "SQLite or PostgreSQL"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            opened(database=place)
        assert "secret" not in str(caught.value)
    with pytest.raises(UserError, match="no such database"):
        Memory.open(MemorySettings(database=str(tmp_path / "none.sqlite")), create=False)


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_statements_are_postgresql_too(opened: Opened) -> None:
    """What the memory executes, compiled for PostgreSQL: a construct that it has not would be an error."""
    memory = opened()
    memory.add(entry("Hello.", "one"))
    statements: list[Any] = [suggesting(postgresql.insert, ("pending",)), importing(postgresql.insert)]

    @event.listens_for(memory._engine, "before_execute")
    def _(connection: object, clause: Any, *_: object) -> None:
        statements.append(clause)

    memory.similar("en", "ja", "Hello!")
    memory.answers("en", "ja", ["Hello."])
    memory.page(Selection("pending", "en", "ja", "x"), before=3)
    list(memory.all(Selection()))
    memory.directions("pending")
    memory.decide(1, "approved", "two")
    texts = [str(statement.compile(dialect=postgresql.dialect())) for statement in statements]
    assert len(texts) == 8 and texts[0].startswith("INSERT INTO corrections") and "ON CONFLICT" in texts[1]
