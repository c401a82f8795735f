"""What the commands share: the program that they are added to, its exit codes, its arguments, its table of scores."""

import errno
import io
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from kakehashi.errors import UserError

if TYPE_CHECKING:
    from kakehashi.evaluation.metrics import Score

ENVIRONMENT = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)  # what the user can mend, and we cannot

app = typer.Typer(
    name="kakehashi",
    help="Kakehashi (架け橋, a bridge): build, measure and use your own translator or language model.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
errors = Console(stderr=True)

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)]
ModelArgument = Annotated[Path, typer.Argument(help="A model directory, as runs/demo/model.", show_default=False)]
Precision = Literal["fp32", "bf16", "int8"]  # a translator's (`TranslatorPrecision`), without the time to import torch
PRECISION = "Format of a translator's weights. int8: by far the fastest on x86 with a C compiler."
PrecisionOption = Annotated[Precision, typer.Option(help=PRECISION)]


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


def example(*lines: str) -> str:
    return "**Example:**\n\n" + "\n\n".join(f"    {line}" for line in lines)


def print_scores(scores: dict[str, list["Score"]], title: str = "test set") -> None:
    from rich.table import Table

    table = Table(title, "metric", "score", "95 % interval")
    table.columns[0].overflow = "fold"
    for name, found in scores.items():
        for each in found:
            interval = f"{each.low:.1f} to {each.high:.1f}" if each.low is not None else ""
            table.add_row(name, each.name, f"{each.value:.{2 if interval or each.value >= 10 else 3}f}", interval)
    Console().print(table)
    for line in dict.fromkeys(f"{each.name}: {each.signature}" for found in scores.values() for each in found):
        print(line)
