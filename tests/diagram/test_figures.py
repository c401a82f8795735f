"""Figures of models: every preset, recipe and variant is drawn, well-formed and legible, and shows what it is."""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from kakehashi.cli import app
from kakehashi.config import Config
from kakehashi.describe import diagram
from kakehashi.diagram import draw
from kakehashi.diagram.svg import Bounds, text_width
from kakehashi.errors import UserError
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.norms import LayerNorm
from kakehashi.nn.patterns import Causal
from kakehashi.nn.positions import Position
from kakehashi.training.recipe import PRESETS
from tests.laws.zoo import VARIANTS, model_of

RECIPES = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))
NAMES = [*sorted(path.stem for path in PRESETS.glob("*.yaml")), *map(str, RECIPES)]


class Figure:
    """An SVG file, taken apart."""

    def __init__(self, text: str) -> None:
        self.root = ElementTree.fromstring(text)
        left, top, width, height = map(float, self.root.attrib["viewBox"].split())
        self.view = Bounds(left, top, left + width, top + height)
        rects = [(e.attrib["class"], self._rect(e)) for e in self._all("rect")]
        self.boxes = [bounds for role, bounds in rects if role == "box"]
        self.frames = [bounds for role, bounds in rects if role == "frame"]
        self.cards = [bounds for role, bounds in rects if role == "card"]
        self.texts = [(e.text or "", self._text(e)) for e in self._all("text")]
        lines = [e.attrib["d"] for e in self._all("path") if e.attrib["class"] == "line"]
        self.lines = [[tuple(map(float, p.split(","))) for p in re.findall(r"[-\d.e]+,[-\d.e]+", d)] for d in lines]

    def _all(self, tag: str) -> list[ElementTree.Element]:
        return self.root.findall(f".//{{http://www.w3.org/2000/svg}}{tag}")

    @staticmethod
    def _rect(element: ElementTree.Element) -> Bounds:
        x, y, width, height = (float(element.attrib[name]) for name in ("x", "y", "width", "height"))
        return Bounds(x, y, x + width, y + height)

    @staticmethod
    def _text(element: ElementTree.Element) -> Bounds:
        x, y, size = (float(element.attrib[name]) for name in ("x", "y", "font-size"))
        width = text_width(element.text or "", size)
        left = x - {"start": 0.0, "middle": width / 2, "end": width}[element.attrib["text-anchor"]]
        return Bounds(left, y - 0.75 * size, left + width, y + 0.2 * size)

    def column(self, name: str) -> list[str]:
        """What stands in the boxes above the words `name`, where they stand last, from bottom to top."""
        middle = [(b.left + b.right) / 2 for text, b in self.texts if text == name][-1]
        boxes = sorted((b for b in self.boxes if b.left < middle < b.right), key=lambda b: -b.top)
        return [" ".join(text for text, where in self.texts if inside(where, box)) for box in boxes]

    @property
    def words(self) -> list[str]:
        return [text for text, _ in self.texts]


def overlap(one: Bounds, other: Bounds) -> bool:
    return one.left < other.right and other.left < one.right and one.top < other.bottom and other.top < one.bottom


def inside(one: Bounds, other: Bounds) -> bool:
    return other.left <= one.left and one.right <= other.right and other.top <= one.top and one.bottom <= other.bottom


def drawn(config: Any) -> Figure:
    size = Vocabulary(8)
    with torch.device("meta"):
        model = config.build(size, size)
    return Figure(draw(config, model, "a model"))


def assert_legible(figure: Figure) -> None:
    assert all(inside(bounds, figure.view) for _, bounds in figure.texts)
    assert all(inside(bounds, figure.view) for bounds in [*figure.boxes, *figure.frames, *figure.cards])
    solid = [*figure.boxes, *figure.frames]
    assert [pair for pair in combinations(figure.boxes, 2) if overlap(*pair)] == []
    assert [pair for pair in combinations(figure.frames, 2) if overlap(*pair)] == []
    assert [(b, f) for b in figure.boxes for f in figure.frames if overlap(b, f) and not inside(b, f)] == []
    assert [pair for pair in combinations(figure.texts, 2) if overlap(pair[0][1], pair[1][1])] == []
    assert [(t, b) for t, b in figure.texts for s in solid if overlap(b, s) and not inside(b, s)] == []
    for line in figure.lines:
        for (x0, y0), (x1, y1) in pairwise(line):
            assert x0 == x1 or y0 == y1, "lines go along the axes"
            piece = Bounds(min(x0, x1) + 0.1, min(y0, y1) + 0.1, max(x0, x1) - 0.1, max(y0, y1) - 0.1)
            piece = Bounds(piece.left, piece.top, max(piece.left, piece.right), max(piece.top, piece.bottom))
            assert not any(overlap(piece, box) for box in figure.boxes), "a line crosses a box"
            assert not any(overlap(piece, words) for _, words in figure.texts), "a line crosses words"


@pytest.mark.parametrize("name", NAMES, ids=lambda name: Path(name).stem)
def test_every_preset_and_recipe_is_drawn(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAKEHASHI_DATA", "data")
    figure = Figure(diagram(Path(name)))
    assert_legible(figure)
    assert figure.root.attrib["role"] == "img"
    assert figure.root[0].tag.endswith("title") and figure.root[0].text == name
    assert figure.root[1].tag.endswith("desc") and "coder" in (figure.root[1].text or "")  # an encoder, a decoder


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_drawn(name: str) -> None:
    assert_legible(drawn(VARIANTS[name]))


def test_the_papers_figure() -> None:
    figure = Figure(diagram(Path("paper-base")))
    block = ["Multi-Head Attention", "Add & Norm", "Feed Forward ReLU, size 2048", "Add & Norm"]
    assert figure.column("Inputs") == ["Input Embedding × √512", *block]
    assert figure.column("Outputs (shifted right)") == [
        "Output Embedding × √512",
        "Masked Multi-Head Attention",
        "Add & Norm",
        *block,
        "Linear",
        "Softmax",
    ]
    mask = "Mask padding; the future when masked"
    assert figure.column("Scaled Dot-Product Attention") == ["MatMul", "Scale 1 / √64", mask, "Softmax", "MatMul"]
    found = Counter(figure.words)
    assert (found["6×"], found["8 × 64"], found["Sinusoidal positions"]) == (2, 3, 2)


# An override of the preset tiny, words that the figure gains by it, and words that it loses; "" for none.
CHANGES = [
    ("model.encoder.depth=3", "3×", "4×"),
    ("model.encoder.placement=post", "Add & Norm", "Norm"),
    ("model.encoder.position=none", "", "Sinusoidal positions"),
    ("model.encoder.norm.epsilon=1e-3", "epsilon 0.001", ""),
    ("model.encoder.layers=[{feedforward: {kind: relu, size: 99}}, {}]", "layers 1, 3", "4×"),
    ("model.encoder.layers=[{mixer: {kind: attention, key_size: 12}}]", "1 / √12", ""),
    ("model.encoder.layers=[{mixer: {kind: attention, value_size: 13}}]", "4 × 13", ""),
    ("model.encoder.layers=[{mixer: {kind: attention, pattern: causal}}]", "Pattern", ""),
    ("model.decoder.layers=[{cross: {kind: attention, key_size: 14}}]", "1 / √14", ""),
    ("model.embeddings.scale=none", "", "× √128"),
    ("model.embeddings.tie=none", "", "one table"),
    ("model.heads=8", "8 heads", "4 heads"),
    ("model.width=64", "width 64, heads 4, dropout 0.2", "width 128, heads 4, dropout 0.2"),
    (
        "model.source_end=hidden",
        "width 128, heads 4, dropout 0.2, source end hidden",
        "width 128, heads 4, dropout 0.2",
    ),
]


@pytest.mark.parametrize(("override", "gained", "lost"), CHANGES)
def test_an_option_changes_the_figure(override: str, gained: str, lost: str) -> None:
    before, after = (Counter(Figure(diagram(Path("tiny"), o)).words) for o in ([], [override]))
    assert not gained or gained in after - before
    assert not lost or lost in before - after


@pytest.mark.parametrize(("tie", "dashed"), [("all", 2), ("target", 1), ("none", 0)])
def test_tables_that_are_one_are_joined(tie: str, dashed: int) -> None:
    assert diagram(Path("tiny"), [f"model.embeddings.tie={tie}"]).count("stroke-dasharray") == dashed


# Kinds that nobody has thought of


class Bowl(Config):
    """A part that no code of ours knows."""

    kind: Literal["bowl"] = "bowl"
    size: int = 3
    colour: str = "blue"
    lid: LayerNorm = LayerNorm()


class Skips(Config):
    mixer: float = 1.0
    bowl: float = 1.0


class Shelf(Config):
    mixer: Bowl = Bowl()
    bowl: Bowl | None = Bowl(colour="red")
    skip: Skips = Skips()


class Cupboard(Config):
    depth: int = 2
    position: Bowl = Bowl()
    placement: str = "pre"
    norm: LayerNorm = LayerNorm()
    wood: str = "oak"
    layers: tuple[Shelf, ...] = (Shelf(),)


class Kitchen(Config):
    kind: Literal["kitchen"] = "kitchen"
    width: int = 8
    embeddings: Embeddings = Embeddings()
    encoder: Cupboard = Cupboard()


def furnished(position: Position | None = None, **options: Any) -> Figure:
    model = nn.ModuleDict({"encoder": nn.ModuleList([position] if position else [])})
    figure = Figure(draw(Kitchen(encoder=Cupboard(**options)), model, "a kitchen"))
    assert_legible(figure)
    return figure


def block(figure: Figure) -> list[str]:
    """The boxes of the tower, without what is below and above it."""
    return figure.column("Inputs")[1:-2]


def test_an_unknown_part_is_drawn_with_its_options() -> None:
    figure = furnished(wood="pine", layers=(Shelf(mixer=Bowl(lid=LayerNorm(epsilon=0.5))),))
    assert block(figure) == [
        "Norm",
        "Mixer Bowl, size 3, lid layer (epsilon 0.5)",
        "Norm",
        "Bowl Bowl, size 3, colour red",
        "Norm",
    ]
    assert "wood pine" in figure.words
    assert "Bowl" not in " ".join(block(furnished(layers=(Shelf(bowl=None),)))[2:])


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        ("pre", ["Norm", "Mixer", "Norm"]),
        ("post", ["Mixer", "Add & Norm"]),
        ("sandwich", ["Norm", "Mixer", "Norm", "Norm"]),
        ("deepnorm", ["Mixer", "Add & Norm α x + f(x)"]),
        ("upside_down", ["Mixer", "Add & Norm upside down x + f(x)"]),
    ],
)
def test_norms_stand_where_they_are_placed(placement: str, expected: list[str]) -> None:
    drawn = furnished(placement=placement, layers=(Shelf(bowl=None),))
    assert [re.sub(" Bowl.*", "", label) for label in block(drawn)] == expected


@pytest.mark.parametrize("placement", ["pre", "post", "deepnorm"])
def test_a_residual_connection_that_is_not_plain_is_seen(placement: str) -> None:
    def figure(factor: float) -> Figure:
        return furnished(placement=placement, layers=(Shelf(bowl=None, skip=Skips(mixer=factor)),))

    removed, plain, doubled = (figure(factor) for factor in (0, 1, 2))
    assert len(removed.lines) < len(plain.lines) == len(doubled.lines)
    assert "Add & Norm" not in removed.words
    assert any(words.startswith("2") and words.endswith("x + f(x)") for words in doubled.words)


def hooked(*names: str) -> Position:
    """A position with these hooks."""
    return type("Hooked", (Position,), {name: lambda self: None for name in names})()


@pytest.mark.parametrize(
    ("hooks", "expected"),
    [
        (["embed"], []),
        (["rotate"], ["Rotate Sinusoidal", "Rotate Sinusoidal"]),
        (["bias"], ["Position bias Sinusoidal"]),
        (["bias", "values"], ["Position bias Sinusoidal", "Position values Sinusoidal, by weight"]),
    ],
    ids=str,
)
def test_a_position_is_drawn_where_it_acts(hooks: list[str], expected: list[str]) -> None:
    model = nn.ModuleDict({"encoder": nn.ModuleList([hooked(*hooks)])})
    figure = Figure(draw(EncoderDecoder(), model, "a model"))
    assert_legible(figure)
    found = [" ".join(t for t, b in figure.texts if inside(b, box)) for box in figure.boxes]
    assert [label for label in found if "Sinusoidal" in label and "Multi-Head" not in label] == expected
    assert ("Sinusoidal positions" in figure.words) == ("embed" in hooks)


def test_a_pattern_is_drawn_as_it_is() -> None:
    config = model_of(mixer=Attention(pattern=Causal()))
    size = Vocabulary(8)
    svg = draw(config, config.build(size, size), "a model")
    runs = [re.findall(r"M([\d.e-]+),([\d.e-]+) h([\d.]+)", d) for d in re.findall(r'class="cells" d="([^"]*)"', svg)]
    assert len(runs) == 2, "of encoder and decoder"
    for rows in runs:
        assert len(rows) == 64 and len({x for x, _, _ in rows}) == 1
        assert [float(width) / float(rows[0][2]) for _, _, width in rows] == pytest.approx(range(1, 65))


# The command


def test_the_command_writes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figure.svg"
    found = CliRunner().invoke(app, ["info", "tiny", "model.encoder.depth=5", "--diagram", str(path)])
    assert found.exit_code == 0 and "depth=5" in found.output
    assert "5×" in Figure(path.read_text(encoding="utf-8")).words


def test_what_contradicts_itself_is_a_mistake_of_the_user() -> None:
    with pytest.raises(UserError, match="width 65 is not a multiple of heads 4"):
        diagram(Path("tiny"), ["model.width=65", "model.encoder.position=none"])
