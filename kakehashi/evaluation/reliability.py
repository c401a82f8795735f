"""How far confidence can be believed: its error, its order, and the diagram of both.

Shapes: N things of which one was confident, in order of confidence in BINS bins of as many each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BINS = 10
BLUE, ORANGE = "#0072B2", "#D55E00"  # told apart by colour-blind eyes too (Okabe & Ito 2008)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """`name`: of what; `outcome`: what confidence foretells, as the diagram says it; `raw_N`, `calibrated_N`:
    confidence from 0 to 1, before and after it was calibrated; `outcomes_N`: what came true, from 0 to 1."""

    name: str
    outcome: str
    raw_N: Floats
    calibrated_N: Floats
    outcomes_N: Floats

    def errors(self) -> tuple[float, float]:
        """Before and after."""
        return calibration_error(self.raw_N, self.outcomes_N), calibration_error(self.calibrated_N, self.outcomes_N)

    @property
    def measure(self) -> str:
        """Of the order: what came true or did not has an area under the ROC curve, a share has a rank correlation."""
        return "AUROC" if np.isin(self.outcomes_N, (0, 1)).all() else "Spearman"

    def order(self) -> float:
        """How well the order of confidence is that of what came true. Calibration changes no order."""
        measured = auroc if self.measure == "AUROC" else spearman
        return measured(self.raw_N, self.outcomes_N)


def calibration_error(confidences_N: Floats, outcomes_N: Floats) -> float:
    """Expected calibration error: the mean, over bins of equal counts (Nguyen & O'Connor 2015), of how far the mean
    confidence is from the mean outcome."""
    gaps = [abs(confidences_N[bin].mean() - outcomes_N[bin].mean()) * len(bin) for bin in _bins(confidences_N)]
    return float(sum(gaps) / len(confidences_N))


def spearman(one_N: Floats, other_N: Floats) -> float:
    """Rank correlation; NaN where all are alike."""
    ranks = _ranks(one_N), _ranks(other_N)
    spreads = [float(each.std()) for each in ranks]
    return float(np.cov(*ranks, bias=True)[0, 1] / np.prod(spreads)) if all(spreads) else float("nan")


def auroc(scores_N: Floats, outcomes_N: Floats) -> float:
    """How often what came true scores higher than what did not, ties half; NaN where all came true, or nothing."""
    true_N = outcomes_N > 0
    count = int(true_N.sum())
    if count in (0, len(true_N)):
        return float("nan")
    return float((_ranks(scores_N)[true_N].sum() - count * (count + 1) / 2) / (count * (len(true_N) - count)))


def draw(found: Sequence[Reliability], title: str, path: Path) -> None:
    """Reliability diagrams side by side, as SVG: each bin's mean outcome against its mean confidence, before and after.
    The same figures give the same file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure  # takes a second to import

    with mpl.rc_context({"svg.hashsalt": "kakehashi", "svg.fonttype": "none"}):
        figure = Figure(figsize=(4 * len(found), 4.2), layout="constrained")
        for axes, each in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
            axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
            errors = each.errors()
            versions = ((each.raw_N, ORANGE, "s", "before"), (each.calibrated_N, BLUE, "o", "after"))
            for (confidences_N, color, marker, label), error in zip(versions, errors, strict=True):
                points = [(confidences_N[b].mean(), each.outcomes_N[b].mean()) for b in _bins(confidences_N)]
                label = f"{label} calibration: error {error:.3f}"
                axes.plot(*zip(*points, strict=True), color=color, marker=marker, markersize=4, label=label)
            axes.set(title=f"{len(each.outcomes_N):,} {each.name}", xlabel="confidence", ylabel=each.outcome)
            axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
            axes.grid(alpha=0.25)
            axes.legend(loc="upper left", fontsize="small", frameon=False)
        figure.suptitle(title)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _bins(confidences_N: Floats) -> list[NDArray[np.intp]]:
    """Places in order of confidence, cut into BINS; fewer where there are not so many."""
    return [bin for bin in np.array_split(np.argsort(confidences_N, kind="stable"), BINS) if len(bin)]


def _ranks(values_N: Floats) -> Floats:
    """From 1; those of equal values are averaged."""
    _, places_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places_N]
