"""`kakehashi generate`."""

import re
from dataclasses import replace
from typing import Annotated

import typer

from kakehashi.cli.program import ModelArgument, app, example
from kakehashi.errors import UserError


@app.command(
    epilog=example(
        'kakehashi generate runs/shakespeare/model "ROMEO:" decoding.temperature=0.8',
        "kakehashi generate runs/arithmetic/model 12+34= decoding=greedy",
    )
)
def generate(
    model: ModelArgument,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROMPT] [KEY=VALUE]...", help="How the text shall begin.", show_default=False),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="N texts; samples have the seeds from decoding.seed on.")] = 1,
) -> None:
    """Continue a text with a language model."""
    from kakehashi.config import resolve
    from kakehashi.text_generator import LanguageModelDirectory, TextGenerator

    settings = [argument for argument in arguments or [] if re.match(r"decoding(\.\w+)*=", argument)]
    prompts = [argument for argument in arguments or [] if argument not in settings]
    if len(prompts) > 1:
        raise UserError(f"one prompt at a time, not {len(prompts)}: put it between quotes")
    generator = TextGenerator.load(model)
    generator = replace(generator, config=resolve(generator.config.model_dump(), LanguageModelDirectory, settings))
    texts = generator.generate(*prompts, count=count)
    print("\n\n".join(texts))
    longest, known = max(len(generator.segmenter.encode(text)) for text in texts), generator.config.length
    if longest > known:
        typer.echo(f"note: {longest:,} tokens; in training the longest text had {known:,}", err=True)
