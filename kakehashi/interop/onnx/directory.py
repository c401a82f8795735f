"""The files beside the graphs: all that somebody without Kakehashi needs to write the loop."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from kakehashi.config import Config
from kakehashi.data.listed import ListedSegmenter, Special
from kakehashi.data.subwords import SegmenterPair
from kakehashi.errors import UserError
from kakehashi.translator import Translator

CONFIG, README = "config.json", "README.md"
ENCODER, STEP = "encoder.onnx", "step.onnx"
PAST, PRESENT = "past.", "present."
"""How a tensor per hypothesis is called where it goes in, and where it comes out."""
STATES = "encoded.states"
"""What the encoder gives in any case, be it only for who wants to look at it."""

_SEGMENTERS = "source.model", "target.model"
_TEXT = """# {source} to {target}, as ONNX graphs

Made with Kakehashi. `config.json` names all inputs and outputs with their types and shapes; a length that differs from
call to call is a word: N = sentences, F = hypotheses (of each sentence; 1 in greedy search), S = source, K = past.

1. Cut a text with SentencePiece (`source.model`) into pieces. A piece's id is its place in `pieces` of
   `source.vocabulary.json`, or `unknown` where it has none; `end` follows the last piece.
2. Run `encoder.onnx` once: `source` [N, S] ids, filled up behind the end with `pad`; `mask` [N, S], true where there is
   a token. It gives what is needed of each sentence, under the names by which `step.onnx` wants it at every step.
3. Run `step.onnx` for each token: `tokens` [N, F], first the id `begin` of `target.vocabulary.json`; `length`, how many
   tokens have gone in before. Each input `past.NAME` begins as zeros, with K = 0 where it has an axis of that name, and
   is later what came out as `present.NAME`. A beam chooses among the hypotheses of one sentence: along axis 1.
4. `logits` [N, F, V] are scores of the next token: their log-soft-max is its log-probability. Never choose `pad` or
   `begin`. A translation is done at `end`.
5. Join the pieces with SentencePiece (`target.model`).

The model takes sequences of {longest}.
"""


class Port(Config):
    """An input or output of a graph: a name, a numpy type, and the size of each axis, or the name of a length."""

    name: str
    type: str
    shape: tuple[int | str, ...]


class Graph(Config):
    """What goes into a graph, and what comes out."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class Settings(Config):
    """What `config.json` says. graphs: by file."""

    format_version: Literal[1] = 1
    source: str
    target: str
    max_length: int | None
    graphs: dict[str, Graph]


def write(translator: Translator, graphs: Mapping[str, Graph], path: Path) -> None:
    """All but the graphs themselves."""
    source, target = translator.config.source, translator.config.target
    settings = Settings(source=source, target=target, max_length=translator.model.max_length, graphs=dict(graphs))
    (path / CONFIG).write_text(settings.model_dump_json(indent=1) + "\n", "utf-8")
    limit = "any length" if settings.max_length is None else f"at most {settings.max_length} tokens"
    (path / README).write_text(_TEXT.format(source=source, target=target, longest=limit), "utf-8")
    for segmenter, name in zip(translator.segmenters, _SEGMENTERS, strict=True):
        pieces = [segmenter.piece(id) for id in range(segmenter.size)]
        ListedSegmenter(segmenter.model, pieces, Special(*segmenter.special)).save(path / name)


def read(path: Path) -> tuple[Settings, SegmenterPair]:
    """Raises UserError when a file is missing or damaged."""
    try:
        settings = Settings.model_validate_json((path / CONFIG).read_bytes())
        if missing := {ENCODER, STEP} - settings.graphs.keys():
            raise ValueError(f"it does not name {', '.join(sorted(missing))}")
    except OSError as error:
        raise UserError(f"cannot read {path / CONFIG}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path / CONFIG} does not describe the graphs: {error}") from error
    return settings, SegmenterPair(*(ListedSegmenter.load(path / name) for name in _SEGMENTERS))
