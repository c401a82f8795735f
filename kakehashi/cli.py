"""The command line: one thin function a command.

Exit codes: 0 done; 2 the user's mistake, with one clear message; 1 a fault of ours; 130 stopped by the user, all saved.
An argument `key=value` whose left side is a path of the configuration is an override.
"""

import errno
import io
import json
import os
import re
import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kakehashi.errors import UserError

if TYPE_CHECKING:
    from kakehashi.evaluation.metrics import Score
    from kakehashi.translator import Translation as Translated
    from kakehashi.translator import Translator

WINDOW = 2000  # lines read at a time where nobody waits for each answer
ENVIRONMENT = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)  # what the user can mend, and we cannot

app = typer.Typer(
    name="kakehashi",
    help="Kakehashi (架け橋, a bridge): build, measure and use your own translator.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
errors = Console(stderr=True)

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)]
ModelArgument = Annotated[Path, typer.Argument(help="A model directory, as runs/demo/model.", show_default=False)]


def main() -> None:
    """Runs a command; turns mistakes of the user into a message and exit code 2."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # when nobody reads our output any more (`| head`), end silently
    for stream, undecodable in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):  # UTF-8 whatever the locale says: text goes in so, and comes out so
            stream.reconfigure(encoding="utf-8", errors=undecodable)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in ENVIRONMENT:
            raise
        _fail(f"cannot use {error.filename or 'the output'}: {error.strerror}")


def _fail(message: str) -> None:
    errors.print("Error:", style="bold red", end=" ")
    errors.print(message, markup=False, highlight=False, soft_wrap=True)
    try:
        sys.stdout.flush()
    except OSError:  # its disk is full: what was not written is lost, and must not be tried again on leaving
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it is open as long as the process
    sys.exit(2)


def _example(*lines: str) -> str:
    return "**Example:**\n\n" + "\n\n".join(f"    {line}" for line in lines)


@app.command(
    epilog=_example(
        "kakehashi train configs/multi30k.yaml run=runs/multi30k", "kakehashi train --source train.en --target train.ja"
    )
)
def train(
    config: Annotated[
        str | None, typer.Argument(metavar="[CONFIG]", help="A recipe (YAML).", show_default=False)
    ] = None,
    overrides: Overrides = None,
    source: Annotated[
        Path | None, typer.Option(help="Source text, a sentence a line; no recipe is needed then.")
    ] = None,
    target: Annotated[Path | None, typer.Option(help="Its translation, line by line.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Source language, as en.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Target language, as ja.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run (or start it).")] = False,
) -> None:
    """Train a model: from a recipe, or just from two text files. run=DIR says where (default runs/NAME)."""
    from kakehashi.training.defaults import recipe_for
    from kakehashi.training.recipe import load_recipe
    from kakehashi.training.run import train as run_training

    arguments = [*([config] if config else []), *(overrides or [])]
    path = Path(arguments.pop(0)) if arguments and "=" not in arguments[0] else None
    run, settings = _run_directory(arguments)
    if (path is None) == (source is None):
        raise UserError(
            "give a recipe (kakehashi train CONFIG), or two texts (kakehashi train --source FILE --target FILE)"
        )
    if path is not None:
        if target or from_ or to:
            raise UserError("--target, --from and --to go with --source; a recipe says them as task.target and so on")
        directory = run or Path("runs") / path.stem
        recipe = load_recipe(path, settings)
    else:
        assert source is not None
        directory = run or Path("runs") / source.name.split(".")[0]
        choice = recipe_for(source, target, directory, (from_, to), settings)
        recipe = choice.recipe
        for reason in choice.reasons:
            errors.print(reason, highlight=False)
    with _stopped_runs_can_go_on(directory):
        outcome = run_training(recipe, directory, resume)
    _print_scores(outcome.scores)
    print(f"\nThe model: {directory / 'model'}\nUse it:    kakehashi translate {directory / 'model'}")


def _run_directory(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Takes run=DIR out of the overrides."""
    runs = [argument.removeprefix("run=") for argument in arguments if argument.startswith("run=")]
    return (Path(runs[-1]) if runs else None), [a for a in arguments if not a.startswith("run=")]


@contextmanager
def _stopped_runs_can_go_on(directory: Path) -> Generator[None]:
    from kakehashi.training.loop import Interrupted

    try:
        yield
    except (Interrupted, KeyboardInterrupt) as error:
        saved = "Stopped, all is saved" if isinstance(error, Interrupted) else "Stopped"
        errors.print(
            f"{saved}. To go on: add --resume to the same command (run={directory}).",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        sys.exit(128 + signal.SIGINT)


def _print_scores(scores: dict[str, list["Score"]], title: str = "test set") -> None:
    from rich.table import Table

    table = Table(title, "metric", "score", "95 % interval")
    table.columns[0].overflow = "fold"
    for name, found in scores.items():
        for each in found:
            interval = f"{each.low:.1f} to {each.high:.1f}" if each.low is not None else ""
            table.add_row(name, each.name, f"{each.value:.2f}", interval)
    Console().print(table)
    for line in dict.fromkeys(f"{each.name}: {each.signature}" for found in scores.values() for each in found):
        print(line)


@app.command(
    epilog=_example(
        "kakehashi translate runs/demo/model input.txt > output.txt",
        "echo Hello. | kakehashi translate runs/demo/model - decoding.size=10",
    )
)
def translate(
    model: ModelArgument,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE] [KEY=VALUE]...", help="A text, - or nothing: standard input.", show_default=False
        ),
    ] = None,
    alternatives: Annotated[int, typer.Option(min=1, help="The N best translations of each line.")] = 1,
    scores: Annotated[bool, typer.Option("--scores", help="Each line begins with its score and a TAB.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line, with all that is known.")] = False,
) -> None:
    """Translate lines of text as they come: lines in, lines out, in order."""
    from kakehashi.translator import Translator

    settings = [a for a in arguments or [] if "=" in a and not Path(a).exists()]
    files = [a for a in arguments or [] if a not in settings]
    if len(files) > 1:
        raise UserError(f"one file at a time, not {len(files)}: join them with cat and a pipe")
    translator = _with_decoding(Translator.load(model), settings, alternatives)
    for lines in _windows(files[0] if files else "-"):
        for found in translator.stream(lines, count=alternatives):
            if found.note:
                note = f"Note: {found.source[:60]!r}: {found.note}"
                errors.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
            for each in (found, *found.alternatives):
                print(_rendered(each, scores, jsonl))
        sys.stdout.flush()


def _with_decoding(translator: "Translator", settings: Sequence[str], alternatives: int) -> "Translator":
    """The translator with overrides as `decoding=greedy` or `decoding.size=10`, and a wide enough beam."""
    from kakehashi.config import resolve
    from kakehashi.translator import ModelDirectory

    strangers = [setting for setting in settings if not re.match(r"decoding[.=]", setting)]
    if strangers:
        raise UserError(f"{strangers[0]}: only decoding can be changed here, as in decoding.size=10")
    tree = translator.config.model_dump()
    config = resolve(tree, ModelDirectory, settings)
    if alternatives > config.decoding.build().size:
        if any(re.match(r"decoding(\.kind|\.size)?=", setting) for setting in settings):
            raise UserError(f"--alternatives {alternatives} needs a beam as wide: decoding.size={alternatives}")
        config = resolve(tree, ModelDirectory, [*settings, "decoding.kind=beam", f"decoding.size={alternatives}"])
    return replace(translator, config=config)


def _windows(name: str) -> Iterator[list[str]]:
    """A file's lines, many at a time; of standard input all that has come, so that nobody waits for a full window."""
    from kakehashi.data.corpus import read_lines

    if name != "-":
        lines = read_lines(Path(name))
        while window := list(islice(lines, WINDOW)):
            yield window
        return
    rest, number = b"", 0
    while block := os.read(sys.stdin.fileno(), 1 << 16):
        *whole, rest = (rest + block).split(b"\n")
        yield [_decoded(line, number + i) for i, line in enumerate(whole, 1)]
        number += len(whole)
    if rest:
        yield [_decoded(rest, number + 1)]


def _decoded(line: bytes, number: int) -> str:
    from kakehashi.data.corpus import BYTE_ORDER_MARK

    try:
        text = line.decode("utf-8").removesuffix("\r")
        return text.removeprefix(BYTE_ORDER_MARK) if number == 1 else text
    except UnicodeDecodeError as error:
        raise UserError(
            f"standard input, line {number}: byte {error.start + 1} is not UTF-8; convert it with iconv"
        ) from error


def _rendered(translation: "Translated", scores: bool, jsonl: bool) -> str:
    if jsonl:
        record = {
            "source": translation.source,
            "translation": translation.text,
            "score": round(translation.score, 4),
            "finished": translation.finished,
        }
        return json.dumps(record | ({"note": translation.note} if translation.note else {}), ensure_ascii=False)
    return f"{translation.score:.4f}\t{translation.text}" if scores else translation.text


@app.command(
    epilog=_example(
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
    _print_scores(scores, "system")
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


@app.command(
    epilog=_example("kakehashi check train.en train.de", "kakehashi check train.en.gz train.de.gz --output clean")
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


@app.command(epilog=_example("kakehashi info runs/demo/model", "kakehashi info paper-base --shapes 50"))
def info(
    model: Annotated[Path, typer.Argument(help="A model directory, or the name of a preset.", show_default=False)],
    shapes: Annotated[
        int | None, typer.Option(min=1, help="Also each tensor's shape for a sentence of N tokens.")
    ] = None,
) -> None:
    """Show what a model is: parameters, sizes, card; with --shapes every dimension."""
    from kakehashi.describe import describe

    print(describe(model, shapes))


@app.command(epilog=_example("kakehashi schema > recipe.schema.json"))
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from kakehashi.config import schema as json_schema
    from kakehashi.training.recipe import Recipe

    print(json.dumps(json_schema(Recipe), indent=2, ensure_ascii=False))


@app.command(epilog=_example("kakehashi demo", "kakehashi demo --pair en-de run=runs/german"))
def demo(
    overrides: Overrides = None,
    pair: Annotated[str, typer.Option(help="en-ja or en-de.")] = "en-ja",
) -> None:
    """Train, score and use a translator on the built-in corpus, in minutes, without network."""
    from kakehashi.data.corpus import read_lines
    from kakehashi.training.defaults import demo_recipe
    from kakehashi.training.run import train as run_training
    from kakehashi.translator import Translator

    run, settings = _run_directory(overrides or [])
    directory = run or Path("runs/demo")
    recipe = demo_recipe(directory, pair, settings)
    with _stopped_runs_can_go_on(directory):
        outcome = run_training(recipe, directory, resume=True)
    _print_scores(outcome.scores)
    texts = list(islice(read_lines(directory / "data" / "test.en"), 3))  # none of them was seen in training
    for text, translation in zip(texts, Translator.load(directory / "model").translate(texts), strict=True):
        print(f"{text}\n  {translation}")
    print(f"\nNow you:  echo '{texts[0]}' | kakehashi translate {directory / 'model'}")
