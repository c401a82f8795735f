"""A model drawn from its configuration, in the manner of figures 1 and 2 of Vaswani et al. 2017 (arXiv 1706.03762)."""

from torch import nn

from kakehashi.config import Config
from kakehashi.diagram.attention import draw_attentions
from kakehashi.diagram.network import draw_network
from kakehashi.diagram.pieces import caption
from kakehashi.diagram.reading import outline, read
from kakehashi.diagram.svg import Drawing

_COLUMN = 2  # rows of attention above each other


def draw(config: Config, model: nn.Module, title: str) -> str:
    """The SVG file's text. `model` is what `config` builds, on any device: its modules say where positions act."""
    network = read(config, model)
    figure, whole = Drawing(), draw_network(network)
    left, _, right, bottom = whole.bounds()
    caption(whole, f"{title}: {network.kind}", network.notes, (left + right) / 2, bottom + 32, right - left)
    figure.place(whole, 0, 0)
    _, _, right, height = figure.bounds()
    rows = draw_attentions(network)
    for column in (rows[i : i + _COLUMN] for i in range(0, len(rows), _COLUMN)):
        heights = [row.bounds().bottom - row.bounds().top for row in column]
        y = height - heights[-1] if len(column) == 1 else 0.0
        for row, tall in zip(column, heights, strict=True):
            figure.place(row, right + 64, y)
            y = max(y + tall + 48, height - heights[-1])
        right = figure.bounds().right
    return figure.render(title, outline(network))
