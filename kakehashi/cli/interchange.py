"""`kakehashi import`, `kakehashi export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kakehashi.cli.program import ModelArgument, app, errors, example
from kakehashi.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kakehashi.interop.parity import EvaluationSet, Parity

Source = Annotated[Path | None, typer.Option(help="A test set: BLEU and chrF of both are compared.")]
Reference = Annotated[Path | None, typer.Option(help="Its right translations.")]
Tolerance = Annotated[
    float | None,
    typer.Option(min=0, help="Largest difference of a token's log-probability, instead of the format's own limit."),
]


@app.command(
    "import",
    epilog=example(
        "kakehashi import opus-mt-en-de models/en-de --from en --to de",
        "kakehashi import opus-mt-en-de models/en-de --source test.en --reference test.de",
    ),
)
def import_(
    directory: Annotated[Path, typer.Argument(help="A model of another library.", show_default=False)],
    model: Annotated[Path, typer.Argument(help="The model directory to make.", show_default=False)],
    source_language: Annotated[str | None, typer.Option("--from", help="Source language, where unknown.")] = None,
    target_language: Annotated[str | None, typer.Option("--to", help="Target language, where unknown.")] = None,
    source: Source = None,
    reference: Reference = None,
    tolerance: Tolerance = None,
) -> None:
    """Make a model directory of a Hugging Face, CTranslate2 or Argos model, and prove that it is the same model."""
    from kakehashi.interop import format_of
    from kakehashi.interop.protocol import Languages
    from kakehashi.interop.transfer import import_model

    format, languages = format_of(directory), Languages(source_language, target_language)
    test = _test_set(source, reference)
    _report(lambda: import_model(format, directory, model, languages, test, tolerance))


@app.command(
    epilog=example(
        "kakehashi export runs/demo/model opus --format huggingface",
        "kakehashi export runs/demo/model en-de.argosmodel --format argos --storage int8",
    )
)
def export(
    model: ModelArgument,
    destination: Annotated[Path, typer.Argument(help="What to write.", show_default=False)],
    format: Annotated[str, typer.Option(help="huggingface, ctranslate2, argos or onnx.", show_default=False)],
    storage: Annotated[
        str, typer.Option(help="Of the weights: float32; for ctranslate2 and argos also float16, int16, int8.")
    ] = "float32",
    source: Source = None,
    reference: Reference = None,
    tolerance: Tolerance = None,
) -> None:
    """Write a model for another library, and prove that it is the same model there."""
    from kakehashi.interop import FORMATS, stored
    from kakehashi.interop.transfer import export_model

    if format not in FORMATS:
        raise UserError(f"--format {format}: choose from {', '.join(FORMATS)}")
    test = _test_set(source, reference)
    chosen = stored(FORMATS[format], storage)
    _report(lambda: export_model(chosen, model, destination, test, tolerance))


def _test_set(source: Path | None, reference: Path | None) -> "EvaluationSet | None":
    from kakehashi.data.corpus import read_lines
    from kakehashi.interop.parity import EvaluationSet

    if source is None or reference is None:
        if source or reference:
            raise UserError("a test set has two sides: give --source and --reference, or neither")
        return None
    sources, references = list(read_lines(source)), list(read_lines(reference))
    if len(sources) != len(references):
        raise UserError(f"{source} has {len(sources):,} lines and {reference} has {len(references):,}")
    return EvaluationSet(sources, references)


def _report(transfer: "Callable[[], Parity]") -> None:
    """Prints the report; one that fails ends the program with code 1, and nothing is written."""
    from kakehashi.interop.transfer import ParityError

    try:
        with errors.status("Comparing ..."):
            report = transfer()
    except ParityError as error:
        errors.print(f"Failed, nothing written: {error}", style="bold red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    print("\n".join(report.lines_of_text()))
