"""Subwords: text to ids and back, by SentencePiece (Kudo and Richardson 2018, arXiv 1808.06226).

Notable:
- no input is ever unknown: what the vocabulary lacks is spelled in UTF-8 bytes (byte fallback);
- `decode(encode(text)) == text` for every text, all spaces kept. SentencePiece writes a space as U+2581 and so would
  lose that character: it is escaped. With a normalization other than "identity" this holds for the normalized text;
- the same text gives the same model, byte for byte, on any number of processor cores;
- a segmentation can be sampled instead of the best one, as regularization, and its seed decides it alone.
"""

import hashlib
import io
import os
import random
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast

import sentencepiece
from pydantic import Field, PositiveInt

from kakehashi.config import Config, Family
from kakehashi.data.corpus import Pair
from kakehashi.data.listed import VOCABULARY, ListedSegmenter, Span, Special, decoded_spans, encoded_spans, processor
from kakehashi.data.sampling import Sampler
from kakehashi.errors import UserError

PAD, BEGIN, END, UNKNOWN = 0, 1, 2, 3  # UNKNOWN has an id because SentencePiece demands one; it is never produced
SPECIAL = Special(PAD, BEGIN, END, UNKNOWN)

JOINT_FILE, SOURCE_FILE, TARGET_FILE = "subwords.model", "source.model", "target.model"

LINES = 1_000_000  # a model is trained on so many lines at most: more cost gigabytes and change almost nothing
LONGEST_LINE = 65_536  # bytes; longer lines are left out of the training of subwords
THREADS = 16  # a constant: SentencePiece's sums, and so its models, depend on the number of threads, not on the cores
SEED = 1

_ESCAPE = "\U000f2581"  # of a private-use plane: nobody's text has it, and if it does, it is escaped as well
_ESCAPED = {"▁": f"{_ESCAPE}0", _ESCAPE: f"{_ESCAPE}1"}
_UNESCAPED = {written: character for character, written in _ESCAPED.items()}
_TO_ESCAPE = re.compile(f"[▁{_ESCAPE}\ud800-\udfff]")
_TO_UNESCAPE = re.compile(f"{_ESCAPE}[01]")
# A word; for scripts without spaces (Thai, Lao, Burmese, Khmer, kana, Han) two characters, about a word's length.
WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]{1,2}|[^\W\d_]+|\S")


class _SubwordsConfig(Config):
    """What unigram and BPE share.

    size: pieces of a vocabulary, the special ones and the 256 bytes included; "auto": see `Text.size`.
    vocabulary: one for both languages (joint), or one for each.
    normalization: SentencePiece's rules: identity, nfkc, nmt_nfkc (spaces and controls too), nmt_nfkc_cf (lower case).
    """

    size: Annotated[int, Field(gt=260)] | Literal["auto"] = "auto"
    vocabulary: Literal["joint", "separate"] = "joint"
    normalization: Literal["identity", "nfkc", "nmt_nfkc", "nmt_nfkc_cf"] = "identity"


class Unigram(_SubwordsConfig):
    """Unigram language model over pieces, Kudo 2018 (arXiv 1804.10959).

    sampling: alpha of its section 3: a segmentation x is drawn with P(x)^alpha, among all of them; 0 = off.
    """

    kind: Literal["unigram"] = "unigram"
    sampling: float = Field(default=0.0, ge=0)


class BPE(_SubwordsConfig):
    """Byte-pair encoding, Sennrich et al. 2016 (arXiv 1508.07909).

    sampling: probability with which a merge is left out, BPE-dropout, Provilkov et al. 2020 (arXiv 1910.13267);
    0 = off.
    """

    kind: Literal["bpe"] = "bpe"
    sampling: float = Field(default=0.0, ge=0, le=1)


class _Adopted(Config):
    """What comes with a model. vocabulary: as above; sampling: as the kind of that model's subwords has it."""

    vocabulary: Literal["joint", "separate"] = "joint"
    sampling: float = Field(default=0.0, ge=0)


class Given(_Adopted):
    """Trained elsewhere: they come with a model, of others or the run's `initial_model`, and cannot be trained here."""

    kind: Literal["given"] = "given"


class Extended(_Adopted):
    """Those of the run's `initial_model`, and new pieces for its training text; see extension.py.

    pieces: how many new ones at most, in each SentencePiece model; a text gives only as many as often stand in it.
    """

    kind: Literal["extended"] = "extended"
    pieces: PositiveInt = 500


Subwords = Annotated[Unigram | BPE | Given | Extended, Family()]


class Segmenter:
    """A SentencePiece model as a lossless map between text and ids.

    Raises UserError when `model` is none, or its special ids are not 0 (pad), 1 (begin), 2 (end), 3 (unknown).
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._processor = p = processor(model)
        if (p.pad_id(), p.bos_id(), p.eos_id(), p.unk_id()) != (PAD, BEGIN, END, UNKNOWN):
            raise UserError("a SentencePiece model needs the ids 0 for pad, 1 for begin, 2 for end, 3 for unknown")
        self.size: int = p.vocab_size()
        self.special = SPECIAL

    @classmethod
    def load(cls, path: Path) -> "Segmenter":
        """Raises UserError when there is no such model or it is damaged."""
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    def save(self, path: Path) -> None:
        path.write_bytes(self.model)

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides the ids of a text."""
        return hashlib.sha256(self.model).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The best segmentation, without special ids. Raises UserError for half a surrogate pair, which is no text."""
        return self._processor.encode(_escape(text))

    def tag(self, name: str) -> int:
        """The id of a tag, which no text gives and which gives no text. Raises UserError when it is not known."""
        id = self._processor.piece_to_id(_tag(name))
        if id == UNKNOWN:
            raise UserError(f"these subwords have no tag {name!r}: they were trained without it")
        return id

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """As `encode`, of many texts, on all cores."""
        return self._processor.encode([_escape(text) for text in texts], num_threads=os.cpu_count() or 1)

    def sample(self, text: str, seed: int, alpha: float) -> list[int]:
        """A segmentation drawn by the seed alone; `alpha` as in the config's `sampling` (0: the best segmentation)."""
        if alpha == 0:
            return self.encode(text)
        return self._processor.piece_to_id(self._sampler.draw(_escape(text), seed, alpha))

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler(self.model, self._processor)

    def decode(self, ids: Sequence[int]) -> str:
        """Special ids give nothing; bytes that are no UTF-8 give U+FFFD."""
        return _unescape(self._processor.decode(list(ids)))

    def spans(self, text: str) -> list[Span]:
        """Where in the text stands what each id of `encode(text)` spells: see `encoded_spans`."""
        escaped = _escape(text)
        return _in_text(escaped, encoded_spans(self._processor, escaped))

    def decoded_spans(self, ids: Sequence[int]) -> list[Span]:
        """Where in `decode(ids)` stands what each id spells."""
        return _in_text(self._processor.decode(list(ids)), decoded_spans(self._processor, ids))

    def piece(self, id: int) -> str:
        """The piece as SentencePiece writes it: U+2581 for a space, <0xE3> for a byte."""
        return self._processor.id_to_piece(id)

    def id(self, piece: str) -> int:
        """Of a piece as SentencePiece writes it."""
        return self._processor.piece_to_id(piece)


AnySegmenter = Segmenter | ListedSegmenter


class SegmenterPair(NamedTuple):
    """One segmenter for each side; the same object when one SentencePiece model with one vocabulary serves both."""

    source: AnySegmenter
    target: AnySegmenter


def train_subwords(config: Subwords, pairs: Iterable[Pair], tags: Sequence[str] = ()) -> SegmenterPair:
    """Train the vocabularies that the config asks for; the source's knows the tags.

    Raises UserError when there is no text, or the text is too small, or has too many characters, for the size; and for
    subwords that come with a model.
    """
    if isinstance(config, Given | Extended):
        raise UserError(
            f"task.subwords.kind={config.kind}: such subwords come with a model: name it as initial_model, or choose "
            "unigram or bpe to train some"
        )
    texts = Sample(), Sample()
    for pair in pairs:
        texts[0].add(pair.source)
        texts[1].add(pair.target)
    if config.vocabulary == "joint":
        joint = _train(config, Text.of(*texts), tags)
        return SegmenterPair(joint, joint)
    return SegmenterPair(_train(config, Text.of(texts[0]), tags), _train(config, Text.of(texts[1])))


def train_segmenter(config: Unigram | BPE, lines: Iterable[str]) -> Segmenter:
    """Train the vocabulary of one text. Raises UserError as `train_subwords` does."""
    sample = Sample()
    for line in lines:
        sample.add(line)
    return _train(config, Text.of(sample))


def save_pair(pair: SegmenterPair, directory: Path) -> None:
    """Write subwords.model, or source.model and target.model; beside each of them the list of pieces, where ids are
    not SentencePiece's own: subwords.vocabulary.json, ..."""
    if pair.source is pair.target:
        pair.source.save(directory / JOINT_FILE)
    else:
        pair.source.save(directory / SOURCE_FILE)
        pair.target.save(directory / TARGET_FILE)


def load_pair(directory: Path) -> SegmenterPair:
    """Read what `save_pair` wrote. Raises UserError when it is missing or damaged."""
    if (directory / JOINT_FILE).exists():
        joint = _load(directory / JOINT_FILE)
        return SegmenterPair(joint, joint)
    if not (directory / SOURCE_FILE).exists():
        raise UserError(
            f"{directory} has neither {JOINT_FILE} nor {SOURCE_FILE} and {TARGET_FILE}: no model's directory?"
        )
    return SegmenterPair(_load(directory / SOURCE_FILE), _load(directory / TARGET_FILE))


def _load(path: Path) -> AnySegmenter:
    listed = path.with_suffix(VOCABULARY).exists()
    return ListedSegmenter.load(path) if listed else Segmenter.load(path)


class Sample:
    """All lines, or `limit` of them drawn evenly (reservoir sampling, algorithm R, Vitter 1985)."""

    def __init__(self, limit: int = LINES) -> None:
        self.lines: list[str] = []
        self.seen, self.limit = 0, limit
        self._random = random.Random(SEED)

    def add(self, line: str) -> None:
        self.seen += 1
        if len(self.lines) < self.limit:
            self.lines.append(line)
        elif (place := self._random.randrange(self.seen)) < self.limit:
            self.lines[place] = line


@dataclass(frozen=True)
class Text:
    """The text of one vocabulary, and the counts that its size follows from."""

    lines: list[str]
    running_words: int  # in all the text, of which `lines` may be a sample
    distinct_words: int
    characters: Counter[str]

    @classmethod
    def of(cls, *samples: Sample) -> "Text":
        words: Counter[str] = Counter()
        characters: Counter[str] = Counter()
        running = 0
        for sample in samples:
            before = words.total()
            for line in sample.lines:
                words.update(WORD.findall(line))
                characters.update(line)
            running += (words.total() - before) * sample.seen // max(1, len(sample.lines))
        # One model's lines: the sides take turns, so that a cut to LINES would leave as much of each.
        lines = [line for sample in samples for line in sample.lines[: LINES // len(samples)]]
        return cls(lines, running, len(words), characters)

    @property
    def coverage(self) -> float:
        """The share of all characters that become pieces of their own (the rest are spelled in bytes).

        All of them for alphabets; 99.95 % for scripts of thousands, whose rare characters would fill the vocabulary.
        """
        return 1.0 if len(self.characters) <= 1000 else 0.9995

    @property
    def size(self) -> int:
        """The size "auto": min(32000, 8 sqrt(running words), distinct words + C), but at least 1.25 C.

        Of N running words a growing language shows about sqrt(N) new ones (Heaps' law), and pieces are worth their
        rows only when seen often enough to be learned: 8 sqrt(N) is about 7,000 for 29,000 pairs of captions and 8,000
        for 50,000 short sentences; from 16 million words on it is 32,000. A small closed language (the demo's) needs
        no more than its words. C = the special pieces, the 256 bytes and the characters covered, which must have room.
        """
        needed = self.characters.total() * self.coverage
        covered, seen = 0, 0
        for _, count in self.characters.most_common():
            if seen >= needed:
                break
            covered, seen = covered + 1, seen + count
        least = 260 + covered + 16
        return max(least * 5 // 4, min(32_000, round(8 * self.running_words**0.5), self.distinct_words + least))


def _train(config: Unigram | BPE, text: Text, tags: Sequence[str] = ()) -> Segmenter:
    if not any(0 < len(line.encode()) <= LONGEST_LINE for line in text.lines):
        raise UserError("there is no text to train subwords on: every line is empty or longer than 64 KiB")
    size = text.size if config.size == "auto" else config.size
    written = io.BytesIO()
    try:
        cast(Any, sentencepiece.SentencePieceTrainer).train(
            sentence_iterator=_training_lines(text.lines),
            model_writer=written,
            model_type=config.kind,
            vocab_size=size,
            hard_vocab_limit=False,
            byte_fallback=True,
            character_coverage=text.coverage,
            normalization_rule_name=config.normalization,
            add_dummy_prefix=True,
            remove_extra_whitespaces=False,
            max_sentence_length=LONGEST_LINE,
            num_threads=THREADS,
            pad_id=PAD,
            bos_id=BEGIN,
            eos_id=END,
            unk_id=UNKNOWN,
            control_symbols=[_tag(name) for name in tags],
            minloglevel=2,
        )
    except RuntimeError as error:
        if characters := re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(error)):
            raise UserError(
                f"a vocabulary of size = {size} has no room for all characters of the text: at least "
                f"{characters[1]} is needed; raise it, or write size: auto"
            ) from error
        raise
    segmenter = Segmenter(written.getvalue())
    if config.size != "auto" and segmenter.size < config.size:
        raise UserError(
            f"a vocabulary of size = {config.size} is more than this text can fill: it yields {segmenter.size} pieces; "
            f"lower it, write size: auto, or add text"
        )
    return segmenter


def _tag(name: str) -> str:
    return f"<tag:{name}>"


def _training_lines(lines: Iterable[str]) -> Iterator[str]:
    return (_escape(line) for line in lines if line)


def _escape(text: str) -> str:
    return _TO_ESCAPE.sub(_written, text) if _TO_ESCAPE.search(text) else text


def _written(match: re.Match[str]) -> str:
    if match[0] not in _ESCAPED:
        raise UserError(
            f"U+{ord(match[0]):04X} is half a surrogate pair, which is no character: mend the text {match.string!r}"
        )
    return _ESCAPED[match[0]]


def _unescape(text: str) -> str:
    return _TO_UNESCAPE.sub(lambda match: _UNESCAPED[match[0]], text) if _ESCAPE in text else text


def _in_text(escaped: str, spans: list[Span]) -> list[Span]:
    """Spans of an escaped text in the text itself: two characters of an escape are one."""
    if _ESCAPE not in escaped:
        return spans
    starts = [match.start() for match in _TO_UNESCAPE.finditer(escaped)]
    inside = {start + 1 for start in starts}
    return [(a - bisect_left(starts, a), b - bisect_left(starts, b) + (b in inside)) for a, b in spans]
