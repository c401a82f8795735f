"""The inline elements of XLIFF 1.2, XLIFF 2.0 and TMX 1.4, which are of one family, as tokens and back.

Elements that hold text are tags (`g`, `mrk`, `pc`, `hi`), and so are pairs of elements without (`bx` and `ex`, `sc` and
`ec`, `bpt` and `ept`); all others, the codes of an original format, stand in one piece.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy

from kakehashi.serving.markup.inline import Atom, Close, Open, Text, Token
from kakehashi.serving.xml import Element, append, content, empty, local_name

_CONTAINERS = {"g", "mrk", "pc", "hi"}
_PAIRS = {"bx": "ex", "sc": "ec", "sm": "em", "bpt": "ept"}
_ENDS = {end: start for start, end in _PAIRS.items()}
_STARTING = ("rid", "i", "id")  # attributes that name a pair, the surest first
_ENDING = ("rid", "startRef", "i", "id")


def tokens(element: Element) -> Iterator[Token[Element]]:
    for place, piece in enumerate(content(element)):
        if isinstance(piece, str):
            yield Text(piece)
            continue
        kind = local_name(piece)
        if piece.get("translate") == "no" or piece.get("mtype") == "protected":
            yield Atom(piece, "".join(map(str, piece.itertext())).strip())
        elif kind in _CONTAINERS:
            name = f"{kind} {place}"
            yield Open(name, piece)
            yield from tokens(piece)
            yield Close(name, piece)
        elif kind in _PAIRS:
            yield Open(f"{kind} {_named(piece, _STARTING)}", piece)
        elif kind in _ENDS:
            yield Close(f"{_ENDS[kind]} {_named(piece, _ENDING)}", piece)
        else:
            yield Atom(piece)


def _named(element: Element, attributes: Iterable[str]) -> str:
    return next((value for name in attributes if (value := element.get(name)) is not None), "")


def fill(element: Element, found: Iterable[Token[Element]]) -> None:
    """Puts tokens into an empty element; what they hold is copied."""
    places = [element]
    for token in found:
        if isinstance(token, Text):
            append(places[-1], token.text)
        elif isinstance(token, Atom) or local_name(token.payload) not in _CONTAINERS:
            append(places[-1], deepcopy(token.payload))
        elif isinstance(token, Open):
            inner = deepcopy(token.payload)
            empty(inner)
            append(places[-1], inner)
            places.append(inner)
        else:
            places.pop()
