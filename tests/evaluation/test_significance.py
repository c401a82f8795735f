from collections.abc import Sequence

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, Result

from kakehashi.errors import UserError
from kakehashi.evaluation.metrics import interval, measure, resample
from kakehashi.evaluation.significance import Comparison, compare, two_sided_p_value

VOCABULARY = [f"word{i}" for i in range(40)]


def noisy(lines: list[str], errors: float, seed: int) -> list[str]:
    """The lines with a share of their words replaced."""
    generator = np.random.default_rng(seed)
    return [
        " ".join(str(generator.choice(VOCABULARY)) if generator.random() < errors else word for word in line.split())
        for line in lines
    ]


@pytest.fixture(scope="module")
def references() -> list[str]:
    generator = np.random.default_rng(1)
    return [" ".join(generator.choice(VOCABULARY, size=generator.integers(5, 15))) for _ in range(150)]


@pytest.fixture(scope="module")
def systems(references: list[str]) -> tuple[list[str], list[str]]:
    """A baseline and a slightly better system."""
    return noisy(references, 0.30, seed=2), noisy(references, 0.27, seed=3)


def sacrebleus(kind: str, systems: tuple[list[str], list[str]], references: list[str]) -> dict[str, list[Result]]:
    named: list[tuple[str, Sequence[str]]] = [("baseline", systems[0]), ("system", systems[1])]
    metrics = {"BLEU": BLEU(), "chrF2": CHRF()}
    _, results = PairedTest(named, metrics, [references], test_type=kind, n_samples=1000)()
    return {name: [each for each in results[name] if isinstance(each, Result)] for name in metrics}


def ours(systems: tuple[list[str], list[str]], references: list[str]) -> list[Comparison]:
    return compare(*systems, references, "en", ["bleu", "chrf"])


def test_scores_and_resamples_are_those_of_sacrebleus_paired_bootstrap(
    systems: tuple[list[str], list[str]], references: list[str]
) -> None:
    theirs = sacrebleus("bs", systems, references)
    first, second = (measure(system, references, "en", ["bleu", "chrf"]) for system in systems)
    totals = resample([each.counts for each in (*first, *second)])
    for index, mine in enumerate(ours(systems, references)):
        baseline, system = list(theirs.values())[index]
        assert (mine.baseline, mine.system) == pytest.approx((baseline.score, system.score))
        assert mine.difference == pytest.approx(system.score - baseline.score)
        assert mine.low < mine.difference < mine.high
        assert "bs:1000|seed:12345" in mine.signature
        before = np.array([first[index].value_of(row) for row in totals[index]])
        after = np.array([second[index].value_of(row) for row in totals[index + 2]])
        assert after.mean() == pytest.approx(system.mean, abs=1e-3)
        assert (mine.low, mine.high) == pytest.approx(interval(after - before))
        # Their p-value from our resamples: it counts the one tail beyond the difference, ours counts both.
        sizes = np.abs(after - before)
        one_tail = (np.sum(sizes - sizes.mean() > mine.difference) + 1) / 1001
        assert system.p_value == pytest.approx(one_tail, abs=0.0021)  # theirs sums in single precision
        assert mine.p_value > one_tail


def test_p_value_agrees_with_sacrebleus_two_sided_randomisation(
    systems: tuple[list[str], list[str]], references: list[str]
) -> None:
    theirs = sacrebleus("ar", systems, references)
    for mine, (_, system) in zip(ours(systems, references), theirs.values(), strict=True):
        assert system.p_value is not None
        sampling_error = 2 * (mine.p_value * (1 - mine.p_value) / 1000) ** 0.5  # of both tests: two sigma of each
        assert mine.p_value == pytest.approx(system.p_value, abs=2 * sampling_error)


def test_a_system_against_itself_is_not_significant(references: list[str]) -> None:
    system = noisy(references, 0.3, seed=4)
    for each in compare(system, system, references, "en"):
        assert (each.difference, each.low, each.high, each.p_value) == (0, 0, 0, 1)


def test_a_much_better_system_is_significant_in_every_metric(references: list[str]) -> None:
    worse, better = noisy(references, 0.5, seed=5), noisy(references, 0.1, seed=6)
    bleu, chrf, ter = compare(worse, better, references, "en", samples=200)
    for each in (bleu, chrf, ter):
        assert each.p_value == pytest.approx(1 / 201)
    assert bleu.low > 0
    assert chrf.low > 0
    assert ter.high < 0  # of TER, less is better


def test_order_only_changes_the_sign(systems: tuple[list[str], list[str]], references: list[str]) -> None:
    forward = ours(systems, references)
    backward = ours((systems[1], systems[0]), references)
    for a, b in zip(forward, backward, strict=True):
        assert (a.difference, a.low, a.high) == pytest.approx((-b.difference, -b.high, -b.low))
        assert a.p_value == b.p_value


def test_same_seed_same_result(systems: tuple[list[str], list[str]], references: list[str]) -> None:
    assert ours(systems, references) == ours(systems, references)
    [other] = compare(*systems, references, "en", ["bleu"], seed=1)
    assert other.low != ours(systems, references)[0].low


def test_equal_systems_are_called_different_as_often_as_the_level_says() -> None:
    generator = np.random.default_rng(8)
    lines, trials = 100, 400
    drawn = generator.multinomial(lines, np.full(lines, 1 / lines), size=200)
    significant = 0
    for _ in range(trials):
        per_line = generator.normal(size=lines)
        significant += two_sided_p_value(drawn @ per_line / lines, per_line.mean()) < 0.05
    assert 0.02 < significant / trials < 0.085  # three sigma; a one-sided count would give 0.1


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="baseline has 1 lines but the system 2"):
        compare(["a"], ["a", "b"], ["a", "b"], "en")
    with pytest.raises(UserError, match="2 hypotheses but 1 references"):
        compare(["a", "b"], ["a", "b"], ["a"], "en")
    with pytest.raises(UserError, match="0 bootstrap samples"):
        compare(["a"], ["a"], ["a"], "en", samples=0)
