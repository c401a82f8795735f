"""/translate_file and /download_file."""

from concurrent.futures import ThreadPoolExecutor
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest

from kakehashi.serving.api.messages import BROKEN_REQUEST
from kakehashi.serving.api.shelf import FileSettings, Shelf
from tests.serving.api.conftest import Serve, Site


def sent(site: Site, name: str, data: bytes, **fields: str) -> Any:
    return site.post("/translate_file", files={"file": (name, data)}, data={"source": "en", "target": "de"} | fields)


def test_a_file_comes_back_in_its_format(site: Site) -> None:
    address = sent(site, "Meine Tiere.html", b"<h1>ant bee</h1>\n<p>cat <i>dog</i>.</p>").json()["translatedFileUrl"]
    assert address.startswith(site.url + "/download_file/") and address.endswith(".Meine_Tiere_de.html")
    answer = site.get(address.removeprefix(site.url))
    assert answer.content == b"<h1>bee cat</h1>\n<p>dog <i>eel</i>.</p>"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="Meine_Tiere_de.html"'


def test_subtitles_keep_their_times_and_the_language_may_be_told(site: Site) -> None:
    cue = b"1\n00:00:01,000 --> 00:00:02,500\n%s\n"
    address = sent(site, "a.srt", cue % b"ant bee.").json()["translatedFileUrl"]
    assert site.get(address.removeprefix(site.url)).content.strip() == (cue % b"bee cat.").strip()
    assert "translatedFileUrl" in sent(site, "a.txt", b"the ant and the bee", source="auto").json()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.exe", b"MZ", "Invalid request: file format not supported"),
        ("a.txt", b"", "Invalid request: empty file"),
        ("a.docx", b"PK\x03\x04 and no more", "Invalid request: "),
        ("..", b"ant", "Invalid request: file format not supported"),
    ],
)
def test_what_is_no_such_file_is_refused(site: Site, name: str, data: bytes, said: str) -> None:
    answer = sent(site, name, data)
    assert answer.status_code == 400 and answer.json()["error"].startswith(said)


def test_no_file_and_files_switched_off(site: Site, serve: Serve) -> None:
    answer = site.post("/translate_file", data={"source": "en", "target": "de", "file": "text"})
    assert answer.status_code == 400 and answer.json()["error"] == BROKEN_REQUEST.en
    answer = sent(serve(files={"enabled": False}), "a.txt", b"ant")
    assert answer.status_code == 403 and answer.json()["error"] == "Files translation are disabled on this server."


@pytest.mark.parametrize("name", ["nothing.txt", "..%2F..%2Fetc%2Fpasswd", "%00"])
def test_only_what_was_kept_can_be_fetched(site: Site, name: str) -> None:
    answer = site.get(f"/download_file/{name}")
    assert answer.status_code == 404 and "error" in answer.json()


def test_the_shelf_forgets_what_is_old_and_what_does_not_fit() -> None:
    shelf = Shelf(FileSettings(space=10))
    first = shelf.put("a.txt", "de", b"12345")
    second = shelf.put("../../b/c.TXT", "de", b"12345")
    assert (shelf.get(first) or Path()).read_bytes() == b"12345" and second.endswith(".c_de.txt")
    shelf.put("a.txt", "de", b"1")
    assert shelf.get(first) is None and shelf.get(second) is not None
    gone = Shelf(FileSettings(keep=1e-9))
    assert gone.get(gone.put("a.txt", "de", b"1")) is None


def test_many_threads_share_the_shelf() -> None:
    shelf = Shelf(FileSettings(space=50))
    with ThreadPoolExecutor(8) as pool:
        names = [*pool.map(lambda number: shelf.put(f"{number}.txt", "de", b"1234567890"), range(400))]
    there = [path for name in names if (path := shelf.get(name))]
    assert len(there) <= 5 and all(path.read_bytes() == b"1234567890" for path in there)
    assert sorted(there) == sorted(there[0].parent.iterdir())


def test_a_file_that_cannot_be_written_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(FileSettings())
    path = shelf.get(shelf.put("a.txt", "de", b"1"))
    assert path

    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        shelf.put("b.txt", "de", b"2")
    assert [*path.parent.iterdir()] == [path]
