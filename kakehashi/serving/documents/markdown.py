""".md (CommonMark with tables and strikethrough, parsed by markdown-it): paragraphs, headings, cells, HTML blocks.

What is not translated stays byte for byte: code, links' addresses, definitions, front matter, the marks of lists and
quotes. A translated paragraph is one line, but for its hard breaks. Where Markdown's rules would not see an emphasis at
its new place (its marks may not touch letters in every way, which Chinese and Japanese run into), HTML tags mark it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from markdown_it import MarkdownIt
from markdown_it.token import Token as Parsed

from kakehashi.serving.documents.encoding import decode
from kakehashi.serving.markup.html import Markup
from kakehashi.serving.markup.inline import Atom, Close, Inline, Open, Segment, Text, Token, Translated
from kakehashi.serving.markup.words import is_unspaced

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.S)
_TAG = re.compile(r"<(/?)([A-Za-z][\w-]*)[^>]*?(/?)>\Z")
_VOID = {"br", "img", "hr", "wbr", "input"}
# What other dialects read in plain text: footnotes; the boxes of tasks and the names of notes, if they come first.
_FOOTNOTE = re.compile(r"(\[\^[^\]\s]+\]:?)")
_FIRST = re.compile(r"\[[ xX]\](?=\s)|\[![A-Z]+\]\Z")
_ALWAYS_SPECIAL = re.compile(r"\\|`|<(?=[A-Za-z/!?])|&(?=#?\w{1,31};)")
_SPECIAL = re.compile(r"[\\`*\[\]]|(?<!\w)_|_(?!\w)|<(?=[A-Za-z/!?])|&(?=#?\w{1,31};)|~(?=~)")
_BLOCK_START = re.compile(r"^(?=[-+](?:\s|$)|#{1,6}(?:\s|$)|>|=+\s*$|-+\s*$|~~~)|^\d{1,9}(?=[.)](?:\s|$))", re.M)
_AS_HTML = {"em": ("<em>", "</em>"), "strong": ("<strong>", "</strong>"), "s": ("<del>", "</del>")}


@dataclass(frozen=True)
class _Mark:
    """What stands for a token in Markdown, and in HTML."""

    markdown: str
    html: str


@dataclass(frozen=True)
class _Prose:
    """A paragraph, heading or cell: as written, parsed, and what its further lines begin with."""

    raw: str
    children: Sequence[Parsed]
    inline: Inline[_Mark]
    margin: str
    in_table: bool


class Markdown:
    def __init__(self, data: bytes) -> None:
        text, self._encoding = decode(data)
        self._crlf = "\r\n" in text
        self._parser = MarkdownIt("commonmark", {"store_labels": True}).enable(["table", "strikethrough"])
        self._parser.normalizeLink = _as_written
        self._references: dict[str, object] = {}
        self._parts = [*self._read(text.replace("\r\n", "\n"))]
        self.segments = [segment for part in self._parts for segment in _segments(part)]

    def _read(self, text: str) -> Iterator[str | _Prose | Markup]:
        front = _FRONT_MATTER.match(text)
        head = front[0] if front else ""
        body = text[len(head) :]
        yield head
        starts = [0]
        for line in body.split("\n"):
            starts.append(starts[-1] + len(line) + 1)
        done = 0
        in_table = False
        for token in self._parser.parse(body, self._references):
            in_table = token.type == "table_open" or (in_table and token.type != "table_close")
            place = _place(body, starts, token, done) if token.type in ("inline", "html_block") and token.map else None
            if not place:
                continue
            start, end = place
            yield body[done:start]
            raw, done = body[start:end], end
            if token.type == "html_block":
                yield Markup(raw)
            else:
                children = token.children or []
                inline = Inline([*_tokens(children)])
                margin = _margin(body, starts, token) if "\n" in raw else ""
                yield _Prose(raw, children, inline, margin, in_table) if inline.segment else raw
        yield body[done:]

    def render(self, translations: Sequence[Translated]) -> bytes:
        remaining = iter(translations)
        text = "".join(self._rendered(part, [next(remaining) for _ in _segments(part)]) for part in self._parts)
        return self._encoding.encode(text.replace("\n", "\r\n") if self._crlf else text)

    def _rendered(self, part: str | _Prose | Markup, translations: Sequence[Translated]) -> str:
        if isinstance(part, str):
            return part
        if isinstance(part, Markup):
            return part.render(translations)
        assert part.inline.segment
        if translations[0].text == part.inline.segment.text:
            return part.raw
        text = self._marked([*part.inline.render(translations[0])], _kinds(part.children))
        if part.in_table:
            text = text.replace("|", "\\|")
        return text.replace("\n", "\n" + part.margin)

    def _marked(self, tokens: Sequence[Token[_Mark]], kinds: Counter[tuple[str, str]]) -> str:
        """The tokens in Markdown that is read as they are: with as few escapes and HTML tags as that takes."""
        for special in (_ALWAYS_SPECIAL, _SPECIAL):
            text = _written(tokens, special)
            parsed = self._parser.parseInline(text, self._references)[0].children or []
            if _kinds(parsed) == kinds:
                return text
        return _written([_as_html(token) for token in tokens], _SPECIAL)


def _as_written(url: str) -> str:
    return url


def _as_html(token: Token[_Mark]) -> Token[_Mark]:
    return token if isinstance(token, Text) else replace(token, payload=_Mark(token.payload.html, token.payload.html))


def _segments(part: str | _Prose | Markup) -> list[Segment]:
    if isinstance(part, Markup):
        return part.segments
    return [part.inline.segment] if isinstance(part, _Prose) and part.inline.segment else []


def _place(body: str, starts: Sequence[int], token: Parsed, done: int) -> tuple[int, int] | None:
    """Where the content of a token is written, from `done` on; None where it is not as written (tabs made spaces)."""
    assert token.map
    first, last = token.map
    if token.type == "html_block":
        start = max(done, starts[first])
        return (start, start + len(token.content)) if body.startswith(token.content, start) else None
    lines = token.content.split("\n")
    for top in (lines[0], lines[0].replace("|", "\\|")):
        start = body.find(top, max(done, starts[first]), starts[first + 1])
        if start >= 0:
            break
    else:
        return None
    if len(lines) == 1:
        return start, start + len(top)
    bottom = starts[first + len(lines) - 1]
    end = body.find(lines[-1].strip(), bottom, starts[last])
    return (start, end + len(lines[-1].strip())) if end >= 0 else None


def _margin(body: str, starts: Sequence[int], token: Parsed) -> str:
    """What the second line of a paragraph begins with: the marks of quotes, the indentation in a list."""
    assert token.map
    line = body[starts[token.map[0] + 1] : starts[token.map[0] + 2]]
    return line[: max(0, line.find(token.content.split("\n")[1].strip()))]


def _tokens(children: Sequence[Parsed]) -> Iterator[Token[_Mark]]:
    """The inline tokens of markdown-it as ours."""
    links: list[Parsed] = []
    left = iter(enumerate(children))
    for place, child in left:
        match child.type:
            case "text":
                first = _FIRST.match(child.content) if place == 0 else None
                if first:
                    alone = first.end() == len(child.content) and next(left, None) is not None
                    yield _atom(first[0] + ("\n" if alone else ""))
                yield from _footnotes(child.content[first.end() if first else 0 :])
            case "softbreak":
                before, after = children[place - 1].content[-1:], children[place + 1].content[:1]
                yield Text("" if before and after and is_unspaced(before) and is_unspaced(after) else " ")
            case "hardbreak":
                yield _atom("\\\n", "\n")
            case "html_inline":
                yield _html(child.content)
            case "code_inline":
                space = " " if child.content.startswith("`") or child.content.endswith("`") else ""
                yield _atom(f"{child.markup}{space}{child.content}{space}{child.markup}", child.content.strip())
            case "image":
                yield _atom(f"![{child.content}{_destination(child, 'src')}")
            case "link_open" if child.markup == "autolink":
                address = next(left)[1].content
                next(left)
                yield _atom(f"<{address}>", address)
            case "link_open":
                links.append(child)
                yield Open("link", _Mark("[", "["))
            case "link_close":
                end = _destination(links.pop(), "href")
                yield Close("link", _Mark(end, end))
            case _:
                name, _, edge = child.type.rpartition("_")
                tag = Open if edge == "open" else Close
                yield tag(name, _Mark(child.markup, _AS_HTML[name][edge == "close"]))


def _atom(markdown: str, seen: str = "") -> Atom[_Mark]:
    return Atom(_Mark(markdown, markdown), seen)


def _footnotes(text: str) -> Iterator[Token[_Mark]]:
    for place, piece in enumerate(_FOOTNOTE.split(text)):
        if piece:
            yield _atom(piece) if place % 2 else Text(piece)


def _html(raw: str) -> Token[_Mark]:
    tag = _TAG.match(raw)
    name = tag[2].lower() if tag else ""
    if not tag or tag[3] or name in _VOID:
        return _atom(raw, "\n" if name == "br" else "")
    return (Close if tag[1] else Open)(name, _Mark(raw, raw))


def _destination(token: Parsed, attribute: str) -> str:
    """What follows the text of a link or an image, the bracket at its end first."""
    if "label" in token.meta:
        return f"][{token.meta['label']}]"
    address, title = str(token.attrs.get(attribute, "")), str(token.attrs.get("title", ""))
    if not address or re.search(r"[\s()<>\\]", address):
        address = "<" + re.sub(r"([<>\\])", r"\\\1", address) + ">"
    return f"]({address}" + (' "' + re.sub(r'(["\\])', r"\\\1", title) + '")' if title else ")")


def _written(tokens: Iterable[Token[_Mark]], special: re.Pattern[str]) -> str:
    texts = (
        special.sub(r"\\\g<0>", token.text) if isinstance(token, Text) else token.payload.markdown for token in tokens
    )
    return _BLOCK_START.sub(r"\g<0>\\", "".join(texts))


def _kinds(children: Iterable[Parsed]) -> Counter[tuple[str, str]]:
    """What is in a text beside words, and how often."""
    return Counter(
        (child.type, child.content if child.type in ("code_inline", "html_inline") else str(child.attrs))
        for child in children
        if child.type not in ("text", "softbreak")
    )
