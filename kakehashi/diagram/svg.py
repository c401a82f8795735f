"""SVG by hand: boxes, words, lines and discs that know their place, so that a figure knows its size.

Coordinates are pixels, y downwards; a figure may reach below zero. All colours are explicit, the background's too, so
that a page's dark mode changes nothing. Widths of words are estimates on the safe side: no font is opened.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple
from xml.sax.saxutils import escape, quoteattr

INK, GREY, PAPER = "#1f2328", "#57606a", "#ffffff"
FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_WIDTH = 0.61  # of a character, in font sizes: the mean of DejaVu Sans, the widest of the fonts above
_CORNER = 6.0
_HEAD = 5.0  # length of an arrow's head
_MARGIN = 16.0


class Point(NamedTuple):
    x: float
    y: float


class Bounds(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    @staticmethod
    def around(parts: Iterable["Bounds"]) -> "Bounds":
        lefts, tops, rights, bottoms = zip(*parts, strict=True)
        return Bounds(min(lefts), min(tops), max(rights), max(bottoms))


def text_width(text: str, size: float) -> float:
    return len(text) * size * _WIDTH


@dataclass(frozen=True)
class Box:
    """A rectangle by its upper left corner. role: a box never touches another; a card may lie on cards, a frame may
    hold boxes."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    role: Literal["box", "card", "frame"] = "box"

    def bounds(self) -> Bounds:
        return Bounds(self.x, self.y, self.x + self.width, self.y + self.height)

    def moved(self, x: float, y: float) -> "Box":
        return replace(self, x=self.x + x, y=self.y + y)

    def markup(self) -> str:
        radius, stroke = (12, GREY) if self.role == "frame" else (4, INK)
        return (
            f'<rect class="{self.role}" x="{self.x:g}" y="{self.y:g}" width="{self.width:g}" height="{self.height:g}" '
            f'rx="{radius}" fill="{self.fill}" stroke="{stroke}" stroke-width="1.2"/>'
        )


@dataclass(frozen=True)
class Text:
    """One line of words, by its baseline."""

    x: float
    y: float
    text: str
    size: float
    anchor: Literal["start", "middle", "end"] = "middle"
    colour: str = INK
    weight: Literal["normal", "bold"] = "normal"

    def bounds(self) -> Bounds:
        width = text_width(self.text, self.size)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return Bounds(left, self.y - 0.8 * self.size, left + width, self.y + 0.25 * self.size)

    def moved(self, x: float, y: float) -> "Text":
        return replace(self, x=self.x + x, y=self.y + y)

    def markup(self) -> str:
        return (
            f'<text x="{self.x:g}" y="{self.y:g}" font-size="{self.size:g}" font-weight="{self.weight}" '
            f'text-anchor="{self.anchor}" fill="{self.colour}">{escape(self.text)}</text>'
        )


@dataclass(frozen=True)
class Line:
    """Straight pieces with rounded corners, along the axes."""

    points: tuple[Point, ...]
    arrow: bool = True
    dashed: bool = False

    def bounds(self) -> Bounds:
        return Bounds.around(Bounds(x, y, x, y) for x, y in self.points)

    def moved(self, x: float, y: float) -> "Line":
        return replace(self, points=tuple(Point(p.x + x, p.y + y) for p in self.points))

    def markup(self) -> str:
        dash = ' stroke-dasharray="4 3"' if self.dashed else ""
        path = f'<path class="line" d="{self._path()}" fill="none" stroke="{INK}" stroke-width="1.2"{dash}/>'
        return path + (self._head() if self.arrow else "")

    def _path(self) -> str:
        """Each corner is a quadratic curve about the point where the pieces would meet."""
        pieces = [f"M{self.points[0].x:g},{self.points[0].y:g}"]
        for before, corner, after in zip(self.points, self.points[1:], self.points[2:], strict=False):
            start, end = _towards(corner, before), _towards(corner, after)
            pieces.append(f"L{start.x:g},{start.y:g} Q{corner.x:g},{corner.y:g} {end.x:g},{end.y:g}")
        return " ".join([*pieces, f"L{self.points[-1].x:g},{self.points[-1].y:g}"])

    def _head(self) -> str:
        (x0, y0), (x, y) = self.points[-2:]
        along = Point((x > x0) - (x < x0), (y > y0) - (y < y0))
        back, side = (
            Point(x - _HEAD * along.x, y - _HEAD * along.y),
            Point(0.6 * _HEAD * along.y, 0.6 * _HEAD * along.x),
        )
        corners = [Point(x, y), Point(back.x + side.x, back.y + side.y), Point(back.x - side.x, back.y - side.y)]
        return f'<path class="head" d="M{" L".join(f"{p.x:g},{p.y:g}" for p in corners)} Z" fill="{INK}"/>'


def _towards(corner: Point, other: Point) -> Point:
    """The point on the way from a corner to another one where its curve begins."""
    length = abs(other.x - corner.x) + abs(other.y - corner.y)
    part = min(_CORNER, length / 2) / length
    return Point(corner.x + (other.x - corner.x) * part, corner.y + (other.y - corner.y) * part)


@dataclass(frozen=True)
class Disc:
    """A circle with a plus, or with the wave that stands for positions."""

    x: float
    y: float
    radius: float
    sign: Literal["plus", "wave"] = "plus"

    def bounds(self) -> Bounds:
        return Bounds(self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius)

    def moved(self, x: float, y: float) -> "Disc":
        return replace(self, x=self.x + x, y=self.y + y)

    def markup(self) -> str:
        x, y, r = self.x, self.y, self.radius
        if self.sign == "plus":
            path = f"M{x - 0.6 * r:g},{y:g} h{1.2 * r:g} M{x:g},{y - 0.6 * r:g} v{1.2 * r:g}"
        else:
            path = f"M{x - r:g},{y:g} q{r / 2:g},{-1.4 * r:g} {r:g},0 t{r:g},0"
        return (
            f'<circle class="disc" cx="{x:g}" cy="{y:g}" r="{r:g}" fill="{PAPER}" stroke="{INK}" stroke-width="1.2"/>'
            f'<path class="sign" d="{path}" fill="none" stroke="{INK}" stroke-width="1.2"/>'
        )


@dataclass(frozen=True)
class Cells:
    """A square of small cells, some of them filled: rows of True and False."""

    x: float
    y: float
    side: float
    rows: tuple[tuple[bool, ...], ...]
    fill: str

    def bounds(self) -> Bounds:
        return Bounds(self.x, self.y, self.x + self.side, self.y + self.side)

    def moved(self, x: float, y: float) -> "Cells":
        return replace(self, x=self.x + x, y=self.y + y)

    def markup(self) -> str:
        cell = self.side / len(self.rows)
        runs = [
            f"M{self.x + start * cell:g},{self.y + r * cell:g} h{length * cell:g} v{cell:g} h{-length * cell:g} Z"
            for r, row in enumerate(self.rows)
            for start, length in _runs(row)
        ]
        frame = Box(self.x, self.y, self.side, self.side, "none", "card").markup()
        return f'<path class="cells" d="{" ".join(runs)}" fill="{self.fill}"/>{frame}'


def _runs(row: Sequence[bool]) -> list[tuple[int, int]]:
    """Start and length of each run of True."""
    edges = [i for i in range(len(row) + 1) if (i > 0 and row[i - 1]) != (i < len(row) and row[i])]
    return [(start, end - start) for start, end in zip(edges[::2], edges[1::2], strict=True)]


Shape = Box | Text | Line | Disc | Cells


class Drawing:
    """Shapes in the order in which they are painted."""

    def __init__(self) -> None:
        self.shapes: list[Shape] = []

    def add(self, *shapes: Shape) -> None:
        self.shapes += shapes

    def under(self, *shapes: Shape) -> None:
        """Adds shapes below all that there are."""
        self.shapes[:0] = shapes

    def line(self, *points: tuple[float, float], arrow: bool = True, dashed: bool = False) -> None:
        self.add(Line(tuple(Point(*point) for point in points), arrow, dashed))

    def bounds(self) -> Bounds:
        return Bounds.around(shape.bounds() for shape in self.shapes)

    def place(self, other: "Drawing", x: float, y: float) -> None:
        """Adds another drawing with the upper left corner of its bounds at (x, y)."""
        left, top, _, _ = other.bounds()
        self.add(*(shape.moved(x - left, y - top) for shape in other.shapes))

    def render(self, title: str, description: str) -> str:
        """The file's text. `title` and `description` are what a screen reader says."""
        left, top, right, bottom = self.bounds()
        left, top = left - _MARGIN, top - _MARGIN
        width, height = right + _MARGIN - left, bottom + _MARGIN - top
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:.0f}" height="{height:.0f}" '
                f'viewBox="{left:g} {top:g} {width:g} {height:g}" font-family={quoteattr(FONT)}>',
                f"<title>{escape(title)}</title>",
                f"<desc>{escape(description)}</desc>",
                f'<rect class="paper" x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" fill="{PAPER}"/>',
                *(shape.markup() for shape in self.shapes),
                "</svg>\n",
            ]
        )
