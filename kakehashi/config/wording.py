"""How a mistake is told: the value as it was written, the choices, the nearest match."""

import difflib
from collections.abc import Iterable, Sequence

from kakehashi.errors import UserError


class ConfigError(UserError):
    """A mistake in a recipe or an override: the path, the value, what is allowed and the nearest match."""


def show(value: object) -> str:
    """A value of a recipe in at most 80 characters."""
    match value:
        case None:
            text = "null"
        case bool():
            text = str(value).lower()
        case str():
            text = repr(str(value))
        case _:
            text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def nearest(word: object, known: Iterable[str]) -> str:
    """ "; did you mean 'rope'?", when something known is like `word`; else nothing."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.65) if isinstance(word, str) else []
    return f"; did you mean {matches[0]!r}?" if matches else ""


def choices(known: Sequence[str], word: object = None, name: str = "choices") -> str:
    """What is allowed, and what is nearest to `word`."""
    return f"{name}: {', '.join(known) or 'none'}{nearest(word, known)}"


def unknown_key(path: Sequence[str], key: str, known: Sequence[str]) -> str:
    """A key that does not exist in what lies at `path`."""
    return f"no key {key!r} in {'.'.join(path) or 'the root'}; {choices(known, key, 'keys')}"
