"""`kakehashi import` and `kakehashi export`: exit codes, messages, and what is left behind."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from kakehashi.interop import ours
from kakehashi.interop.ctranslate2 import runtime
from kakehashi.interop.ctranslate2.directory import LIMITS
from kakehashi.interop.huggingface import library, weights
from kakehashi.models.protocol import Vocabulary
from kakehashi.translator import Translator

from .conftest import Run


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (library, ours, runtime):
        monkeypatch.setattr(module, "LONGEST", 8)


@pytest.fixture
def post(translator: Translator, tmp_path: Path) -> Path:
    """The untrained model with the norms where Marian has them."""
    stacks = {
        name: stack.model_copy(update={"placement": "post"})
        for name, stack in dict(translator.config.model).items()
        if name in ("encoder", "decoder")
    }
    config = translator.config.model_copy(update={"model": translator.config.model.model_copy(update=stacks)})
    vocabulary = Vocabulary(translator.segmenters.source.size)
    torch.manual_seed(2)
    network = config.model.build(vocabulary, vocabulary).eval()
    Translator(config, network, translator.segmenters).save(tmp_path / "post")
    return tmp_path / "post"


def there() -> set[str]:
    return {path.name for path in Path().iterdir()} - {".stdin"}


def test_out_and_in_again(run: Run, post: Path, tmp_path: Path) -> None:
    ended = run("export", post, "theirs", "--format", "huggingface")
    assert ended.code == 0 and "same pieces                  100.0%" in ended.lines, ended.err
    assert json.loads(Path("theirs/parity.json").read_text("utf-8"))["second"].startswith("transformers")
    assert run("import", "theirs", "again").code == 0
    one, other = (Translator.load(path, device="cpu") for path in (post, "again"))
    assert one.translate(["word1 and 2"], max_length=6) == other.translate(
        ["word1 and 2"], length_penalty=0.3, max_length=6
    )
    ended = run("export", post, "theirs", "--format", "huggingface")
    assert ended.code == 2 and "theirs exists" in ended.err


def test_a_package_with_rounded_weights(run: Run, model: Path) -> None:
    ended = run("export", model, "there.argosmodel", "--format", "argos", "--storage", "float16")
    assert ended.code == 0 and there() >= {"there.argosmodel", "there.argosmodel.parity.json"}, ended.err
    assert run("import", "there.argosmodel", "again").code == 0
    ended = run("export", model, "there", "--format", "huggingface", "--storage", "int8")
    assert ended.code == 2 and "huggingface stores weights as float32" in ended.err


def test_mistakes(run: Run, post: Path, model: Path) -> None:
    def refused(message: str, *arguments: object) -> None:
        before = there()
        ended = run(*arguments)
        assert ended.code == 2 and message in ended.err and ended.out == "", ended.err
        assert there() == before

    refused("choose from huggingface", "export", post, "out", "--format", "tensorflow")
    refused("give --source and --reference", "export", post, "out", "--format", "huggingface", "--source", "a")
    refused("does not exist", "import", "nothing", "out")
    refused("can be imported", "import", post, "out")
    Path("t5").mkdir()
    Path("t5/config.json").write_text('{"model_type": "t5"}')
    refused("'t5'", "import", "t5", "out", "--from", "en", "--to", "de")


def test_a_failed_comparison_is_code_1_and_leaves_nothing(
    run: Run, post: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_order", lambda width, to_ours: torch.arange(width))
    ended = run("export", post, "out", "--format", "huggingface")
    assert ended.code == 1 and "nothing written" in ended.err and ended.out == ""
    assert there() == {"post"}


def test_a_tolerance_replaces_the_limit_of_log_probabilities_alone(run: Run, model: Path) -> None:
    """The limits of int8 on identical outputs stay, which are not those of exact weights."""
    export = ("export", model, "there", "--format", "ctranslate2", "--storage", "int8")
    ended = run(*export, "--tolerance", 1e-9)
    assert ended.code == 1 and "log-probabilities differ" in ended.err and ended.err.count(";") == 0, ended.err
    assert run(*export, "--tolerance", 5).code == 0
    limits = json.loads(Path("there/parity.json").read_text("utf-8"))["limits"]
    own = dataclasses.asdict(LIMITS["int8"])
    assert limits == own | {"log_probability": 5} and own["log_probability"] < 5


def test_the_model_says_what_language_a_test_set_is_in(run: Run, post: Path) -> None:
    assert run("export", post, "theirs", "--format", "huggingface").code == 0
    for name in ("test.en", "test.de"):
        Path(name).write_text("word1 and 2\nword3\n")
    ended = run("import", "theirs", "again", "--source", "test.en", "--reference", "test.de")
    assert ended.code == 0 and any(line.startswith("bleu") for line in ended.lines), ended.err
