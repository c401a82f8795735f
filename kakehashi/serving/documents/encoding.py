"""Bytes of text files, and back into the same encoding."""

import codecs
from dataclasses import dataclass

from kakehashi.errors import UserError

_LARGEST = 4 * 2**20  # bytes; text that is all tags takes up to two hundred times that
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@dataclass(frozen=True)
class Encoding:
    """`mark`: the byte order mark that was before the text."""

    name: str = "utf-8"
    mark: bytes = b""

    def encode(self, text: str, errors: str = "strict") -> bytes:
        """Raises UserError where the encoding has not all the characters."""
        try:
            return self.mark + text.encode(self.name, errors)
        except UnicodeEncodeError as error:
            what = error.object[error.start]
            raise UserError(f"the file is in {self.name}, which has no {what!r}: save it as UTF-8 first") from error


def decode(data: bytes, declared: str = "utf-8") -> tuple[str, Encoding]:
    """The text of a file that has a byte order mark, or is in the `declared` encoding. Nothing is guessed.

    Raises UserError where that is not so, or the text is too long.
    """
    if len(data) > _LARGEST:
        raise UserError(f"the file has more than {_LARGEST >> 20} MiB of text: divide it")
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    encoding = Encoding(_MARKS.get(mark, declared), mark)
    try:
        text = data[len(mark) :].decode(encoding.name)
    except LookupError as error:
        raise UserError(f"the file says that it is in {declared!r}, which is no known encoding") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"the file is not in {encoding.name.upper()} (byte {error.start + len(mark):,}): save it as UTF-8"
        ) from error
    if "\0" in text:
        raise UserError("the file is no text: it has a NUL character in it")
    return text, encoding
