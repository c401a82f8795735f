"""The kernels are compiled once; without a compiler, that is told and torch goes on."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kakehashi.models.int8 import Int8, int8
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.native import library


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A cache of its own, and nothing loaded."""
    monkeypatch.setenv("KAKEHASHI_CACHE", str(tmp_path / "cache"))
    library._loaded.cache_clear()
    yield
    library._loaded.cache_clear()


def test_it_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "cc -pipe")  # options are its own
    reason = library.trouble()
    if shutil.which("cc") is None or "AVX2" in reason:
        pytest.skip(reason)
    assert library.library() is not None and reason == ""
    (made,) = (tmp_path / "cache").iterdir()
    library._loaded.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    assert library.library() is not None, "it is in the cache"
    assert list((tmp_path / "cache").iterdir()) == [made]


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("no-such-compiler", "no C compiler"),
        ("false", "cannot compile"),
        ("cc -U__AVX2__", "AVX2"),
        ("cc '", "quotation"),
        ("", "CC is empty"),
    ],
)
def test_without_a_compiler(
    compiler: str, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if compiler.startswith("cc -") and shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    monkeypatch.setenv("CC", compiler)
    torch.manual_seed(1)
    model = EncoderDecoder(width=32, heads=2).build(Vocabulary(20), Vocabulary(20)).eval()
    with caplog.at_level(logging.WARNING):
        assert isinstance(int8(model), Int8)
    assert library.library() is None and reason in library.trouble()
    assert reason in caplog.text and "slower" in caplog.text


def test_what_is_no_library_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"kernels-{library._key()}.so").write_text("")
    assert library.library() is None and "too short" in library.trouble()


def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(library, "cache_folder", homeless)
    assert library.library() is None and "home" in library.trouble()


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("KAKEHASHI_CACHE", str(tmp_path / "file"))
    assert library.library() is None and library.trouble()
