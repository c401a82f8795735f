"""Import and export: read or write, compare, and only then put the result in its place.

Nothing half-written is left: the result is made under a temporary name, and where the comparison fails it is removed.
"""

from dataclasses import replace
from pathlib import Path
from typing import cast

from torch import nn

from kakehashi.directory import replaced
from kakehashi.errors import UserError
from kakehashi.interop.ours import Ours
from kakehashi.interop.parity import FILE, EvaluationSet, Parity, compare
from kakehashi.interop.protocol import Format, Languages, System
from kakehashi.translator import Translator

_SMALL = 1e-3  # a tensor without larger numbers: too small for fp16 to be as exact in them


class ParityError(Exception):
    """The result is not the model that it was made from; its text says where they part."""


def import_model(
    format: Format,
    directory: Path,
    model: Path,
    languages: Languages,
    test: EvaluationSet | None = None,
    tolerance: float | None = None,
) -> Parity:
    """Makes a model directory of a foreign one, with its parity report in it. tolerance: replaces the limit of
    log-probabilities, and no other.

    Raises UserError when something stands at `model`, or `directory` cannot be read; ParityError beyond a limit.
    """
    _free(model)
    translator = format.read(directory, languages)
    with replaced(model) as new:
        translator.save(new)
        ours = Ours(Translator.load(new, device="cpu"))
        theirs = format.open(directory) or _again(format, directory, languages)
        sizes = _sizes(theirs, directory, ours, new)
        report = _passed(compare(theirs, ours, sizes, test, translator.config.target), tolerance)
        report.save(new / FILE)
    return report


def export_model(
    format: Format,
    model: Path,
    destination: Path,
    test: EvaluationSet | None = None,
    tolerance: float | None = None,
) -> Parity:
    """Writes a model in a foreign format, with the parity report in the folder, or beside the file as NAME.parity.json.
    tolerance: as in `import_model`.

    Raises UserError when something stands at `destination`, or the format cannot express the model; ParityError beyond
    a limit.
    """
    _free(destination)
    translator = Translator.load(model, device="cpu")
    format.check(translator)
    ours = Ours(translator)
    with replaced(destination) as new:
        format.write(translator, new)
        languages = Languages(translator.config.source, translator.config.target)
        theirs = format.open(new) or _again(format, new, languages)
        report = compare(ours, theirs, _sizes(ours, model, theirs, new), test, translator.config.target)
        if format.rounds:
            report = replace(report, weights=_rounding(translator, format.read(new, languages)))
        report = _passed(report, tolerance)
        folder = new.is_dir()
        if folder:
            report.save(new / FILE)
    if not folder:
        report.save(destination.with_name(f"{destination.name}.{FILE}"))
    return report


def _free(path: Path) -> None:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} exists: choose another place, or remove it")


def _again(format: Format, path: Path, languages: Languages) -> System:
    """Ourselves, where the library is missing: proves that the files can be read, not that others read them alike."""
    name = f"kakehashi, reading the {format.name} files again ({format.library} is not installed)"
    return Ours(format.read(path, languages), name)


def _rounding(ours: Translator, stored: Translator) -> float:
    """The largest difference of a weight as a share of the largest of its tensor. Nothing else shows a fault as small
    as the rounding itself: a scale that is wrong by 5 % in one layer."""
    first, second = (cast(nn.Module, each.model).state_dict() for each in (ours, stored))
    return max(
        float((first[name] - second[name]).abs().max() / first[name].abs().max().clamp_min(_SMALL)) for name in first
    )


def _sizes(first: System, one: Path, second: System, other: Path) -> dict[str, int]:
    return {first.name: _bytes(one), second.name: _bytes(other)}


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _passed(report: Parity, tolerance: float | None) -> Parity:
    """The report, with the limits that it was held against."""
    if tolerance is not None:
        report = replace(report, limits=replace(report.limits, log_probability=tolerance))
    if failures := report.failures():
        raise ParityError(f"{report.second} is not {report.first}: " + "; ".join(failures))
    return report
