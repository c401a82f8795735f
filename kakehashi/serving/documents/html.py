""".html: see `kakehashi.serving.markup.html`; here its encoding."""

import re
from collections.abc import Sequence

from kakehashi.serving.documents.encoding import decode
from kakehashi.serving.markup.html import Markup
from kakehashi.serving.markup.inline import Translated

_DECLARED = re.compile(rb"""<meta[^>]{1,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]+)""", re.IGNORECASE)
_SEARCHED = 1024  # bytes at the start, as the standard has it


class Html:
    """In the encoding of its byte order mark or `meta` element, or UTF-8; what that lacks is written as `&#...;`."""

    def __init__(self, data: bytes) -> None:
        declared = _DECLARED.search(data[:_SEARCHED])
        text, self._encoding = decode(data, declared[1].decode("ascii") if declared else "utf-8")
        self._markup = Markup(text)
        self.segments = self._markup.segments

    def render(self, translations: Sequence[Translated]) -> bytes:
        return self._encoding.encode(self._markup.render(translations), "xmlcharrefreplace")
