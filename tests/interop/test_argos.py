"""Packages of Argos Translate: ours as it uses them, its own here, and those that are damaged or traps."""

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import ctranslate2
import pytest
import sentencepiece
from ctranslate2.converters import TransformersConverter

from benchmarks.argos import ask_argos
from kakehashi.errors import UserError
from kakehashi.interop import format_of
from kakehashi.interop.argos import Argos
from kakehashi.interop.ours import Ours
from kakehashi.interop.parity import compare
from kakehashi.interop.protocol import Languages, Limits
from kakehashi.interop.transfer import export_model, import_model
from kakehashi.translator import Translator

from .conftest import Marian, OpenNMT, Own

FOLDER = "translate-en_de-1_0"


@pytest.fixture(params=["all", "target"])
def ours(request: pytest.FixtureRequest, own: Own) -> Translator:
    """With one vocabulary, and with two."""
    return own(request.param, bias="learned")


@pytest.fixture
def package(own: Own, tmp_path: Path) -> Path:
    path = tmp_path / "en_de.argosmodel"
    Argos().write(own(), path)
    return path


def as_argos_does(path: Path, text: str, folder: Path) -> str:
    """What argos-translate-lt 1.12 makes of a sentence with an installed package (translate.py, tokenizer.py)."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    (installed,) = folder.iterdir()
    pieces: Any = sentencepiece.SentencePieceProcessor()
    pieces.LoadFromFile(str(installed / "sentencepiece.model"))
    translator = ctranslate2.Translator(str(installed / "model"))
    (found,) = translator.translate_batch(
        [pieces.encode(text, out_type=str)],
        replace_unknowns=True,
        beam_size=4,
        length_penalty=0.0,
        max_decoding_length=16,
    )
    joined = pieces.decode_pieces(found.hypotheses[0]).replace("▁", " ").replace("_", " ")
    return joined.removeprefix(" ")


def test_argos_translates_with_ours_as_we_do(ours: Translator, tmp_path: Path) -> None:
    path, text = tmp_path / "en_de.argosmodel", "Where is the station?"
    Argos().write(ours, path)
    expected = ours.translate([text], kind="beam", size=4, length_penalty=0.0, max_length=16)
    assert [as_argos_does(path, text, tmp_path / "installed")] == [expected[0].removeprefix(" ")]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["en_de.argosmodel", "installed"]


@pytest.mark.slow
@pytest.mark.skipif("KAKEHASHI_ARGOS" not in os.environ, reason="KAKEHASHI_ARGOS names no python with argostranslate")
def test_the_library_itself_translates_as_we_do(ours: Translator, tmp_path: Path) -> None:
    package, folder = tmp_path / "en_de.argosmodel", tmp_path / "argos"
    Argos().write(ours, package)
    texts = ["Where is the station?", "", "Tabs\tand  spaces 駅 ☃ مرحبا 👩‍👩‍👧", "One. Two! Three? " * 80]
    answer = ask_argos(Path(os.environ["KAKEHASHI_ARGOS"]), package, "en", texts, 1, folder)
    whole = replace(ours, max_source_tokens=1000)  # Argos takes a long sentence as it is
    expected = whole.translate(texts, kind="greedy", max_length=256, extra_length=256)
    assert answer.translations == [text.replace("_", " ").removeprefix(" ") for text in expected]
    assert answer.codes == ("en", "de")


def test_the_package_says_what_it_is(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        metadata = json.loads(archive.read(f"{FOLDER}/metadata.json"))
        assert {name.split("/")[0] for name in archive.namelist()} == {FOLDER}
        config = json.loads(archive.read(f"{FOLDER}/model/config.json"))
    named = {"from_code": "en", "from_name": "English", "to_code": "de", "to_name": "German", "type": "translate"}
    assert named.items() <= metadata.items() and config["add_source_eos"]


@pytest.mark.parametrize(
    ("ours", "theirs", "name", "back"),
    [
        ("zh-hant", "zt", "Chinese (traditional)", "zh-hant"),
        ("zh-hans", "zh", "Chinese", "zh"),
        ("pt-br", "pb", "Portuguese (Brazil)", "pt-br"),
        ("x-elvish", "x-elvish", "x-elvish", "x-elvish"),
    ],
)
def test_argos_has_codes_of_its_own(ours: str, theirs: str, name: str, back: str, own: Own, tmp_path: Path) -> None:
    """By the source's it chooses what splits sentences (sbd.py), and LibreTranslate knows languages by them."""
    translator, path = own(), tmp_path / "package.argosmodel"
    Argos().write(replace(translator, config=translator.config.model_copy(update={"source": ours})), path)
    with zipfile.ZipFile(path) as archive:
        metadata = json.loads(archive.read(f"translate-{theirs}_de-1_0/metadata.json"))
    assert (metadata["from_code"], metadata["from_name"]) == (theirs, name)
    assert Argos().read(path, Languages()).config.source == back


def test_there_and_back(ours: Translator, tmp_path: Path) -> None:
    path = tmp_path / "en_de.argosmodel"
    Argos().write(ours, path)
    theirs, again = Argos().open(path), Argos().read(path, Languages())
    assert theirs is not None and (again.config.source, again.config.target) == ("en", "de")
    report = compare(theirs, Ours(again), {}, limits=Limits(log_probability=1e-4, identical=0.5))
    assert report.failures() == []


def test_an_installed_package_is_a_folder(package: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path / "installed")
    folder = tmp_path / "installed" / FOLDER
    assert Argos().recognises(folder) and Argos().read(folder, Languages()).config.target == "de"


STANZA = {"stanza/resources.json": "{}", "stanza/en/tokenize/combined.pt": b"\x80\x02not for us"}


def packed(path: Path, model: Path, files: dict[str, str | bytes]) -> Path:
    """As Locomotive, LibreTranslate's own tool, packs a model: stored, with folders, no `type`, Stanza's sentences."""
    metadata = {"package_version": "1.0", "argos_version": "1.9.0", "from_code": "en", "from_name": "English"}
    metadata |= {"to_code": "de", "to_name": "German"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as package:
        package.mkdir(FOLDER)
        package.mkdir(f"{FOLDER}/model")
        for file in model.iterdir():
            package.write(file, f"{FOLDER}/model/{file.name}")
        for name, contents in {"metadata.json": json.dumps(metadata), "README.md": "# Ours", **STANZA, **files}.items():
            package.writestr(f"{FOLDER}/{name}", contents)
    return path


@pytest.mark.parametrize("maker", ["opennmt", "opus"])
@pytest.mark.filterwarnings("ignore")  # of transformers and its tokenizer
def test_a_package_as_libretranslate_users_have_it(
    maker: str, opennmt: OpenNMT, marian: Marian, spms: tuple[bytes, bytes], tmp_path: Path
) -> None:
    """OpenNMT-py's in int8, without an end of the source; OPUS's with one, whose package holds the source's pieces."""
    if maker == "opennmt":
        model = opennmt("int8")
        (model / "sentencepiece.model").unlink()
    else:
        model = tmp_path / "opus"
        TransformersConverter(str(marian())).convert(str(model))
        settings = json.loads((model / "config.json").read_text("utf-8"))
        (model / "config.json").write_text(json.dumps(settings | {"add_source_eos": True}), "utf-8")
    package = packed(tmp_path / "en_de.argosmodel", model, {"sentencepiece.model": spms[0]})
    assert isinstance(format_of(package), Argos)
    tolerance = 0.3 if maker == "opennmt" else 1e-4
    report = import_model(Argos(), package, tmp_path / "ours", Languages(), tolerance=tolerance)
    assert report.first.startswith("CTranslate2") and report.tokens > 50
    again = export_model(Argos(), tmp_path / "ours", tmp_path / "again.argosmodel", tolerance=1e-4)
    assert again.greedy == again.beam == 1
    text = "Where is the station?"
    assert as_argos_does(tmp_path / "again.argosmodel", text, tmp_path / "b") != ""


def test_a_package_of_moses_and_bpe_is_one_message(opennmt: OpenNMT, tmp_path: Path) -> None:
    package = packed(tmp_path / "en_de.argosmodel", opennmt(), {"bpe.model": "#version: 0.2\n"})
    with pytest.raises(UserError, match=r"no sentencepiece.model: old ones cut text by Moses and BPE"):
        import_model(Argos(), package, tmp_path / "ours", Languages())


def changed(package: Path, changes: dict[str, str | bytes | None]) -> Path:
    """The package with members added, replaced or left out."""
    path = package.with_name("changed.argosmodel")
    with zipfile.ZipFile(package) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        members: dict[str, str | bytes | None] = {name: old.read(name) for name in old.namelist()} | changes
        for name, contents in members.items():
            if contents is not None:
                new.writestr(name, contents)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"../evil.txt": "x"}, "would lie outside of its folder"),
        ({f"{FOLDER}/../../evil": "x"}, "would lie outside of its folder"),
        ({"/etc/evil": "x"}, "would lie outside of its folder"),
        ({"..\\evil": "x"}, "would lie outside of its folder"),
        ({f"{FOLDER}/model/model.bin": bytes(200_000_000)}, "no honest package: it would unpack to"),
        ({"other/metadata.json": "{}"}, "2 files metadata.json"),
        ({f"{FOLDER}/metadata.json": None}, "0 files metadata.json"),
        ({f"{FOLDER}/metadata.json": "{"}, "metadata.json of the package cannot be read"),
        ({f"{FOLDER}/metadata.json": '{"type": "sbd"}'}, "not that of a package that translates"),
        ({f"{FOLDER}/metadata.json": '{"target_prefix": "__de__"}'}, "writes several languages"),
        ({f"{FOLDER}/metadata.json": "{}"}, "give --from and --to"),
        ({f"{FOLDER}/sentencepiece.model": None}, "has no sentencepiece.model"),
        ({f"{FOLDER}/model/model.bin": None}, "cannot read"),
        ({f"{FOLDER}/model/model.bin": b"\6\0\0\0"}, "is damaged"),
    ],
)
def test_a_strange_package_is_one_message(changes: dict[str, Any], message: str, package: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    path = changed(package, changes)
    with pytest.raises(UserError, match=message):
        Argos().read(path, Languages())
    path.unlink()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_cut_package_is_one_message(share: float, package: Path) -> None:
    contents = package.read_bytes()
    package.write_bytes(contents[: int(share * len(contents))])
    with pytest.raises(UserError, match="is no whole package"):
        Argos().read(package, Languages())


def test_a_package_with_a_flipped_bit_is_one_message(package: Path) -> None:
    contents = bytearray(package.read_bytes())
    contents[len(contents) // 2] ^= 255
    package.write_bytes(contents)
    with pytest.raises(UserError):
        Argos().read(package, Languages())
