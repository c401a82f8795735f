"""Whatever bytes come, under any name: a document that renders, or one UserError."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kakehashi.errors import UserError
from kakehashi.serving import documents
from kakehashi.serving.markup.inline import Translated
from tests.serving.documents import test_text_formats, test_xml_formats

PO = r"""msgid ""
msgstr ""
"Plural-Forms: nplurals=3; plural=0;\n"

#, c-format
msgid "a <b>%d</b>"
msgid_plural "b"
msgstr[0] ""
"""


@cache
def whole(extension: str) -> bytes:
    """A sound file of a kind."""
    return {
        ".txt": test_text_formats.MULTILINGUAL.encode(),
        ".md": test_text_formats.MARKDOWN.encode(),
        ".html": b"<!DOCTYPE html><meta charset=utf-8><p>a <b>b</b><pre>c</pre>",
        ".srt": test_text_formats.SUBTITLES.encode(),
        ".po": PO.encode(),
        ".xliff": test_xml_formats.XLIFF_1.encode(),
        ".xlf": test_xml_formats.XLIFF_2.encode(),
        ".tmx": test_xml_formats.TMX.encode(),
        ".docx": test_xml_formats.word_document(),
        ".odt": test_xml_formats.text_document(),
    }[extension]


def used(name: str, data: bytes) -> None:
    try:
        document = documents.open(name, data, "de")
        rendered = document.render([Translated("x " + segment.text) for segment in document.segments])
    except UserError as error:
        assert str(error)
    else:
        documents.open(name, rendered or b" ", "de")


TEXTS = [".txt", ".md", ".html", ".srt", ".po", ".xliff", ".xlf", ".tmx"]


@pytest.mark.parametrize("extension", TEXTS)
@given(data=st.data())
def test_any_damage_is_borne(extension: str, data: st.DataObject) -> None:
    found = whole(extension)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(found)))
        end = data.draw(st.integers(start, min(len(found), start + 20)))
        found = (
            found[:start]
            + data.draw(st.binary(max_size=4) | st.sampled_from([b"<", b'"', b"\n", b"&x;"]))
            + found[end:]
        )
    used("a" + extension, found)


@pytest.mark.parametrize("extension", [".docx", ".odt"])
@given(data=st.data())
def test_any_damage_to_an_archive_is_borne(extension: str, data: st.DataObject) -> None:
    found = bytearray(whole(extension))
    for _ in range(data.draw(st.integers(1, 8))):
        found[data.draw(st.integers(0, len(found) - 1))] = data.draw(st.integers(0, 255))
    used("a" + extension, bytes(found[: data.draw(st.integers(1, len(found)))] if data.draw(st.booleans()) else found))


@pytest.mark.parametrize("extension", documents.EXTENSIONS)
@given(data=st.binary(min_size=1, max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_borne(extension: str, data: bytes) -> None:
    used("a" + extension, data or b"x")


@pytest.mark.parametrize("extension", documents.EXTENSIONS)
def test_any_other_kind_under_a_name_is_borne(extension: str) -> None:
    for other in [*TEXTS, ".docx", ".odt"]:
        used("a" + extension, whole(other))
