"""Zip archives from strangers: what is in them, within limits, and the same archive with some contents replaced.

Nothing is written to disk. `zipfile` unpacks no more of a member than the archive's directory says and compares
checksums, so that limits on the directory's sizes are limits on memory.
"""

import io
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping, Sequence

from kakehashi.errors import UserError

_MEMBERS = 10_000
_TOTAL = 512 * 2**20  # bytes, unpacked
_LARGEST_TEXT = 16 * 2**20  # of a member that is read as a whole; its tree takes about ten times that
_RATIO = 200  # unpacked to packed: XML seldom has more than 50
_SMALL = 2**20  # a member this small may have any ratio
_PATH_TRICKS = re.compile(r"^/|^[A-Za-z]:|\\|(^|/)\.\.(/|$)|\0")
_ENCRYPTED = 1  # flag bit
_BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, ValueError, OSError, EOFError, RuntimeError)


class Archive:
    """Raises UserError where a file is no sound zip archive, or one made to do harm."""

    def __init__(self, data: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except _BROKEN as error:
            raise UserError(f"the file is no sound zip archive, which its name promises: {error}") from error
        _check(self._zip.infolist())
        self.names = self._zip.namelist()

    def read(self, name: str) -> bytes:
        """A member as a whole, if it is not too large for that."""
        if name not in self.names:
            raise UserError(f"the file is not what its name promises: there is no {name} in it")
        if self._zip.getinfo(name).file_size > _LARGEST_TEXT:
            raise UserError(f"{name} in the file has more than {_LARGEST_TEXT >> 20} MiB of text: divide the document")
        try:
            return self._zip.read(name)
        except _BROKEN as error:
            raise UserError(f"{name} in the file is broken: {error}") from error

    def replaced(self, contents: Mapping[str, bytes]) -> bytes:
        """The archive with other contents in some members; order, names, dates and kinds of packing stay."""
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as target:
            for member in self._zip.infolist():
                info = zipfile.ZipInfo(member.filename, member.date_time)
                info.compress_type, info.external_attr = member.compress_type, member.external_attr
                try:
                    with target.open(info, "w") as place:
                        if member.filename in contents:
                            place.write(contents[member.filename])
                        else:
                            with self._zip.open(member) as source:
                                shutil.copyfileobj(source, place)
                except _BROKEN as error:
                    raise UserError(f"{member.filename} in the file is broken: {error}") from error
        return out.getvalue()


def _check(members: Sequence[zipfile.ZipInfo]) -> None:
    if len(members) > _MEMBERS:
        raise UserError(f"the file has {len(members):,} members; {_MEMBERS:,} are the most")
    if len({member.filename for member in members}) < len(members):
        raise UserError("the file has two members of the same name")
    if sum(member.file_size for member in members) > _TOTAL:
        raise UserError(f"the file unpacks to more than {_TOTAL >> 20} MiB")
    for member in members:
        if _PATH_TRICKS.search(member.orig_filename) or stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(f"the file has a member that leads out of it: {member.orig_filename!r}")
        if member.flag_bits & _ENCRYPTED:
            raise UserError("the file is encrypted: save it without a password")
        if member.file_size > max(_SMALL, _RATIO * member.compress_size):
            raise UserError(f"{member.filename} in the file is packed more than {_RATIO}-fold, as no document is")
