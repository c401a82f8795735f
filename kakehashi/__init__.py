"""Kakehashi (架け橋, a bridge): build, measure and use your own sequence models with the Transformer.

    import kakehashi

    translator = kakehashi.load("runs/demo/model")
    translator.translate(["Where is the station?"], size=10)

`import kakehashi` alone loads no heavy library: the functions below import what they need.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kakehashi.directory import Precision
    from kakehashi.text_generator import TextGenerator
    from kakehashi.training.run import Outcome
    from kakehashi.translator import Translator, TranslatorPrecision

__all__ = ["load", "load_language_model", "train"]


def load(directory: Path | str, precision: "TranslatorPrecision" = "fp32", device: str = "auto") -> "Translator":
    """Opens a translator's directory. Its `translate`, `alternatives` and `stream` take the fields of `decoding` as
    keywords.

    Raises UserError when a file is missing, damaged, of another format version, or does not fit the others.
    """
    from kakehashi.translator import Translator

    return Translator.load(directory, precision, device)


def load_language_model(
    directory: Path | str, precision: "Precision" = "fp32", device: str = "auto"
) -> "TextGenerator":
    """Opens a language model's directory. Its `generate` takes the fields of `decoding` as keywords.

    Raises UserError as `load` does.
    """
    from kakehashi.text_generator import TextGenerator

    return TextGenerator.load(directory, precision, device)


def train(recipe: Path | str, directory: Path | str, overrides: Sequence[str] = (), resume: bool = False) -> "Outcome":
    """Trains as a recipe file says, as `kakehashi train RECIPE run=DIRECTORY key=value ...` does.

    Raises UserError for what the user can mend.
    """
    from kakehashi.training.recipe import load_recipe
    from kakehashi.training.run import train as run_training

    return run_training(load_recipe(Path(recipe), list(overrides)), Path(directory), resume)
