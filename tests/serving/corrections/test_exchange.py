"""Corrections in and out: TMX keeps everything, TSV is a corpus, and neither file can harm."""

from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kakehashi.data.corpus import Corpus, Pair, read_pairs
from kakehashi.errors import UserError
from kakehashi.serving.corrections.exchange import read_tmx, read_tsv, write_tmx, write_tsv
from kakehashi.serving.corrections.memory import Correction, Entry, tidy

TEXTS = st.text("a b\té\n<>&\"']日👩\u200d\u2028\ufeff\x85e\u0301").filter(str.strip).map(tidy)
TU = '<tu tuid="7"{}><tuv xml:lang="de"><seg>Hallo</seg></tuv><tuv xml:lang="en-US"><seg>Hello</seg></tuv></tu>'


def corrections(*entries: Entry) -> list[Correction]:
    return [Correction(number, entry, "approved", 1_700_000_000_000_000, 0) for number, entry in enumerate(entries, 1)]


def tmx(body: str, header: str = '<header srclang="en"/>', before: str = "") -> BytesIO:
    return BytesIO(f'{before}<tmx version="1.4">{header}<body>{body}</body></tmx>'.encode())


@given(st.lists(st.builds(Entry, st.just("pt-br"), st.just("ja"), TEXTS, TEXTS)))
def test_tmx_gives_back_what_went_in(entries: list[Entry]) -> None:
    document = "".join(write_tmx(corrections(*entries)))
    assert list(read_tmx(BytesIO(document.encode()))) == entries


def test_units_of_others() -> None:
    markup = "<seg>a <bpt i='1'>&lt;b></bpt>bold<ept i='1'>&lt;/b></ept> <hi>b</hi><ph>{0}</ph> c</seg>"
    unit = f"<tu><tuv lang='EN_us'>{markup}</tuv><tuv xml:lang='de'><seg>x</seg></tuv><tuv xml:lang='fr'/></tu>"
    doctype = '<?xml version="1.0"?><!DOCTYPE tmx SYSTEM "tmx14.dtd">'
    assert list(read_tmx(tmx(unit, before=doctype))) == [Entry("en-us", "de", "a bold b c", "x")]


@pytest.mark.parametrize(
    ("said", "expected"), [("", "en-us"), (' srclang="en-US"', "en-us"), (' srclang="*all*"', "de")]
)
def test_the_source_is_in_the_language_that_the_unit_or_the_file_says(said: str, expected: str) -> None:
    (entry,) = read_tmx(tmx(TU.format(said)))
    assert entry.source_language == expected
    (entry,) = read_tmx(tmx(TU.format(""), '<header srclang="en-us"/>'))
    assert entry == Entry("en-us", "de", "Hello", "Hallo")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (tmx(TU, before='<!DOCTYPE t [<!ENTITY a "b">]>'), "declares XML entities"),
        (tmx("&a;", before='<!DOCTYPE t [<!ENTITY a SYSTEM "file.txt">]>'), "declares XML entities"),
        (BytesIO(b"<tmx><body>"), "not a TMX file"),
        (BytesIO(b"<xliff/>"), "its root is no <tmx>"),
        (BytesIO(b""), "not a TMX file"),
        (tmx('<tu tuid="3"><tuv xml:lang="en"><seg> </seg></tuv><tuv xml:lang="de"><seg>x</seg></tuv></tu>'), "unit 3"),
        (tmx('<tu tuid="3"><tuv xml:lang="!"><seg>x</seg></tuv></tu>'), "language code"),
    ],
)
def test_what_is_no_tmx(file: BytesIO, said: str) -> None:
    with pytest.raises(UserError, match=said):
        list(read_tmx(file))


def test_languages_of_others_are_taken_for_relatives_of_ours() -> None:
    (entry,) = read_tmx(tmx(TU.format("")), ["en", "de-at", "de"])
    assert (entry.source_language, entry.target_language) == ("en", "de")
    (entry,) = read_tmx(tmx(TU.format("")), ["fr"])
    assert (entry.source_language, entry.target_language) == ("en-us", "de")
    (entry,) = read_tmx(tmx(TU.format(' srclang="fr"')))
    assert (entry.source_language, entry.target_language) == ("de", "en-us"), "the first where there is no such one"


def test_tsv_is_a_corpus(tmp_path: Path) -> None:
    entries = [
        Entry("en", "ja", 'one\ttwo "quoted"', "x"),
        Entry("en", "ja", "first\nsecond", "A\nB"),
        Entry("en", "ja", "first\nsecond", "both"),
        Entry("en", "ja", "first\n\nsecond", "A\n\nB"),
    ]
    path = tmp_path / "corrections.tsv"
    path.write_text("".join(write_tsv(corrections(*entries))), "utf-8")
    lines = [('one two "quoted"', "x"), ("first", "A"), ("second", "B"), ("first second", "both")]
    assert list(read_pairs(Corpus(files=str(path)))) == [
        Pair(*pair) for pair in (*lines, ("first", "A"), ("second", "B"))
    ]


def test_tsv_in() -> None:
    file = BytesIO("\ufeffone\tA\r\n\ntwo\tB".encode())
    assert list(read_tsv(file, "en", "ja")) == [Entry("en", "ja", "one", "A"), Entry("en", "ja", "two", "B")]


@pytest.mark.parametrize(
    ("line", "said"), [(b"a\tb\nc", "line 2"), (b"a\tb\tc", "line 1"), (b"a\t ", "line 1"), (b"a\t\xff", "not UTF-8")]
)
def test_what_is_no_tsv(line: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        list(read_tsv(BytesIO(line), "en", "ja"))
