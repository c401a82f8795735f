"""Text that may hold tags as in XML, and says nothing of what its other signs mean: subtitles, messages of programs."""

import re
from collections.abc import Iterator

from kakehashi.serving.markup.inline import Atom, Close, Open, Text, Token

_TAG = re.compile(r"<(?P<slash>/?)(?P<name>[A-Za-z][\w:.-]*)[^<>]*?(?P<empty>/?)>|\{\\[^{}]*\}")


def tagged(text: str) -> Iterator[Token[str]]:
    """`<b>`, `</b>`, `<br/>` and `{\\an8}` (of subtitles) as tokens. Entities are left as they are."""
    end = 0
    for tag in _TAG.finditer(text):
        if tag.start() > end:
            yield Text(text[end : tag.start()])
        end = tag.end()
        if not tag["name"] or tag["empty"]:
            yield Atom(tag[0])
        elif tag["slash"]:
            yield Close(tag["name"], tag[0])
        else:
            yield Open(tag["name"], tag[0])
    if end < len(text):
        yield Text(text[end:])
