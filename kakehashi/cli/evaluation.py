"""`kakehashi evaluate`, `kakehashi calibrate`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kakehashi.cli.program import ModelArgument, Precision, PrecisionOption, app, errors, example, print_scores
from kakehashi.errors import UserError

if TYPE_CHECKING:
    from kakehashi.evaluation.metrics import Score
    from kakehashi.evaluation.reliability import Reliability
    from kakehashi.evaluation.significance import Comparison
    from kakehashi.tasks.calibration import Observed
    from kakehashi.translator import Translation, Translator


@app.command(
    epilog=example(
        "kakehashi evaluate runs/demo/model --source test.en --reference test.ja",
        "kakehashi evaluate --hypothesis ours.de --hypothesis theirs.de --reference test.de --language de",
        "kakehashi evaluate runs/shakespeare/model --text test.txt",
    )
)
def evaluate(
    model: Annotated[
        Path | None, typer.Argument(help="A model directory: a translator, or a language model.", show_default=False)
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="The right translations.")] = None,
    source: Annotated[Path | None, typer.Option(help="The text to translate.")] = None,
    hypothesis: Annotated[
        list[Path] | None, typer.Option(help="Anyone's translations; a second one is compared with the first.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Target language (a model knows its own).")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="bleu, bleu_char, bleu_tokenized_lowercase, chrf, ter.")
    ] = None,
    precision: PrecisionOption = "fp32",
    text: Annotated[Path | None, typer.Option(help="The text of which a language model says how likely it is.")] = None,
    reliability: Annotated[
        Path | None, typer.Option(help="An SVG to draw: how far a model's confidence can be believed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Score translations: BLEU, chrF, TER with signatures and 95 % intervals; two systems by paired bootstrap.

    With --text: how well a language model knows a text, as perplexity and bits per character.
    """
    from kakehashi.data.corpus import read_lines
    from kakehashi.evaluation.metrics import score
    from kakehashi.evaluation.significance import compare

    if text is not None:
        others = (reference, source, hypothesis, language, metric, reliability)
        if model is None or any(others) or precision != "fp32":
            raise UserError("--text FILE goes with a language model, and with nothing else")
        _tell({str(text): _likelihood(model, text)}, [], [], "text", as_json)
        return
    if reference is None:
        raise UserError("--reference FILE is needed: the right translations")
    references = list(read_lines(reference))
    systems = {str(path): _as_many(path, references, reference) for path in hypothesis or []}
    if (model is None) != (source is None):
        raise UserError("a model translates a --source FILE: give both, or neither")
    if reliability and model is None:
        raise UserError("--reliability is that of a model: give one, and a --source FILE")
    believed: list[Reliability] = []
    if model is not None and source is not None:
        translator, found = _translated(model, _as_many(source, references, reference), precision)
        language = language or translator.config.target
        systems[str(model)] = [each.text for each in found]
        if reliability:
            believed = _believed(translator, _observed(translator, found, references), source.name, reliability)
    if not systems or len(systems) > 2:
        raise UserError("give a model with --source, or --hypothesis FILE once or twice (at most two systems)")
    if language is None:
        raise UserError("--language is needed, as in --language de: it decides how words are counted")
    scores = {name: score(texts, references, language, metric, confidence=True) for name, texts in systems.items()}
    outputs = list(systems.values())
    compared = compare(outputs[0], outputs[1], references, language, metric) if len(outputs) == 2 else []
    _tell(scores, compared, believed, "system", as_json)


@app.command(epilog=example("kakehashi calibrate runs/demo/model --source valid.en --reference valid.ja"))
def calibrate(
    model: ModelArgument,
    source: Annotated[Path, typer.Option(help="Text that the model did not learn from.", show_default=False)],
    reference: Annotated[Path, typer.Option(help="Its right translations.", show_default=False)],
) -> None:
    """Fit a translator's confidence to known translations: it becomes the chrF to expect.

    Writes calibration.json and reliability.svg into the model directory. Training does so by its development set.
    """
    from kakehashi.data.corpus import read_lines
    from kakehashi.tasks.calibration import keep

    references = list(read_lines(reference))
    translator, found = _translated(model, _as_many(source, references, reference))
    observed = _observed(translator, found, references)
    calibration = observed.calibration()
    keep(model, calibration, observed, source.name)
    _tell_reliability(observed.reliability(calibration))


def _translated(
    model: Path, lines: Sequence[str], precision: Precision = "fp32"
) -> tuple["Translator", list["Translation"]]:
    from kakehashi.translator import Translator

    translator = Translator.load(model, precision)
    with errors.status(f"Translating {len(lines):,} lines ..."):
        return translator, list(translator.stream(lines, detail="tokens"))


def _observed(translator: "Translator", found: Sequence["Translation"], references: Sequence[str]) -> "Observed":
    from kakehashi.tasks.calibration import observe

    if observed := observe(translator, found, references):
        return observed
    raise UserError("no line has a translation: there is no confidence to judge")


def _believed(translator: "Translator", observed: "Observed", title: str, figure: Path) -> list["Reliability"]:
    from kakehashi.directory import replaced
    from kakehashi.evaluation.reliability import draw

    found = observed.reliability(translator.calibration)
    with replaced(figure) as new:
        draw(found, title, new)
    return found


def _tell(
    scores: dict[str, list["Score"]],
    compared: Sequence["Comparison"],
    believed: Sequence["Reliability"],
    title: str,
    as_json: bool,
) -> None:
    """As a table, or as JSON."""
    if as_json:
        found = {name: [asdict(score) for score in each] for name, each in scores.items()}
        told = {
            each.name: {"error": each.errors(), "order": None if isnan(each.order()) else each.order()}
            for each in believed
        }
        comparison = [asdict(each) for each in compared]
        print(json.dumps({"scores": found, "comparison": comparison, "reliability": told}, indent=2))
        return
    print_scores(scores, title)
    _tell_reliability(believed)
    for each in compared:
        print(
            f"{each.metric}: {each.difference:+.2f} ({each.low:+.2f} to {each.high:+.2f}), p = {each.p_value:.3f} "
            "(second against first, paired bootstrap)"
        )


def _tell_reliability(believed: Sequence["Reliability"]) -> None:
    for each in believed:
        before, after = each.errors()
        errors_told = f"calibration error {before:.3f} before, {after:.3f} after"
        print(f"confidence of {len(each.outcomes_N):,} {each.name}: {errors_told}; {each.measure} {each.order():.3f}")


def _as_many(path: Path, references: Sequence[str], reference: Path) -> list[str]:
    """A file's lines, which must be as many as the references."""
    from kakehashi.data.corpus import read_lines

    lines = list(read_lines(path))
    if len(lines) != len(references):
        raise UserError(
            f"{path} has {len(lines):,} lines and {reference} has {len(references):,}: line n is scored on n"
        )
    return lines


def _likelihood(model: Path, text: Path) -> list["Score"]:
    """Of a file as one text, by a language model."""
    from kakehashi.data.text import Stream
    from kakehashi.tasks.language_model import score_text
    from kakehashi.text_generator import TextGenerator

    generator = TextGenerator.load(model)
    (whole,) = Stream(train=(str(text),), valid=(str(text),)).read()["valid"]
    with errors.status(f"Reading {len(whole):,} characters ..."):
        return score_text(generator, whole)
