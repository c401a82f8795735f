"""The tokenizer's files: `vocab.json` gives each piece its id, `source.spm` and `target.spm` cut the text."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from kakehashi.data.listed import ListedSegmenter, Special
from kakehashi.data.subwords import AnySegmenter, Segmenter, SegmenterPair
from kakehashi.errors import UserError
from kakehashi.interop.huggingface.settings import Settings

SETTINGS = "tokenizer_config.json"
IDS, TARGET_IDS = "vocab.json", "target_vocab.json"
MODELS = ("source.spm", "target.spm")


def read(path: Path, config: Settings, tokenizer: Mapping[str, Any]) -> SegmenterPair:
    """Raises UserError when a file is missing or damaged, or an id has no row in the embeddings."""
    pad, end, unknown = (_token(tokenizer, name, usual) for name, usual in _USUAL.items())
    target_ids = path / (TARGET_IDS if (path / TARGET_IDS).exists() else IDS)
    source_pieces = _pieces(path / IDS, config.vocab_size)
    target_pieces = _pieces(target_ids, config.target_size)

    def find(pieces: list[str], piece: str) -> int:
        if piece not in pieces:
            raise UserError(f"{path}: no {piece} in the vocabulary")
        return pieces.index(piece)

    models = [_bytes(path / name) for name in MODELS]
    same = models[0] == models[1] and source_pieces == target_pieces
    target_special = Special(
        config.pad_token_id, config.decoder_start_token_id, config.eos_token_id, find(target_pieces, unknown)
    )
    begin = target_special.begin if same else find(source_pieces, pad)  # nobody begins a source
    source_special = Special(find(source_pieces, pad), begin, find(source_pieces, end), find(source_pieces, unknown))
    try:
        source = segmenter(models[0], source_pieces, source_special)
        if same and source_special == target_special:
            return SegmenterPair(source, source)
        return SegmenterPair(source, segmenter(models[1], target_pieces, target_special))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def segmenter(model: bytes, pieces: list[str], special: Special) -> AnySegmenter:
    """One of ours where the ids are SentencePiece's own as we choose them, and all text is known; else a listed one."""
    listed = ListedSegmenter(model, pieces, special)
    if special != Special():
        return listed
    try:
        own = Segmenter(model)
    except UserError:
        return listed
    same = own.size == len(pieces) and all(own.piece(id) == piece for id, piece in enumerate(pieces))
    return own if same and own.piece(4) == "<0x00>" else listed


def write(segmenters: SegmenterPair, languages: tuple[str, str], path: Path) -> None:
    separate = _ids(segmenters.source) != _ids(segmenters.target)
    for segmenter, model in zip(segmenters, MODELS, strict=True):
        (path / model).write_bytes(segmenter.model)
    _save(_ids(segmenters.source), path / IDS)
    if separate:
        _save(_ids(segmenters.target), path / TARGET_IDS)
    special = segmenters.target.special
    named = {"pad": special.pad, "eos": special.end, "unk": special.unknown, "bos": special.begin}
    settings = {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": languages[0],
        "target_lang": languages[1],
        "separate_vocabs": separate,
        "model_max_length": 512,
        **{f"{name}_token": segmenters.target.piece(id) for name, id in named.items()},
    }
    _save(settings, path / SETTINGS)


_USUAL = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


def _token(tokenizer: Mapping[str, Any], name: str, usual: str) -> str:
    """Old files write a token as a mapping."""
    found = tokenizer.get(name, usual)
    return str(cast(dict[str, Any], found).get("content", usual)) if isinstance(found, dict) else str(found)


def _ids(segmenter: AnySegmenter) -> dict[str, int]:
    return {segmenter.piece(id): id for id in range(segmenter.size)}


def _pieces(path: Path, size: int) -> list[str]:
    """The pieces in the order of their ids; rows of the embeddings that no piece has get names that no text gives."""
    try:
        ids: dict[str, int] = json.loads(path.read_text("utf-8"))
        outside = [piece for piece, id in ids.items() if not 0 <= id < size]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is no mapping of pieces to ids: {error}") from error
    if outside:
        raise UserError(f"{path}: the id of {outside[0]!r} lies outside the {size} rows that config.json says")
    named = {id: piece for piece, id in ids.items()}
    return [named.get(id, f"<unused {id}>") for id in range(size)]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _save(tree: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(tree, ensure_ascii=False, indent=2) + "\n", "utf-8")
