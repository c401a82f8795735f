"""What both figures are put together from: labelled boxes in the paper's colours, and arrows between them."""

import textwrap
from collections.abc import Mapping, Sequence

from kakehashi.diagram.reading import Part, Role
from kakehashi.diagram.svg import GREY, Box, Drawing, Text

WIDTH = 150.0  # of a box
LABEL, NOTE = 13.0, 10.0  # sizes of the words in a box
COLOURS: Mapping[Role, str] = {
    "embedding": "#fce0e1",
    "attention": "#fce2bb",
    "mixer": "#eed9f0",
    "feedforward": "#c2e8f7",
    "norm": "#f2f3c1",
    "linear": "#dcdff0",
    "softmax": "#cbe7cf",
    "other": "#e4e7eb",
}


def part(label: str, role: Role, *notes: str) -> Part:
    return Part(label, notes, role)


def lines_of(part: Part, width: float = WIDTH) -> tuple[list[str], list[str]]:
    """Label and notes, broken to the width of the box."""
    labels = textwrap.wrap(part.label, int((width - 10) / (LABEL * 0.61)))
    notes = textwrap.wrap(", ".join(part.notes), int((width - 10) / (NOTE * 0.61)))
    return labels, notes


def height_of(part: Part, width: float = WIDTH) -> float:
    labels, notes = lines_of(part, width)
    return 10 + len(labels) * (LABEL + 2) + len(notes) * (NOTE + 2)


def draw_box(drawing: Drawing, part: Part, x: float, bottom: float, width: float = WIDTH, cards: int = 1) -> float:
    """A box with its words, centred at x; with `cards`, so many on one another. Returns the y of its top."""
    labels, notes = lines_of(part, width)
    height = height_of(part, width)
    top = bottom - height
    for card in range(cards - 1, 0, -1):
        drawing.add(Box(x - width / 2 + 4 * card, top - 4 * card, width, height, COLOURS[part.role], "card"))
    drawing.add(Box(x - width / 2, top, width, height, COLOURS[part.role], "card" if cards > 1 else "box"))
    y = top + 5
    for line in labels:
        y += LABEL + 2
        drawing.add(Text(x, y - 3, line, LABEL))
    for line in notes:
        y += NOTE + 2
        drawing.add(Text(x, y - 3, line, NOTE, colour=GREY))
    return top


def caption(drawing: Drawing, title: str, notes: Sequence[str], x: float, y: float, width: float) -> None:
    """A title with its baseline at y, and small words below it, broken to the width."""
    if title:
        drawing.add(Text(x, y, title, LABEL, weight="bold"))
    for line in textwrap.wrap(", ".join(notes), max(12, int(width / (NOTE * 0.61)))):
        y += NOTE + 5
        drawing.add(Text(x, y, line, NOTE, colour=GREY))
