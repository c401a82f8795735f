"""Small models, random but for their tokenizers: of the real library, and of our own."""

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from ctranslate2.specs import TransformerSpec
from ctranslate2.specs.model_spec import visit_spec

from kakehashi.data.listed import processor
from kakehashi.data.phrasebook import generate
from kakehashi.data.subwords import Unigram, train_subwords
from kakehashi.interop import ours
from kakehashi.interop.ctranslate2 import runtime
from kakehashi.interop.huggingface import library
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.feedforward import ReLU
from kakehashi.nn.positions import sinusoids
from kakehashi.translator import ModelDirectory, Translator

PAIRS = generate("de", 300, seed=1)
Marian = Callable[..., Path]
Own = Callable[..., Translator]
OpenNMT = Callable[..., Path]


def random_(model: torch.nn.Module, end: int, bias: torch.Tensor | None = None) -> None:
    """All parameters away from their start; with a bias, the end likely enough for sentences to end."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (1.0 if name.endswith("norm.weight") else 0.0))
        if bias is not None:
            bias.copy_(torch.randn_like(bias) * 0.5)
            bias.view(-1)[end] += 1


def train_spm(lines: list[str], size: int) -> bytes:
    """As OPUS does: no byte fallback, so that characters can be unknown."""
    written = io.BytesIO()
    trainer: Any = sentencepiece.SentencePieceTrainer
    trainer.train(sentence_iterator=iter(lines), model_writer=written, vocab_size=size, minloglevel=2, num_threads=1)
    return written.getvalue()


def pieces_of(*models: bytes) -> list[str]:
    """Marian's order: the end first, the unknown piece second, the padding last; third where both sides have a
    vocabulary of their own, since the library knows one id of it."""
    found: dict[str, None] = dict.fromkeys(["</s>", "<unk>", "<pad>"][: 4 - len(models)])
    for model in models:
        processor: Any = sentencepiece.SentencePieceProcessor()
        processor.LoadFromSerializedProto(model)
        found |= {processor.id_to_piece(i): None for i in range(3, processor.vocab_size())}
    return list(found | dict.fromkeys([">>deu<<", "<pad>"]))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models seldom end."""
    for module in (library, ours, runtime):
        monkeypatch.setattr(module, "LONGEST", 16)


@pytest.fixture(scope="session")
def spms() -> tuple[bytes, bytes]:
    return train_spm([pair.source for pair in PAIRS], 150), train_spm([pair.target for pair in PAIRS], 170)


@pytest.fixture
def marian(spms: tuple[bytes, bytes], tmp_path: Path) -> Marian:
    """Makes a MarianMT directory; settings of its configuration by name."""

    def make(name: str = "theirs", biased: bool = True, **settings: Any) -> Path:
        from transformers import MarianConfig, MarianMTModel

        path = tmp_path / name
        shared = settings.get("share_encoder_decoder_embeddings", True)
        lists = [pieces_of(*spms)] * 2 if shared else [pieces_of(spm) for spm in spms]
        config = MarianConfig(**{
            "vocab_size": len(lists[0]), "decoder_vocab_size": len(lists[1]), "d_model": 32, "encoder_layers": 2,
            "decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 40, "activation_function": "swish", "scale_embedding": True, "dropout": 0.0,
            "pad_token_id": lists[1].index("<pad>"), "decoder_start_token_id": lists[1].index("<pad>"),
            "eos_token_id": 0,
            "forced_eos_token_id": None, **settings,
        })  # fmt: skip
        model = MarianMTModel(config)
        random_(model, 0, model.final_logits_bias if biased else None)
        model.save_pretrained(path)
        for file, spm in zip(("source.spm", "target.spm"), spms, strict=True):
            (path / file).write_bytes(spm)
        for file, pieces in zip(("vocab.json", "target_vocab.json"), lists if not shared else lists[:1], strict=False):
            (path / file).write_text(json.dumps({piece: id for id, piece in enumerate(pieces)}), "utf-8")
        tokenizer = {"source_lang": "en", "target_lang": "de", "separate_vocabs": not shared}
        (path / "tokenizer_config.json").write_text(json.dumps(tokenizer), "utf-8")
        return path

    return make


@pytest.fixture
def own() -> Own:
    """Makes a translator of ours; `tie`, `bias`, and what both stacks have by name."""

    def make(tie: str = "all", bias: str = "none", feedforward: Any = None, **trunk: Any) -> Translator:
        subwords = Unigram(size=400, vocabulary="joint" if tie == "all" else "separate")
        segmenters = train_subwords(subwords, PAIRS)
        feedforward = feedforward or ReLU(size=48)
        model = EncoderDecoder(
            width=32,
            heads=4,
            dropout=0.0,
            embeddings=Embeddings.model_validate({"tie": tie, "bias": bias}),
            encoder=Stack(depth=2, layers=(Layer(feedforward=feedforward),), **trunk),
            decoder=CrossStack(depth=1, layers=(CrossLayer(feedforward=feedforward),), **trunk),
        )
        network = model.build(*(Vocabulary(each.size, *each.special) for each in segmenters)).eval()
        random_(network, 2, network.projection.bias)
        directory = ModelDirectory(source="en", target="de", model=model, subwords=subwords)
        return Translator(directory, network, segmenters)

    return make


SHAPES = {
    "self_attention/linear_0": (96, 32),
    "self_attention/linear_1": (32, 32),
    "attention/linear_0": (32, 32),
    "attention/linear_1": (64, 32),
    "attention/linear_2": (32, 32),
    "ffn/linear_0": (48, 32),
    "ffn/linear_1": (32, 48),
}


@pytest.fixture
def opennmt(spms: tuple[bytes, bytes], tmp_path: Path) -> OpenNMT:
    """Makes one of random weights."""
    return partial(_opennmt, spms[0], tmp_path)


def _opennmt(model: bytes, folder: Path, quantization: str | None = None, **settings: Any) -> Path:
    """A random model as OpenNMT-py's converter makes it: no end at the source, no <pad>; written by CTranslate2."""
    generator, path = torch.Generator().manual_seed(0), folder / f"model.{quantization}"
    loaded = processor(model)
    pieces = ["<unk>", "<blank>", "<s>", "</s>", *(loaded.id_to_piece(id) for id in range(3, loaded.vocab_size()))]
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
