"""ONNX: a model as two graphs, which onnxruntime and its like run without torch and without us.

    config.json              languages, files, names and shapes of what goes into the graphs and comes out
    encoder.onnx             the source, read once: what the decoder wants to know of each sentence
    step.onnx                one token of each hypothesis: logits of the next one, and what is remembered
    source.model, target.model                          SentencePiece cuts and joins texts
    source.vocabulary.json, target.vocabulary.json      pieces in the order of their ids, and the special ids
    README.md                how to write the loop

Notable: nothing is written a second time for this format; the graphs are traced from `begin` and `step` of the model
protocol, and their tensors are those of the state: per sentence, or per hypothesis.
"""

from importlib.util import find_spec
from pathlib import Path

from kakehashi.errors import UserError
from kakehashi.interop.onnx import directory
from kakehashi.interop.onnx.support import expressible
from kakehashi.interop.protocol import Languages, System
from kakehashi.translator import Translator

LIBRARIES = "onnx", "onnxscript", "onnxruntime"


class Onnx:
    """Satisfies `Format`."""

    name = "onnx"
    library = "onnxruntime"
    rounds = False

    def recognises(self, path: Path) -> bool:
        return (path / directory.STEP).is_file()

    def read(self, path: Path, languages: Languages) -> Translator:
        raise UserError(f"{path} holds graphs, which cannot be imported: import the model that they were made from")

    def check(self, translator: Translator) -> None:
        expressible(translator.config.model)
        if missing := [name for name in LIBRARIES if find_spec(name) is None]:
            raise UserError(f"--format onnx needs {', '.join(missing)}: pip install 'kakehashi[interop]'")

    def write(self, translator: Translator, path: Path) -> None:
        from kakehashi.interop.onnx.graphs import export

        path.mkdir()
        graphs = export(translator.model, path)
        directory.write(translator, graphs, path)

    def open(self, path: Path) -> System | None:
        from kakehashi.interop.onnx.runtime import opened

        return opened(path)
