"""The parity report: whether two systems that should be one model are one.

Both get the same texts. Pieces are compared, so that the report says where they part: in the segmentation, in the
numbers, or in the search.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kakehashi.evaluation.metrics import score
from kakehashi.interop.protocol import Limits, Pieces, System

FILE = "parity.json"
BEAM = 4
# Where the user gives no text: what formats stumble over. An empty line, spaces, unknown characters, a long line.
SAMPLE = (
    "Hello!",
    "",
    "  Two  spaces , and a tab\there.",
    "The quick brown fox jumps over the lazy dog 1,234.5 times (that's what they say).",
    "Grüße aus Köln: wo ist der Bahnhof? “Dort drüben,” sagte sie — «là-bas».",
    "駅はどこですか。架け橋を渡ってください。",
    "👩‍👩‍👧 🌉 ☃",
    "مرحبا بالعالم",
    " ".join(["A long line is no harder than a short one, but it is longer."] * 8),
)


@dataclass(frozen=True)
class EvaluationSet:
    """Texts and their reference translations."""

    sources: Sequence[str]
    references: Sequence[str]


@dataclass(frozen=True)
class Parity:
    """first, second: who was compared. lines, tokens: how much text, and pieces forced on both.

    segmentation, greedy, beam: shares of lines with identical pieces. log_probability, mean: the largest difference and
    the mean one. scores: by metric, of both, on a test set. sizes: bytes, by name of system. weights: where they are
    rounded, the largest difference of one as a share of the largest of its tensor.
    """

    first: str
    second: str
    lines: int
    tokens: int
    segmentation: float
    log_probability: float
    mean: float
    greedy: float
    beam: float
    sizes: dict[str, int]
    scores: dict[str, tuple[float, float]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    weights: float | None = None

    def failures(self) -> list[str]:
        """What is beyond its limit, one sentence each."""
        limits, found = self.limits, list[str]()
        if self.segmentation < 1:
            found.append(f"only {self.segmentation:.1%} of the lines are cut into the same pieces")
        if not self.log_probability <= limits.log_probability:  # NaN is a failure too
            found.append(f"log-probabilities differ by up to {self.log_probability:.2g}, not {limits.log_probability}")
        if limits.mean is not None and not self.mean <= limits.mean:
            found.append(f"log-probabilities differ by {self.mean:.2g} in the mean, not {limits.mean}")
        if self.weights is not None and not self.weights <= limits.weights:
            found.append(f"a weight differs by {self.weights:.2%} of its tensor's largest, not {limits.weights:.2%}")
        identical = limits.tested if self.scores else limits.identical
        for name, share in (("greedy", self.greedy), ("beam", self.beam)):
            if share < identical:
                found.append(f"only {share:.1%} of the {name} outputs are identical, not {identical:.0%}")
        for name, (one, other) in self.scores.items():
            if abs(one - other) > limits.score:
                found.append(f"{name} is {other:.2f} instead of {one:.2f}")
        return found

    def lines_of_text(self) -> list[str]:
        """The report for a reader."""
        rows = [
            f"{self.first} against {self.second}, {self.lines} lines, {self.tokens} forced tokens",
            f"same pieces                  {self.segmentation:.1%}",
            f"log-probability, difference  {self.log_probability:.2g}",
            f"identical greedy outputs     {self.greedy:.1%}",
            f"identical outputs of beam {BEAM}  {self.beam:.1%}",
        ]
        if self.weights is not None:
            rows[2:2] = [f"weights, difference          {self.weights:.2%}"]
            rows[4:4] = [f"the same, mean               {self.mean:.2g}"]
        rows += [f"{name:<28} {one:.2f} and {other:.2f}" for name, (one, other) in self.scores.items()]
        return rows + [f"size of {name:<20} {size / 1e6:.1f} MB" for name, size in self.sizes.items()]

    def save(self, path: Path) -> None:
        record = {**asdict(self), "failures": self.failures()}
        path.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", "utf-8")


def compare(
    first: System,
    second: System,
    sizes: dict[str, int],
    test: EvaluationSet | None = None,
    language: str = "en",
    limits: Limits | None = None,
) -> Parity:
    """Compares the second system with the first, whose pieces and greedy outputs both are given. language: of the test
    set's references; it decides what a word is.
    """

    def fits(text: str) -> bool:
        return len(first.segment(text)) < min(first.longest, second.longest)  # one is the end's

    if test is not None:
        kept = [pair for pair in zip(test.sources, test.references, strict=True) if fits(pair[0])]
        test = EvaluationSet([source for source, _ in kept], [target for _, target in kept])
    texts = [*filter(fits, SAMPLE), *(test.sources[:100] if test else ())]
    segmented = [first.segment(text) for text in texts]
    sources = [pieces for pieces in segmented if pieces]  # of nothing CTranslate2 makes nothing, unasked
    forced = first.translate(sources, beam=1)
    pairs = zip(first.score(sources, forced), second.score(sources, forced), strict=True)
    differences = [abs(a - b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True)]
    return Parity(
        first=first.name,
        second=second.name,
        lines=len(texts),
        tokens=len(differences),
        segmentation=_shared(segmented, [second.segment(text) for text in texts]),
        log_probability=max(differences),
        mean=sum(differences) / len(differences),
        greedy=_shared(forced, second.translate(sources, beam=1)),
        beam=_shared(first.translate(sources, BEAM), second.translate(sources, BEAM)),
        sizes=sizes,
        scores={} if test is None else _scores(first, second, test, language),
        limits=limits or first.limits.loosened(second.limits),
    )


def _shared(first: Sequence[Pieces], second: Sequence[Pieces]) -> float:
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


def _scores(first: System, second: System, test: EvaluationSet, language: str) -> dict[str, tuple[float, float]]:
    """BLEU and chrF of both, each cutting and joining the text itself."""

    def scored(system: System) -> list[tuple[str, float]]:
        outputs = system.translate([system.segment(text) for text in test.sources], BEAM)
        found = score([system.text(each) for each in outputs], test.references, language, ["bleu", "chrf"])
        return [(each.name, each.value) for each in found]

    pairs = zip(scored(first), scored(second), strict=True)
    return {name: (one, other) for (name, one), (_, other) in pairs}
