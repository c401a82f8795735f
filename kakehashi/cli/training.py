"""`kakehashi train` and `kakehashi demo`."""

import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kakehashi.cli.program import Overrides, app, errors, example, print_scores
from kakehashi.errors import UserError

if TYPE_CHECKING:
    from kakehashi.training.parallel import Group


@app.command(
    epilog=example(
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
    from kakehashi.training.parallel import processes
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
    else:
        assert source is not None
        directory = run or Path("runs") / source.name.split(".")[0]
    with processes() as group:
        with group.main_first():
            if path is not None:
                recipe = load_recipe(path, settings)
            else:
                assert source is not None
                choice = recipe_for(source, target, directory, (from_, to), settings)
                recipe = choice.recipe
                for reason in choice.reasons if group.main else ():
                    errors.print(reason, highlight=False)
        with _stopped_runs_can_go_on(directory, group):
            outcome = run_training(recipe, directory, resume)
    if not group.main:
        return
    print_scores(outcome.scores)
    verb = {"translation": "translate", "language_model": "generate"}[recipe.task.kind]
    print(f"\nThe model: {directory / 'model'}\nUse it:    kakehashi {verb} {directory / 'model'}")


@app.command(epilog=example("kakehashi demo", "kakehashi demo --pair en-de run=runs/german"))
def demo(
    overrides: Overrides = None,
    pair: Annotated[str, typer.Option(help="en-ja or en-de.")] = "en-ja",
) -> None:
    """Train, score and use a translator on the built-in corpus, in minutes, without network."""
    from kakehashi.data.corpus import read_lines
    from kakehashi.training.defaults import demo_recipe
    from kakehashi.training.parallel import processes
    from kakehashi.training.run import train as run_training
    from kakehashi.translator import Translator

    run, settings = _run_directory(overrides or [])
    directory = run or Path("runs/demo")
    with processes() as group:
        with group.main_first():
            recipe = demo_recipe(directory, pair, settings)
        with _stopped_runs_can_go_on(directory, group):
            outcome = run_training(recipe, directory, resume=True)
    if not group.main:
        return
    print_scores(outcome.scores)
    texts = list(islice(read_lines(directory / "data" / "test.en"), 3))  # none of them was seen in training
    for text, translation in zip(texts, Translator.load(directory / "model").translate(texts), strict=True):
        print(f"{text}\n  {translation}")
    print(f"\nNow you:  echo '{texts[0]}' | kakehashi translate {directory / 'model'}")


def _run_directory(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Takes run=DIR out of the overrides."""
    runs = [argument.removeprefix("run=") for argument in arguments if argument.startswith("run=")]
    return (Path(runs[-1]) if runs else None), [a for a in arguments if not a.startswith("run=")]


@contextmanager
def _stopped_runs_can_go_on(directory: Path, group: "Group") -> Generator[None]:
    from kakehashi.training.loop import Interrupted

    try:
        yield
    except (Interrupted, KeyboardInterrupt) as error:
        if not group.main:  # torchrun ends all when one says that it failed, and the main one still speaks
            sys.exit(0)
        saved = "Stopped, all is saved" if isinstance(error, Interrupted) else "Stopped"
        errors.print(
            f"{saved}. To go on: add --resume to the same command (run={directory}).",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        sys.exit(128 + signal.SIGINT)
