"""One head and many, from bottom to top, as figure 2 of Vaswani et al. 2017 (arXiv 1706.03762).

Attentions of a network that differ get figures of their own. Where the stack's position acts (on queries and keys, on
the scores, on what is read) it stands in one head's figure, and a pattern is also drawn: who may look at whom.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kakehashi.config import Config
from kakehashi.diagram.pieces import COLOURS, NOTE, caption, draw_box, part
from kakehashi.diagram.reading import Hook, Network, Part, brief, kind_of, options, runs, words
from kakehashi.diagram.svg import GREY, Cells, Drawing, Text
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.patterns import Causal, Full, Pattern
from kakehashi.nn.positions import Mode

APART = 80.0  # from V to K to Q
HEAD = 60.0  # width of a box that belongs to one of them
STEP = 164.0  # width of a box in one head's figure
CELLS = 64  # positions along each side of a pattern's picture
SIDE = 160.0  # of that picture


@dataclass(frozen=True)
class Use:
    """An attention and its surroundings, as far as they change its figure. masks: what hides keys, by place."""

    attention: Attention
    heads: int
    width: int
    position: Part | None
    hooks: frozenset[Hook]
    causal: bool = False  # told apart where a pattern is drawn


def draw_attentions(network: Network) -> list[Drawing]:
    """A row of figures for each different attention of a network."""
    uses: dict[Use, dict[str, Mode]] = {}
    for use, place, mode in _uses(network):
        uses.setdefault(use, {})[place] = mode
    return [_row(use, places) for use, places in uses.items()]


def _uses(network: Network) -> Iterator[tuple[Use, str, Mode]]:
    for tower in network.towers:
        for block in tower.blocks:
            layers = f" ({runs(block.numbers)})" if len(tower.blocks) > 1 else ""
            for each in block.parts:
                if not isinstance(each.config, Attention):
                    continue
                mode = each.mode or "bidirectional"
                crosses = mode == "cross"
                hooks = frozenset[Hook]() if crosses else tower.hooks - {"embed"}
                causal = mode == "causal" and not isinstance(each.config.pattern, Full)
                position = tower.position if hooks else None
                use = Use(each.config, network.heads, network.width, position, hooks, causal)
                yield use, f"{words(tower.name)} {'cross' if crosses else 'self'}-attention{layers}", mode


def _row(use: Use, places: Mapping[str, Mode]) -> Drawing:
    """Many heads, one head, and the pattern if there is one; below, where they stand in the network."""
    figures = {"Multi-Head Attention": _many_heads(use), _name(use): _one_head(use, frozenset(places.values()))}
    if not isinstance(use.attention.pattern, Full):
        figures["Pattern"] = _pattern(use)
    row = Drawing()
    for title, figure in figures.items():
        left, top, right, bottom = figure.bounds()
        x = row.bounds().right + 48 if row.shapes else 0.0
        row.place(figure, x, top - bottom)
        caption(row, title, [], x + (right - left) / 2, 32, right - left)
    left, _, right, _ = row.bounds()
    further = options(use.attention, ("key_size", "value_size", "kv_heads", "pattern"))
    caption(row, "", ["; ".join(places), *further], (left + right) / 2, 36, right - left)
    return row


def _many_heads(use: Use) -> Drawing:
    """Projections of V, K and Q for each head, attention of each, and their concatenation."""
    drawing, sizes = Drawing(), dict(use.attention)
    heads, groups = use.heads, sizes.get("kv_heads") or use.heads
    key, value = (sizes.get(name) or use.width // heads for name in ("key_size", "value_size"))
    wide = 2 * APART + HEAD + 14
    top = 0.0
    for x, name, count, size in ((-APART, "V", groups, value), (0, "K", groups, key), (APART, "Q", heads, key)):
        drawing.add(Text(x, 0, name, 13))
        drawing.line((x, -16), (x, -32))
        top = draw_box(drawing, part("Linear", "linear", f"{count} × {size}"), x, -32, HEAD, min(count, 3))
    bottom = top - 24
    for x, count in ((-APART, groups), (0, groups), (APART, heads)):
        lift = 4 * (min(count, 3) - 1)
        drawing.line((x, top - lift), (x, bottom))
    top = draw_box(drawing, part(_name(use), "attention"), 0, bottom, wide, min(heads, 3))
    drawing.add(Text(wide / 2 + 14, top + 16, f"{heads} head{'s' * (heads > 1)}", NOTE, "start", GREY))
    y = top - 4 * (min(heads, 3) - 1)
    for each in (part("Concat", "norm"), part("Linear", "linear")):
        drawing.line((0, y), (0, y - 16))
        y = draw_box(drawing, each, 0, y - 16, 100)
    drawing.line((0, y), (0, y - 16))
    return drawing


def _one_head(use: Use, modes: frozenset[Mode]) -> Drawing:
    """softmax(Q K^T / sqrt(d_k)) V, and what a position and a mask do to it."""
    drawing = Drawing()
    q, k, v, position = -STEP / 4 - 1, STEP / 4 + 1, STEP / 2 + 52, use.position
    for x, name in ((q, "Q"), (k, "K"), (v, "V")):
        drawing.add(Text(x, 0, name, 13))
    y = -16.0
    if "rotate" in use.hooks and position:
        for x in (q, k):
            drawing.line((x, y), (x, y - 16))
            top = draw_box(drawing, part("Rotate", "other", position.label), x, y - 16, STEP / 2 - 2)
        y = top
    for x in (q, k):
        drawing.line((x, y), (x, y - 16))
    first, *steps = _scores(use)
    y = draw_box(drawing, first, 0, y - 16, STEP)
    if "bias" in use.hooks and position:
        steps.append(part("Position bias", "other", position.label, *position.notes))
    steps += [part("Mask", "embedding", *_masks(use, modes)), part("Softmax", "softmax")]
    for step in steps:
        drawing.line((0, y), (0, y - 14))
        y = draw_box(drawing, step, 0, y - 14, STEP)
    drawing.line((0, y), (0, y - 16))
    drawing.line((v, -16), (v, y - 16))
    y = draw_box(drawing, part("MatMul", "mixer"), (v + 24 - STEP / 2) / 2, y - 16, v + 24 + STEP / 2)
    if "values" in use.hooks and position:
        drawing.line((0, y), (0, y - 14))
        y = draw_box(drawing, part("Position values", "other", position.label, "by weight"), 0, y - 14, STEP)
    drawing.line((0, y), (0, y - 16))
    return drawing


def _name(use: Use) -> str:
    return "Scaled Dot-Product Attention" if len(_scores(use)) > 1 else "Attention of One Head"


def _scores(use: Use) -> list[Part]:
    """How queries and keys become scores: as in the paper, or one box for whatever else `score` says."""
    sizes = dict(use.attention)  # by name: a variant may have options that others do not
    score = sizes.get("score")
    if isinstance(score, Config) and kind_of(score) != "dot":
        return [part("Score", "mixer", brief(score))]
    key = sizes.get("key_size") or use.width // use.heads
    return [part("MatMul", "mixer"), part("Scale", "norm", f"1 / √{key}")]


def _masks(use: Use, modes: frozenset[Mode]) -> list[str]:
    """What the mask hides."""
    pattern: Pattern = use.attention.pattern
    found = [] if isinstance(pattern, Full) else [brief(use.attention.pattern)]
    if "causal" not in modes:
        return [*found, "padding"]
    return [*found, "the future" if len(modes) == 1 else "padding; the future when masked"]


def _pattern(use: Use) -> Drawing:
    """Who may look at whom, among positions far enough apart to see that not all may."""
    pattern: Pattern = use.attention.pattern
    for step in (1, 4, 16, 64):
        seen = _allowed(pattern, step)
        if not seen.all():
            break
    if use.causal:
        seen = seen & _allowed(Causal(), 1)
    drawing = Drawing()
    rows = tuple(tuple(bool(cell) for cell in row) for row in seen)
    drawing.add(Cells(0, 0, SIDE, rows, COLOURS["attention"]))
    drawing.add(Text(SIDE / 2, -8, f"keys 0 to {CELLS * step - 1:,} →", NOTE, colour=GREY))
    drawing.add(Text(SIDE / 2, SIDE + 16, "a row for each query", NOTE, colour=GREY))
    return drawing


def _allowed(pattern: Pattern, step: int) -> Tensor:
    """[CELLS, CELLS], of every `step`th position."""
    positions = torch.arange(0, CELLS * step, step)[None]
    allowed = pattern.allowed(positions, positions)
    return torch.ones(CELLS, CELLS, dtype=torch.bool) if allowed is None else allowed[0]
