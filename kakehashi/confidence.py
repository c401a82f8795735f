"""How sure a model is, as a number that means something: what a probability of its own was worth on known translations.

A model's probabilities rank what it writes, but how high they are depends on the smoothing of its labels and on how far
the text is from its training. So they are mapped onto what came true (Platt 1999):

    confidence(p) = sigmoid(slope * logit(p) + intercept),    slope >= 0,

for a sentence, whose p is the geometric mean over its tokens, onto its expected chrF (0 to 1) against a human
translation; and for a piece, onto the probability that it stands in that translation. The map that nobody fitted leaves
p as it is. No map changes an order, so that a token less likely than the rest of its sentence never raises confidence.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from kakehashi.config import Config, load

FILE = "calibration.json"
EDGE = 1e-6  # from 0 and 1, where the logit has no bound
ROUNDS = 100

Floats = NDArray[np.float64]


class Curve(Config):
    """One such map; its defaults leave a probability as it is."""

    slope: Annotated[float, Field(ge=0)] = 1.0
    intercept: float = 0.0

    def __call__(self, log_probabilities: ArrayLike) -> Floats:
        return _sigmoid(self.slope * _logits(log_probabilities) + self.intercept)

    @classmethod
    def fitted(cls, log_probabilities: ArrayLike, outcomes: ArrayLike) -> Self:
        """The likeliest curve for outcomes from 0 to 1 [N], each a share of coming true, under a normal prior of
        variance 1 around the default, which decides where there is little to learn from."""
        logits_N, outcomes_N = _logits(log_probabilities), np.asarray(outcomes, np.float64)
        features_N2 = np.stack([logits_N, np.ones_like(logits_N)], 1)
        slope, intercept = _likeliest(features_N2, outcomes_N, np.array([1.0, 0.0]))
        if slope < 0:
            slope, (intercept,) = 0.0, _likeliest(features_N2[:, 1:], outcomes_N, np.zeros(1))
        return cls(slope=float(slope), intercept=float(intercept))


class Calibration(Config):
    """The maps of one model: `calibration.json` in its directory."""

    format_version: Literal[1] = 1
    sentence: Curve = Curve()
    piece: Curve = Curve()

    @classmethod
    def read(cls, directory: Path) -> Self:
        """What a model directory holds; the defaults where it holds none. Raises UserError where it is damaged."""
        path = directory / FILE
        return load(path, cls) if path.exists() else cls()

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.model_dump(), indent=2) + "\n", "utf-8")

    def of_sentence(self, log_probability: float, tokens: int) -> float:
        """From the sum over its tokens, of which there must be some."""
        return float(self.sentence(log_probability / tokens))

    def of_piece(self, log_probability: float) -> float:
        return float(self.piece(log_probability))


def _logits(log_probabilities: ArrayLike) -> Floats:
    clipped = np.clip(np.asarray(log_probabilities, np.float64), math.log(EDGE), math.log1p(-EDGE))
    return clipped - np.log(-np.expm1(clipped))


def _sigmoid(logits: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(0.5 * logits))


def _likeliest(features_NK: Floats, outcomes_N: Floats, prior_K: Floats) -> Floats:
    """Newton's method. The prior makes the problem strictly convex; steps of at most 1 keep it from overshooting."""
    weights_K = prior_K.copy()
    for _ in range(ROUNDS):
        expected_N = _sigmoid(features_NK @ weights_K)
        gradient_K = features_NK.T @ (expected_N - outcomes_N) + weights_K - prior_K
        spread_N = expected_N * (1 - expected_N)
        curvature_KK = (features_NK * spread_N[:, None]).T @ features_NK + np.eye(len(prior_K))
        weights_K -= np.clip(np.linalg.solve(curvature_KK, gradient_K), -1, 1)
    return weights_K
