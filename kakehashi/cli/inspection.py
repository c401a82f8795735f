"""`kakehashi check`, `kakehashi info`, `kakehashi schema`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kakehashi.cli.program import Overrides, app, example


@app.command(
    epilog=example("kakehashi check train.en train.de", "kakehashi check train.en.gz train.de.gz --output clean")
)
def check(
    source: Annotated[Path, typer.Argument(help="Source text, or a .tsv or .jsonl file of pairs.", show_default=False)],
    target: Annotated[Path | None, typer.Argument(help="Its translation, line by line.", show_default=False)] = None,
    output: Annotated[Path | None, typer.Option(help="Write the clean corpus into this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Say what is wrong with a corpus, and write the clean one."""
    from kakehashi.config import resolve
    from kakehashi.data import check as checking
    from kakehashi.data.corpus import Corpus, brace_path

    corpora = [resolve({"files": brace_path(source, target) if target else str(source)}, Corpus)]
    report = checking.clean(corpora, output) if output else checking.check(corpora)
    print(json.dumps(report.as_dict(), ensure_ascii=False, indent=2) if as_json else "\n".join(report.lines()))


@app.command(
    epilog=example(
        "kakehashi info runs/demo/model",
        "kakehashi info paper-base --shapes 50",
        "kakehashi info tiny model.encoder.placement=post --diagram tiny.svg",
    )
)
def info(
    model: Annotated[Path, typer.Argument(help="A model directory, a preset or a recipe.", show_default=False)],
    overrides: Overrides = None,
    shapes: Annotated[
        int | None, typer.Option(min=1, help="Also each tensor's shape for a sentence of N tokens.")
    ] = None,
    diagram: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Also draw the architecture into this file.")
    ] = None,
) -> None:
    """Show what a model is: parameters, sizes, card; with --shapes every dimension, with --diagram a drawing."""
    from kakehashi import describe
    from kakehashi.data.corpus import write_lines

    described = describe.describe(model, shapes, overrides=overrides or ())
    if diagram is not None:  # before anything is printed: whoever reads that may stop reading
        write_lines(diagram, describe.diagram(model, overrides or ()).splitlines())
    print(described)


@app.command(epilog=example("kakehashi schema > recipe.schema.json"))
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from kakehashi.config import schema as json_schema
    from kakehashi.training.recipe import Recipe

    print(json.dumps(json_schema(Recipe), indent=2, ensure_ascii=False))
