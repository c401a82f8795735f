"""`kakehashi translate`."""

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kakehashi.cli.program import ModelArgument, PrecisionOption, app, errors, example
from kakehashi.errors import UserError

if TYPE_CHECKING:
    from kakehashi.translator import Detail, Translator
    from kakehashi.translator import Translation as Translated

WINDOW = 2000  # lines read at a time where nobody waits for each answer


@app.command(
    epilog=example(
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
    precision: PrecisionOption = "fp32",
    prefix: Annotated[str, typer.Option(help="What every translation begins with: whole words.")] = "",
    glossary: Annotated[
        Path | None, typer.Option(help="SOURCE, TAB, TARGET a line: terms that must be kept.", show_default=False)
    ] = None,
    forbid: Annotated[
        list[str] | None, typer.Option(help="A phrase that must not appear; may be given again.", show_default=False)
    ] = None,
    loops: Annotated[
        int | None, typer.Option(min=2, help="Note translations that end in the same N times.", show_default=False)
    ] = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line, with all that is known.")] = False,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="With --jsonl: each token, its log-probability and its place.")
    ] = False,
    alignment: Annotated[
        bool,
        typer.Option("--alignment", help="What goes back to what: a TAB and 0-0 1-2; with --jsonl: tokens and links."),
    ] = False,
) -> None:
    """Translate lines of text as they come: lines in, lines out, in order."""
    from kakehashi.data.terms import Wording, read_glossary
    from kakehashi.translator import Translator

    settings = [a for a in arguments or [] if "=" in a and not Path(a).exists()]
    files = [a for a in arguments or [] if a not in settings]
    if len(files) > 1:
        raise UserError(f"one file at a time, not {len(files)}: join them with cat and a pipe")
    if tokens and not jsonl:
        raise UserError("--tokens has no place in plain lines: add --jsonl")
    translator = replace(_with_decoding(Translator.load(model, precision), settings, alternatives), loops=loops)
    wording = (
        Wording(read_glossary(glossary) if glossary else {}, forbidden=forbid or ()) if glossary or forbid else None
    )
    detail = "links" if alignment else "tokens" if tokens else "text"
    for lines in _windows(files[0] if files else "-"):
        for found in translator.stream(lines, alternatives, prefix=prefix, wording=wording, detail=detail):
            if found.note:
                note = f"Note: {found.source[:60]!r}: {found.note}"
                errors.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
            for each in (found, *found.alternatives):
                print(_record(each, detail) if jsonl else _line(each, scores, alignment))
        sys.stdout.flush()


def _with_decoding(translator: "Translator", settings: Sequence[str], alternatives: int) -> "Translator":
    """The translator with overrides as `decoding=greedy` or `decoding.size=10`, and a wide enough beam, if any."""
    from kakehashi.config import resolve
    from kakehashi.decoding import Sample
    from kakehashi.translator import ModelDirectory

    strangers = [setting for setting in settings if not re.match(r"decoding[.=]", setting)]
    if strangers:
        raise UserError(f"{strangers[0]}: only decoding can be changed here, as in decoding.size=10")
    tree = translator.config.model_dump()
    config = resolve(tree, ModelDirectory, settings)
    if alternatives > config.decoding.build().size and not isinstance(config.decoding, Sample):
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


def _record(translation: "Translated", detail: "Detail") -> str:
    record: dict[str, Any] = {
        "source": translation.source,
        "translation": translation.text,
        "score": round(translation.score, 4),
        "finished": translation.finished,
    }
    if translation.note:
        record["note"] = translation.note
    if detail != "text":
        record["tokens"] = [
            {"piece": token.piece, "log_probability": round(token.log_probability, 4), "span": token.span}
            for token in translation.tokens
        ]
    if detail == "links":
        record["links"] = [
            {"source": link.source, "target": link.target, "weight": round(link.weight, 4)}
            for link in translation.links
        ]
    return json.dumps(record, ensure_ascii=False)


def _line(translation: "Translated", scores: bool, alignment: bool) -> str:
    from kakehashi.alignment import pharaoh

    cells = [translation.text]
    if scores:
        cells.insert(0, f"{translation.score:.4f}")
    if alignment:
        cells.append(pharaoh(translation.source, translation.text, translation.links))
    return "\t".join(cells)
