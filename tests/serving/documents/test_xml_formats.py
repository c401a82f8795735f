"""Documents that are XML, or archives of it: .docx, .odt, .xliff, .tmx; and files made to do harm."""

import io
import re
import struct
import zipfile

import docx
import odfdo
import pytest
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from lxml import etree

from kakehashi.errors import UserError
from kakehashi.serving import documents
from kakehashi.serving.engine.protocol import Link
from kakehashi.serving.markup.inline import Translated


def words_to_words(source: str, target: str, pairs: dict[str, str]) -> Translated:
    def at(text: str, word: str) -> tuple[int, int]:
        return text.index(word), text.index(word) + len(word)

    return Translated(target, [Link(at(source, word), at(target, other), 1.0) for word, other in pairs.items()])


def upper(name: str, data: bytes, language: str | None = None) -> bytes:
    document = documents.open(name, data, language)
    return document.render([Translated(segment.text.upper()) for segment in document.segments])


def saved(document) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def word_document() -> bytes:
    document = docx.Document()
    document.add_heading("A heading", 1)
    paragraph = document.add_paragraph("I saw ")
    paragraph.add_run("r").bold = True  # editors cut runs anywhere
    paragraph.add_run("ed").bold = True
    paragraph.add_run(" cats")
    paragraph.add_run(" asleep.")
    paragraph.add_run().add_break()
    paragraph.add_run("日本語🎉\tend")
    linked = document.add_paragraph("See ")
    relation = document.part.relate_to("https://example.org", RELATIONSHIP_TYPE.HYPERLINK, is_external=True)
    link = OxmlElement("w:hyperlink")
    link.set(qn("r:id"), relation)
    linked.add_run("the page")
    link.append(linked.runs[-1]._r)
    linked._p.append(link)
    linked.add_run(" now.")
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "a cell", "12"
    document.sections[0].header.paragraphs[0].text = "The header"
    return saved(document)


def test_word_keeps_formats_links_tables_and_headers() -> None:
    document = documents.open("a.DOCX", word_document())
    found = [segment.text for segment in document.segments]
    assert found == [
        "A heading",
        "I saw red cats asleep.\n日本語🎉\tend",
        "See the page now.",
        "a cell",
        "The header",
    ]
    answers = [Translated(text.upper()) for text in found]
    target = "J'ai vu des chats rouges.\n日本語🎉\tfin"
    answers[1] = words_to_words(found[1], target, {"red": "rouges", "cats": "chats", "saw": "vu", "end": "fin"})
    out = docx.Document(io.BytesIO(document.render(answers)))
    assert [paragraph.text for paragraph in out.paragraphs] == ["A HEADING", target, "SEE THE PAGE NOW."]
    assert out.paragraphs[0].style and out.paragraphs[0].style.name == "Heading 1"
    assert [run.text for run in out.paragraphs[1].runs if run.bold] == ["rouges"]
    assert [link.text for link in out.paragraphs[2].hyperlinks] == ["THE PAGE"]
    assert out.paragraphs[2].hyperlinks[0].address == "https://example.org"
    assert [cell.text for cell in out.tables[0].rows[0].cells] == ["A CELL", "12"]
    assert out.sections[0].header.paragraphs[0].text == "THE HEADER"


def test_fields_of_word_stay_whole() -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("See page ")
    for kind, text in [("begin", ""), ("", " REF x "), ("separate", ""), (None, "seven"), ("end", "")]:
        run = paragraph.add_run(text if kind is None else "")
        if kind:
            mark = OxmlElement("w:fldChar")
            mark.set(qn("w:fldCharType"), kind)
            run._r.append(mark)
        elif kind == "":
            code = OxmlElement("w:instrText")
            code.text = text
            run._r.append(code)
    paragraph.add_run(" of it")
    read = documents.open("a.docx", saved(document))
    (segment,) = read.segments
    assert segment.text == "See page seven of it"
    pairs = {"seven": "sieben", "page": "Seite", "See": "Siehe"}
    out = read.render([words_to_words(segment.text, "Siehe davon Seite sieben", pairs)])
    (paragraph,) = docx.Document(io.BytesIO(out)).paragraphs
    kinds = [(run.text, [child.tag.split("}")[1] for child in run._r]) for run in paragraph.runs]
    assert [text for text, _ in kinds] == ["Siehe davon Seite ", "", "", "", "sieben", ""]
    assert [names[-1] for _, names in kinds] == ["t", "fldChar", "instrText", "fldChar", "t", "fldChar"]


def test_other_parts_of_an_archive_do_not_change() -> None:
    before = word_document()
    after = upper("a.docx", before)
    with zipfile.ZipFile(io.BytesIO(before)) as old, zipfile.ZipFile(io.BytesIO(after)) as new:
        assert old.namelist() == new.namelist()
        changed = {name for name in old.namelist() if old.read(name) != new.read(name)}
    assert "word/document.xml" in changed and changed <= {"word/document.xml", "word/header1.xml"}
    same = documents.open("a.docx", before)
    same = same.render([Translated(segment.text) for segment in same.segments])
    with zipfile.ZipFile(io.BytesIO(before)) as old, zipfile.ZipFile(io.BytesIO(same)) as new:
        name = "word/document.xml"
        assert etree.tostring(etree.fromstring(old.read(name)), method="c14n") == etree.tostring(
            etree.fromstring(new.read(name)), method="c14n"
        )


def text_document() -> bytes:
    document = odfdo.Document("text")
    document.body.clear()
    document.body.append(odfdo.Header(1, "A heading"))
    paragraph = odfdo.Paragraph("I saw red cats   مرحبا 🎉")
    paragraph.set_span("T1", regex="red")
    paragraph.insert_note(after="cats", note_id="n1", citation="1", body="A note.")
    document.body.append(paragraph)
    linked = odfdo.Paragraph("See the page")
    linked.set_link("https://example.org", regex="page")
    document.body.append(linked)
    return saved(document)


def test_opendocument_keeps_spans_notes_spaces_and_links() -> None:
    document = documents.open("a.odt", text_document())
    found = [segment.text for segment in document.segments]
    assert found[:4] == ["A heading", "I saw red cats   مرحبا 🎉", "A note.", "See the page"]
    answers = [Translated(text.upper()) for text in found]
    answers[1] = words_to_words(
        found[1], "J'ai vu des chats rouges   مرحبا 🎉", {"red": "rouges", "cats": "chats", "saw": "vu"}
    )
    out = odfdo.Document(io.BytesIO(document.render(answers)))
    heading, paragraph, linked = (
        out.body.get_headers()[0],
        *out.body.get_paragraphs()[:1],
        out.body.get_paragraphs()[-1],
    )
    assert heading.text == "A HEADING"
    assert [span.text for span in paragraph.get_spans()] == ["rouges"]
    assert re.fullmatch("J'ai vu des chats rouges.*A NOTE.   مرحبا 🎉", paragraph.inner_text)
    assert [note.note_body for note in paragraph.get_notes()] == ["A NOTE."]
    assert [(link.url, link.inner_text) for link in linked.get_links()] == [("https://example.org", "PAGE")]


XLIFF_1 = """<?xml version="1.0" encoding="UTF-8"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
<file source-language="en" datatype="plaintext" original="x"><!-- kept --><body>
<trans-unit id="1"><source>Hello <g id="1">big <x id="2"/>world</g> &amp; you</source></trans-unit>
<trans-unit id="2"><source>Done</source><target state="final">Fertig</target></trans-unit>
<trans-unit id="3" translate="no"><source>Keep</source></trans-unit>
<trans-unit id="4"><source>A <bpt id="1">&lt;b&gt;</bpt>word<ept id="1">&lt;/b&gt;</ept></source>
<target/></trans-unit>
<trans-unit id="5"><source>The <mrk mtype="protected">Kakehashi</mrk> bridge</source></trans-unit>
</body></file></xliff>"""

XLIFF_2 = """<xliff version="2.0" srcLang="en" trgLang="de-AT" xmlns="urn:oasis:names:tc:xliff:document:2.0">
<file id="f"><unit id="1">
<segment><source>Hello <pc id="1">world</pc> <sc id="3"/>a<ec startRef="3"/></source></segment>
<ignorable><source> </source></ignorable><segment state="final"><source>B</source><target>C</target></segment></unit>
<unit id="2" translate="no"><segment><source>Keep</source></segment></unit></file></xliff>"""


def test_xliff_1() -> None:
    document = documents.open("a.xlf", XLIFF_1.encode(), "de")
    assert [segment.text for segment in document.segments] == [
        "Hello big world & you",
        "A word",
        "The Kakehashi bridge",
    ]
    assert document.segments[2].verbatim == ("Kakehashi",)
    answers = [Translated("Hallo große Welt & du"), Translated("Ein Wort"), Translated("Die Brücke Kakehashi")]
    out = document.render(answers).decode()
    state = 'state="needs-review-translation" state-qualifier="mt-suggestion"'
    assert f'<target {state}>Hallo <g id="1">große <x id="2"/>Welt</g> &amp; du</target>' in out
    assert f'<target {state}>Ein <bpt id="1">&lt;b&gt;</bpt>Wort<ept id="1">&lt;/b&gt;</ept></target>' in out
    assert f'<target {state}>Die Brücke <mrk mtype="protected">Kakehashi</mrk></target>' in out
    assert '<target state="final">Fertig</target>' in out and "<!-- kept -->" in out and 'target-language="de"' in out
    assert out.count("<target") == 4


def test_xliff_2() -> None:
    document = documents.open("a.xliff", XLIFF_2.encode(), "de")
    assert [segment.text for segment in document.segments] == ["Hello world a"]
    out = document.render([Translated("Hallo Welt a")]).decode()
    assert '<target>Hallo <pc id="1">Welt</pc> <sc id="3"/>a<ec startRef="3"/></target>' in out
    assert 'state="translated"' in out and 'state="final"' in out and out.count("<target>") == 2
    with pytest.raises(UserError, match="the file's targets are in 'de-AT', not in 'ja'"):
        documents.open("a.xliff", XLIFF_2.encode(), "ja")


TMX = """<?xml version="1.0"?><!DOCTYPE tmx SYSTEM "tmx14.dtd"><tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="fr"><seg>x</seg></tuv>
<tuv xml:lang="EN"><seg>Hello <bpt i="1">b</bpt>world<ept i="1">/b</ept></seg></tuv>
</tu><tu><tuv xml:lang="en"><seg>a</seg></tuv><tuv xml:lang="de-DE"><seg>b</seg></tuv></tu></body></tmx>"""


def test_tmx() -> None:
    document = documents.open("a.tmx", TMX.encode(), "de")
    assert [segment.text for segment in document.segments] == ["Hello world"]
    out = document.render([Translated("Hallo Welt")]).decode()
    assert '<tuv xml:lang="de"><seg>Hallo <bpt i="1">b</bpt>Welt<ept i="1">/b</ept></seg></tuv>' in out
    assert out.count("<tuv") == 5 and '<!DOCTYPE tmx SYSTEM "tmx14.dtd">' in out
    with pytest.raises(UserError, match="needs the language"):
        documents.open("a.tmx", TMX.encode())


def test_too_much_text_is_refused() -> None:
    for name, data in [
        ("a.txt", b"x" * 5 * 2**20),
        ("a.tmx", b"<tmx>" + b" " * 17 * 2**20),
        ("a.odt", b"x" * 65 * 2**20),
    ]:
        with pytest.raises(UserError, match="more than"):
            documents.open(name, data, "de")


def test_utf_16_stays_utf_16() -> None:
    text = TMX.replace('version="1.0"', 'version="1.0" encoding="UTF-16"')
    out = upper("a.tmx", text.encode("utf-16"), "ja")
    assert "HELLO" in out.decode("utf-16")


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha" * 10}">' for n in range(9))


@pytest.mark.parametrize(
    "prolog",
    [
        f"<!DOCTYPE tmx [{LAUGHS}]>",
        '<!DOCTYPE tmx [<!ENTITY l8 SYSTEM "hostname">]>',
        '<!DOCTYPE tmx [<!ENTITY % p SYSTEM "http://localhost:9/x.dtd"> %p; <!ENTITY l8 "">]>',
    ],
)
def test_entities_are_refused(prolog: str) -> None:
    text = TMX.replace('<!DOCTYPE tmx SYSTEM "tmx14.dtd">', prolog).replace("world", "&l8;")
    for data in (text.encode(), text.replace('"1.0"', '"1.0" encoding="UTF-16"').encode("utf-16")):
        with pytest.raises(UserError, match=r"entities|well-formed"):
            documents.open("a.tmx", data, "de")
    with_entities = rezipped(text_document(), {"content.xml": text.encode()})
    with pytest.raises(UserError, match=r"entities|well-formed"):
        documents.open("a.odt", with_entities)


def rezipped(data: bytes, contents: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in [*old.namelist(), *(name for name in contents if name not in old.namelist())]:
            new.writestr(name, contents[name] if name in contents else old.read(name))
    return out.getvalue()


def with_flag(data: bytes, flag: int) -> bytes:
    """The archive with a flag bit set in every entry of its directory."""
    found, out = 0, bytearray(data)
    while (found := data.find(b"PK\x01\x02", found + 1)) > 0:
        out[found + 8 : found + 10] = struct.pack("<H", flag)
    return bytes(out)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"word/media/bomb": bytes(300 * 2**20)}, "packed more than"),
        ({"word/document.xml": b"<a>" + b" " * 40 * 2**20 + b"</a>"}, "packed more than"),
        ({"../../evil": b"x"}, "leads out of it"),
        ({"/etc/evil": b"x"}, "leads out of it"),
        ({"C:evil": b"x"}, "leads out of it"),
        ({"word\\..\\evil": b"x"}, "leads out of it"),
        ({"word/document.xml": b"<a>" * 300 + b"</a>" * 300}, "well-formed"),
        ({"word/document.xml": b"<w:document"}, "well-formed"),
        ({"word/document.xml": b"<document/>"}, "no .docx"),
        ({f"word/{n}": b"" for n in range(10_001)}, "10,000 are the most"),
    ],
)
def test_archives_made_to_do_harm_are_refused(contents: dict[str, bytes], message: str) -> None:
    with pytest.raises(UserError, match=message):
        documents.open("a.docx", rezipped(word_document(), contents))


def test_broken_and_wrong_archives_are_refused() -> None:
    whole = word_document()
    for data, name, message in [
        (whole[: len(whole) // 2], "a.docx", "no sound zip"),
        (b"plain text", "a.odt", "no sound zip"),
        (whole, "a.odt", "there is no mimetype"),
        (text_document(), "a.docx", "there is no _rels/.rels"),
        (with_flag(whole, 1), "a.docx", "encrypted"),
        (
            rezipped(text_document(), {"mimetype": b"application/vnd.oasis.opendocument.spreadsheet"}),
            "a.odt",
            "another",
        ),
        (rezipped(text_document(), {"META-INF/manifest.xml": b"<encryption-data/>"}), "a.odt", "encrypted"),
        (b"<html/>", "a.xliff", "no XLIFF"),
        (b"<tmx/>", "a.tmx", "no TMX"),
        (b"", "a.docx", "empty"),
    ]:
        with pytest.raises(UserError, match=message):
            documents.open(name, data, "de")
    document = documents.open("a.docx", whole[:200] + bytes(64) + whole[264:])  # a member without text
    with pytest.raises(UserError, match="broken"):
        document.render([Translated(segment.text) for segment in document.segments])
