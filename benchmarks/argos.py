"""Whether Argos Translate translates with our packages as we do: its own library, a fresh data folder, no network.

    python -m venv ARGOS && ARGOS/bin/pip install argos-translate-lt==1.12.1
    python -m benchmarks.argos MODEL --python ARGOS/bin/python --source test_2016_flickr.en \\
      --reference test_2016_flickr.de

Notable: Argos fetches a model that splits the source into sentences when it first translates. Here one lies in its
cache already, which takes each line for one sentence, as we do. A beam ranks by log-probability / length ** 0.2 there,
fixed, and by ((5 + length) / 6) ** 0.2 here, so that beams may differ where greedy search may not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import onnx
from onnx import TensorProto, helper

from kakehashi.data.corpus import read_lines
from kakehashi.evaluation.metrics import score
from kakehashi.interop.argos import Argos
from kakehashi.interop.ctranslate2.binary import Storage
from kakehashi.translator import Translator

PEER = Path(__file__).with_name("peers") / "argos.py"
LENGTH_PENALTY = 0.2


@dataclass(frozen=True)
class Answer:
    translations: list[str]
    codes: tuple[str, str]
    versions: dict[str, str]


def ask_argos(python: Path, package: Path, language: str, lines: Sequence[str], beam: int, folder: Path) -> Answer:
    """What Argos Translate makes of each line. `folder`: empty, for whatever it writes.

    Raises CalledProcessError where it fails; its own words are on standard error.
    """
    write_splitter(folder / "argos-translate" / "minisbd" / f"{language}.onnx")
    homes = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), str(folder))
    environment = {"PATH": os.environ["PATH"], **homes, "ARGOS_BEAM_SIZE": str(beam), "ARGOS_INTRA_THREADS": "1"}
    order = json.dumps({"package": str(package.resolve()), "lines": list(lines)})
    run = subprocess.run(
        [str(python), str(PEER)],
        input=order,
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    source, target = answer["codes"]
    return Answer(answer["translations"], (source, target), answer["versions"])


def write_splitter(path: Path) -> None:
    """A model for MiniSBD by which no character ends a sentence; a paragraph's last one always does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = ["texts", "characters"]
    zeros = helper.make_tensor("zeros", TensorProto.FLOAT, [1, 1, 5], [0.0] * 5)
    nodes = [
        helper.make_node("Cast", ["units"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "last"], ["columns"]),
        helper.make_node("Mul", ["columns", "zeros"], ["predictions"]),
    ]
    inputs = [
        helper.make_tensor_value_info("units", TensorProto.INT64, shape),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, [*shape, "features"]),
    ]
    outputs = [helper.make_tensor_value_info("predictions", TensorProto.FLOAT, [*shape, 5])]
    last = helper.make_tensor("last", TensorProto.INT64, [1], [2])
    graph = helper.make_graph(nodes, "no sentence ends", inputs, outputs, [zeros, last])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    units = ["<PAD>", "<UNK>"]
    vocabulary = {"_id2unit": units, "_unit2id": {unit: id for id, unit in enumerate(units)}}
    helper.set_model_props(model, {"config": json.dumps({"no_ssplit": True}), "vocab": json.dumps(vocabulary)})
    onnx.save(model, path)


def compare(model: Path, python: Path, storage: Storage, sources: Sequence[str], references: Sequence[str]) -> None:
    """Prints a row for each beam."""
    translator = Translator.load(model, device="cpu")
    target = translator.config.target
    for beam in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "ours.argosmodel"
            Argos(storage).write(translator, package)
            megabytes = package.stat().st_size / 1e6
            answer = ask_argos(python, package, translator.config.source, sources, beam, Path(folder))
        limits = {"max_length": 256, "extra_length": 256}
        search = {"kind": "beam", "size": beam, "length_penalty": LENGTH_PENALTY} if beam > 1 else {"kind": "greedy"}
        ours = translator.translate(sources, **search, **limits)
        same = sum(a == b for a, b in zip(answer.translations, ours, strict=True)) / len(ours)
        bleus = [score(texts, references, target, ["bleu"])[0].value for texts in (answer.translations, ours)]
        cells = [*answer.codes, storage, f"{megabytes:.1f}", str(beam), f"{same:.1%}", *(f"{b:.2f}" for b in bleus)]
        print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{answer.versions}\n", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--python", type=Path, required=True, help="where argostranslate can be imported")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--storage", nargs="+", default=["float32", "int8"], choices=get_args(Storage))
    given = parser.parse_args()
    sources, references = list(read_lines(given.source)), list(read_lines(given.reference))
    print("| from | to | storage | MB | beam | identical | BLEU there | BLEU here |\n|---|---|---|" + "--:|" * 5)
    for storage in given.storage:
        compare(given.model, given.python, storage, sources, references)


if __name__ == "__main__":
    main()
