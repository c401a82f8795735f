"""Wording that a translation must follow: a glossary's terms, and phrases that are asked for or forbidden."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kakehashi.data.corpus import read_lines
from kakehashi.errors import UserError


@dataclass(frozen=True)
class Wording:
    """`terms`: where the source term stands in a line, as whole words and in this case, the target term must appear
    in the translation, letter by letter (an ending may follow it). `required` must appear in every translation, and
    `forbidden` in none."""

    terms: Mapping[str, str] = field(default_factory=dict[str, str])
    required: Sequence[str] = ()
    forbidden: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not all(text.strip() for text in (*self.terms, *self.terms.values(), *self.required, *self.forbidden)):
            raise UserError("a term or phrase of the wording is blank: leave it out")

    def terms_in(self, line: str, *, spaced: bool) -> list[str]:
        """The target terms of a line, each once. In a language without spaces a term may stand anywhere."""
        edge, after = (r"(?<!\w)", r"(?!\w)") if spaced else ("", "")
        found = (target for source, target in self.terms.items() if re.search(edge + re.escape(source) + after, line))
        return list(dict.fromkeys(found))


def read_glossary(path: Path) -> dict[str, str]:
    """Terms of a file with SOURCE, TAB and TARGET on each line; blank lines are skipped.

    Raises UserError where a line is something else, or one source term has two targets.
    """
    terms: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        source, *targets = (cell.strip() for cell in line.split("\t"))
        if len(targets) != 1 or not source or not targets[0]:
            raise UserError(f"{path}, line {number}: a glossary's line is the source term, a TAB and the target term")
        if terms.setdefault(source, targets[0]) != targets[0]:
            raise UserError(f"{path}, line {number}: {source!r} is {terms[source]!r} above: one target for each term")
    return terms
