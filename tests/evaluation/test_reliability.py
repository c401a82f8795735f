"""How far confidence can be believed, by the definitions written out."""

import math
from pathlib import Path

import numpy as np
import pytest

from kakehashi.evaluation.reliability import BINS, Reliability, auroc, calibration_error, draw, spearman


def test_the_error_is_the_mean_gap_of_bins() -> None:
    confidences = np.array([0.1] * 50 + [0.8] * 50)
    outcomes = np.array([0.0, 1.0] * 25 + [1.0] * 40 + [0.0] * 10)
    assert calibration_error(confidences, outcomes) == pytest.approx(0.5 * 0.4 + 0.5 * (4 * 0.2 + 0.8) / 5)
    assert calibration_error(np.full(BINS - 3, 0.25), np.full(BINS - 3, 0.75)) == pytest.approx(0.5)
    exact = np.linspace(0, 1, 1000)
    assert calibration_error(exact, exact) == pytest.approx(0)


def test_the_area_counts_pairs() -> None:
    random = np.random.default_rng(1)
    scores, outcomes = random.integers(0, 5, 60).astype(float), (random.uniform(size=60) < 0.4).astype(float)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[outcomes > 0] for b in scores[outcomes == 0]]
    assert auroc(scores, outcomes) == pytest.approx(np.mean(pairs))
    assert math.isnan(auroc(scores, np.ones(60))) and math.isnan(auroc(scores, np.zeros(60)))


def test_rank_correlation() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(values, values**3) == pytest.approx(1) and spearman(values, -values) == pytest.approx(-1)
    assert spearman(values, np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert spearman(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(math.sqrt(3) / 2)
    assert math.isnan(spearman(values, np.ones(4)))


def test_the_diagram_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    raw, outcomes = np.linspace(0.05, 0.95, 40), np.tile([0.0, 1.0], 20)
    found = [Reliability("pieces", "share", raw, raw / 2, outcomes), Reliability("lines", "chrF", raw, raw, raw)]
    assert [each.measure for each in found] == ["AUROC", "Spearman"]
    assert found[1].order() == pytest.approx(1) and found[1].errors() == pytest.approx((0, 0))
    for name in ("one.svg", "two.svg"):
        draw(found, "a test set", tmp_path / name)
    text = (tmp_path / "one.svg").read_text("utf-8")
    assert text == (tmp_path / "two.svg").read_text("utf-8")
    assert "a test set" in text and "40 pieces" in text and "error 0.000" in text
