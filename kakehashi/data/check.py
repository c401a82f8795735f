"""What is wrong with a corpus: `check` counts it, `clean` writes the corpus without it, `overlap` finds test lines.

Notable:
- two readings: the first learns what is usual in this corpus (how long a target is for its source, which script each
  side is written in, which pairs come twice), the second judges each pair by it; nothing assumes a language;
- a pair is dropped only for a fault that makes it a wrong example; what may be meant is reported and kept;
- the lines kept are written as they were read, other columns included: `clean` never edits text;
- memory: 16 bytes of hashes a pair, and about twice that again while they are sorted; the text is streamed.
"""

import math
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kakehashi.data.corpus import COMPRESSIONS, Corpus, Pair, line_writer, read_pairs, read_rows
from kakehashi.data.problems import PATTERNS, PROBLEMS, UNTRANSLATED_WORDS, Problem
from kakehashi.errors import UserError

EXAMPLES = 3  # shown of each problem
EXCERPT = 60  # characters shown of each side

# A pair is out of proportion when log((source + 10) / (target + 10)), in characters, is further from the median of the
# corpus than 5 robust standard deviations and than a factor of 3. On raw Tatoeba English-German and English-Japanese
# (216,000 pairs, proverbs included) that takes none, on Multi30k the two captions whose translation is "@@".
RATIO_PADDING = 10
RATIO_DEVIATIONS = 5.0
RATIO_FACTOR = 3.0
RATIO_BINS = 100  # a unit of the logarithm, in the histogram that stands for all ratios

# A side has a script when nine of ten lines are mostly in it. A line is foreign when it has text enough for a sentence
# and hardly any of that script. Text is counted in Latin letters: a Japanese character says as much as about three.
SCRIPT_SHARE = 0.9
FOREIGN_SHARE = 0.9
FOREIGN_LETTERS = 15
LETTERS = {"CJK": 3, "HANGUL": 2}
CJK = ("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "BOPOMOFO")  # how the names of these letters begin

_WORD = re.compile(r"[^\W\d_]+")
_RANK = {name: rank for rank, name in enumerate(PROBLEMS)}


@dataclass(frozen=True)
class Example:
    """Where a problem is: the corpus as its recipe names it, and the line (counted from 1)."""

    files: str
    line: int
    source: str
    target: str


@dataclass(frozen=True)
class Finding:
    """How many pairs have a problem (a pair may have several), and the first of them."""

    problem: Problem
    count: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Report:
    """What `check` found. `dropped` counts each pair once, under its first problem: pairs = kept + all dropped.

    scripts: of the source and of the target, as Unicode names them ("LATIN"; "CJK" is Chinese and Japanese with kana);
    None where a side is mixed. ratio: the usual length of a target for one character of the source.
    written: the files that `clean` wrote.
    """

    pairs: int
    kept: int
    dropped: dict[str, int]
    findings: tuple[Finding, ...]
    scripts: tuple[str | None, str | None]
    ratio: float
    written: tuple[Path, ...] = ()

    def lines(self) -> list[str]:
        """The report as plain text."""
        text = [f"{self.pairs:,} pairs: {self.kept:,} to keep, {self.pairs - self.kept:,} to drop"]
        for dropped, title in ((True, "to drop"), (False, "to keep, but look at them")):
            findings = [finding for finding in self.findings if finding.problem.dropped is dropped]
            if findings:
                text += [f"{title}:", *(line for finding in findings for line in _finding_lines(finding))]
        return text + [f"written: {path}" for path in self.written]

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        findings = [
            asdict(finding) | {"problem": finding.problem.name, "dropped": finding.problem.dropped}
            for finding in self.findings
        ]
        return asdict(self) | {"findings": findings, "written": [str(path) for path in self.written]}


@dataclass(frozen=True)
class OverlapReport:
    """How many test lines occur in the training text, compared by NFKC, case folded, without white space."""

    total: int
    sources: int
    targets: int
    pairs: int

    def lines(self) -> list[str]:
        """The report as plain text; empty when nothing is in common."""
        if not (self.sources or self.targets):
            return []
        return [
            f"of {self.total:,} test pairs {self.sources:,} have their source in the training text, {self.targets:,} "
            f"their target, {self.pairs:,} are there as pairs: scores on these measure memory; do not train on them"
        ]


def check(corpora: Sequence[Corpus]) -> Report:
    """What is wrong with these corpora, taken as one. Raises UserError when they cannot be read (see `read_rows`)."""
    return _examine(corpora, [() for _ in corpora])


def clean(corpora: Sequence[Corpus], folder: Path) -> Report:
    """Check, and write what is sound to `folder`: clean.{en,de}.gz for train.{en,de}.gz, clean.tsv for x.tsv.

    Several corpora become clean-1.*, clean-2.* (each keeps its weight in the recipe). Every file appears whole or not
    at all. Raises UserError when a corpus cannot be read, when nothing would be left of it or when a file of it would
    be overwritten.
    """
    stems = ["clean"] if len(corpora) == 1 else [f"clean-{number}" for number in range(1, len(corpora) + 1)]
    outputs = [_clean_paths(corpus, folder, stem) for corpus, stem in zip(corpora, stems, strict=True)]
    inputs = {path.resolve() for corpus in corpora for path in corpus.paths}
    for path in (path for paths in outputs for path in paths):
        if path.resolve() in inputs:
            raise UserError(f"{path} is part of the corpus and would be overwritten: name another folder")
    with ExitStack() as stack:
        report = _examine(corpora, [[stack.enter_context(line_writer(path)) for path in paths] for paths in outputs])
        if report.kept == 0:
            raise UserError("\n".join(["no pair would be left, so nothing is written", *report.lines()]))
    return replace(report, written=tuple(path for paths in outputs for path in paths))


def overlap(train: Iterable[Pair], test: Iterable[Pair]) -> OverlapReport:
    """How much of `test` occurs in `train`, which is streamed; empty lines count for nothing."""
    tested = [_normalized(pair) for pair in test]
    wanted = {side for pair in tested for side in pair if side}
    sources: set[str] = set()
    targets: set[str] = set()
    pairs: set[Pair] = set()
    tested_pairs = set(tested)
    for pair in map(_normalized, train):
        sources.update({pair.source} & wanted)
        targets.update({pair.target} & wanted)
        pairs.update({pair} & tested_pairs)
    return OverlapReport(
        total=len(tested),
        sources=sum(pair.source in sources for pair in tested),
        targets=sum(pair.target in targets for pair in tested),
        pairs=sum(pair in pairs and bool(pair.source or pair.target) for pair in tested),
    )


def _normalized(pair: Pair) -> Pair:
    # Without white space, so that tokenised text is known again as the raw text that it was.
    return Pair(*("".join(unicodedata.normalize("NFKC", side).casefold().split()) for side in pair))


def _finding_lines(finding: Finding) -> Iterator[str]:
    problem = finding.problem
    yield f"  {finding.count:>9,}  {problem.name}: {problem.why}. Remedy: {problem.remedy}."
    for example in finding.examples:
        where = f"{Path(example.files).name}, line {example.line}"
        sides = (_excerpt(side, problem) for side in (example.source, example.target))
        yield f"             {where}: {' | '.join(sides)}"


def _excerpt(text: str, problem: Problem) -> str:
    """What is around the problem, or the start; quoted, so that white space and control characters are seen."""
    place = problem.pattern.search(text) if problem.pattern else None
    start = max(0, place.start() - EXCERPT // 2) if place else 0
    start = max(0, min(start, len(text) - EXCERPT))
    before, after = "..." if start else "", "..." if start + EXCERPT < len(text) else ""
    return f"{before}{text[start : start + EXCERPT]!r}{after}"


# --- The first reading: what is usual in this corpus


@dataclass(frozen=True)
class _Profile:
    """repeated[i], ambiguous[i]: of the i-th pair of all corpora; a log ratio within center +- width is usual."""

    repeated: NDArray[np.bool_]
    ambiguous: NDArray[np.bool_]
    center: float
    width: float
    scripts: tuple[str | None, str | None]


def _profile(corpora: Sequence[Corpus]) -> _Profile:
    pairs, sources = array("Q"), array("Q")
    ratios: Counter[int] = Counter()
    scripts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for corpus in corpora:
        for pair in read_pairs(corpus):
            pairs.append(_digest("\n".join(pair)))
            sources.append(_digest(pair.source))
            if pair.source.strip() and pair.target.strip():
                ratios[round(_log_ratio(pair) * RATIO_BINS)] += 1
            for side, counter in zip(pair, scripts, strict=True):
                counter.update(_main_script(side))
    repeated, ambiguous = _repetitions(np.array(pairs, dtype=np.uint64), np.array(sources, dtype=np.uint64))
    center, width = _center_and_width(ratios)
    return _Profile(repeated, ambiguous, center, width, (_usual_script(scripts[0]), _usual_script(scripts[1])))


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def _log_ratio(pair: Pair) -> float:
    return math.log((len(pair.source) + RATIO_PADDING) / (len(pair.target) + RATIO_PADDING))


def _repetitions(pairs: NDArray[np.uint64], sources: NDArray[np.uint64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pairs were there before, and which of the others share their source."""
    repeated = np.ones(len(pairs), dtype=np.bool_)
    first = np.unique(pairs, return_index=True)[1]
    repeated[first] = False
    ambiguous = np.zeros(len(pairs), dtype=np.bool_)
    _, inverse, counts = np.unique(sources[first], return_inverse=True, return_counts=True)
    ambiguous[first] = counts[inverse] > 1
    return repeated, ambiguous


def _center_and_width(ratios: Counter[int]) -> tuple[float, float]:
    """Median, and how far from it is still usual: robust standard deviations, but never less than a factor of 3."""
    values = np.array(list(ratios), dtype=np.float64) / RATIO_BINS
    counts = np.array(list(ratios.values()), dtype=np.int64)
    center = _median(values, counts)
    deviation = 1.4826 * _median(np.abs(values - center), counts)
    return center, max(RATIO_DEVIATIONS * deviation, math.log(RATIO_FACTOR))


def _median(values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    if len(values) == 0:
        return 0.0
    order = np.argsort(values)
    below = np.cumsum(counts[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])


def _usual_script(lines: Counter[str]) -> str | None:
    for script, count in lines.most_common(1):
        if count >= SCRIPT_SHARE * lines.total():
            return script
    return None


def _main_script(text: str) -> list[str]:
    """The script of most of the text; none when it has no letters."""
    if text.isascii():
        return ["LATIN"] if any(map(str.isalpha, text)) else []
    return [script for script, _ in _script_amounts(text).most_common(1)]


def _script_amounts(text: str) -> Counter[str]:
    """How much text there is in each script, in Latin letters."""
    scripts = Counter(map(_script, text))
    del scripts[""]
    for script, letters in LETTERS.items():
        if script in scripts:
            scripts[script] *= letters
    return scripts


@cache
def _script(character: str) -> str:
    """By the first word of the Unicode name; "" for what is no letter."""
    if not character.isalpha():
        return ""
    name = unicodedata.name(character, "").removeprefix("HALFWIDTH ").removeprefix("FULLWIDTH ")
    return "CJK" if name.startswith(CJK) else name.split(" ")[0]


# --- The second reading: each pair by what is usual


def _examine(corpora: Sequence[Corpus], writers: Sequence[Sequence[Callable[[str], None]]]) -> Report:
    """Judge every pair; the lines of those that are kept go to their corpus's writers (one a file, or none)."""
    profile = _profile(corpora)
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    examples: dict[str, list[Example]] = {name: [] for name in PROBLEMS}
    index = -1
    for corpus, files in zip(corpora, writers, strict=True):
        for number, row in enumerate(read_rows(corpus), start=1):
            index += 1
            problems = sorted(_problems(row.pair, index, profile), key=_RANK.__getitem__)
            counts.update(problems)
            for problem in problems:
                if len(examples[problem]) < EXAMPLES:
                    examples[problem].append(Example(corpus.files, number, *row.pair))
            if problems and PROBLEMS[problems[0]].dropped:
                dropped[problems[0]] += 1
                continue
            for write, line in zip(files, row.lines, strict=False):
                write(line)
    return Report(
        pairs=index + 1,
        kept=index + 1 - dropped.total(),
        dropped={name: dropped[name] for name in PROBLEMS if dropped[name]},
        findings=tuple(
            Finding(p, counts[p.name], tuple(examples[p.name])) for p in PROBLEMS.values() if counts[p.name]
        ),
        scripts=profile.scripts,
        ratio=math.exp(-profile.center),
    )


def _problems(pair: Pair, index: int, profile: _Profile) -> Iterator[str]:
    if not (pair.source.strip() and pair.target.strip()):
        yield "empty"
        return
    text = "\n".join(pair)
    for name, pattern in PATTERNS[text.isascii()].items():
        if pattern.search(text):
            yield name
    if _WORD.search(pair.source) and _same(pair):
        yield "untranslated" if len(_WORD.findall(pair.source)) >= UNTRANSLATED_WORDS else "copied"
    elif any(map(_is_foreign, pair, profile.scripts)):
        yield "wrong_script"
    if abs(_log_ratio(pair) - profile.center) > profile.width:
        yield "proportion"
    if profile.repeated[index]:
        yield "duplicate"
    if profile.ambiguous[index]:
        yield "ambiguous"


def _same(pair: Pair) -> bool:
    source, target = (" ".join(side.casefold().split()) for side in pair)
    return source == target


def _is_foreign(text: str, usual: str | None) -> bool:
    """Whether a side is a sentence in another script than the usual one of its column."""
    if usual is None or (usual == "LATIN" and text.isascii()):
        return False
    amounts = _script_amounts(text)
    for script, amount in amounts.most_common(1):
        hardly = amounts[usual] <= (1 - FOREIGN_SHARE) * amounts.total()
        return script != usual and amount >= FOREIGN_LETTERS and hardly
    return False


# --- The names of the clean files


def _clean_paths(corpus: Corpus, folder: Path, stem: str) -> tuple[Path, ...]:
    """clean.en.gz and clean.de.gz for train.{en,de}.gz: what distinguishes the names, and what follows that."""
    packings = [path.suffix if path.suffix.lower() in COMPRESSIONS else "" for path in corpus.paths]
    names = [path.name.removesuffix(packing).split(".") for path, packing in zip(corpus.paths, packings, strict=True)]
    if len(names) == 1:
        return (folder / f"{stem}.{names[0][-1]}{packings[0]}",)
    while all(names) and names[0][-1] == names[1][-1]:
        names = [name[:-1] for name in names]
    sides = [name[-1] for name in names] if all(names) else ["source", "target"]
    return tuple(folder / f"{stem}.{side}{packing}" for side, packing in zip(sides, packings, strict=True))
