"""Models of others in and out, each with a report that it is the same model there."""

from pathlib import Path

from kakehashi.errors import UserError
from kakehashi.interop.huggingface import HuggingFace
from kakehashi.interop.protocol import Format

_ALL: tuple[Format, ...] = (HuggingFace(),)
FORMATS: dict[str, Format] = {format.name: format for format in _ALL}


def format_of(path: Path) -> Format:
    """Raises UserError when this is a model of no format that we know."""
    if not path.exists():
        raise UserError(f"{path} does not exist")
    for format in FORMATS.values():
        if format.recognises(path):
            return format
    raise UserError(f"{path} is no model that can be imported: it looks like none of {', '.join(FORMATS)}")
