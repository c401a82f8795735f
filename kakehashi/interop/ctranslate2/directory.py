"""CTranslate2's model directories: `model.bin`, `config.json`, vocabularies as lists of pieces, SentencePiece models.

Notable: whoever feeds bare pieces gets what ours gives. The end of the source is added by the directory's own
`add_source_eos`, as OPUS and Argos expect.
"""

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from kakehashi.data.listed import processor
from kakehashi.data.subwords import Given, SegmenterPair
from kakehashi.errors import UserError
from kakehashi.interop.ctranslate2.binary import Storage, Variables, read_variables, write_variables
from kakehashi.interop.ctranslate2.structure import START_FROM_ZERO, configuration, expressible, upgraded
from kakehashi.interop.ctranslate2.vocabulary import CONFIG, SHARED, SOURCE, TARGET, Side, Vocabularies
from kakehashi.interop.ctranslate2.weights import exported, extended, fill, paired
from kakehashi.interop.protocol import EXACT, Languages, Limits, Pieces, System
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.transformer import Transformer
from kakehashi.nn.norms import NoNorm
from kakehashi.translator import ModelDirectory, Translator

LIBRARY = "ctranslate2"  # absent from an install without the extra `interop`
NETWORK, REVISION = "TransformerSpec", 7
WEIGHTS = "model.bin"
FILES = (WEIGHTS, CONFIG, *(f"{name}.{kind}" for name in (SHARED, SOURCE, TARGET) for kind in ("json", "txt")))
"""What there may be of a model, the SentencePiece models aside."""
SOURCE_MODEL, TARGET_MODEL = "source.spm", "target.spm"
SEGMENTERS = (SOURCE_MODEL, TARGET_MODEL), ("sentencepiece.model", "sentencepiece.model")
"""Under what names SentencePiece models stand beside a model: OPUS's, and that of who has one."""

_WHOLE = Limits(log_probability=0.7, mean=0.06, identical=0.0, tested=0.7, score=0.7)
LIMITS: dict[Storage, Limits] = {
    "float32": EXACT,
    "float16": Limits(log_probability=0.02, mean=0.005, identical=0.6, weights=0.001),
    "int16": _WHOLE,  # computed in int8 by processors that have no better way
    "int8": _WHOLE,
}
"""How close the library comes to a model that is not rounded. Measured with those of Multi30k and Tatoeba: int8 and
int16 differ by up to 0.28 nats, 0.03 in the mean, and turn over most of the sample's strange lines, but one in eight of
a test set's; where a matrix of a layer is zero or transposed, it is 1.1 to 7 nats, 0.09 to 1 in the mean."""


@dataclass(frozen=True)
class CTranslate2:
    """Satisfies `Format`."""

    storage: Storage = "float32"
    name: str = "ctranslate2"
    library: str = LIBRARY

    @property
    def rounds(self) -> bool:
        return self.storage != "float32"

    def recognises(self, path: Path) -> bool:
        return (path / WEIGHTS).is_file()

    def read(self, path: Path, languages: Languages) -> Translator:
        return read(path, _models(path), languages.of(path))

    def check(self, translator: Translator) -> None:
        expressible(translator.config.model)

    def write(self, translator: Translator, path: Path) -> None:
        write(translator, path, self.storage)
        for segmenter, name in zip(translator.segmenters, (SOURCE_MODEL, TARGET_MODEL), strict=True):
            (path / name).write_bytes(segmenter.model)

    def open(self, path: Path) -> System | None:
        source, target = _models(path)
        joined = processor(target)
        return opened(path, source, joined.decode_pieces)


def _models(directory: Path) -> tuple[bytes, bytes]:
    for names in SEGMENTERS:
        if all((directory / name).is_file() for name in names):
            source, target = ((directory / name).read_bytes() for name in names)
            return source, target
    raise UserError(
        f"{directory} has no SentencePiece models, and without these its pieces mean nothing: put them there as "
        f"{SOURCE_MODEL} and {TARGET_MODEL}"
    )


def write(translator: Translator, directory: Path, storage: Storage) -> None:
    """Makes the directory, without SentencePiece models. The model must be `expressible`."""
    config = expressible(translator.config.model)
    assert not isinstance(config.encoder.norm, NoNorm)
    source, target = ([each.piece(id) for id in range(each.size)] for each in translator.segmenters)
    special = translator.segmenters.target.special
    settings = {
        "add_source_bos": False,
        "add_source_eos": config.source_end == "seen",
        "bos_token": target[special.begin],
        "decoder_start_token": target[special.begin],
        "eos_token": target[special.end],
        "layer_norm_epsilon": config.encoder.norm.epsilon,
        "unk_token": target[special.unknown],
    }
    directory.mkdir()
    _write_json(directory / CONFIG, settings)
    for name, pieces in ((SHARED, source),) if source == target else ((SOURCE, source), (TARGET, target)):
        _write_json(directory / f"{name}.json", pieces)
    write_variables(directory / WEIGHTS, NETWORK, REVISION, exported(cast(Transformer, translator.model)), storage)


def _write_json(path: Path, tree: object) -> None:
    path.write_text(json.dumps(tree, ensure_ascii=False, indent=1) + "\n", "utf-8")


def opened(directory: Path, source: bytes, text: Callable[[Pieces], str]) -> System | None:
    """The library with this directory, None where it is not installed. `source`: the SentencePiece model of the source;
    `text`: how the target's pieces become one."""
    if importlib.util.find_spec(LIBRARY) is None:
        return None
    from kakehashi.interop.ctranslate2.runtime import Runtime

    variables, storage = _variables(directory)
    tables = [len(each) for name, each in variables.items() if name.endswith("/encodings")]
    vocabularies = Vocabularies.load(directory, variables)
    longest = min(tables, default=sys.maxsize)
    return Runtime(directory, vocabularies, source, text, longest, LIMITS[storage])


def _variables(directory: Path) -> tuple[Variables, Storage]:
    return read_variables(directory / WEIGHTS, NETWORK, REVISION)


def read(directory: Path, models: tuple[bytes, bytes], languages: tuple[str, str]) -> Translator:
    """The translator of a directory; `models`: the SentencePiece models of source and target.

    Weights stored as whole numbers are read as the numbers that they stand for: what rounding lost stays lost, and
    nothing more is lost. Raises UserError when a file is missing or damaged, or ours cannot be this model.
    """
    variables, _ = _variables(directory)
    vocabularies = Vocabularies.load(directory, variables)
    try:
        if vocabularies.settings["add_source_bos"]:
            raise ValueError("its sources begin with a mark (add_source_bos), and ours do not")
        variables = paired(upgraded(variables))
        from_zeros = bool(variables.get(START_FROM_ZERO, False))
        lists = vocabularies.source, vocabularies.target
        sides = [Side.of(pieces, vocabularies, from_zeros) for pieces in lists]
        variables = extended(variables, *(side.added for side in sides))
        config = configuration(variables, vocabularies.settings["layer_norm_epsilon"], vocabularies.source_end)
        source, target = (Vocabulary(len(side.pieces), *side.special) for side in sides)
        model = config.build(source, target)
        fill(model, variables)
    except (LookupError, ValueError, RuntimeError) as error:  # torch's, where shapes make no sense
        raise UserError(f"{directory} cannot be imported: {error}") from error
    first, second = (side.segmenter(bytes) for side, bytes in zip(sides, models, strict=True))
    joint = lists[0] == lists[1]
    pair = SegmenterPair(first, first if joint and models[0] == models[1] else second)
    subwords = Given(vocabulary="joint" if joint else "separate")
    described = ModelDirectory(source=languages[0], target=languages[1], model=config, subwords=subwords)
    return Translator(described, model.eval(), pair)
