"""Models of others in and out, each with a report that it is the same model there."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

from kakehashi.errors import UserError
from kakehashi.interop.argos import Argos
from kakehashi.interop.ctranslate2.binary import Storage
from kakehashi.interop.ctranslate2.directory import CTranslate2
from kakehashi.interop.huggingface import HuggingFace
from kakehashi.interop.onnx import Onnx
from kakehashi.interop.protocol import Format

_ALL: tuple[Format, ...] = (HuggingFace(), CTranslate2(), Argos(), Onnx())
FORMATS: dict[str, Format] = {format.name: format for format in _ALL}


def stored(format: Format, storage: str) -> Format:
    """The format with its weights stored so. Raises UserError where it does not know this storage."""
    known = get_args(Storage) if isinstance(format, CTranslate2 | Argos) else ("float32",)
    if storage not in known:
        raise UserError(f"--storage {storage}: {format.name} stores weights as {', '.join(known)}")
    return replace(format, storage=storage) if isinstance(format, CTranslate2 | Argos) else format


def format_of(path: Path) -> Format:
    """Raises UserError when this is a model of no format that we know."""
    if not path.exists():
        raise UserError(f"{path} does not exist")
    for format in FORMATS.values():
        if format.recognises(path):
            return format
    raise UserError(f"{path} is no model that can be imported: it looks like none of {', '.join(FORMATS)}")
