"""Parallel text in files: what a recipe says of it, and the readers and the writer of lines.

Notable:
- a line ends at `\n` and nowhere else: U+0085, U+2028 and their kin are text (`str.splitlines` would break them);
- `train.{en,de}.gz` names two aligned files (source, target); a .tsv or .jsonl file holds both sides of a pair;
- .gz and .zst are read and written everywhere, and an archive that is cut off is an error, never a short corpus;
- every mistake in a file is a `UserError` that names the file, the line and the remedy.
"""

import difflib
import gzip
import io
import json
import os
import re
import uuid
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple

import zstandard
from pydantic import BeforeValidator, Field, model_validator

from kakehashi.config import Config, FilePath
from kakehashi.errors import UserError

BLOCK = 1 << 20  # bytes read at a time
BYTE_ORDER_MARK = "\ufeff"
COMPRESSIONS = (".gz", ".zst")

_BRACES = re.compile(r"\{([^{},]*),([^{},]*)\}")
_MAGIC = {  # how files begin that are not UTF-8 text
    b"\xff\xfe": "is UTF-16 text: convert it with `iconv -f UTF-16 -t UTF-8`",
    b"\xfe\xff": "is UTF-16 text: convert it with `iconv -f UTF-16 -t UTF-8`",
    b"\x1f\x8b": "is a gzip archive: let its name end in .gz",
    b"\x28\xb5\x2f\xfd": "is a zstandard archive: let its name end in .zst",
    b"BZh": "is a bzip2 archive: unpack it, or pack it as .gz or .zst",
    b"\xfd7zXZ": "is an xz archive: unpack it, or pack it as .gz or .zst",
    b"PK\x03\x04": "is a zip archive: unpack it, or pack it as .gz or .zst",
}


class Pair(NamedTuple):
    source: str
    target: str


class Row(NamedTuple):
    """A pair and the line of each file (one or two) from which it was read."""

    pair: Pair
    lines: tuple[str, ...]


class Corpus(Config):
    """Parallel text: `train.{en,de}` (two aligned files: source, target) or one .tsv or .jsonl file, .gz and .zst too.

    weight: how often each pair is seen in an epoch, relative to weight 1.
    columns: where a row has the source and the target: column numbers from 1 in TSV (default 1 and 2), keys in JSONL
        (default "source" and "target").
    tag: a token of its own in front of each source of a training corpus, where one model learns several things: the
        language into which to translate (Johnson et al. 2017, arXiv 1611.04558), or that the pair is a
        back-translation (Caswell et al. 2019, arXiv 1906.06442). What has no tag is what the model will be used for:
        [train.{en,de}, {files: train.{de,en}, tag: en}] learns both directions and translates from en to de.
    """

    files: FilePath
    weight: float = Field(default=1.0, gt=0)
    columns: tuple[int, int] | tuple[str, str] | None = None
    tag: Annotated[str, Field(pattern=r"^[\w-]+$")] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Corpus":
        braces = len(_BRACES.findall(self.files))
        if self.files.count("{") != braces or self.files.count("}") != braces or braces > 1:
            raise ValueError("two aligned files are written with one pair of braces: train.{en,de}.gz (source, target)")
        layout = _layout(self.files)
        if layout not in ("aligned", "tsv", "jsonl"):
            raise ValueError(
                "one file that holds both sides ends in .tsv or .jsonl (or either with .gz or .zst); "
                "two aligned files are written with one pair of braces: train.{en,de}.gz (source, target)"
            )
        match layout, self.columns:
            case ("aligned", (_, _)):
                raise ValueError("columns belong to .tsv and .jsonl files; two aligned files have none")
            case ("tsv", (str(), _)):
                raise ValueError("columns of a .tsv file are numbers from 1, as in [1, 2]")
            case ("tsv", (int() as source, int() as target)) if min(source, target) < 1:
                raise ValueError("columns of a .tsv file are numbers from 1, as in [1, 2]")
            case ("jsonl", (int(), _)):
                raise ValueError('columns of a .jsonl file are keys, as in ["en", "de"]')
            case _:
                return self

    @property
    def paths(self) -> tuple[Path, ...]:
        """(source, target) of two aligned files, or the one file that holds both sides."""
        braces = _BRACES.search(self.files)
        if braces is None:
            return (Path(self.files),)
        before, after = self.files[: braces.start()], self.files[braces.end() :]
        return tuple(Path(before + side + after) for side in braces.groups())


def _corpora(value: Any) -> Any:
    """One corpus or several, each a path, a mapping or a Corpus, as a tuple of what `Corpus` validates."""
    several = value if isinstance(value, list | tuple) else (value,)
    if not several:
        raise ValueError("names no corpus; at least one is needed, as in train.{en,de}.gz")
    return tuple({"files": each} if isinstance(each, str) else each for each in several)


Corpora = Annotated[
    tuple[Corpus, ...],
    BeforeValidator(_corpora, json_schema_input_type=str | Corpus | Annotated[list[str | Corpus], Field(min_length=1)]),
]


def brace_path(source: Path, target: Path) -> str:
    """The two files in the one form that `Corpus.files` takes: a.en.gz and a.de.gz -> /absolute/a.{en,de}.gz.

    Raises UserError when a path holds a comma or a brace, for which that form has no place.
    """
    paths = (str(source.absolute()), str(target.absolute()))
    for path in paths:
        if re.search(r"[{},]", path):
            raise UserError(f"{path}: a path with a comma or a brace cannot be written in a recipe; rename it")
    # In whole words, so that .en and .es become .{en,es} and not .e{n,s}.
    one, other = (re.split(r"([./_-])", path) for path in paths)
    start = _common(one, other)
    end = _common(one[start:][::-1], other[start:][::-1])
    before, after = "".join(one[:start]), "".join(one[len(one) - end :])
    return f"{before}{{{','.join(''.join(words[start : len(words) - end]) for words in (one, other))}}}{after}"


def read_pairs(corpus: Corpus) -> Iterator[Pair]:
    """The pairs in the order of the file; see `read_rows`."""
    return (row.pair for row in read_rows(corpus))


def read_rows(corpus: Corpus) -> Iterator[Row]:
    """The pairs in the order of the file, each with the lines that it stands on.

    Raises UserError, while reading, when a file is missing, damaged, empty or not UTF-8, when a row does not hold a
    pair, and, after the last pair, when two aligned files differ in their number of lines.
    """
    match _layout(corpus.files), corpus.columns:
        case "aligned", _:
            source, target = corpus.paths
            return _aligned_rows(source, target)
        case "tsv", (int() as source, int() as target):
            return _single_rows(corpus.paths[0], partial(_tsv_pair, columns=(source, target)))
        case "tsv", _:
            return _single_rows(corpus.paths[0], partial(_tsv_pair, columns=(1, 2)))
        case _, (str() as source, str() as target):
            return _single_rows(corpus.paths[0], partial(_json_pair, keys=(source, target)))
        case _:
            return _single_rows(corpus.paths[0], partial(_json_pair, keys=("source", "target")))


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a file (plain, .gz, .zst) without their ends (`\\n` or `\\r\\n`) and without a byte order mark.

    Raises UserError, while reading, when the file cannot be read, its archive is damaged or a line is not UTF-8.
    """
    for number, line in enumerate(_split_lines(_blocks(path)), start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(_undecodable(path, number, line, error)) from error
        if number == 1:
            text = text.removeprefix(BYTE_ORDER_MARK)
        yield text.removesuffix("\r")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a file of lines (.gz and .zst compressed), which appears whole or not at all; folders are made as needed.

    `read_lines` gives the same lines back, but for one `\\r` at the end of a line. Raises ValueError for a line that
    holds a `\\n` and UserError when the file cannot be written; then nothing is left and an older file stays as it was.
    """
    with line_writer(path) as write:
        for line in lines:
            write(line)


@contextmanager
def line_writer(path: Path) -> Generator[Callable[[str], None]]:
    """As `write_lines`, for who has the lines one by one: gives the function that writes one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            try:
                with _compressed(path, file) as stream:
                    yield _line_to(stream)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink()
                raise
        sync(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error}") from error


def _line_to(stream: IO[bytes]) -> Callable[[str], None]:
    first = True

    def write(line: str) -> None:
        nonlocal first
        if "\n" in line:
            raise ValueError(f"a line cannot hold a line break: {line!r}")
        # A reader takes one byte order mark off the file: one that belongs to the text needs another before it.
        mark = BYTE_ORDER_MARK if first and line.startswith(BYTE_ORDER_MARK) else ""
        first = False
        stream.write(f"{mark}{line}\n".encode())

    return write


def _compressed(path: Path, file: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    """A stream into `file`, compressed as the suffix of `path` says; closing it leaves `file` open."""
    match path.suffix.lower():
        case ".gz":  # neither name nor time inside, so that equal text gives equal bytes
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0)
            return io.BufferedWriter(packed, BLOCK)
        case ".zst":
            return zstandard.ZstdCompressor(write_checksum=True).stream_writer(file, closefd=False)
        case _:
            return nullcontext(file)


def sync(path: Path) -> None:
    """A file or a folder to the disk itself: only then does a rename that names it survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _blocks(path: Path) -> Iterator[bytes]:
    """The file's bytes, unpacked, block by block; whatever keeps it from being read becomes a UserError."""
    try:
        with open(path, "rb") as file:
            match path.suffix.lower():
                case ".gz":
                    yield from _read_blocks(gzip.GzipFile(fileobj=file))
                case ".zst":
                    yield from _zstandard_blocks(file)
                case _:
                    yield from _read_blocks(file)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}{_nearest(path)}") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder: name a file in it") from error
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise UserError(
            f"{path} is not a whole {path.suffix} archive ({error}): it is cut off, damaged or not packed at all; "
            f"fetch it or make it again"
        ) from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _read_blocks(file: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


def _zstandard_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Frame by frame: the library's own stream reader takes an archive that is cut off for a whole one."""
    frame = None
    for block in _read_blocks(file):
        while block:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(block)
            block = frame.unused_data
            if frame.eof:
                frame = None
    if frame is not None:
        raise EOFError("it ends before its end marker")


def _split_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield from lines
    if rest:
        yield rest


def _undecodable(path: Path, number: int, line: bytes, error: UnicodeDecodeError) -> str:
    for magic, remedy in _MAGIC.items():
        if number == 1 and line.startswith(magic):
            return f"{path} {remedy}"
    return (
        f"{path}, line {number}: byte 0x{line[error.start]:02x} at position {error.start + 1} is not UTF-8; "
        f"find the file's encoding (often WINDOWS-1252, in Japanese SHIFT_JIS or EUC-JP) and convert it: "
        f"iconv -f ENCODING -t UTF-8"
    )


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {path.parent} either"
    names = difflib.get_close_matches(path.name, os.listdir(path.parent), n=1)
    return f"; did you mean {path.parent / names[0]}?" if names else ""


def _aligned_rows(source: Path, target: Path) -> Iterator[Row]:
    counts = [0, 0]
    for lines in zip_longest(read_lines(source), read_lines(target)):
        counts[0] += lines[0] is not None
        counts[1] += lines[1] is not None
        if None not in lines:
            yield Row(Pair(*lines), lines)
    for path, count in zip((source, target), counts, strict=True):
        if count == 0:
            raise UserError(f"{path} is empty: a corpus needs at least one line")
    if counts[0] != counts[1]:
        raise UserError(
            f"{source} has {counts[0]:,} lines and {target} has {counts[1]:,}: line {min(counts) + 1:,} of the longer "
            f"has no partner; look for a line that was lost, or broken in two, before it"
        )


def _single_rows(path: Path, parse: Callable[[str], Pair]) -> Iterator[Row]:
    number = 0
    for number, line in enumerate(read_lines(path), start=1):
        try:
            pair = parse(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}") from error
        yield Row(pair, (line,))
    if number == 0:
        raise UserError(f"{path} is empty: a corpus needs at least one row")


def _tsv_pair(line: str, columns: tuple[int, int]) -> Pair:
    """Fields are separated by TAB and taken as they are: quotes are text."""
    fields = line.split("\t")
    if len(fields) < max(columns):
        raise ValueError(f"{len(fields)} columns where column {max(columns)} is wanted (columns are separated by TAB)")
    return Pair(fields[columns[0] - 1], fields[columns[1] - 1])


def _json_pair(line: str, keys: tuple[str, str]) -> Pair:
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON, column {error.colno}: {error.msg}") from error
    if not isinstance(row, dict):
        raise ValueError(f"a row is an object such as {{{keys[0]!r}: ..., {keys[1]!r}: ...}}, not {line[:40]!r}")
    return Pair(_json_text(row, keys[0]), _json_text(row, keys[1]))


def _json_text(row: dict[str, Any], key: str) -> str:
    if key not in row:
        raise ValueError(f"no key {key!r} among {sorted(row)}; `columns: [SOURCE, TARGET]` names the two keys")
    text = row[key]
    if not isinstance(text, str):
        raise ValueError(f"the value of {key!r} is not a string: {text!r}")
    if "\n" in text:
        raise ValueError(f"the value of {key!r} holds a line break; a pair is one line a side: put a space there")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(
            f"the value of {key!r} holds half a surrogate pair, which is no character: write the whole one"
        )
    return text


def _common(one: list[str], other: list[str]) -> int:
    """How many words the two have in common from their start."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _layout(files: str) -> str:
    """aligned, tsv, jsonl, or the suffix that is none of these."""
    if _BRACES.search(files):
        return "aligned"
    path = Path(files)
    suffix = path.with_suffix("").suffix if path.suffix.lower() in COMPRESSIONS else path.suffix
    return suffix.lower().removeprefix(".")
