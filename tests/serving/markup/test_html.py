"""HTML: its tags go with their words, and what is not translated does not change by a byte."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from lxml import html as lxml_html

from kakehashi.serving.engine.protocol import Link, Request
from kakehashi.serving.markup.html import Markup
from kakehashi.serving.markup.html_pieces import pieces
from kakehashi.serving.markup.inline import Translated
from tests.serving.conftest import Running, shifted


def rendered(text: str, *translations: str | Translated) -> str:
    markup = Markup(text)
    found = [t if isinstance(t, Translated) else Translated(t) for t in translations]
    assert len(found) == len(markup.segments), markup.segments
    return markup.render(found)


def upper(text: str) -> str:
    """A translation of everything: capitals."""
    markup = Markup(text)
    return markup.render([Translated(segment.text.upper()) for segment in markup.segments])


def test_a_link_goes_with_its_words() -> None:
    source = '<p>I use <a href="#">Google</a> every day.</p>'
    assert [segment.text for segment in Markup(source).segments] == ["I use Google every day."]
    assert rendered(source, "毎日 Google を使っています。") == '<p>毎日 <a href="#">Google</a> を使っています。</p>'
    source = "<b>Red</b> <i>cats</i> sleep"
    links = (Link((0, 3), (6, 12), 0.9), Link((4, 8), (0, 5), 0.9), Link((9, 14), (13, 20), 0.9))
    assert rendered(source, Translated("chats rouges dorment", links)) == "<i>chats</i> <b>rouges</b> dorment"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a &amp; b &lt; c", "A &amp; B &lt; C"),
        ("caf&eacute; &copy;&nbsp;x", "CAFÉ ©&nbsp;X"),
        ("<!DOCTYPE html>\n<!-- x --><p>a</p>", "<!DOCTYPE html>\n<!-- x --><p>A</p>"),
        ("<p>run <code>ls -l</code> now</p>", "<p>RUN <code>ls -l</code> NOW</p>"),
        ("see <span translate='no'>Foo <b>Bar</b></span>!", "SEE <span translate='no'>Foo <b>Bar</b></span>!"),
        ('an <i class="x notranslate">in</i>', 'AN <i class="x notranslate">in</i>'),
        ("<pre>a\n b</pre>c", "<pre>a\n b</pre>C"),
        ("<script>if (a<b) x='</p>'</script>c", "<script>if (a<b) x='</p>'</script>C"),
        ("<style>p > a {}</style><title>t</title>", "<style>p > a {}</style><title>T</title>"),
        ("a<br>b<br />\nc", "A<br>B<br /> C"),
        ("<IMG SRC='x.png' alt=y> word", "<IMG SRC='x.png' alt=y> WORD"),
        ("<p>one<p>two <b>three", "<p>ONE<p>TWO <b>THREE"),
        ("<b><i>x</b></i> y", "<b><i>X</b></i> Y"),
        ("<ul>\n  <li>a\n  <li>b\n</ul>\n", "<ul>\n  <li>A\n  <li>B\n</ul>\n"),
        ("<b>a<p>c</p>d</b>", "<b>A<p>C</p>D</b>"),
        ("<a><div>x</div></a>", "<a><div>X</div></a>"),
        ('<x id="1"/>word <x id="2"/>', '<x id="1"/>WORD <x id="2"/>'),
        ("code <code>a and <p>b", "CODE <code>a and <p>B"),
        ("123 &mdash; 😀", "123 &mdash; 😀"),
        ("a < b > c", "A &lt; B &gt; C"),
        ("", ""),
    ],
)
def test_what_is_left_alone(source: str, expected: str) -> None:
    assert upper(source) == expected


def test_a_post_of_mastodon() -> None:
    source = (
        '<p><span class="h-card" translate="no"><a href="https://m.ex/@ana" class="u-url">@<span>ana</span></a></span>'
        ' good morning!<br />Read <a href="https://a.ex/b" rel="nofollow"><span class="invisible">https://</span>'
        '<span class="">a.ex/b</span></a> <a href="https://m.ex/tags/x" class="hashtag">#<span>x</span></a></p>'
    )
    (segment,) = Markup(source).segments
    assert segment.text == "@ana good morning!\nRead https://a.ex/b #x"
    assert segment.verbatim == ("@ana",)
    assert rendered(source, "@ana おはよう!\nhttps://a.ex/b を読んで #x") == source.replace(
        " good morning!", " おはよう!"
    ).replace("Read <a", "<a").replace("</span></a> <a", "</span></a> を読んで <a")


def test_tags_follow_the_alignment_of_a_model(running: Running) -> None:
    """The model of the tests turns each word into the next one of its list."""
    markup = Markup("<p>Pig <b>ant <i>dog</i></b> <code>koi</code>.</p>")
    (segment,) = markup.segments
    answer = running(lambda engine: engine.translate(Request(segment.text, "en", "de", alignment=True)))
    assert answer.text == shifted(segment.text) and answer.links
    translated = Translated(answer.text, answer.links)
    assert markup.render([translated]) == "<p>Ant <b>bee <i>eel</i></b> <code>koi</code>.</p>"


def test_code_that_a_translation_lost_comes_back() -> None:
    source = "<p>Run <code>ls</code> now</p>"
    links = (Link((0, 3), (6, 15), 1.0), Link((7, 10), (0, 5), 1.0))
    assert rendered(source, Translated("Jetzt ausführen", links)) == "<p>Jetzt ausführen <code>ls</code></p>"


fragments = st.lists(
    st.sampled_from(
        ["word", " ", "日本語", "&amp;", "<b>", "</b>", "<i class='x'>", "</i>", "<p>", "</p>", "<br>", "<!-- c -->",
         "<code>", "x</code>", "<img src=a>", "😀", "<", ">", "'", '"', "<a href=\"", "<script>", "</script>", "=", "/"]
    ),
    max_size=15,
).map("".join)  # fmt: skip


@given(fragments | st.text(max_size=40))
def test_an_unchanged_text_is_the_same_to_the_byte(text: str) -> None:
    markup = Markup(text)
    assert markup.render([Translated(segment.text) for segment in markup.segments]) == text
    assert "".join(piece.raw for piece in pieces(text)) == text


@given(st.data(), fragments)
def test_every_tag_comes_back_once(data: st.DataObject, text: str) -> None:
    markup = Markup(text)
    answers = [Translated(data.draw(st.sampled_from(["Wort", "eins zwei drei", "", "日本"]))) for _ in markup.segments]
    before, after = (
        [piece for piece in pieces(html) if piece.kind != "text"] for html in (text, markup.render(answers))
    )
    assert sorted(piece.raw for piece in before) == sorted(piece.raw for piece in after)


sound = st.recursive(
    st.sampled_from(["word ", "two words", "日本", "<br>", "<img src='a'>"]),
    lambda inner: st.tuples(st.sampled_from(["b", "i", "a", "span"]), st.lists(inner, max_size=4)).map(
        lambda pair: f"<{pair[0]}>{''.join(pair[1])}</{pair[0]}>"
    ),
    max_leaves=12,
)


@given(st.data(), sound)
def test_sound_markup_stays_sound(data: st.DataObject, text: str) -> None:
    markup = Markup(text)
    answers = [Translated(data.draw(st.sampled_from(["Wort", "eins zwei drei", "", "日本"]))) for _ in markup.segments]
    open_tags: list[str] = []
    for piece in pieces(markup.render(answers)):
        if piece.kind == "open" and piece.name not in ("br", "img"):
            open_tags.append(piece.name)
        elif piece.kind == "close":
            assert open_tags.pop() == piece.name
    assert open_tags == []


@given(fragments)
def test_tags_are_those_that_libxml2_sees(text: str) -> None:
    class Names:
        def __init__(self) -> None:
            self.names: list[str] = []

        def start(self, tag: str, attributes: object) -> None:
            self.names.append(tag)

        def end(self, tag: str) -> None: ...

        def close(self) -> list[str]:
            return self.names

    implied = {"html", "body", "head", "p"}
    parser = lxml_html.HTMLParser(target=Names())
    theirs = etree.fromstring(f"<div>{text}</div>", parser)
    ours = [piece.name for piece in pieces(f"<div>{text}</div>") if piece.kind == "open"]
    assert [name for name in theirs if name not in implied] == [name for name in ours if name not in implied]


HOSTILE = """x<b>y</b> <b>x x<img> x<code>y</code> x</b> <b>x</i> < <!-- <a <a/ </ <![ <? & <script> <code>""".split()


@pytest.mark.parametrize("piece", [*HOSTILE, "<a x='", "<a =", '<a b="'])
def test_hostile_text_takes_linear_time(piece: str) -> None:
    markup = Markup((piece + " ") * 2_000)
    start = time.process_time()
    assert markup.render([Translated(segment.text.upper()) for segment in markup.segments])
    assert time.process_time() - start < 3
