"""Vocabularies of others: a SentencePiece model cuts the text, and a list of pieces gives the ids.

Marian, OPUS and CTranslate2 models are so. Notable, and unlike our own subwords: what the list lacks is the unknown
piece, U+2581 in a text is a space, and spaces are as the SentencePiece model treats them. A text may begin with a mark
such as `>>fra<<`, by which many-to-many models know the language to write.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import sentencepiece

from kakehashi.data.sampling import Sampler
from kakehashi.errors import UserError

VOCABULARY = ".vocabulary.json"  # beside the SentencePiece model of the same name

Span = tuple[int, int]
"""From where to where in a text, in characters (code points) as Python counts them; the second is the first behind."""

_MARK = re.compile(r">>.*?<<")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class Special(NamedTuple):
    """The ids with a meaning of their own. Two of them may be one: Marian begins with the padding."""

    pad: int = 0
    begin: int = 1
    end: int = 2
    unknown: int = 3


def processor(model: bytes) -> Any:
    """SentencePiece's processor of a model. Raises UserError when it is none."""
    loaded: Any = sentencepiece.SentencePieceProcessor()
    try:
        loaded.LoadFromSerializedProto(model)
    except RuntimeError as error:
        raise UserError(f"not a whole SentencePiece model: {error}") from error
    return loaded


def encoded_spans(processor: Any, text: str) -> list[Span]:
    """Where the characters stand that each piece of a text spells. Pieces that spell one character together share its
    span; what has none of its own (a word's mark alone) has an empty one."""
    found = processor.encode(text, return_type="offset_mapping")
    return _shared(found["offsets"], [piece.strip("▁") != "" for piece in found["pieces"]])


def decoded_spans(processor: Any, pieces: Sequence[int] | Sequence[str]) -> list[Span]:
    """The same of pieces, or their ids, in the text that they give."""
    found = processor.decode(list(pieces), return_type="offset_mapping")
    return _shared(found["offsets"], [_BYTE.fullmatch(piece) is not None for piece in found["pieces"]])


def _shared(spans: Sequence[Span], spelling: Sequence[bool]) -> list[Span]:
    """SentencePiece gives a character of several pieces to the last of them: the others get its span too."""
    shared = list(spans)
    for i in reversed(range(len(shared) - 1)):
        if spelling[i] and shared[i][0] == shared[i][1]:
            shared[i] = shared[i + 1]
    return shared


class ListedSegmenter:
    """Text to ids and back, by a SentencePiece model and a list of pieces: a piece's place is its id.

    Raises UserError when `model` is none, or special ids lie outside the list.
    """

    def __init__(self, model: bytes, pieces: Sequence[str], special: Special) -> None:
        self.model, self.pieces, self.special, self.size = model, tuple(pieces), special, len(pieces)
        self._processor = processor(model)
        if not all(0 <= id < self.size for id in special):
            raise UserError(f"special ids {list(special)} do not all lie in a vocabulary of {self.size} pieces")
        self._ids = {piece: id for id, piece in enumerate(self.pieces)}

    @classmethod
    def load(cls, path: Path) -> "ListedSegmenter":
        """Reads NAME.model and NAME.vocabulary.json. Raises UserError when one is missing or damaged."""
        listed = path.with_suffix(VOCABULARY)
        try:
            tree = json.loads(listed.read_text("utf-8"))
            return cls(path.read_bytes(), tree["pieces"], Special(**tree["special"]))
        except OSError as error:
            raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{listed} is no list of pieces: {error!r}") from error
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    def save(self, path: Path) -> None:
        path.write_bytes(self.model)
        path.with_suffix(VOCABULARY).write_text(self._listed() + "\n", "utf-8")

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides the ids of a text."""
        return hashlib.sha256(self.model + self._listed().encode()).hexdigest()

    def _listed(self) -> str:
        return json.dumps({"special": self.special._asdict(), "pieces": self.pieces}, ensure_ascii=False, indent=0)

    def encode(self, text: str) -> list[int]:
        """The best segmentation, without special ids."""
        mark, rest = _parted(text)
        return self._looked_up(mark, self._processor.encode(rest, out_type=str))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """As `encode`, of many texts, on all cores."""
        parted = [_parted(text) for text in texts]
        rests = [rest for _, rest in parted]
        found = self._processor.encode(rests, out_type=str, num_threads=os.cpu_count() or 1)
        return [self._looked_up(mark, pieces) for (mark, _), pieces in zip(parted, found, strict=True)]

    def sample(self, text: str, seed: int, alpha: float) -> list[int]:
        """A segmentation drawn by the seed alone; `alpha` as in the config's `sampling` (0: the best segmentation)."""
        if alpha == 0:
            return self.encode(text)
        mark, rest = _parted(text)
        return self._looked_up(mark, self._sampler.draw(rest, seed, alpha))

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler(self.model, self._processor)

    def decode(self, ids: Sequence[int]) -> str:
        """Special ids give nothing."""
        pieces = [self.pieces[id] for id in ids if id not in self.special]
        return self._processor.decode_pieces(pieces).replace("▁", " ")

    def spans(self, text: str) -> list[Span]:
        """Where in the text stands what each id of `encode(text)` spells: see `encoded_spans`."""
        mark, rest = _parted(text)
        offset = len(text) - len(rest)
        found = encoded_spans(self._processor, rest)
        return [(0, offset)] * len(mark) + [(start + offset, end + offset) for start, end in found]

    def decoded_spans(self, ids: Sequence[int]) -> list[Span]:
        """Where in `decode(ids)` stands what each id spells."""
        own = [id not in self.special for id in ids]
        pieces = [self.pieces[id] for id, spells in zip(ids, own, strict=True) if spells]
        found, end = iter(decoded_spans(self._processor, pieces)), 0
        spans: list[Span] = []
        for spells in own:
            spans.append(next(found) if spells else (end, end))
            end = spans[-1][1]
        return spans

    def piece(self, id: int) -> str:
        """The piece of the list."""
        return self.pieces[id]

    def id(self, piece: str) -> int:
        """Its place in the list, or that of the unknown piece."""
        return self._ids.get(piece, self.special.unknown)

    def tag(self, name: str) -> int:
        """The id of the mark `>>name<<`. Raises UserError when the list has none."""
        if (piece := f">>{name}<<") not in self._ids:
            raise UserError(f"these subwords have no tag {name!r}: there is no piece {piece} among them")
        return self._ids[piece]

    def _looked_up(self, mark: list[str], pieces: Sequence[str]) -> list[int]:
        return [self.id(piece) for piece in (*mark, *pieces)]


def _parted(text: str) -> tuple[list[str], str]:
    """The mark of the language to write, if the text begins with one, and the rest."""
    if found := _MARK.match(text):
        return [found[0]], text[found.end() :]
    return [], text
