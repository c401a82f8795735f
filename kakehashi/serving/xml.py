"""XML from strangers: parsed without entities, without the network, within the limits of libxml2; and written again."""

import io
from collections.abc import Iterator
from typing import Any

from lxml import etree

from kakehashi.errors import UserError

Element = etree._Element  # pyright: ignore[reportPrivateUsage]  # lxml has no public name for its type
Tree = etree._ElementTree  # pyright: ignore[reportPrivateUsage]

_LARGEST = 16 * 2**20  # bytes

SPACE = "{http://www.w3.org/XML/1998/namespace}space"
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


def parse(data: bytes, name: str = "the file") -> Element:
    """The root. Raises UserError where `data` is too long, not well-formed, has entities or is 256 elements deep."""
    if len(data) > _LARGEST:
        raise UserError(f"{name} has more than {_LARGEST >> 20} MiB of XML: divide the document")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False, dtd_validation=False
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UserError(f"{name} is no well-formed XML: {error}") from error
    refuse_entities(root, name)
    return root


def refuse_entities(root: Element, name: str) -> None:
    """Raises UserError where the document declares entities, which could stand for anything."""
    declared: Any = root.getroottree().docinfo.internalDTD  # stubs know neither None nor entities()
    if declared is not None and declared.entities():
        raise UserError(f"{name} declares XML entities, which are not read: save it without them")


def write(root: Element) -> bytes:
    """As it was parsed: its encoding, declaration and document type."""
    document = root.getroottree()
    said = document.docinfo
    out = io.BytesIO()
    settings: dict[str, Any] = {"standalone": True} if said.standalone else {}
    document.write(out, encoding=said.encoding or "UTF-8", xml_declaration=True, **settings)
    return out.getvalue()


def local_name(element: Element) -> str:
    """Without its namespace; "" of a comment or a processing instruction."""
    return "" if callable(element.tag) else etree.QName(element).localname


def content(element: Element) -> Iterator[str | Element]:
    """Texts and children in their order; comments and processing instructions are children too."""
    if element.text:
        yield element.text
    for child in element:
        yield child
        if child.tail:
            yield child.tail


def empty(element: Element) -> None:
    """Takes text and children out of an element; attributes and tail stay."""
    for child in [*element]:
        element.remove(child)
    element.text = None


def add_after(element: Element, new: Element) -> None:
    """Puts a new element behind another; the white space behind that one is behind both."""
    tail, element.tail = element.tail, None
    element.addnext(new)
    element.tail = new.tail = tail


def append(element: Element, piece: str | Element) -> None:
    """A text or a child as the last of the content."""
    if not isinstance(piece, str):
        piece.tail = None
        element.append(piece)
    elif len(element):
        element[-1].tail = (element[-1].tail or "") + piece
    else:
        element.text = (element.text or "") + piece
