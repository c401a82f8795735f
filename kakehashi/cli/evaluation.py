"""`kakehashi evaluate`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kakehashi.cli.program import app, errors, example, print_scores
from kakehashi.errors import UserError


@app.command(
    epilog=example(
        "kakehashi evaluate runs/demo/model --source test.en --reference test.ja",
        "kakehashi evaluate --hypothesis ours.de --hypothesis theirs.de --reference test.de --language de",
    )
)
def evaluate(
    model: Annotated[
        Path | None, typer.Argument(help="A model directory to translate with.", show_default=False)
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
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Score translations: BLEU, chrF, TER with signatures and 95 % intervals; two systems by paired bootstrap."""
    from kakehashi.data.corpus import read_lines
    from kakehashi.evaluation.metrics import score
    from kakehashi.evaluation.significance import compare

    if reference is None:
        raise UserError("--reference FILE is needed: the right translations")
    references = list(read_lines(reference))
    systems = {str(path): _as_many(path, references, reference) for path in hypothesis or []}
    if (model is None) != (source is None):
        raise UserError("a model translates a --source FILE: give both, or neither")
    if model is not None and source is not None:
        from kakehashi.translator import Translator

        translator = Translator.load(model)
        language = language or translator.config.target
        lines = _as_many(source, references, reference)
        with errors.status(f"Translating {len(lines):,} lines ..."):
            systems[str(model)] = translator.translate(lines)
    if not systems or len(systems) > 2:
        raise UserError("give a model with --source, or --hypothesis FILE once or twice (at most two systems)")
    if language is None:
        raise UserError("--language is needed, as in --language de: it decides how words are counted")
    scores = {name: score(texts, references, language, metric, confidence=True) for name, texts in systems.items()}
    outputs = list(systems.values())
    compared = compare(outputs[0], outputs[1], references, language, metric) if len(outputs) == 2 else []
    if as_json:
        print(
            json.dumps(
                {
                    "scores": {n: [asdict(s) for s in f] for n, f in scores.items()},
                    "comparison": [asdict(c) for c in compared],
                },
                indent=2,
            )
        )
        return
    print_scores(scores, "system")
    for each in compared:
        print(
            f"{each.metric}: {each.difference:+.2f} ({each.low:+.2f} to {each.high:+.2f}), p = {each.p_value:.3f} "
            "(second against first, paired bootstrap)"
        )


def _as_many(path: Path, references: Sequence[str], reference: Path) -> list[str]:
    """A file's lines, which must be as many as the references."""
    from kakehashi.data.corpus import read_lines

    lines = list(read_lines(path))
    if len(lines) != len(references):
        raise UserError(
            f"{path} has {len(lines):,} lines and {reference} has {len(references):,}: line n is scored on n"
        )
    return lines
