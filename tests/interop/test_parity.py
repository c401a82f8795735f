"""The report: what it counts, and what fails."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kakehashi.interop.parity import EvaluationSet, Parity, compare
from kakehashi.interop.protocol import EXACT, Limits, Pieces


@dataclass
class Echo:
    """Gives the source back; `shift` is added to each log-probability, `wrong` is what it says instead by beam."""

    name: str
    shift: float = 0.0
    wrong: str | None = None
    longest: int = 1000
    limits: Limits = EXACT

    def segment(self, text: str) -> Pieces:
        return text.split()

    def text(self, pieces: Pieces) -> str:
        return " ".join(pieces)

    def translate(self, sources: Sequence[Pieces], beam: int) -> list[Pieces]:
        return [[self.wrong] if self.wrong and beam > 1 and source else source for source in sources]

    def score(self, sources: Sequence[Pieces], targets: Sequence[Pieces]) -> list[list[float]]:
        return [[-1.0 + self.shift] * (len(target) + 1) for target in targets]


SIZES = {"one": 10, "other": 20}


def test_the_same_system_passes_and_the_report_is_stored(tmp_path: Path) -> None:
    test = EvaluationSet(["a b c d e"], ["a b c d f"])
    report = compare(Echo("one"), Echo("other"), SIZES, test)
    assert report.failures() == [] and report.log_probability == 0 and report.greedy == report.beam == 1
    assert report.tokens > report.lines and report.scores["bleu"][0] == report.scores["bleu"][1] > 0
    report.save(tmp_path / "parity.json")
    stored = json.loads((tmp_path / "parity.json").read_text("utf-8"))
    assert (stored["first"], stored["second"], stored["sizes"]) == ("one", "other", SIZES)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Echo("other", shift=0.01), "log-probabilities differ by up to 0.01"),
        (Echo("other", shift=float("nan")), "log-probabilities differ by up to nan"),
        (Echo("other", wrong="no"), "of the beam outputs"),
    ],
)
def test_what_differs_fails(other: Echo, message: str) -> None:
    (failure,) = compare(Echo("one"), other, SIZES).failures()
    assert message in failure


def test_scores_and_segmentation_have_limits_too() -> None:
    report = compare(Echo("one"), Echo("other"), SIZES)
    changed = replace(report, scores={"bleu": (30.0, 29.0)}, segmentation=0.5, limits=Limits(score=0.5))
    assert [failure.split()[0] for failure in changed.failures()] == ["only", "bleu"]
    assert isinstance(changed, Parity)


def test_many_small_differences_and_a_rounded_weight_have_limits_too() -> None:
    report = compare(Echo("one"), Echo("other", shift=0.01), SIZES, limits=Limits(log_probability=0.1, mean=0.005))
    assert report.failures() == ["log-probabilities differ by 0.01 in the mean, not 0.005"]
    (failure,) = replace(compare(Echo("one"), Echo("other"), SIZES), weights=0.05).failures()
    assert "a weight differs by 5.00% of its tensor's largest, not 0.60%" in failure


def test_the_lines_of_a_test_set_have_a_limit_of_their_own() -> None:
    few, test = Limits(identical=0.0, score=100.0), EvaluationSet(["a b", "c d"], ["a b", "c d"])
    other = Echo("other", wrong="no")
    assert compare(Echo("one"), other, SIZES, limits=few).failures() == []
    (failure,) = compare(Echo("one"), other, SIZES, test, limits=few).failures()
    assert "of the beam outputs are identical, not 90%" in failure


def test_what_two_systems_keep_is_the_looser_of_each() -> None:
    loose = EXACT.loosened(Limits(log_probability=0.5, mean=0.01, identical=0.2, tested=0.5))
    assert (loose.log_probability, loose.mean, loose.identical, loose.tested) == (0.5, 0.01, 0.2, 0.5)
    assert EXACT.loosened(EXACT) == EXACT


def test_lines_that_one_of_them_cannot_take_are_left_out() -> None:
    report = compare(Echo("one"), Echo("other", longest=5), SIZES)
    assert 0 < report.lines < compare(Echo("one"), Echo("other"), SIZES).lines
