"""CTranslate2's own models here, as its converters write them, beside the library itself."""

import json
from pathlib import Path
from typing import cast

import pytest
import torch
from ctranslate2.converters import TransformersConverter
from torch import Tensor, nn

from kakehashi.errors import UserError
from kakehashi.interop.ctranslate2.binary import read_variables, write_variables
from kakehashi.interop.ctranslate2.directory import NETWORK, REVISION, CTranslate2
from kakehashi.interop.ours import Ours
from kakehashi.interop.parity import compare
from kakehashi.interop.protocol import Languages, Limits
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.positions import Sinusoidal

from .conftest import Marian, OpenNMT

LANGUAGES = Languages("en", "de")
EXACT = Limits(log_probability=1e-4, identical=1.0)


@pytest.mark.filterwarnings("ignore")  # of transformers and its tokenizer
def test_what_its_converter_makes_of_marian_is_the_same_model_here(marian: Marian, tmp_path: Path) -> None:
    there = tmp_path / "there"
    TransformersConverter(str(marian()), copy_files=["source.spm", "target.spm"]).convert(str(there))
    ours, theirs = CTranslate2().read(there, LANGUAGES), CTranslate2().open(there)
    assert theirs is not None and isinstance(ours.config.model, EncoderDecoder)
    assert ours.config.model.encoder.position == Sinusoidal(), "its halves are our pairs"
    report = compare(theirs, Ours(ours), {}, limits=EXACT)
    assert report.failures() == [] and report.tokens > 50
    CTranslate2().write(ours, tmp_path / "back")
    back = CTranslate2().open(tmp_path / "back")
    assert back is not None and compare(Ours(ours), back, {}, limits=EXACT).failures() == []


def parameters(path: Path) -> dict[str, Tensor]:
    return cast(nn.Module, CTranslate2().read(path, LANGUAGES).model).state_dict()


def differences(path: Path, limits: Limits = EXACT) -> list[str]:
    theirs = CTranslate2().open(path)
    assert theirs is not None
    return compare(theirs, Ours(CTranslate2().read(path, LANGUAGES)), {}, limits=limits).failures()


@pytest.mark.parametrize("ends", [False, True])
def test_a_source_that_ends_without_a_mark_and_with_one(ends: bool, opennmt: OpenNMT) -> None:
    assert differences(opennmt(add_source_eos=ends)) == []


def test_whole_numbers_are_read_as_what_they_stand_for(opennmt: OpenNMT) -> None:
    path = opennmt("int8")
    exact = parameters(opennmt())
    for name, weight in parameters(path).items():
        assert (weight - exact[name]).abs().max() <= exact[name].abs().max() / 250
    assert differences(path, Limits(log_probability=0.3, identical=0.0)) == []


def test_what_ours_cannot_be_is_named(opennmt: OpenNMT) -> None:
    path = opennmt()
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


def test_directories_of_before_2023(opennmt: OpenNMT) -> None:
    """Format version 5, revision 4: one setting for both sides, no config.json, vocabularies as text."""
    path = opennmt()
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
