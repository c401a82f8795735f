"""MarianMT in; MarianMT and Pegasus out: the same numbers, the same translations, and clear refusals."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from kakehashi.data.extension import extend
from kakehashi.data.listed import Special
from kakehashi.errors import UserError
from kakehashi.interop import huggingface
from kakehashi.interop.huggingface import HuggingFace, weights
from kakehashi.interop.ours import Ours
from kakehashi.interop.parity import EvaluationSet, Parity
from kakehashi.interop.protocol import Languages
from kakehashi.interop.transfer import ParityError, export_model, import_model
from kakehashi.models.protocol import Translating, Vocabulary
from kakehashi.nn.feedforward import GELU, GELUSigmoid, GELUTanh, ReLU, SwiGLU, Swish
from kakehashi.nn.positions import Rope
from kakehashi.translator import Translator

from .conftest import PAIRS, Marian, Own, random_

FORMAT = HuggingFace()
ASKED = Languages()
TOLERANCE = 1e-4

# Both vocabulary layouts, tied and not; activations; special ids; with and without a bias.
THEIRS: dict[str, dict[str, Any]] = {
    "opus": {},
    "without a bias": {"biased": False},
    "relu, another end": {"activation_function": "relu", "eos_token_id": 0, "scale_embedding": False},
    "gelu": {"activation_function": "gelu"},
    "gelu_new": {"activation_function": "gelu_new"},
    "quick_gelu": {"activation_function": "quick_gelu"},
    "separate": {"share_encoder_decoder_embeddings": False},
    "separate, untied": {"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False},
    "begins with the end": {"decoder_start_token_id": 0},
}


def tensors_of(translator: Translator) -> dict[str, torch.Tensor]:
    return cast(nn.Module, translator.model).state_dict()


def imported(path: Path, tmp_path: Path) -> tuple[Translator, Parity]:
    report = import_model(FORMAT, path, tmp_path / "model", ASKED, tolerance=TOLERANCE)
    return Translator.load(tmp_path / "model", device="cpu"), report


@pytest.mark.parametrize("name", THEIRS)
def test_an_import_is_the_same_model(name: str, marian: Marian, tmp_path: Path) -> None:
    translator, report = imported(marian(**THEIRS[name]), tmp_path)
    assert (
        report.greedy == report.beam == 1
        and report.first.startswith("transformers")
        and report.tokens > 2 * report.lines
    )
    assert json.loads((tmp_path / "model" / "parity.json").read_text("utf-8"))["failures"] == []
    texts = ["Good morning!", "", "A 👩‍👩‍👧 and a ☃."]
    assert len(translator.translate(texts, size=3, max_length=12)) == 3


def test_special_ids_and_the_language_to_write_are_kept(marian: Marian, tmp_path: Path) -> None:
    translator, _ = imported(marian(), tmp_path)
    source, target = translator.segmenters
    pad = target.size - 1
    assert source.special == target.special == Special(pad=pad, begin=pad, end=0, unknown=1)
    assert translator.model.target_vocabulary.begin == pad
    assert (translator.config.source, translator.config.target) == ("en", "de")
    assert source.piece(source.encode(">>deu<< good morning")[0]) == ">>deu<<"
    assert 1 in source.encode("☃") and target.decode(target.encode("Guten Morgen")) == "Guten Morgen"


def test_600_tokens(marian: Marian, tmp_path: Path) -> None:
    path = marian(max_position_embeddings=1024)
    translator, _ = imported(path, tmp_path)
    theirs = FORMAT.open(path)
    assert theirs is not None
    ours, pieces = Ours(translator), theirs.segment(" ".join(pair.source for pair in PAIRS))[:600]
    pairs = zip(ours.score([pieces], [pieces]), theirs.score([pieces], [pieces]), strict=True)
    difference = max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))
    assert len(pieces) == 600 and difference < 1e-4


def test_old_weights_are_read_with_a_warning(marian: Marian, tmp_path: Path) -> None:
    """Half precision, the computed positions among them, and a pickle: `torch.serialization` writes one."""
    path = marian()
    new, _ = imported(path, tmp_path / "new")
    tensors = {name: tensor.half() for name, tensor in load_file(path / "model.safetensors").items()}
    torch.serialization.save(
        {**tensors, "model.encoder.embed_positions.weight": torch.zeros(4, 32)}, path / "pytorch_model.bin"
    )
    (path / "model.safetensors").unlink()
    with pytest.warns(UserWarning, match="pickle"):
        old = FORMAT.read(path, ASKED)
    before = tensors_of(new)
    for name, tensor in tensors_of(old).items():
        torch.testing.assert_close(tensor, before[name], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("tie", "bias", "feedforward"),
    [
        ("all", "none", ReLU(size=48)),
        ("all", "learned", GELU(size=48)),
        ("target", "learned", Swish(size=48)),
        ("none", "none", GELUTanh(size=48)),
        ("none", "learned", GELUSigmoid(size=48)),
    ],
)
def test_an_export_is_the_same_model_and_comes_back(
    tie: str, bias: str, feedforward: Any, own: Own, tmp_path: Path
) -> None:
    there_and_back(own(tie, bias, feedforward, placement="post"), tmp_path, "MarianMTModel")


def test_a_pre_norm_model_is_a_pegasus(own: Own, tmp_path: Path) -> None:
    there_and_back(own(placement="pre", bias="learned"), tmp_path, "PegasusForConditionalGeneration")


def there_and_back(translator: Translator, tmp_path: Path, architecture: str) -> None:
    """Out, through the real library, and in again: the same tensors, bit for bit."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    translator.save(tmp_path / "model")
    report = export_model(FORMAT, tmp_path / "model", tmp_path / "theirs", tolerance=TOLERANCE)
    assert report.greedy == report.beam == 1 and report.second.startswith("transformers")
    path = tmp_path / "theirs"
    model, info = AutoModelForSeq2SeqLM.from_pretrained(path, local_files_only=True, output_loading_info=True)
    assert not any(info.values()), "nothing missing, unexpected or of another shape"
    assert type(model).__name__ == architecture

    import_model(FORMAT, path, tmp_path / "again", ASKED, tolerance=TOLERANCE)
    again = Translator.load(tmp_path / "again", device="cpu")
    ours, others = tensors_of(translator), tensors_of(again)
    assert ours.keys() == others.keys()
    assert all(torch.equal(ours[name], others[name]) for name in ours)
    assert again.segmenters.source.model == translator.segmenters.source.model
    assert again.segmenters.target.special == translator.segmenters.target.special == Special()
    assert again.config.model == translator.config.model

    text = "Good morning! 👩‍👩‍👧"
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    outputs = model.generate(**tokenizer(text, return_tensors="pt"), num_beams=1, max_new_tokens=10)
    found = tokenizer.decode(outputs[0], skip_special_tokens=True)
    assert found.strip() == translator.translate([text], kind="greedy", max_length=10)[0].strip()


@pytest.mark.parametrize("share", [True, False], ids=["one list", "separate"])
def test_an_extended_vocabulary_is_exported(share: bool, marian: Marian, tmp_path: Path) -> None:
    """Their tokenizer cuts the new pieces as ours does."""
    old, _ = imported(marian(share_encoder_decoder_embeddings=share), tmp_path)
    segmenters = extend(old.segmenters, PAIRS, 30)
    assert min(new.size - before.size for new, before in zip(segmenters, old.segmenters, strict=True)) > 10
    network = old.config.model.build(*(Vocabulary(each.size, *each.special) for each in segmenters))
    random_(network.eval(), 0, cast(torch.Tensor, network.get_parameter("projection.bias")))
    Translator(old.config, cast(Translating, network), segmenters).save(tmp_path / "grown")
    report = export_model(FORMAT, tmp_path / "grown", tmp_path / "exported", tolerance=TOLERANCE)
    assert report.greedy == report.beam == 1 and report.first.startswith("kakehashi")


def test_what_the_format_cannot_express_is_named_before_anything_is_written(own: Own, tmp_path: Path) -> None:
    def refused(translator: Translator, *names: str) -> None:
        translator.save(tmp_path / "model")
        with pytest.raises(UserError) as raised:
            export_model(FORMAT, tmp_path / "model", tmp_path / "theirs")
        assert all(name in str(raised.value) for name in names), raised.value
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    refused(own(position=Rope(), norm="rms"), "model.encoder.position=rope", "decoder.norm=rms")
    refused(own(placement="sandwich", feedforward=SwiGLU(size=8)), "placement=sandwich", "feedforward=swiglu")
    refused(own(placement="pre", tie="target"), "tie=target with placement=pre")


def test_what_is_missing_or_damaged_is_one_message_and_nothing_is_written(marian: Marian, tmp_path: Path) -> None:
    path = marian()
    stored, config = path / "model.safetensors", path / "config.json"
    whole = {file: file.read_bytes() for file in path.iterdir()}

    def refused(message: str) -> None:
        with pytest.raises(UserError, match=message) as raised:
            import_model(FORMAT, path, tmp_path / "model", ASKED)
        assert "Traceback" not in str(raised.value) and not (tmp_path / "model").exists()
        for file, content in whole.items():
            file.write_bytes(content)

    def changed(**settings: object) -> None:
        config.write_text(json.dumps({**json.loads(whole[config]), **settings}), "utf-8")

    for name in ("source.spm", "vocab.json"):
        (path / name).unlink()
        refused(name)
    stored.unlink()
    refused("neither model.safetensors nor pytorch_model.bin")
    stored.write_bytes(whole[stored][:5000])
    refused("model.safetensors cannot be read")
    (path / "target.spm").write_bytes(b"no model")
    refused("not a whole SentencePiece model")
    (path / "tokenizer_config.json").unlink()
    refused("--from and --to")
    changed(model_type="t5")
    refused("'t5'")
    changed(activation_function="mish")
    refused("mish")
    changed(decoder_attention_heads=2)
    refused("attention heads")
    changed(d_model=None)
    refused("d_model")
    changed(d_model=30)
    refused("multiple of heads")
    changed(encoder_ffn_dim=50)
    refused("fc1.weight has shape")
    save_file({**load_file(stored), "model.encoder.layernorm_embedding.weight": torch.ones(32)}, stored)
    refused("layernorm_embedding.weight is unexpected")
    save_file({name: t for name, t in load_file(stored).items() if "layers.1" not in name}, stored)
    refused("layers.1.fc1.bias is missing")


def test_a_result_that_is_another_model_is_not_written(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exporter that forgets to turn sines and cosines around."""
    own(placement="post").save(tmp_path / "model")
    monkeypatch.setattr(weights, "_order", lambda width, to_ours: torch.arange(width))
    with pytest.raises(ParityError, match="log-probabilities differ"):
        export_model(FORMAT, tmp_path / "model", tmp_path / "theirs")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_without_the_library_the_export_is_read_again_and_the_report_says_so(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface, "find_spec", lambda name: None)
    own(placement="post").save(tmp_path / "model")
    report = export_model(FORMAT, tmp_path / "model", tmp_path / "theirs", tolerance=TOLERANCE)
    assert "transformers is not installed" in report.second and "reading the huggingface files again" in report.second


def test_scores_on_a_test_set_are_compared(own: Own, tmp_path: Path) -> None:
    own(placement="post").save(tmp_path / "model")
    test = EvaluationSet([pair.source for pair in PAIRS[:5]], [pair.target for pair in PAIRS[:5]])
    report = export_model(FORMAT, tmp_path / "model", tmp_path / "theirs", test, TOLERANCE)
    assert report.scores.keys() == {"bleu", "chrf"} and report.failures() == []
    assert any(line.startswith("chrf") for line in report.lines_of_text())
