"""CTranslate2: our models there and back, and its own models here, beside the library itself."""

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import sentencepiece
import torch
from ctranslate2.converters import TransformersConverter
from ctranslate2.specs import TransformerSpec
from ctranslate2.specs.model_spec import visit_spec
from torch import Tensor, nn
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

from kakehashi.config import merge
from kakehashi.data.corpus import Pair
from kakehashi.data.listed import processor
from kakehashi.data.subwords import SegmenterPair, Unigram, train_subwords
from kakehashi.errors import UserError
from kakehashi.interop.ctranslate2.binary import Storage, read_variables, write_variables
from kakehashi.interop.ctranslate2.directory import NETWORK, REVISION, CTranslate2
from kakehashi.interop.ours import Ours
from kakehashi.interop.parity import Parity, compare
from kakehashi.interop.protocol import Languages, Limits
from kakehashi.models.lstm import LSTM
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.positions import Sinusoidal, sinusoids
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


# Models of others.


def sentencepiece_model(texts: Sequence[str], size: int) -> bytes:
    """As others train them: without bytes, and with ids that are not ours."""
    written = io.BytesIO()
    cast(Any, sentencepiece.SentencePieceTrainer).train(
        sentence_iterator=iter(texts), model_writer=written, vocab_size=size, hard_vocab_limit=False, minloglevel=2
    )
    return written.getvalue()


def pieces_of(model: bytes) -> list[str]:
    loaded = processor(model)
    return [loaded.id_to_piece(id) for id in range(loaded.vocab_size()) if not loaded.is_control(id) and id != 0]


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random MarianMTModel of Hugging Face's with bias and half-split sinusoids, and two SentencePiece models."""
    folder = tmp_path_factory.mktemp("marian")
    for name, texts in (("source", TEXTS), ("target", [text[::-1] for text in TEXTS])):
        (folder / f"{name}.spm").write_bytes(sentencepiece_model(texts, 40))
    both = {piece: None for name in ("source", "target") for piece in pieces_of((folder / f"{name}.spm").read_bytes())}
    vocabulary = ["</s>", "<unk>", *both, "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: id for id, piece in enumerate(vocabulary)}))
    size = len(vocabulary)
    config = MarianConfig(
        vocab_size=size,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        activation_function="swish",
        scale_embedding=True,
        pad_token_id=size - 1,
        decoder_start_token_id=size - 1,
        eos_token_id=0,
        bos_token_id=0,
        forced_eos_token_id=None,
    )
    torch.manual_seed(0)
    model = MarianMTModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        table = model.model.get_parameter("shared.weight")
        table[size - 1] = 0
        model.final_logits_bias.normal_()
    model.save_pretrained(folder)
    MarianTokenizer(
        source_spm=str(folder / "source.spm"), target_spm=str(folder / "target.spm"), vocab=str(folder / "vocab.json")
    ).save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore")  # of transformers and its tokenizer
def test_what_its_converter_makes_of_marian_is_the_same_model_here(marian: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    TransformersConverter(str(marian), copy_files=["source.spm", "target.spm"]).convert(str(there))
    ours, theirs = CTranslate2().read(there, LANGUAGES), CTranslate2().open(there)
    assert theirs is not None and isinstance(ours.config.model, EncoderDecoder)
    assert ours.config.model.encoder.position == Sinusoidal(), "its halves are our pairs"
    report = compare(theirs, Ours(ours), {}, limits=EXACT)
    assert report.failures() == [] and report.tokens > 50
    assert compared(ours, tmp_path / "back").failures() == []


SHAPES = {
    "self_attention/linear_0": (96, 32),
    "self_attention/linear_1": (32, 32),
    "attention/linear_0": (32, 32),
    "attention/linear_1": (64, 32),
    "attention/linear_2": (32, 32),
    "ffn/linear_0": (48, 32),
    "ffn/linear_1": (32, 48),
}


def opennmt(path: Path, quantization: str | None = None, **settings: Any) -> Path:
    """A random model as OpenNMT-py's converter makes it: no end at the source, no <pad>; written by CTranslate2."""
    generator, model = torch.Generator().manual_seed(0), sentencepiece_model(TEXTS, 40)
    pieces = ["<unk>", "<blank>", "<s>", "</s>", *pieces_of(model)]
    spec = TransformerSpec.from_config((2, 2), 4)

    def fill(layer: Any, name: str, unset: object) -> None:
        place, _, kind = name.rpartition("/")
        shape = next((shape for part, shape in SHAPES.items() if f"/{place}".endswith(f"/{part}")), (len(pieces), 32))
        if kind == "encodings":
            layer.encodings = sinusoids(torch.arange(1000), 32)
        elif kind in ("weight", "bias", "gamma", "beta"):
            size = shape if kind == "weight" else shape[:1] if kind == "bias" else (32,)
            value = 0.3 * torch.randn(size, generator=generator) + (kind == "gamma")
            if name == "decoder/projection/bias":
                value[pieces.index("<blank>")] = value[pieces.index("<s>")] = -1e4  # ours never emits them
            setattr(layer, kind, value)

    visit_spec(spec, fill)
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.validate()
    spec.optimize(quantization)
    path.mkdir()
    spec.save(str(path))
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | settings))
    (path / "sentencepiece.model").write_bytes(model)
    return path


def differences(path: Path, limits: Limits = EXACT) -> list[str]:
    theirs = CTranslate2().open(path)
    assert theirs is not None
    return compare(theirs, Ours(CTranslate2().read(path, LANGUAGES)), {}, limits=limits).failures()


@pytest.mark.parametrize("ends", [False, True])
def test_a_source_that_ends_without_a_mark_and_with_one(ends: bool, tmp_path: Path) -> None:
    assert differences(opennmt(tmp_path / "model", add_source_eos=ends)) == []


def test_whole_numbers_are_read_as_what_they_stand_for(tmp_path: Path) -> None:
    path = opennmt(tmp_path / "model", "int8")
    exact = parameters(CTranslate2().read(opennmt(tmp_path / "exact"), LANGUAGES))
    for name, weight in parameters(CTranslate2().read(path, LANGUAGES)).items():
        assert (weight - exact[name]).abs().max() <= exact[name].abs().max() / 250
    assert differences(path, Limits(log_probability=0.3, identical=0.0)) == []


def test_what_ours_cannot_be_is_named(tmp_path: Path) -> None:
    path = opennmt(tmp_path / "model")
    variables, _ = read_variables(path / "model.bin", NETWORK, REVISION)
    for name, value in {
        "decoder/scale_outputs": torch.tensor(0.5),
        "encoder/layernorm_embedding/gamma": torch.ones(32),
        "encoder/scale_embeddings": torch.tensor(3.0),
        "encoder/activation": torch.tensor(5, dtype=torch.int8),
        "decoder/num_heads": torch.tensor(8, dtype=torch.int16),
    }.items():
        write_variables(path / "model.bin", NETWORK, REVISION, {**variables, name: value}, "float32")
        with pytest.raises(UserError, match=f"cannot be imported.*{name}"):
            CTranslate2().read(path, LANGUAGES)


def test_directories_of_before_2023(tmp_path: Path) -> None:
    """Format version 5, revision 4: one setting for both sides, no config.json, vocabularies as text."""
    path = opennmt(tmp_path / "model")
    variables, _ = read_variables(path / "model.bin", NETWORK, REVISION)
    for name in ("num_heads", "pre_norm", "activation"):
        variables[name] = variables.pop(f"encoder/{name}")
        del variables[f"decoder/{name}"]
    variables["encoder/embeddings/weight"] = variables.pop("encoder/embeddings_0/weight")
    variables["with_source_eos"] = torch.tensor(1, dtype=torch.int8)
    write_variables(path / "model.bin", NETWORK, 4, variables, "float32")
    contents = (path / "model.bin").read_bytes()
    (path / "model.bin").write_bytes(b"\5" + contents[1:])
    (path / "config.json").unlink()
    pieces = json.loads((path / "shared_vocabulary.json").read_text())
    (path / "shared_vocabulary.json").unlink()
    (path / "shared_vocabulary.txt").write_text("\n".join(pieces) + "\n")
    assert differences(path) == []


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
