"""The tokenized corpus on disk: one memory-mapped Arrow file, built once and found again by what it was made from.

Notable:
- the file's name is a hash of the corpora's bytes, the subword models and the settings: change any of them, and it is
  built anew; what was built before stays for the next change back;
- it appears whole or not at all (temporary name, fsync, rename), so that processes may build the same one at the same
  time, and a damaged one is built again;
- a corpus larger than memory needs no more memory: only lengths are held, the rest is read where it lies;
- text is segmented on all cores by threads inside SentencePiece: to send it to worker processes and back would cost
  as much as the segmentation itself.
"""

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kakehashi.data.corpus import Corpus, Pair, read_pairs
from kakehashi.data.subwords import AnySegmenter, SegmenterPair, Subwords
from kakehashi.errors import UserError

FORMAT = 1  # raise it when the file's layout, or what is dropped, changes
CHUNK = 16_384  # pairs that are segmented and written at a time

_REPORT = "kakehashi"  # the key of the last record batch's metadata

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Report:
    """What became of the corpora: pairs kept of each, and the dropped ones of all by reason."""

    kept: list[int] = field(default_factory=list[int])
    dropped: dict[str, int] = field(default_factory=dict[str, int])


class DamagedError(Exception):
    """A file of the cache is not whole; it is built again."""


class Shards:
    """Pairs of ids by number, read from the memory-mapped file when asked for.

    source_lengths, target_lengths: [N] tokens of each pair's best segmentation, a tag among them, no special ids.
    weights: [N] how often each pair is seen in an epoch, from its corpus.
    dropped: pairs that were left out, by reason.
    Raises DamagedError when the file is not whole.
    """

    def __init__(
        self,
        path: Path,
        corpora: Sequence[Corpus],
        config: Subwords,
        segmenters: SegmenterPair,
        max_tokens: int,
    ) -> None:
        self.path, self._alpha, self._segmenters, self._max_tokens = path, config.sampling, segmenters, max_tokens
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self._chunks = [reader.get_batch(i) for i in range(reader.num_record_batches - 1)]
            end = reader.get_batch_with_custom_metadata(reader.num_record_batches - 1)
            report = Report(**json.loads(end.custom_metadata[_REPORT]))
            self._source, self._target = (_Column(self._chunks, name) for name in ("source", "target"))
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedError(path) from error
        self.source_lengths, self.target_lengths = self._source.lengths, self._target.lengths
        self.dropped = report.dropped
        self.weights = np.repeat([corpus.weight for corpus in corpora], report.kept)
        self._tagged = np.repeat([corpus.tag is not None for corpus in corpora], report.kept)
        if not len(self.weights) == len(self.source_lengths) == len(self.target_lengths):
            raise DamagedError(path)

    def __len__(self) -> int:
        return len(self.source_lengths)

    def pair(self, index: int, epoch: int, seed: int) -> tuple[Ids, Ids]:
        """Source and target ids, without special ids; the source's tag first, where it has one.

        With sampling, a segmentation drawn by (seed, epoch, index) alone; its length may differ from the best one's,
        for which batches are planned, but where it exceeds max_tokens the best one is given instead.
        """
        if self._alpha == 0:
            return self._source[index], self._target[index]
        seeds = np.random.SeedSequence((seed, epoch, index)).generate_state(2)
        tag = self._source[index][: int(self._tagged[index])]
        return (
            self._drawn("source_text", self._source, self._segmenters.source, index, int(seeds[0]), tag),
            self._drawn("target_text", self._target, self._segmenters.target, index, int(seeds[1]), tag[:0]),
        )

    def _drawn(self, name: str, best: "_Column", segmenter: AnySegmenter, index: int, seed: int, tag: Ids) -> Ids:
        chunk, row = best.place(index)
        text = self._chunks[chunk].column(name)[row].as_py()
        ids = np.array([*tag, *segmenter.sample(text, seed, self._alpha)], dtype=np.int32)
        return ids if len(ids) <= self._max_tokens else best[index]


class _Column:
    """The lists of one column over all chunks, as views of the file."""

    def __init__(self, chunks: Sequence[Any], name: str) -> None:
        lists = [chunk.column(name) for chunk in chunks]
        self._values = [each.values.to_numpy() for each in lists]
        self._offsets = [each.offsets.to_numpy() for each in lists]
        self._starts = np.cumsum([0, *(len(each) for each in lists)])  # the number of each chunk's first pair
        lengths = [np.diff(offsets) for offsets in self._offsets]
        self.lengths = np.concatenate([np.zeros(0, dtype=np.int32), *lengths])
        whole = all(o[0] >= 0 and o[-1] <= len(v) for o, v in zip(self._offsets, self._values, strict=True))
        if not whole or (self.lengths < 0).any():
            raise ValueError(f"the offsets of {name} do not fit its values")

    def place(self, index: int) -> tuple[int, int]:
        """Chunk, and row in it."""
        if not 0 <= index < len(self.lengths):
            raise IndexError(index)
        chunk = int(np.searchsorted(self._starts, index, side="right")) - 1
        return chunk, index - int(self._starts[chunk])

    def __getitem__(self, index: int) -> Ids:
        chunk, row = self.place(index)
        return self._values[chunk][self._offsets[chunk][row] : self._offsets[chunk][row + 1]]


def build_shards(
    corpora: Sequence[Corpus], config: Subwords, segmenters: SegmenterPair, max_tokens: int, cache: Path
) -> Shards:
    """The tokenized corpora, from the cache if they are there.

    A pair is dropped, and counted, when a side is empty (or only spaces) or longer than `max_tokens` (special ids not
    counted). Raises UserError when a corpus cannot be read, no pair is left, or the cache cannot be written.
    """
    path = cache / f"{_key(corpora, config, segmenters, max_tokens)}.arrow"
    try:
        shards = Shards(path, corpora, config, segmenters, max_tokens)
    except DamagedError:  # or not there yet
        _build(path, corpora, config, segmenters, max_tokens)
        shards = Shards(path, corpora, config, segmenters, max_tokens)
    if len(shards) == 0:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in shards.dropped.items())
        raise UserError(f"no pair is left of {', '.join(corpus.files for corpus in corpora)}; dropped: {counts}")
    return shards


def _key(corpora: Sequence[Corpus], config: Subwords, segmenters: SegmenterPair, max_tokens: int) -> str:
    """Weights are not part of it: they are read from the recipe each time."""
    parts = [str(FORMAT), str(max_tokens), str(config.sampling > 0)]
    parts += [segmenter.fingerprint for segmenter in segmenters]
    for corpus in corpora:
        parts += [str(corpus.columns), *([corpus.tag] if corpus.tag else [])]
        parts += (f"{''.join(path.suffixes)} {_digest(path)}" for path in corpus.paths)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _build(path: Path, corpora: Sequence[Corpus], config: Subwords, segmenters: SegmenterPair, max_tokens: int) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            _write(file, corpora, config, segmenters, max_tokens)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write the tokenized corpus {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # renamed, or never there
            temporary.unlink()


def _write(file: Any, corpora: Sequence[Corpus], config: Subwords, segmenters: SegmenterPair, max_tokens: int) -> None:
    """Record batches of pairs, then an empty one whose metadata is the report."""
    columns = [pa.field("source", pa.list_(pa.int32())), pa.field("target", pa.list_(pa.int32()))]
    if config.sampling > 0:
        columns += [pa.field("source_text", pa.string()), pa.field("target_text", pa.string())]
    schema = pa.schema(columns)
    dropped: Counter[str] = Counter()
    kept = [0] * len(corpora)
    with pa.ipc.new_file(file, schema) as writer:
        for number, corpus in enumerate(corpora):
            tag = [] if corpus.tag is None else [segmenters.source.tag(corpus.tag)]
            for pairs in _chunks(read_pairs(corpus)):
                rows = list(_segmented(pairs, segmenters, max_tokens, dropped, tag))
                kept[number] += len(rows)
                writer.write_batch(_record_batch(rows, schema))
        empty = pa.RecordBatch.from_pylist([], schema=schema)
        writer.write_batch(empty, custom_metadata={_REPORT: json.dumps({"kept": kept, "dropped": dropped})})


def _chunks(pairs: Iterator[Pair]) -> Iterator[list[Pair]]:
    while chunk := list(islice(pairs, CHUNK)):
        yield chunk


def _segmented(
    pairs: list[Pair], segmenters: SegmenterPair, max_tokens: int, dropped: Counter[str], tag: list[int]
) -> Iterator[tuple[list[int], list[int], Pair]]:
    """The pairs that are kept, with their ids; the others are counted."""
    sources = [[*tag, *ids] for ids in segmenters.source.encode_all([pair.source for pair in pairs])]
    targets = segmenters.target.encode_all([pair.target for pair in pairs])
    for pair, source, target in zip(pairs, sources, targets, strict=True):
        if not pair.source.strip():
            dropped["empty source"] += 1
        elif not pair.target.strip():
            dropped["empty target"] += 1
        elif len(source) > max_tokens:
            dropped["source longer than max_tokens"] += 1
        elif len(target) > max_tokens:
            dropped["target longer than max_tokens"] += 1
        else:
            yield source, target, pair


def _record_batch(rows: list[tuple[list[int], list[int], Pair]], schema: Any) -> Any:
    columns = [_lists([row[0] for row in rows]), _lists([row[1] for row in rows])]
    if "source_text" in schema.names:
        columns += [pa.array([row[2].source for row in rows], pa.string())]
        columns += [pa.array([row[2].target for row in rows], pa.string())]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _lists(ids: list[list[int]]) -> Any:
    offsets = np.zeros(len(ids) + 1, dtype=np.int32)
    np.cumsum([len(each) for each in ids], out=offsets[1:])
    return pa.ListArray.from_arrays(offsets, np.fromiter(chain.from_iterable(ids), dtype=np.int32))
