"""Is one system better than another, or was the test set kind to it? Paired bootstrap resampling.

Philipp Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004, section 4: both systems
are scored on the same resampled lines. The p-value is two-sided: the share of resamples whose difference lies at least
as far from the mean of all as the observed difference lies from zero (the "shift" of Noreen 1989; Riezler and Maxwell
2005). `sacrebleu --paired-bs` resamples the same lines but counts one tail, so that its p-value for a clear difference
is about half of ours: of two equal systems, it calls one better at p < 0.05 in about one test set of ten.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kakehashi.errors import UserError
from kakehashi.evaluation.metrics import SAMPLES, SEED, Measurement, interval, measure, resample


@dataclass(frozen=True)
class Comparison:
    """Two systems on one metric.

    Args:
        metric: a key of `metrics.TITLES`.
        baseline: the baseline's score in percent.
        system: the other's.
        difference: system - baseline. Of TER, a better system has the lower score.
        low: lower end of the 95 % interval of the difference.
        high: its upper end.
        p_value: how probable a difference so large is, in either direction, if the systems are equally good.
        signature: sacrebleu's.
    """

    metric: str
    baseline: float
    system: float
    difference: float
    low: float
    high: float
    p_value: float
    signature: str


def compare(
    baseline: Sequence[str],
    system: Sequence[str],
    references: Sequence[str],
    language: str,
    metrics: Sequence[str] | None = None,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> list[Comparison]:
    """Compares two systems' outputs for the same lines; deterministic in `seed`.

    Args:
        baseline: its output, one string a line.
        system: the other's.
        references: as many strings.
        language: of the references: a BCP 47 tag such as "de" or "ja".
        metrics: keys of `metrics.TITLES`; None: `metrics.default_metrics(language)`.
        samples: how many resamples; no p-value is smaller than 1 / (samples + 1).
        seed: of the resamples, shared by all metrics.

    Raises:
        UserError: different numbers of lines, none at all, an unknown metric or language, a missing package.
    """
    if samples < 1:
        raise UserError(f"{samples} bootstrap samples: ask for at least 1, better for 1000")
    if len(baseline) != len(system):
        raise UserError(f"the baseline has {len(baseline)} lines but the system {len(system)}: they need the same test")
    first = measure(baseline, references, language, metrics)
    second = measure(system, references, language, metrics)
    resamples = resample([each.counts for each in (*first, *second)], samples, seed)
    comparisons: list[Comparison] = []
    for index, (a, b) in enumerate(zip(first, second, strict=True)):
        differences = _values(b, resamples[len(first) + index]) - _values(a, resamples[index])
        observed = b.value() - a.value()
        low, high = interval(differences)
        p_value = two_sided_p_value(differences, observed)
        signature = a.bootstrap_signature(samples, seed)
        comparisons.append(Comparison(a.name, a.value(), b.value(), observed, low, high, p_value, signature))
    return comparisons


def two_sided_p_value(differences: NDArray[np.float64], observed: float) -> float:
    """The p-value of an observed difference, given those of bootstrap resamples [samples].

    The resamples scatter about the observed difference; shifted to zero, they stand for equal systems. One is added
    to both counts, for the observation itself, so that the p-value is never 0.
    """
    as_extreme = np.abs(differences - differences.mean()) >= abs(observed)
    return (int(as_extreme.sum()) + 1) / (len(differences) + 1)


def _values(measurement: Measurement, totals: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([measurement.value_of(row) for row in totals])
