"""What a CTranslate2 directory says of its vocabularies: lists of pieces, and in `config.json` the special ones.

It has no padding, and may begin a translation with a zero vector instead of a piece. Ours has ids for both: where the
list has none, a piece is added to its end, and the tables get a row of zeros.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from kakehashi.data.listed import ListedSegmenter, Special, processor
from kakehashi.data.subwords import AnySegmenter, Segmenter
from kakehashi.errors import UserError
from kakehashi.interop.ctranslate2.binary import Variables

CONFIG = "config.json"
SHARED, SOURCE, TARGET = "shared_vocabulary", "source_vocabulary", "target_vocabulary"
PADDINGS = "<pad>", "<blank>"
ADDED = "<pad>", "<zero>"  # the first that the list has not


@dataclass(frozen=True)
class Vocabularies:
    """source, target: pieces by id, one list when they are shared. settings: what config.json says, with defaults."""

    source: list[str]
    target: list[str]
    settings: Mapping[str, Any]

    @classmethod
    def load(cls, directory: Path, variables: Variables) -> "Vocabularies":
        """Raises UserError when a file is missing or damaged."""
        shared = _pieces(directory, SHARED)
        source, target = (shared, shared) if shared else (_pieces(directory, side) for side in (SOURCE, TARGET))
        if source is None or target is None:
            raise UserError(f"{directory} has neither {SHARED}.json nor {SOURCE}.json and {TARGET}.json")
        tree = _json(directory / CONFIG) if (directory / CONFIG).exists() else _before(variables)
        if not isinstance(tree, dict):
            raise UserError(f"{directory / CONFIG} holds no settings")
        return cls(source, target, {**DEFAULTS, **cast(dict[str, Any], tree)})

    @property
    def unknown(self) -> str:
        return self.settings["unk_token"]

    @property
    def end(self) -> str:
        return self.settings["eos_token"]

    @property
    def begin(self) -> str | None:
        """None where the caller must give it."""
        return self.settings["decoder_start_token"]

    @property
    def silent(self) -> list[str]:
        """Pieces that ours never emits, though the target has them."""
        return [piece for piece in (*PADDINGS, self.begin) if piece in self.target and piece != self.end]

    @property
    def source_end(self) -> Literal["seen", "hidden"]:
        """OpenNMT-py trains without an end (and begins a translation with the begin mark). Marian has one."""
        opennmt = self.begin == self.settings["bos_token"]
        return "hidden" if opennmt and not self.settings["add_source_eos"] else "seen"

    @property
    def ending(self) -> list[str]:
        """What whoever feeds a source adds to its pieces: the end, where it is seen and the model does not add it
        (those that were Hugging Face's, whose tokenizers do)."""
        return [self.end] if self.source_end == "seen" and not self.settings["add_source_eos"] else []


@dataclass(frozen=True)
class Side:
    """A vocabulary with all the special pieces that ours needs. added: whether its last piece is one that the list had
    not, with a vector of zeros."""

    pieces: list[str]
    special: Special
    added: bool

    @classmethod
    def of(cls, pieces: list[str], vocabularies: Vocabularies, from_zeros: bool) -> "Side":
        """from_zeros: a translation begins with zeros. Raises ValueError where a special piece is missing."""
        padding = next((piece for piece in PADDINGS if piece in pieces), None)
        added = from_zeros or padding is None
        if added:
            padding = next(piece for piece in ADDED if piece not in pieces)
            pieces = [*pieces, padding]
        begin = padding if from_zeros else vocabularies.begin
        if begin is None:
            raise ValueError(
                "whoever uses it chooses by the first piece what it writes, and ours always writes the same"
            )
        named = (str(padding), begin, vocabularies.end, vocabularies.unknown)
        if missing := next((piece for piece in named if piece not in pieces), None):
            raise ValueError(f"the special piece {missing} is not in the vocabulary")
        return cls(pieces, Special(*map(pieces.index, named)), added)

    def segmenter(self, model: bytes) -> AnySegmenter:
        """SentencePiece's own ids where they are these."""
        pieces = processor(model)
        if [pieces.id_to_piece(id) for id in range(pieces.vocab_size())] == self.pieces and self.special == Special():
            return Segmenter(model)
        return ListedSegmenter(model, self.pieces, self.special)


DEFAULTS = {
    "add_source_bos": False,
    "add_source_eos": False,
    "bos_token": "<s>",
    "decoder_start_token": "<s>",
    "eos_token": "</s>",
    "layer_norm_epsilon": None,
    "unk_token": "<unk>",
}


def _before(variables: Variables) -> dict[str, Any]:
    """The settings of format versions 4 and 5, which kept them among the weights."""
    begins = bool(variables.get("with_target_bos", True))
    return {
        "add_source_bos": bool(variables.get("with_source_bos", False)),
        "add_source_eos": bool(variables.get("with_source_eos", False)),
        "decoder_start_token": DEFAULTS["bos_token" if begins else "eos_token"],
    }


def _pieces(directory: Path, name: str) -> list[str] | None:
    """None where there is no such file. Before 2023 it was a text, a piece a line."""
    listed, lines = directory / f"{name}.json", directory / f"{name}.txt"
    if not listed.exists():
        return _text(lines).removesuffix("\n").split("\n") if lines.exists() else None
    pieces = _json(listed)
    if not isinstance(pieces, list) or not all(isinstance(piece, str) for piece in cast(list[object], pieces)):
        raise UserError(f"{listed} is no list of pieces")
    return cast(list[str], pieces)


def _json(path: Path) -> object:
    text = _text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
