"""What probabilities are worth: the maps, and how they are fitted."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kakehashi.confidence import FILE, Calibration, Curve
from kakehashi.errors import UserError
from kakehashi.evaluation.reliability import calibration_error

LOG_PROBABILITIES = st.floats(max_value=0.0)
CURVES = st.builds(Curve, slope=st.floats(0, 50), intercept=st.floats(-50, 50))


def test_the_map_that_nobody_fitted_leaves_probabilities_as_they_are() -> None:
    probabilities = np.linspace(0.001, 0.999, 50)
    assert Curve()(np.log(probabilities)) == pytest.approx(probabilities)
    assert Calibration().of_sentence(-3.0, 6) == pytest.approx(math.exp(-0.5))
    assert Calibration().of_piece(0.0) == pytest.approx(1)


@given(CURVES, LOG_PROBABILITIES, LOG_PROBABILITIES)
def test_every_map_keeps_the_order_and_the_bounds(curve: Curve, one: float, other: float) -> None:
    low, high = curve(min(one, other)), curve(max(one, other))
    assert 0 <= low <= high <= 1


@given(CURVES, st.lists(st.floats(-20, 0), min_size=1), st.lists(st.floats(-20, 0)))
def test_less_likely_tokens_never_raise_a_sentence(curve: Curve, own: list[float], more: list[float]) -> None:
    more = [min(each, sum(own) / len(own)) for each in more]
    calibration = Calibration(sentence=curve)
    shorter = calibration.of_sentence(sum(own), len(own))
    assert calibration.of_sentence(sum(own + more), len(own + more)) <= shorter + 1e-9


@pytest.mark.parametrize("slope", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("intercept", [-3.0, 0.5, 2.0])
@pytest.mark.parametrize("binary", [False, True])
def test_a_badly_calibrated_score_becomes_calibrated(slope: float, intercept: float, binary: bool) -> None:
    random = np.random.default_rng(1)
    scores = random.uniform(-6, -0.01, 40_000)
    outcomes = Curve(slope=slope, intercept=intercept)(scores)
    if binary:
        outcomes = (random.uniform(size=len(scores)) < outcomes).astype(float)
    known, unseen = slice(0, 20_000), slice(20_000, None)
    curve = Curve.fitted(scores[known], outcomes[known])
    assert calibration_error(curve(scores[unseen]), outcomes[unseen]) < 0.01
    assert curve(scores).mean() == pytest.approx(outcomes.mean(), abs=0.01)
    assert Curve.fitted(scores[known], outcomes[known]) == curve


def test_what_contradicts_the_order_makes_a_constant() -> None:
    scores = np.linspace(-4, -0.01, 2000)
    curve = Curve.fitted(scores, 0.9 - 0.6 * np.exp(scores))
    assert curve.slope == 0
    assert curve(-1.0) == pytest.approx(float(np.mean(0.9 - 0.6 * np.exp(scores))), abs=1e-3)


def test_little_is_learnt_from_little() -> None:
    assert Curve.fitted([], []) == Curve()
    sure = Curve.fitted([-0.1, -0.2], [0.0, 0.0])
    assert 0 < sure(-0.1) < 0.9 and sure.slope <= 1
    certain = Curve.fitted([0.0, -math.inf] * 100, [0.0, 1.0] * 100)
    assert certain.slope == 0 and certain(0.0) == pytest.approx(0.5)


def test_maps_are_kept(tmp_path: Path) -> None:
    assert Calibration.read(tmp_path) == Calibration()
    kept = Calibration(sentence=Curve(slope=0.9, intercept=-0.1), piece=Curve(slope=1 / 3))
    kept.write(tmp_path / FILE)
    assert Calibration.read(tmp_path) == kept


@pytest.mark.parametrize("damage", [{"slope": -1.0}, {"slope": "steep"}, {"bend": 1.0}])
def test_damaged_maps_are_refused(tmp_path: Path, damage: dict[str, object]) -> None:
    (tmp_path / FILE).write_text(json.dumps({"sentence": damage}), "utf-8")
    with pytest.raises(UserError, match="sentence"):
        Calibration.read(tmp_path)
