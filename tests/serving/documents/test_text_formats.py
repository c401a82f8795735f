"""Documents that are text: .txt, .html, .md, .srt, .po."""

import codecs

import polib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from kakehashi.errors import UserError
from kakehashi.serving import documents
from kakehashi.serving.documents.lines import broken
from kakehashi.serving.engine.protocol import Link
from kakehashi.serving.markup.inline import Translated

MULTILINGUAL = "日本語の文です。\nمرحبا بالعالم\nParty 🎉👩‍🔧!\n"


def upper(name: str, text: str, language: str | None = None) -> str:
    document = documents.open(name, text.encode(), language)
    return document.render([Translated(segment.text.upper()) for segment in document.segments]).decode()


def texts(name: str, text: str) -> list[str]:
    return [segment.text for segment in documents.open(name, text.encode(), "de").segments]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.HTML"])
def test_what_is_not_changed_comes_back_to_the_byte(name: str, encoding: str) -> None:
    data = ("\r\n  one  \n\n12\n" * (name == "a.txt") + MULTILINGUAL).encode(encoding)
    document = documents.open(name, data)
    assert [segment.text for segment in document.segments] and document.segments[0].text.strip()
    same = [Translated(segment.text) for segment in document.segments]
    assert document.render(same) == data
    assert document.render(same) == data, "a document is rendered as often as one asks"


def test_lines_of_a_text_keep_their_margins_and_ends() -> None:
    assert upper("a.txt", "\tone \r\n\r\n42\n二つ") == "\tONE \r\n\r\n42\n二つ"
    assert documents.open("a.txt", codecs.BOM_UTF16_BE + "a é".encode("utf-16-be")).render(
        [Translated("ü")]
    ) == codecs.BOM_UTF16_BE + "ü".encode("utf-16-be")


def test_html_keeps_its_encoding() -> None:
    page = '<meta charset="iso-8859-1"><p>café</p>'
    document = documents.open("a.html", page.encode("latin-1"))
    assert [segment.text for segment in document.segments] == ["café"]
    assert document.render([Translated("café 喫茶")]) == page.replace("é", "é &#21931;&#33590;").encode("latin-1")


def in_markdown(text: str) -> str:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)


MARKDOWN = """---
title: kept as it is
---

# A *head* #

Some **bold words** and
[a link](http://x.example/a_(b)?q=1 "t"), [ref][r], `code *x*` <kbd>h</kbd>
![img](é.png) <http://auto.example> line\\
break

    indented code

> quote one
> more[^1]
> - item ~~one~~
>   goes on

1. first
   - [ ] a task

| left | right *side* |
|---|---|
| 1 | x \\| y |

<div class="x">
html <b>block</b>
</div>

> [!NOTE]
> Take care.

```python
print("code")
```

[r]: http://r.example

[^1]: A footnote.

Setext
======
"""


def test_markdown_keeps_its_structure() -> None:
    document = documents.open("a.md", MARKDOWN.encode())
    found = [segment.text for segment in document.segments]
    assert found == [
        "A head",
        "Some bold words and a link, ref, code *x* h http://auto.example line\nbreak",
        "quote one more",
        "item one goes on",
        "first",
        "a task",
        "left",
        "right side",
        "x | y",
        "html block",
        "Take care.",
        "A footnote.",
        "Setext",
    ]
    assert document.segments[1].verbatim == ("code *x*", "http://auto.example")
    assert document.render([Translated(text) for text in found]) == MARKDOWN.encode()
    capitals = document.render([Translated(text.upper()) for text in found]).decode()
    for kept in (
        "title: kept as it is", "# A *HEAD* #", "**BOLD WORDS**", '[A LINK](<http://x.example/a_(b)?q=1> "t")',
        "`code *x*`", "![img](é.png)", "<http://auto.example>", "LINE\\\nBREAK", "    indented code",
        "> QUOTE ONE MORE[^1]\n", "> - ITEM ~~ONE~~ GOES ON\n", "   - [ ] A TASK", "| LEFT | RIGHT *SIDE* |",
        "| 1 | X \\| Y |", "HTML <b>BLOCK</b>", "> [!NOTE]\n> TAKE CARE.", 'print("code")', "[^1]: A FOOTNOTE.",
        "SETEXT\n======",
    ):  # fmt: skip
        assert kept in capitals
    assert in_markdown(capitals).lower().replace("\n", " ") == in_markdown(MARKDOWN).lower().replace("\n", " ")


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("a word", "1. Wort", "1\\. Wort"),
        ("a word", "- Wort", "\\- Wort"),
        ("a word", "# Wort", "\\# Wort"),
        ("a word", "*Wort* <b>", "\\*Wort\\* \\<b>"),
        ("a word", "a_b 2 * 3 [x]", "a_b 2 * 3 [x]"),
        ("AT&amp;T", "AT&T &amp;", "AT&T \\&amp;"),
        ("**KAKEHASHI** yes", "「KAKEHASHI」です", "「**KAKEHASHI**」です"),
        ("a **(NEW)** word", "語(NEW)語", "語<strong>(NEW)</strong>語"),
    ],
)
def test_markdown_says_what_the_translation_says(source: str, target: str, expected: str) -> None:
    document = documents.open("a.md", source.encode())
    assert document.render([Translated(target)]).decode() == expected


@given(st.data(), st.text(st.sampled_from("ab *_`[]()<>#-~!\\|\n日「」"), max_size=30))
def test_any_markdown_renders(data: st.DataObject, text: str) -> None:
    document = documents.open("a.md", text.encode() or b" ")
    same = [Translated(segment.text) for segment in document.segments]
    assert document.render(same).decode() == (text or " ")
    answer = st.sampled_from(["Wort", "「日本」 *x*", "1. _y_ `", ""])
    document.render([Translated(data.draw(answer)) for _ in same])


SUBTITLES = """1
00:00:01,000 --> 00:00:02,000 X1:10
I have never
seen a <i>cat</i>

2
00:00:02,100 --> 00:00:03,000
that was so red.

3
00:00:05,000 --> 00:00:06,000
- Hello!
- Good morning to you, my dear friend!

4
00:00:07,000 --> 00:00:08,000
♪ 123 ♪
"""


def test_subtitles_are_whole_sentences_and_keep_their_times() -> None:
    document = documents.open("a.srt", SUBTITLES.encode())
    source, *speeches = (segment.text for segment in document.segments)
    assert source == "I have never seen a cat that was so red."
    assert speeches == ["Hello!", "Good morning to you, my dear friend!"]
    target = "Noch nie sah ich eine Katze, die so rot war."
    pairs = {"never": "nie", "seen": "sah", "cat": "Katze", "that": "die", "so": "so", "red": "rot", "was": "war"}
    links = [
        Link((source.index(a), source.index(a) + len(a)), (target.index(b), target.index(b) + len(b)), 1.0)
        for a, b in pairs.items()
    ]
    long = "Guten Morgen, mein lieber Freund, wie geht es Ihnen?"
    found = document.render([Translated(target, links), Translated("Hallo!"), Translated(long)]).decode()
    assert found == SUBTITLES.replace("I have never\nseen a <i>cat</i>", "Noch nie sah ich eine <i>Katze</i>,").replace(
        "that was so red.", "die so rot war."
    ).replace("- Hello!", "- Hallo!").replace(
        "- Good morning to you, my dear friend!", "- Guten Morgen, mein lieber\nFreund, wie geht es Ihnen?"
    )


def test_subtitles_that_do_not_change_are_the_same_to_the_byte() -> None:
    for text in (SUBTITLES, SUBTITLES.replace("\n", "\r\n"), SUBTITLES.rstrip("\n"), "\ufeff" + SUBTITLES):
        document = documents.open("a.srt", text.encode())
        assert len(document.segments) == 3
        assert document.render([Translated(segment.text) for segment in document.segments]) == text.encode()


def test_no_cue_of_a_sentence_is_left_without_words() -> None:
    text = SUBTITLES.replace("<i>", "").replace("</i>", "")
    document = documents.open("a.srt", text.encode())
    for target in ("赤い猫は 見たことが ない。", "Nie gesehen."):
        lines = document.render([Translated(target), *map(Translated, ["a", "b"])]).decode().split("\n")
        assert lines[2].strip() and lines[6 if lines[3] == "" else 7].strip()


def test_lines_are_even_and_cut_no_word() -> None:
    assert broken("one two three four", 42) == "one two three four"
    assert broken("aaaa bbbb cccc dddd eeee ffff", 20) == "aaaa bbbb cccc\ndddd eeee ffff"
    assert (
        broken("これはとても長い日本語の字幕です。テストをします。", 26)
        == "これはとても長い日本語の字\n幕です。テストをします。"
    )
    assert broken('<font color="red">aaaa bbbb</font>', 9) == '<font color="red">aaaa bbbb</font>'


def test_messages_without_a_translation_get_one() -> None:
    catalogue = polib.POFile()
    catalogue.metadata = {"Content-Type": "text/plain; charset=UTF-8", "Language": ""}
    catalogue.append(polib.POEntry(msgid="Open <b>file</b>", comment="for translators", occurrences=[("a.c", "1")]))
    catalogue.append(polib.POEntry(msgid="done", msgstr="erledigt"))
    catalogue.append(polib.POEntry(msgid="unsure", msgstr="unsicher", flags=["fuzzy"]))
    catalogue.append(polib.POEntry(msgid="%d file\n", msgid_plural="%d files\n", msgstr_plural={0: "", 1: ""}))
    catalogue.append(polib.POEntry(msgid="old", msgstr="alt", obsolete=True))
    source = str(catalogue)
    assert texts("a.po", source) == ["Open file", "%d file", "%d files"]
    found = polib.pofile(upper("a.po", source, "de"))
    assert found.metadata["Language"] == "de"
    assert [(entry.msgstr, entry.fuzzy, entry.obsolete) for entry in found] == [
        ("OPEN <b>FILE</b>", False, False),
        ("erledigt", False, False),
        ("unsicher", True, False),
        ("", False, False),
        ("alt", False, True),
    ]
    assert found[3].msgstr_plural == {0: "%D FILE\n", 1: "%D FILES\n"}
    assert found[0].comment == "for translators" and found[0].occurrences == [("a.c", "1")]


@pytest.mark.parametrize(("count", "expected"), [(1, ["B"]), (2, ["A", "B"]), (3, ["A", "B", "B"])])
def test_plural_forms(count: int, expected: list[str]) -> None:
    header = f'msgid ""\nmsgstr ""\n"Plural-Forms: nplurals={count}; plural=0;\\n"\n\n'
    source = header + 'msgid "a"\nmsgid_plural "b"\nmsgstr[0] ""\n'
    entry = polib.pofile(upper("a.po", source))[0]
    assert [*entry.msgstr_plural.values()] == expected
    assert entry.fuzzy == (count > 2)


def test_a_message_file_is_never_the_path_of_another(tmp_path) -> None:
    other = tmp_path / "other.po"
    other.write_text('msgid "secret"\nmsgstr ""\n', encoding="utf-8")
    with pytest.raises(UserError, match="one line"):
        documents.open("a.po", str(other).encode())


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.exe", b"x", r"kind '\.exe' is not translated; these are: \.txt"),
        ("noname", b"x", "'noname' is not translated"),
        ("a.txt", b"", "empty"),
        ("a.txt", b"\xff\xfe\x00", "not in UTF-16"),
        ("a.txt", "é".encode("latin-1"), "not in UTF-8"),
        ("a.md", b"PK\x03\x04\x00\x00", "NUL"),
        ("a.html", b"<meta charset=klingon>x", "no known encoding"),
        ("a.html", b"<meta charset=hex>x", "no known encoding"),
        ("a.srt", b"just text", "no line in it is a time"),
        ("a.po", b"hello\nworld\n", "no sound .po"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(name: str, data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        documents.open(name, data)
    assert "\n" not in str(refused.value)
