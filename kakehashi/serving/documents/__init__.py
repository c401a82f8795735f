"""Files that are translated and keep their format: `open`, `segments`, `render`.

Every reader takes bytes from anybody: what is broken, too large or made to do harm ends in one UserError.
"""

from collections.abc import Callable
from pathlib import PurePath

from kakehashi.errors import UserError
from kakehashi.serving.documents.docx import docx
from kakehashi.serving.documents.html import Html
from kakehashi.serving.documents.markdown import Markdown
from kakehashi.serving.documents.odt import odt
from kakehashi.serving.documents.plain import PlainText
from kakehashi.serving.documents.po import Po
from kakehashi.serving.documents.protocol import Document
from kakehashi.serving.documents.subtitles import Subtitles
from kakehashi.serving.documents.tmx import Tmx
from kakehashi.serving.documents.xliff import Xliff
from kakehashi.serving.markup.inline import Segment, Translated

__all__ = ["EXTENSIONS", "LARGEST", "Document", "Segment", "Translated", "open"]

LARGEST = 64 * 2**20  # bytes of a file

_MONOLINGUAL: dict[str, Callable[[bytes], Document]] = {
    ".txt": PlainText,
    ".md": Markdown,
    ".html": Html,
    ".htm": Html,
    ".srt": Subtitles,
    ".docx": docx,
    ".odt": odt,
}
_BILINGUAL: dict[str, Callable[[bytes, str | None], Document]] = {
    ".po": Po,
    ".xliff": Xliff,
    ".xlf": Xliff,
    ".tmx": Tmx,
}
EXTENSIONS = (*_MONOLINGUAL, *_BILINGUAL)


def open(name: str, data: bytes, language: str | None = None) -> Document:
    """The document in a file called `name`, whose extension says what it is.

    `language`: the code of the language into which it is translated, for formats that say it: TMX needs it; PO and
    XLIFF take it where they name none. Raises UserError.
    """
    extension = PurePath(name).suffix.lower()
    if extension not in EXTENSIONS:
        raise UserError(
            f"a file of the kind {extension or name!r} is not translated; these are: {' '.join(EXTENSIONS)}"
        )
    if not data:
        raise UserError("the file is empty")
    if len(data) > LARGEST:
        raise UserError(f"the file has more than {LARGEST >> 20} MiB: divide it")
    if extension in _BILINGUAL:
        return _BILINGUAL[extension](data, language)
    return _MONOLINGUAL[extension](data)
