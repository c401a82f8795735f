"""The translation memory: corrections in a database, which answer the next request for the same text.

Notable:
- what `add` has returned from is on the disk: SQLite writes ahead (WAL) and syncs each transaction (synchronous=FULL);
- texts are the same when they are equal after Unicode's NFC, with line ends of one kind and no white space around them;
- of several corrections of one text the one last decided on answers;
- a fuzzy match is a text whose `ratio` by rapidfuzz, 100 * (1 - edits / characters of both), insertions and deletions
  counted as edits, reaches the threshold t. Its length must then be at least t / (200 - t) of the other's, so that the
  database hands out no other texts to compare;
- nothing is cached: several servers may share one memory (PostgreSQL, by URL).
"""

import hashlib
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import sqlalchemy as sql
from pydantic import BeforeValidator, Field
from rapidfuzz import fuzz, process
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from kakehashi.config import Config
from kakehashi.config.base import absolute
from kakehashi.errors import UserError

State = Literal["pending", "approved", "rejected"]

FORMAT = 1  # raise it when a table changes
LONGEST_FUZZY = 2_000  # characters of a text that is looked for among its like: the work grows with the square
BLOCK = 500  # rows at a time
BLANK = "must not be blank"

_METADATA = sql.MetaData()
_FORMAT = sql.Table("kakehashi_format", _METADATA, sql.Column("version", sql.Integer, primary_key=True))
_ROWS = sql.Table(
    "corrections",
    _METADATA,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("source_language", sql.String(64), nullable=False),
    sql.Column("target_language", sql.String(64), nullable=False),
    sql.Column("source", sql.Text, nullable=False),
    sql.Column("target", sql.Text, nullable=False),
    sql.Column("source_key", sql.String(32), nullable=False),
    sql.Column("target_key", sql.String(32), nullable=False),
    sql.Column("length", sql.Integer, nullable=False),  # characters of the source
    sql.Column("state", sql.String(8), nullable=False),
    sql.Column("created", sql.BigInteger, nullable=False),  # microseconds since 1970
    sql.Column("changed", sql.BigInteger, nullable=False),  # likewise: when it was last decided on
    sql.UniqueConstraint("source_language", "target_language", "source_key", "target_key", name="corrections_once"),
    sql.Index("corrections_by_length", "source_language", "target_language", "length"),
)
_ONCE = ["source_language", "target_language", "source_key", "target_key"]
_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_NO_TEXT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 has no characters for


def _located(value: object) -> object:
    """A URL as it is; a path from the directory where it was written."""
    return value if isinstance(value, str) and "://" in value else absolute(value)


class MemorySettings(Config):
    """The translation memory."""

    database: Annotated[str, BeforeValidator(_located)] = Field(
        default="corrections.sqlite",
        description="Where corrections are kept: the path of an SQLite file, made when it is not there, or the URL of "
        "a PostgreSQL database (`postgresql+pg8000://user:password@host/name`).",
    )
    suggestions: Literal["trust", "review", "off"] = Field(
        default="trust",
        description="What becomes of corrections: `trust`: they answer at once, until somebody rejects them; `review`: "
        "once somebody approves them; `off`: none are taken, those that are approved answer.",
    )
    threshold: float = Field(
        default=75.0, ge=50, le=100, description="From which likeness on, in percent, similar texts are offered."
    )


@dataclass(frozen=True)
class Entry:
    """A text and its translation: what a correction is made of."""

    source_language: str
    target_language: str
    source: str
    target: str


@dataclass(frozen=True)
class Correction:
    """An entry of the memory. `created` and `changed` are microseconds since 1970."""

    id: int
    entry: Entry
    state: State
    created: int
    changed: int


@dataclass(frozen=True)
class Match:
    """`score`: likeness of the sources in percent; 100 where they are the same."""

    correction: Correction
    score: float


@dataclass(frozen=True)
class Selection:
    """Which corrections are meant; None: whatever it is. `search`: a part of either text, in any case."""

    state: State | None = None
    source_language: str | None = None
    target_language: str | None = None
    search: str | None = None


class Duplicate(Exception):
    """The same text with the same translation is there already."""


def tidy(text: str) -> str:
    """A text as it is stored. Raises ValueError for a blank one, and for characters that no XML can hold."""
    if match := _NO_TEXT.search(text):
        raise ValueError(f"must be text, and U+{ord(match[0]):04X} is none")
    if not (plain := _plain(text)):
        raise ValueError(BLANK)
    return plain


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


class Memory:
    """A database of corrections. Its methods block: call them in a thread."""

    def __init__(self, engine: sql.Engine, settings: MemorySettings) -> None:
        self.settings, self._engine = settings, engine
        trusted = settings.suggestions == "trust"
        self._answering: tuple[State, ...] = ("approved", "pending") if trusted else ("approved",)
        insert = _INSERT[engine.dialect.name]
        self._suggesting = suggesting(insert, ("approved", "pending") if trusted else ("pending",))
        self._importing = importing(insert)

    @classmethod
    def open(cls, settings: MemorySettings, *, create: bool = True) -> "Memory":
        """Opens the database. Raises UserError when there is none (and `create` is False), or it is none of ours."""
        place = settings.database
        try:
            url = sql.make_url(place) if "://" in place else sql.URL.create("sqlite", database=place)
            if not create and url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
                raise UserError(f"{place}: no such database")
            if url.get_backend_name() not in _INSERT:
                raise UserError("a database of corrections is SQLite or PostgreSQL, nothing else")
            engine = _engine(url)
            _prepare(engine)
        except ImportError as error:
            raise UserError(f"the driver of that database is not installed: pip install {error.name}") from error
        except (ArgumentError, SQLAlchemyError) as error:
            shown = place.rpartition("@")[2]  # without user and password
            raise UserError(f"cannot use {shown} as the database of corrections: {_reason(error)}") from error
        return cls(engine, settings)

    def close(self) -> None:
        self._engine.dispose()

    def add(self, entry: Entry) -> None:
        """Takes a suggestion. One that is there stays as it was decided; trusted, it counts as the newest again."""
        with self._engine.begin() as connection:
            connection.execute(self._suggesting, _row(entry, "pending"))

    def store(self, entries: Iterable[Entry], state: State) -> int:
        """Imports entries, all or none, in a state that also those get which are there already; how many."""
        rows = [_row(entry, state) for entry in entries]  # before the database is locked for others who write
        with self._engine.begin() as connection:
            for start in range(0, len(rows), BLOCK):
                connection.execute(self._importing, rows[start : start + BLOCK])
        return len(rows)

    def answers(self, source_language: str, target_language: str, texts: Sequence[str]) -> list[Correction | None]:
        """The correction of each text, where there is one that answers."""
        keys = [_key(text) for text in texts]
        found: dict[str, Correction] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(keys), BLOCK):
                query = (
                    self._answers(source_language, target_language)
                    .where(_ROWS.c.source_key.in_(set(keys[start : start + BLOCK])))
                    .order_by(_ROWS.c.changed, _ROWS.c.id)
                )
                found |= {row.source_key: _correction(row) for row in connection.execute(query)}
        return [found.get(key) for key in keys]

    def similar(self, source_language: str, target_language: str, text: str, limit: int = 5) -> list[Match]:
        """What answers for like texts, the likest first; nothing for a text that is blank or too long to compare."""
        plain = _plain(text)
        if not 0 < len(plain) <= LONGEST_FUZZY:
            return []
        share = self.settings.threshold / (200 - self.settings.threshold)
        lengths = _ROWS.c.length.between(int(len(plain) * share), int(len(plain) / share) + 1)
        query = self._answers(source_language, target_language).where(lengths)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_ROWS.c.changed.desc(), _ROWS.c.id.desc())).all()
        found = process.extract(
            plain,
            [row.source for row in rows],
            scorer=fuzz.ratio,
            score_cutoff=self.settings.threshold,
            limit=limit,
        )
        return [Match(_correction(rows[index]), score) for _, score, index in found]

    def _answers(self, source_language: str, target_language: str) -> sql.Select[Any]:
        return sql.select(_ROWS).where(
            _ROWS.c.source_language == source_language,
            _ROWS.c.target_language == target_language,
            _ROWS.c.state.in_(self._answering),
        )

    def page(self, selection: Selection, before: int | None = None, limit: int = 50) -> list[Correction]:
        """The newest first, those before the one with the number `before`."""
        query = _selected(selection).order_by(_ROWS.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(_ROWS.c.id < before)
        with self._engine.connect() as connection:
            return [_correction(row) for row in connection.execute(query)]

    def all(self, selection: Selection) -> Iterator[Correction]:
        """The oldest first, read block by block, so that nobody who writes has to wait."""
        last = 0
        while True:
            query = _selected(selection).where(_ROWS.c.id > last).order_by(_ROWS.c.id).limit(BLOCK)
            with self._engine.connect() as connection:
                rows = connection.execute(query).all()
            yield from map(_correction, rows)
            if len(rows) < BLOCK:
                return
            last = rows[-1].id

    def directions(self, state: State) -> list[tuple[str, str]]:
        """The language pairs of which there are corrections in that state."""
        columns = (_ROWS.c.source_language, _ROWS.c.target_language)
        query = sql.select(*columns).where(_ROWS.c.state == state).distinct().order_by(*columns)
        with self._engine.connect() as connection:
            return [(source, target) for source, target in connection.execute(query)]

    def decide(self, number: int, state: State | None = None, target: str | None = None) -> Correction | None:
        """Approves, rejects or edits a correction, which is the newest of its text then; None: there is no such one.

        Raises Duplicate when the edited one is there already.
        """
        values: dict[str, Any] = {"changed": _now()}
        if state is not None:
            values["state"] = state
        if target is not None:
            values |= {"target": tidy(target), "target_key": _key(target)}
        query = sql.update(_ROWS).where(_ROWS.c.id == number).values(**values).returning(_ROWS)
        try:
            with self._engine.begin() as connection:
                row = connection.execute(query).one_or_none()
        except IntegrityError as error:
            raise Duplicate from error
        return None if row is None else _correction(row)


def _engine(url: sql.URL) -> sql.Engine:
    """Parameters, which are texts of users, stay out of messages."""
    if url.get_backend_name() != "sqlite":
        return sql.create_engine(url, hide_parameters=True, pool_pre_ping=True)
    engine = sql.create_engine(url, hide_parameters=True, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _durable(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    return engine


def _prepare(engine: sql.Engine) -> None:
    """Leaves no connection open where it fails."""
    try:
        with engine.begin() as connection:
            _METADATA.create_all(connection)
            version = connection.execute(sql.select(_FORMAT.c.version)).scalar()
            if version is None:
                connection.execute(sql.insert(_FORMAT).values(version=FORMAT))
            elif version != FORMAT:
                raise UserError(f"the database of corrections has format {version}, and this Kakehashi reads {FORMAT}")
    except BaseException:
        engine.dispose()
        raise


def suggesting(insert: Callable[[sql.Table], Any], renewed: Sequence[State]) -> Any:
    """The statement that takes a suggestion; of one that is there in a state of `renewed`, it renews the time."""
    statement = insert(_ROWS)
    changed = sql.case((_ROWS.c.state.in_(renewed), statement.excluded.changed), else_=_ROWS.c.changed)
    return statement.on_conflict_do_update(index_elements=_ONCE, set_={"changed": changed})


def importing(insert: Callable[[sql.Table], Any]) -> Any:
    """The statement that takes an entry in its state, whatever was there."""
    statement = insert(_ROWS)
    news = {"state": statement.excluded.state, "changed": statement.excluded.changed}
    return statement.on_conflict_do_update(index_elements=_ONCE, set_=news)


def _reason(error: SQLAlchemyError) -> str:
    """The driver's own words, in one line; SQLAlchemy's hold the statement."""
    cause = error.__cause__ or error
    return str(cause).split("\n")[0]


def _now() -> int:
    return time.time_ns() // 1_000


def _key(text: str) -> str:
    return hashlib.blake2b(unicodedata.normalize("NFC", _plain(text)).encode(), digest_size=16).hexdigest()


def _row(entry: Entry, state: State) -> dict[str, Any]:
    source, target, now = tidy(entry.source), tidy(entry.target), _now()
    return {
        "source_language": entry.source_language,
        "target_language": entry.target_language,
        "source": source,
        "target": target,
        "source_key": _key(source),
        "target_key": _key(target),
        "length": len(source),
        "state": state,
        "created": now,
        "changed": now,
    }


def _selected(selection: Selection) -> sql.Select[Any]:
    query = sql.select(_ROWS)
    for column, value in (
        (_ROWS.c.state, selection.state),
        (_ROWS.c.source_language, selection.source_language),
        (_ROWS.c.target_language, selection.target_language),
    ):
        if value is not None:
            query = query.where(column == value)
    if selection.search is not None:
        query = query.where(
            sql.or_(*(c.icontains(selection.search, autoescape=True) for c in (_ROWS.c.source, _ROWS.c.target)))
        )
    return query


def _correction(row: Any) -> Correction:
    entry = Entry(row.source_language, row.target_language, row.source, row.target)
    return Correction(row.id, entry, row.state, row.created, row.changed)
