"""CTranslate2: our models there and back, beside the library itself; damaged directories."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from kakehashi.config import merge
from kakehashi.data.corpus import Pair
from kakehashi.data.subwords import SegmenterPair, Unigram, train_subwords
from kakehashi.errors import UserError
from kakehashi.interop.ctranslate2 import binary
from kakehashi.interop.ctranslate2.binary import Storage, Variables
from kakehashi.interop.ctranslate2.directory import CTranslate2
from kakehashi.interop.ours import Ours
from kakehashi.interop.parity import Parity, compare
from kakehashi.interop.protocol import Languages, Limits
from kakehashi.interop.transfer import ParityError, export_model
from kakehashi.models.lstm import LSTM
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.translator import ModelDirectory, Translator

TEXTS = [
    "the cat sees a house",
    "a dog runs home now",
    "the dogs and the cats run",
    "houses see dogs",
    "now a cat runs",
]
LANGUAGES = Languages("en", "de")
FLOAT32 = CTranslate2()
EXACT = Limits(log_probability=1e-4, identical=1.0)


@pytest.fixture(scope="module")
def joint() -> SegmenterPair:
    return train_subwords(Unigram(size=300), [Pair(text, text.title() + " ö") for text in TEXTS])


@pytest.fixture(scope="module")
def separate() -> SegmenterPair:
    pairs = [Pair(text, text[::-1] + " é") for text in TEXTS]
    return train_subwords(Unigram(vocabulary="separate"), pairs)


def translator(segmenters: SegmenterPair, changes: dict[str, Any] | None = None) -> Translator:
    """A small model with weights of such a size that its answers differ, and that it begins with no special token."""
    torch.manual_seed(1)
    layer = {"feedforward": {"kind": "relu", "size": 48}}
    tree: dict[str, Any] = {
        "width": 32,
        "heads": 4,
        "embeddings": {"bias": "learned"},
        "encoder": {"depth": 2, "layers": [layer]},
        "decoder": {"depth": 2, "layers": [layer]},
    }
    config = EncoderDecoder.model_validate(merge(tree, changes or {}))
    source, target = (Vocabulary(each.size, *each.special) for each in segmenters)
    model = config.build(source, target).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.1 if parameter.dim() > 1 else 0.3))
        if config.embeddings.bias == "learned":
            model.projection.bias[[target.pad, target.begin]] = -1e4  # what CTranslate2 could emit, and ours never does
    described = ModelDirectory(source="en", target="de", model=config, subwords=Unigram())
    return Translator(described, model, segmenters)


def parameters(translator: Translator) -> dict[str, Tensor]:
    return cast(nn.Module, translator.model).state_dict()


def compared(ours: Translator, path: Path, format: CTranslate2 = FLOAT32, limits: Limits = EXACT) -> Parity:
    """The report of a translator and the directory that it is written to."""
    format.check(ours)
    format.write(ours, path)
    theirs = format.open(path)
    assert theirs is not None
    return compare(Ours(ours), theirs, {}, limits=limits)


def stacks(**changes: Any) -> dict[str, Any]:
    return {"encoder": changes, "decoder": changes}


def layers(**parts: Any) -> dict[str, Any]:
    feedforward = {"feedforward": {"kind": "relu", "size": 48}}
    return {
        "encoder": {"layers": [feedforward | {name: part for name, part in parts.items() if name != "cross"}]},
        "decoder": {"layers": [feedforward | parts]},
    }


VARIANTS: dict[str, dict[str, Any]] = {
    "pre": {},
    "post": stacks(placement="post"),
    "sandwich": stacks(placement="sandwich"),
    "rms": stacks(norm="rms"),
    "epsilon": stacks(norm={"kind": "layer", "epsilon": 1e-2}),
    "tied target": {"embeddings": {"tie": "target"}},
    "untied, unscaled": {"embeddings": {"tie": "none", "scale": "none"}},
    **{
        f"feedforward {kind}": layers(feedforward={"kind": kind, "size": 40})
        for kind in ("gelu", "gelu_tanh", "gelu_sigmoid", "swish", "glu", "reglu", "geglu", "swiglu")
    },
    **{f"position {kind}": stacks(position=kind) for kind in ("learned", "none", "rope")},
    "position shaw": stacks(position={"kind": "shaw", "clip": 3}),
    "position t5": stacks(position={"kind": "t5", "buckets": 8, "max_distance": 20}),
    "position alibi": {"decoder": {"position": "alibi"}},
    "grouped keys": layers(mixer={"kind": "attention", "kv_heads": 2}, cross={"kind": "attention", "kv_heads": 1}),
    "size of heads": layers(mixer={"kind": "attention", "key_size": 6, "value_size": 6}),
    "values are keys": layers(mixer={"kind": "attention", "values": "keys"}),
    "layers differ": {"decoder": {"layers": [{"feedforward": {"kind": "relu", "size": size}} for size in (24, 40)]}},
    "deep and shallow": {"encoder": {"depth": 3}, "decoder": {"depth": 1}},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_the_same_model_there_and_back(name: str, joint: SegmenterPair, tmp_path: Path) -> None:
    ours = translator(joint, VARIANTS[name])
    report = compared(ours, tmp_path / "there")
    assert report.failures() == []
    assert report.tokens > 50
    again = CTranslate2().read(tmp_path / "there", LANGUAGES)
    assert again.segmenters.source is again.segmenters.target
    first, second = parameters(ours), parameters(again)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_vocabularies_of_their_own(separate: SegmenterPair, tmp_path: Path) -> None:
    ours = translator(separate, {"embeddings": {"tie": "target"}})
    assert compared(ours, tmp_path / "there").failures() == []
    again = CTranslate2().read(tmp_path / "there", LANGUAGES)
    assert [each.model for each in again.segmenters] == [each.model for each in separate]


@pytest.mark.parametrize(("storage", "tolerance"), [("int8", 0.2), ("int16", 0.2), ("float16", 0.02)])
def test_smaller_storage_is_close(storage: Storage, tolerance: float, joint: SegmenterPair, tmp_path: Path) -> None:
    ours, format = translator(joint, stacks(position="rope")), CTranslate2(storage)
    report = compared(ours, tmp_path / "there", format, Limits(log_probability=tolerance, identical=0.0))
    assert report.failures() == []
    assert report.log_probability > 1e-4, "something was rounded"
    read = format.read(tmp_path / "there", LANGUAGES)
    format.write(read, tmp_path / "again")
    CTranslate2().write(ours, tmp_path / "exact")
    smaller, whole = ((tmp_path / name / "model.bin").stat().st_size for name in ("there", "exact"))
    assert smaller < 0.6 * whole
    again = parameters(format.read(tmp_path / "again", LANGUAGES))
    for name, weight in parameters(read).items():  # what was rounded once is not rounded again
        torch.testing.assert_close(weight, again[name], rtol=1e-6, atol=0)


def scaled(name: str, stored: Variables) -> Variables:
    return {each: tensor * 1.05 if each.endswith("_scale") else tensor for each, tensor in stored.items()}


def zero(name: str, stored: Variables) -> Variables:
    return stored | {name: torch.zeros_like(stored[name])}


def transposed(name: str, stored: Variables) -> Variables:
    return stored | {name: stored[name].T.contiguous()}


def upside_down(name: str, stored: Variables) -> Variables:
    return stored | {name: stored[name].flip(0)}


@pytest.mark.parametrize("storage", ["int8", "int16"])
@pytest.mark.parametrize(
    ("spoil", "layer"),
    [
        (scaled, "encoder/layer_1/ffn/linear_0/weight"),
        (scaled, "decoder/layer_0/attention/linear_0/weight"),
        (zero, "encoder/layer_0/self_attention/linear_1/weight"),
        (transposed, "decoder/layer_1/self_attention/linear_1/weight"),
        (upside_down, "decoder/layer_1/ffn/linear_1/weight"),
    ],
)
def test_a_single_spoilt_layer_is_no_sound_export(
    storage: Storage, spoil: Any, layer: str, joint: SegmenterPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator(joint).save(tmp_path / "model")
    rounded = binary._rounded

    def spoilt(name: str, *arguments: Any) -> Variables:
        stored = rounded(name, *arguments)
        return spoil(name, stored) if name == layer else stored

    export_model(CTranslate2(storage), tmp_path / "model", tmp_path / "sound")
    monkeypatch.setattr(binary, "_rounded", spoilt)
    with pytest.raises(ParityError, match="a weight differs by"):
        export_model(CTranslate2(storage), tmp_path / "model", tmp_path / "spoilt")
    assert not (tmp_path / "spoilt").exists()


def test_without_a_ban_in_the_model_scores_are_the_same(joint: SegmenterPair, tmp_path: Path) -> None:
    ours = translator(joint, {"embeddings": {"bias": "none"}})
    report = compared(ours, tmp_path / "there", limits=Limits(log_probability=1e-4, identical=0.0))
    assert report.failures() == []


def test_long_lines_and_strange_ones(joint: SegmenterPair, tmp_path: Path) -> None:
    ours = translator(joint)
    CTranslate2().write(ours, tmp_path / "there")
    theirs = CTranslate2().open(tmp_path / "there")
    assert theirs is not None
    ourselves, text = Ours(ours), "駅 ☃ the cat " * 60
    pieces = theirs.segment(text)
    assert pieces == ourselves.segment(text) and len(pieces) > 600
    (first,), (second,) = ourselves.translate([pieces], 1), theirs.translate([pieces], 1)
    assert first == second and theirs.text(first) == ourselves.text(second)
    ours_scored, theirs_scored = ourselves.score([pieces], [pieces]), theirs.score([pieces], [pieces])
    torch.testing.assert_close(torch.tensor(ours_scored), torch.tensor(theirs_scored), atol=1e-3, rtol=0)
    spelled = ["▁", "<0xE2>", "<0x98>", "<0x83>"]
    assert theirs.text(spelled) == ourselves.text(spelled) == "☃"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"encoder": {"placement": "deepnorm"}}, "encoder.placement deepnorm"),
        ({"encoder": {"norm": "none"}}, "encoder.norm none"),
        ({"encoder": {"norm": "rms"}}, "different epsilons"),
        ({"encoder": {"position": "alibi"}}, "encoder.position alibi"),
        ({"decoder": {"position": {"kind": "alibi", "slopes": "learned"}}}, "alibi with learned slopes"),
        (layers(feedforward={"kind": "experts"}), "encoder.feedforward experts"),
        (layers(mixer="ssru"), "decoder.mixer ssru"),
        (layers(cross={"kind": "attention", "score": "additive"}), "decoder.cross attention with score additive"),
        (layers(mixer={"kind": "attention", "pattern": "window"}), "attention with pattern window"),
        (layers(mixer={"kind": "attention", "value_size": 4}), "attention with a value_size"),
        (layers(skip={"mixer": 0.5}), "encoder.skip"),
        ({"decoder": {"layers": [{"feedforward": {"kind": kind}} for kind in ("relu", "gelu")]}}, "activations"),
    ],
)
def test_what_it_cannot_be_is_named(changes: dict[str, Any], named: str, joint: SegmenterPair) -> None:
    ours = translator(joint)
    config = EncoderDecoder.model_validate(merge(EncoderDecoder().model_dump(), changes))
    described = ours.config.model_copy(update={"model": config})
    with pytest.raises(UserError, match=re.escape(named)):
        CTranslate2().check(replace(ours, config=described))


def test_another_kind_of_model_is_refused(joint: SegmenterPair) -> None:
    ours = translator(joint)
    described = ours.config.model_copy(update={"model": LSTM()})
    with pytest.raises(UserError, match="no translator of kind lstm"):
        CTranslate2().check(replace(ours, config=described))


# Damage.


@pytest.mark.parametrize("place", [0, 3, 20, 60, 2000, -1])
def test_a_cut_file_is_one_message(place: int, joint: SegmenterPair, tmp_path: Path) -> None:
    CTranslate2().write(translator(joint), tmp_path / "there")
    file = tmp_path / "there" / "model.bin"
    file.write_bytes(file.read_bytes()[:place])
    with pytest.raises(UserError, match="is damaged: it ends at byte"):
        CTranslate2().read(tmp_path / "there", LANGUAGES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"\7" + data[1:], "has the format version 7"),
        (lambda data: data.replace(b"TransformerSpec", b"WhisperSpec\0\0\0\0", 1), "holds WhisperSpec"),
        (lambda data: data[:22] + b"\x63" + data[23:], "revision 99"),
        (lambda data: data + b"more", "4 bytes follow its end"),
        (lambda data: data.replace(b"decoder/alibi\0", b"decoder/\xff\xff\xff\xff\xff\0", 1), "is damaged"),
    ],
)
def test_a_strange_file_is_one_message(change: Any, message: str, joint: SegmenterPair, tmp_path: Path) -> None:
    CTranslate2().write(translator(joint), tmp_path / "there")
    file = tmp_path / "there" / "model.bin"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(UserError, match=message):
        CTranslate2().read(tmp_path / "there", LANGUAGES)


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("config.json", "{", "config.json is damaged"),
        ("config.json", "[]", "holds no settings"),
        ("config.json", '{"decoder_start_token": null}', "chooses by the first piece"),
        ("config.json", '{"eos_token": "<end>"}', "the special piece <end> is not in the vocabulary"),
        ("shared_vocabulary.json", "[1]", "is no list of pieces"),
        ("shared_vocabulary.json", '["<unk>", "<s>", "</s>"]', "has the shape"),
        ("shared_vocabulary.json", None, "has neither shared_vocabulary.json nor"),
        ("source.spm", None, "has no SentencePiece models"),
        ("source.spm", "no", "not a whole SentencePiece model"),
    ],
)
def test_a_damaged_directory_is_one_message(
    name: str, contents: str | None, message: str, joint: SegmenterPair, tmp_path: Path
) -> None:
    CTranslate2().write(translator(joint), tmp_path / "there")
    (tmp_path / "there" / name).unlink()
    if contents is not None:
        (tmp_path / "there" / name).write_text(contents)
    with pytest.raises(UserError, match=re.escape(message)):
        CTranslate2().read(tmp_path / "there", LANGUAGES)
