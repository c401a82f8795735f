"""Packages of Argos Translate, `.argosmodel`, which LibreTranslate runs: a zip of one folder, or that folder.

    translate-en_de-1_0/metadata.json          languages, versions
                        model/                 a directory of CTranslate2
                        sentencepiece.model    cuts the source
                        README.md

Notable: a package holds one SentencePiece model. Argos cuts the source with it; the target's pieces it only joins, so
that a target with a vocabulary of its own comes out right too. What a zip says of names and sizes is not trusted: the
few members that are known are read by name, and together they may be RATIO times the size of the file.
"""

import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from kakehashi.data.languages import ARGOS, NAMES, unsubtagged
from kakehashi.data.listed import processor
from kakehashi.errors import UserError
from kakehashi.interop.ctranslate2 import directory as ctranslate2
from kakehashi.interop.ctranslate2.binary import Storage
from kakehashi.interop.ctranslate2.structure import expressible
from kakehashi.interop.protocol import Languages, Pieces, System
from kakehashi.translator import Translator

METADATA, MODEL, PIECES = "metadata.json", "model", "sentencepiece.model"
MEMBERS = (METADATA, PIECES, *(f"{MODEL}/{name}" for name in ctranslate2.FILES))
RATIO = 200  # weights shrink to a half at best, texts to a tenth
VERSIONS = {"package_version": "1.0", "argos_version": "1.5"}  # that which began to read `type`

_OURS = {theirs: ours for ours, theirs in ARGOS.items() if theirs != "zh"}  # which we would not call anything else
_VARIETIES = {"pt-br": "Brazil", "zh-hant": "traditional"}

README = """# {source} to {target}

A translator made with Kakehashi, for Argos Translate and LibreTranslate.
"""


@dataclass(frozen=True)
class Argos:
    """Satisfies `Format`."""

    storage: Storage = "float32"
    name: str = "argos"
    library: str = ctranslate2.LIBRARY

    @property
    def rounds(self) -> bool:
        return self.storage != "float32"

    def recognises(self, path: Path) -> bool:
        return path.suffix == ".argosmodel" or (path / METADATA).is_file()

    def read(self, path: Path, languages: Languages) -> Translator:
        with _unpacked(path) as folder:
            metadata = _metadata(folder / METADATA)
            if prefix := metadata.get("target_prefix"):
                raise UserError(f"{path} writes several languages (target_prefix {prefix!r}), and ours write one")
            pieces = _pieces(folder)
            theirs: list[str | None] = [metadata.get(name) for name in ("from_code", "to_code")]
            codes = languages.of(path, *(_OURS.get(code, code) if code else None for code in theirs))
            return ctranslate2.read(folder / MODEL, (pieces, pieces), codes)

    def check(self, translator: Translator) -> None:
        expressible(translator.config.model)

    def write(self, translator: Translator, path: Path) -> None:
        sides = [(ARGOS.get(code, code), _name(code)) for code in (translator.config.source, translator.config.target)]
        (source, source_name), (target, target_name) = sides
        names = {"from_code": source, "from_name": source_name, "to_code": target, "to_name": target_name}
        metadata = {**VERSIONS, **names, "type": "translate"}
        folder = PurePosixPath(f"translate-{source}_{target}-1_0")
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as work:
            model = Path(work) / MODEL
            ctranslate2.write(translator, model, self.storage)
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
                package.writestr(str(folder / METADATA), json.dumps(metadata, ensure_ascii=False, indent=4) + "\n")
                package.writestr(str(folder / "README.md"), README.format(source=source_name, target=target_name))
                package.writestr(str(folder / PIECES), translator.segmenters.source.model)
                for name in ctranslate2.FILES:
                    if (model / name).exists():
                        package.write(model / name, folder / MODEL / name)

    def open(self, path: Path) -> System | None:
        """CTranslate2, with text cut and joined as Argos does it."""
        with _unpacked(path) as folder:
            pieces = _pieces(folder)
            joined = processor(pieces)

            def text(target: Pieces) -> str:
                return joined.decode_pieces(target).replace("▁", " ").removeprefix(" ")

            return ctranslate2.opened(folder / MODEL, pieces, text)


def _name(code: str) -> str:
    """The language's English name; the code itself where there is none."""
    name = NAMES.get(unsubtagged(code), code)
    return f"{name} ({_VARIETIES[code]})" if code in _VARIETIES else name


def _metadata(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name} of the package cannot be read: {error}") from error
    if not isinstance(tree, dict) or cast(dict[str, Any], tree).get("type", "translate") != "translate":
        raise UserError(f"{path.name} is not that of a package that translates")
    return cast(dict[str, Any], tree)


def _pieces(folder: Path) -> bytes:
    try:
        return (folder / PIECES).read_bytes()
    except OSError as error:
        raise UserError(
            f"the package has no {PIECES}: old ones cut text by Moses and BPE, which cannot be imported"
        ) from error


@contextmanager
def _unpacked(path: Path) -> Generator[Path]:
    """The package's folder: itself, or its known members unpacked.

    Raises UserError when the zip is damaged, is no package, or is a trap.
    """
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="argosmodel.") as work:
        try:
            with zipfile.ZipFile(path) as package:
                _unpack(package, path, Path(work))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, LookupError, RuntimeError) as error:
            raise UserError(f"{path} is no whole package: {error}") from error
        yield Path(work)


def _unpack(package: zipfile.ZipFile, path: Path, work: Path) -> None:
    names = [PurePosixPath(name.replace("\\", "/")) for name in package.namelist()]
    if wrong := next((name for name in names if name.is_absolute() or ".." in name.parts), None):
        raise UserError(f"{path} is no honest package: its member {wrong} would lie outside of its folder")
    folders = {name.parent for name in names if name.name == METADATA}
    if len(folders) != 1:
        raise UserError(f"{path} is no package of Argos Translate: it has {len(folders)} files {METADATA}, not one")
    folder = folders.pop()
    wanted = [(member, package.getinfo(str(folder / member))) for member in MEMBERS if folder / member in names]
    if (size := sum(info.file_size for _, info in wanted)) > RATIO * path.stat().st_size:
        raise UserError(f"{path} is no honest package: it would unpack to {size:,} bytes")
    (work / MODEL).mkdir()
    for member, info in wanted:
        with package.open(info) as packed, (work / member).open("wb") as file:
            shutil.copyfileobj(packed, file)
