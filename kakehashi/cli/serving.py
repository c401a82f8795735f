"""`kakehashi serve` and `kakehashi corrections`."""

import os
import sys
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kakehashi.cli.program import PRECISION, Precision, app, example
from kakehashi.cli.training import demo
from kakehashi.errors import UserError

if TYPE_CHECKING:
    from kakehashi.serving.corrections.memory import Memory, Selection

DEMO = Path("runs/demo/model")

corrections = typer.Typer(help="Corrections of a server's translation memory, in and out.", no_args_is_help=True)
app.add_typer(corrections, name="corrections")

Database = Annotated[str, typer.Argument(help="The database: a file, or the URL of one.", show_default=False)]
Status = Annotated[
    Literal["approved", "pending", "rejected"], typer.Option(help="Which corrections; of an import: as what.")
]
From = Annotated[str | None, typer.Option("--from", help="Language of the texts, as en.")]
To = Annotated[str | None, typer.Option("--to", help="Language of their translations, as ja.")]


@app.command(
    epilog=example(
        "kakehashi serve runs/demo/model --port 5000",
        "kakehashi serve en-ja ja-en --settings server.yaml limits.minute=60",
    )
)
def serve(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]... [KEY=VALUE]...",
            help="Model directories; settings as in limits.minute=60.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address on which to listen.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="The port.", show_default="5000")] = None,
    precision: Annotated[Precision | None, typer.Option(help=PRECISION, show_default="fp32")] = None,
    settings: Annotated[Path | None, typer.Option(help="A file of settings (YAML).", show_default=False)] = None,
) -> None:
    """Serve translations behind LibreTranslate's HTTP API. Every setting may also be a variable KAKEHASHI_..."""
    _require_libraries()
    from kakehashi.serving.api.server import serve as run
    from kakehashi.serving.api.settings import load_settings

    options = [argument for argument in arguments or [] if "=" in argument and not Path(argument).exists()]
    models = [Path(argument) for argument in arguments or [] if argument not in options]
    named = (("host", host), ("port", port), ("engine.precision", precision))
    given = [f"{name}={value}" for name, value in named if value is not None]
    chosen = load_settings(settings, os.environ, [*options, *given])
    if not models and not DEMO.is_dir():
        _offer_demo()
    run(models or [DEMO], chosen)


def _offer_demo() -> None:
    """Makes the demo's model where somebody says yes to that; where nobody can be asked, says how."""
    if not sys.stdin.isatty() or not typer.confirm(
        "There is no model to serve. Train the demo's now, a small one from English to Japanese, in some minutes?"
    ):
        raise UserError(
            "no model to serve: name a model directory, or make the demo's with `kakehashi demo`, "
            "which takes some minutes, and say `kakehashi serve` again"
        )
    demo()


@corrections.command(epilog=example("kakehashi corrections export corrections.sqlite --format tsv > corrections.tsv"))
def export(
    database: Database,
    format: Annotated[Literal["tmx", "tsv"], typer.Option(help="TSV is a corpus for training.")] = "tmx",
    from_: From = None,
    to: To = None,
    state: Status = "approved",
) -> None:
    """Print corrections: as TMX for other tools, or as TSV, a corpus that `kakehashi train` takes."""
    _require_libraries()
    from kakehashi.serving.corrections.exchange import write_tmx, write_tsv

    selection = _selection(state, from_, to)
    with closing(_opened(database)) as memory:
        if format == "tsv":
            selection = _one_direction(memory, selection)
        write = write_tsv if format == "tsv" else write_tmx
        sys.stdout.writelines(write(memory.all(selection)))


@corrections.command("import", epilog=example("kakehashi corrections import corrections.sqlite memory.tmx"))
def import_(
    database: Database,
    file: Annotated[Path, typer.Argument(help="A .tmx file, or a .tsv file of one language pair.", show_default=False)],
    from_: From = None,
    to: To = None,
    state: Status = "approved",
) -> None:
    """Take the corrections of a file, all or none."""
    _require_libraries()
    selection = _selection(state, from_, to)
    languages = [code for code in (selection.source_language, selection.target_language) if code]
    with closing(_opened(database, create=True)) as memory:
        try:
            count = _imported(memory, file, languages, state)
        except FileNotFoundError as error:
            raise UserError(f"there is no file {file}") from error
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
    print(f"{count:,} corrections, {state}")


def _imported(memory: "Memory", file: Path, languages: list[str], state: Status) -> int:
    from kakehashi.serving.corrections.exchange import read_tmx, read_tsv

    with open(file, "rb") as stream:
        if file.suffix.lower() != ".tsv":
            return memory.store(read_tmx(stream, languages), state)
        if len(languages) != 2:
            raise UserError("a TSV file names no languages: add --from and --to")
        return memory.store(read_tsv(stream, *languages), state)


def _require_libraries() -> None:
    missing = [name for name in ("fastapi", "uvicorn", "sqlalchemy", "lingua") if find_spec(name) is None]
    if missing:
        raise UserError(f"serving needs further packages ({', '.join(missing)}): pip install 'kakehashi[serve]'")


def _opened(database: str, *, create: bool = False) -> "Memory":
    from kakehashi.serving.corrections.memory import Memory, MemorySettings

    return Memory.open(MemorySettings(database=database), create=create)


def _selection(state: Status, from_: str | None, to: str | None) -> "Selection":
    from kakehashi.data.languages import language_code
    from kakehashi.serving.corrections.memory import Selection

    source, target = (None if code is None else language_code(code) for code in (from_, to))
    return Selection(state, source, target)


def _one_direction(memory: "Memory", selection: "Selection") -> "Selection":
    """The selection with both languages, which need not be said where there is one pair."""
    wanted = (selection.source_language, selection.target_language)
    pairs = [
        (source, target)
        for source, target in memory.directions(selection.state or "approved")
        if wanted[0] in (None, source) and wanted[1] in (None, target)
    ]
    if not pairs:
        raise UserError("there are no such corrections")
    if len(pairs) > 1:
        known = ", ".join(f"{source} to {target}" for source, target in pairs)
        raise UserError(f"a TSV file holds one language pair: add --from and --to; there are {known}")
    return replace(selection, source_language=pairs[0][0], target_language=pairs[0][1])
