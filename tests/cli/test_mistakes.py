"""A mistake is one message and exit code 2."""

import re
from pathlib import Path

import pytest

from .conftest import Run

RECIPE = """\
base: tiny
task: {kind: translation, source: en, target: de, train: "train.{en,de}", valid: "valid.{en,de}"}
"""
FILES = {
    "recipe.yaml": RECIPE.encode(),
    "key.yaml": RECIPE.encode() + b"modle: {width: 3}\n",
    "type.yaml": RECIPE.encode() + b"training: {steps: many}\n",
    "preset.yaml": b"base: tinny\n",
    "broken.yaml": b"task: [\n",
    "latin.yaml": "# für\n".encode("latin-1") + RECIPE.encode(),
    "train.en": b"one\ntwo\nthree\n",
    "train.de": b"eins\nzwei\n",
    "latin.txt": "gut\nfür\n".encode("latin-1"),
    "empty.txt": b"",
    "pairs.tsv": b"one\teins\ntwo\n",
    "folder/config.yaml": b"format_version: 1\nsource: en\n",
}
MODEL, GENERATOR = "THE MODEL", "THE GENERATOR"
MISTAKES = [
    ("train", "give a recipe"),
    ("train recipe.yaml --source train.en --target train.de", "give a recipe"),
    ("train recipe.yaml --from en", "--from"),
    ("train absent.yaml", "absent.yaml"),
    ("train key.yaml", "no key 'modle'.*did you mean 'model'"),
    ("train type.yaml", r"training.steps.*'many'"),
    ("train preset.yaml", "no such preset.*did you mean 'tiny'"),
    ("train broken.yaml", "broken.yaml"),
    ("train latin.yaml", "latin.yaml.*UTF-8"),
    ("train recipe.yaml model.widht=3", "model.widht=3.*did you mean 'width'"),
    ("train recipe.yaml model.width=wide", "model.width.*'wide'"),
    ("train recipe.yaml model.heads=3", "width 128 is not a multiple of heads 3"),
    ("train recipe.yaml training", "key.path=value"),
    ("train recipe.yaml", "train.en has 3 lines and .*train.de has 2"),
    ("train --source train.en --target train.de", "3.*2"),
    ("train recipe.yaml --rseume", "No such option"),
    ("trian", "No such command"),
    ("translate", "Missing argument"),
    ("translate absent", "absent is no model directory"),
    ("translate folder", "folder/config.yaml"),
    (f"translate {MODEL} absent.txt", "there is no file"),
    (f"translate {MODEL} latin.txt", "latin.txt, line 2.*UTF-8"),
    (f"translate {MODEL} train.en train.de", "one file at a time"),
    (f"translate {MODEL} model.width=3", "only decoding can be changed"),
    (f"translate {MODEL} decoding.sise=3", "did you mean 'size'"),
    (f"translate {MODEL} decoding=bean", "did you mean 'beam'"),
    (f"translate {MODEL} --alternatives 0", "alternatives"),
    (f"translate {MODEL} --alternatives 3 decoding=greedy", "--alternatives 3 needs a beam"),
    (f"translate {GENERATOR}", "is a language model: use it with kakehashi generate"),
    (f"evaluate {GENERATOR} --source train.en --reference train.en", "is a language model"),
    ("generate", "Missing argument"),
    (f"generate {MODEL}", "is a translator: use it with kakehashi translate"),
    (f"generate {GENERATOR} one two", "one prompt at a time"),
    (f"generate {GENERATOR} decoding.temperature=0", "decoding.temperature"),
    (f"generate {GENERATOR} decoding=greedy decoding.temperature=2", "temperature"),
    (f"generate {GENERATOR} --count 3 decoding=greedy", "raise decoding.size"),
    (f"evaluate {MODEL} --text train.en", "is a translator"),
    (f"evaluate {GENERATOR} --text absent.txt", "there is no file"),
    ("evaluate --text train.en", "--text FILE goes with a language model"),
    ("evaluate", "--reference FILE is needed"),
    ("evaluate --reference train.de", "give a model with --source, or --hypothesis"),
    ("evaluate --reference train.de --hypothesis train.de", "--language is needed"),
    ("evaluate --reference train.de --hypothesis train.en --language de", "train.en has 3 lines and train.de has 2"),
    ("evaluate --reference train.de --hypothesis train.de --language german", "'german' is not a language code"),
    ("evaluate --reference train.de --hypothesis train.de --language de --metric blue", "did you mean 'bleu'"),
    (f"evaluate {MODEL} --reference train.de", "--source"),
    (f"evaluate {MODEL} --reference train.de --source train.en", "train.en has 3 lines and train.de has 2"),
    ("check", "Missing argument"),
    ("check train.en", "train.en"),
    ("check train.en train.de", "train.en has 3 lines and .*train.de has 2"),
    ("check pairs.tsv", "pairs.tsv, line 2"),
    ("check latin.txt train.de", "latin.txt, line 2.*UTF-8"),
    ("check empty.txt train.de", "empty.txt is empty"),
    ("info absent", "neither a model directory nor a preset"),
    (f"info {MODEL} --shapes none", "shapes"),
    ("demo --pair en-fr", "en-fr"),
]


@pytest.mark.parametrize(("command", "message"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_mistake_is_one_message_and_exit_code_2(
    command: str, message: str, run: Run, model: Path, generator: Path
) -> None:
    for name, content in FILES.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content)
    before = sorted(Path().rglob("*"))
    directories = {"MODEL": str(model), "GENERATOR": str(generator)}
    words = command.replace(MODEL, "MODEL").replace(GENERATOR, "GENERATOR").split()
    ended = run(*(directories.get(word, word) for word in words))
    assert ended.code == 2
    assert re.search(message, " ".join(ended.err.replace("│", " ").split()), re.DOTALL), ended.err
    assert "Traceback" not in ended.err and ended.err.count("Error") <= 1
    assert ended.out == "" and [path for path in sorted(Path().rglob("*")) if path.name != ".stdin"] == before


def test_bad_bytes_on_standard_input(run: Run, model: Path) -> None:
    ended = run("translate", model, stdin="gut\nfür\n".encode("latin-1"))
    assert ended.code == 2 and "standard input, line 2: byte 2 is not UTF-8" in ended.err
