"""The whole network, from bottom to top, as figure 1 of Vaswani et al. 2017 (arXiv 1706.03762).

Each tower is a column: the stream goes up its middle, residual connections go round the parts on the outer side, and
what the encoder hands over goes up between the columns.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

from kakehashi.diagram.pieces import NOTE, WIDTH, draw_box, height_of, part
from kakehashi.diagram.reading import Block, Network, Part, Tower, runs
from kakehashi.diagram.svg import GREY, Box, Disc, Drawing, Text

SIDE = 28.0  # from a box to the edge of its frame: room for the residual connection
FRAME = "#f3f3f4"
FAN = 45.0  # from the middle of a box of attention to its outer arrows
GAP = 16.0  # length of an arrow between two boxes
BETWEEN = 64.0  # from frame to frame
ANCHORS: Mapping[int, Literal["start", "end"]] = {-1: "end", 1: "start"}  # of words on the left and on the right


class Column:
    """One tower, as it grows upwards. outer: the side of the residual connections, -1 left, 1 right."""

    def __init__(self, drawing: Drawing, tower: Tower, x: float, outer: int) -> None:
        self.drawing, self.tower, self.x, self.outer = drawing, tower, x, outer
        self.y = 0.0  # where the stream has arrived
        self.inlets: list[float] = []  # heights at which attention asks for the source
        self.entry = self.table = self.projection = 0.0  # heights of the first part, the embedding, the projection

    def words(self, text: str) -> None:
        self.drawing.add(Text(self.x, self.y - 4, text, 13))
        self.y -= 20

    def box(self, part: Part, gap: float = GAP) -> None:
        """The next box, with the arrow into it."""
        self.drawing.line((self.x, self.y), (self.x, self.y - gap))
        self.y = draw_box(self.drawing, part, self.x, self.y - gap)

    def position(self) -> None:
        """The sum with the position's vectors, or nothing."""
        position = self.tower.position
        if position is None or "embed" not in self.tower.hooks:
            return
        y, outside = self.y - 26, self.x + self.outer * (WIDTH / 2 - 8)
        self.drawing.line((self.x, self.y), (self.x, y + 8))
        self.drawing.add(Disc(self.x, y, 8), Disc(outside, y, 13, "wave"))
        self.drawing.line((outside - self.outer * 13, y), (self.x + self.outer * 8, y))
        beside = outside + self.outer * 19
        self.drawing.add(Text(beside, y - 3, f"{position.label} positions", 11, ANCHORS[self.outer]))
        self.drawing.add(Text(beside, y + 10, ", ".join(position.notes) or "added", NOTE, ANCHORS[self.outer], GREY))
        self.y = y - 8

    def block(self, block: Block) -> None:
        """Equal layers as one frame."""
        bottom = self.y - 12
        self.drawing.line((self.x, self.y), (self.x, bottom), arrow=False)
        self.y = bottom
        for each in block.parts:
            self.part(each)
        self.drawing.line((self.x, self.y), (self.x, self.y - 12), arrow=False)
        self.y -= 12
        half = WIDTH / 2 + SIDE
        self.drawing.under(Box(self.x - half, self.y, 2 * half, bottom - self.y, FRAME, "frame"))
        self.count(block, (bottom + self.y) / 2)

    def count(self, block: Block, y: float) -> None:
        """How often a block comes, beside it; which layers it is where there are others; options of the layer."""
        x, anchor = self.x + self.outer * (WIDTH / 2 + SIDE + 10), ANCHORS[self.outer]
        self.drawing.add(Text(x, y + 6, f"{len(block.numbers)}×", 18, anchor))
        which = f"layer{'s' * (len(block.numbers) > 1)} {runs(block.numbers)}"
        notes = [*([which] if len(self.tower.blocks) > 1 else []), *block.notes]
        for i, line in enumerate(line for note in notes for line in textwrap.wrap(note, 16)):
            self.drawing.add(Text(x, y + 21 + 13 * i, line, NOTE, anchor, GREY))

    def part(self, each: Part) -> None:
        """One part and its residual block: norms, the connection round the part, the sum."""
        residual, norm, start = self.tower.residual, self.tower.norm, self.y - 4
        if residual is None:
            self.inner(each)
            return
        if residual.before and norm:
            self.box(norm, GAP + 4)
        self.inner(each)
        if residual.inside and norm:
            self.box(norm)
        factor = residual.factor if each.skip == 1 else f"{each.skip:g} {residual.factor}".strip()
        formula = [f"{factor} x + f(x)"] if factor and each.skip else []
        if residual.after and norm:
            label = f"Add & {norm.label}" if each.skip else norm.label
            box = replace(norm, label=label, notes=(*formula, *norm.notes))
            self.box(box, 12)
            if each.skip:
                self.skip(start, self.y + height_of(box) / 2, WIDTH / 2)
        elif each.skip:
            middle = self.y - 20
            self.drawing.line((self.x, self.y), (self.x, middle + 8))
            self.drawing.add(Disc(self.x, middle, 8))
            for words in formula:
                x, anchor = self.x - self.outer * 14, ANCHORS[-self.outer]
                self.drawing.add(Text(x, middle + 3, words, NOTE, anchor, GREY))
            self.skip(start, middle, 8)
            self.y = middle - 8

    def skip(self, start: float, end: float, edge: float) -> None:
        """The residual connection, from one height to another, where its target's edge is `edge` from the middle."""
        outside = self.x + self.outer * (WIDTH / 2 + SIDE / 2)
        self.drawing.line((self.x, start), (outside, start), (outside, end), (self.x + self.outer * edge, end))

    def inner(self, each: Part) -> None:
        """The part itself. Attention has three arrows; when it crosses, two of them come from the source (`join`)."""
        x, turn, bottom = self.x, self.y - 14, self.y - 34
        if each.role != "attention" and each.mode != "cross":
            bottom = self.y - 20
            self.drawing.line((x, self.y), (x, bottom))
        elif each.mode == "cross":
            self.inlets.append(turn - 8)
            self.drawing.line((x, self.y), (x, turn), (x + FAN, turn), (x + FAN, bottom))
        else:
            self.drawing.line((x, self.y), (x, bottom))
            for side in (-FAN, FAN):
                self.drawing.line((x, turn), (x + side, turn), (x + side, bottom))
        self.y = draw_box(self.drawing, each, x, bottom)
        self.entry = self.entry or (self.y + bottom) / 2


def draw_network(network: Network) -> Drawing:
    """The towers side by side, joined."""
    drawing = Drawing()
    columns = [
        Column(drawing, tower, i * (WIDTH + 2 * SIDE + BETWEEN), -1 if i == 0 else 1)
        for i, tower in enumerate(network.towers)
    ]
    for i, column in enumerate(columns):
        embedding = "Embedding" if len(columns) == 1 else "Output Embedding" if i else "Input Embedding"
        column.words("Outputs (shifted right)" if i else "Inputs")
        table = part(embedding, "embedding", *([f"× √{network.width}"] if network.scale == "sqrt_width" else []))
        column.box(table)
        column.table = column.y + height_of(table) / 2
        column.position()
        for block in column.tower.blocks:
            column.block(block)
        if column.tower.residual and column.tower.residual.before and column.tower.norm:
            column.box(column.tower.norm)
    encoded = columns[0].y
    _top(network, columns[-1])
    _join(drawing, columns, encoded)
    _tie(drawing, network, columns)
    return drawing


def _join(drawing: Drawing, columns: Sequence[Column], top: float) -> None:
    """What the first tower hands to the others: keys and values of cross-attention, or their start."""
    first, *others = columns
    for column in others:
        bus = column.x - WIDTH / 2 - SIDE - BETWEEN / 2
        start = [(first.x, top), (first.x, top - GAP), (bus, top - GAP)]
        for inlet in column.inlets:
            for side in (-FAN, 0):
                x = column.x + side
                drawing.line(*start, (bus, inlet), (x, inlet), (x, inlet - 12))
        if not column.inlets:
            drawing.line(*start, (bus, column.entry), (column.x - WIDTH / 2, column.entry))


def _top(network: Network, column: Column) -> None:
    """From the last tower to what the model says."""
    for each in network.others:
        column.inner(each)
    if column.tower.mode == "causal" or not network.others:
        column.projection = column.y - GAP - 15
        column.box(part("Linear", "linear"))
        column.box(part("Softmax", "softmax"))
        column.drawing.line((column.x, column.y), (column.x, column.y - GAP))
        column.y -= GAP + 4
        column.words("Output Probabilities")


def _tie(drawing: Drawing, network: Network, columns: Sequence[Column]) -> None:
    """Tables that are one are joined by dashed lines."""
    last, x = columns[-1], drawing.bounds().right + 12
    if network.tie == "none" or not last.projection:
        return
    drawing.line(
        (last.x + WIDTH / 2, last.table),
        (x, last.table),
        (x, last.projection),
        (last.x + WIDTH / 2, last.projection),
        arrow=False,
        dashed=True,
    )
    drawing.add(Text(x + 6, last.projection + 4, "one table", NOTE, "start", GREY))
    if network.tie == "all":
        for one, other in pairwise(columns):
            drawing.line((one.x + WIDTH / 2, one.table), (other.x - WIDTH / 2, other.table), arrow=False, dashed=True)
