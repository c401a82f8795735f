"""Tokens of a format to a segment, and back around its translation."""

from hypothesis import given
from hypothesis import strategies as st

from kakehashi.serving.markup.inline import (
    Atom,
    Close,
    Inline,
    Open,
    Segment,
    Text,
    Token,
    Translated,
    rendered,
    segments_of,
)
from kakehashi.serving.markup.tags import Span


def written(tokens) -> str:
    return "".join(token.text if isinstance(token, Text) else token.payload for token in tokens)


def tokens(text: str) -> list[Token[str]]:
    """Of a toy format: (a and a) are a tag, [x] is an atom that says x, and % one that says nothing."""
    kinds = {"(": Open, ")": Close}
    found: list[Token[str]] = []
    while text:
        if text[0] in kinds:
            found.append(kinds[text[0]]("a", text[0]))
        elif text[0] == "[":
            found.append(Atom(text[: text.index("]") + 1], text[1 : text.index("]")]))
        else:
            found.append(Atom("%") if text[0] == "%" else Text(text[0]))
        text = text[len(written(found[-1:])) :]
    return found


def translated(source: str, target: str) -> str:
    return written(Inline(tokens(source)).render(Translated(target)))


def test_ends_are_no_part_of_a_segment() -> None:
    assert Inline(tokens(" %( one (two) ) %")).segment == Segment("one two", (Span(4, 7),))
    assert translated(" %( one (two) ) %", "eins zwei") == " %( eins (zwei) ) %"
    assert Inline(tokens("(one) two")).segment == Segment("one two", (Span(0, 3),))
    assert Inline(tokens("[x](one[y])")).segment == Segment(
        "xoney", (Span(0, 1, kept=True), Span(1, 5), Span(4, 5, 1, kept=True)), ("x", "y")
    )


def test_what_has_no_letters_is_no_segment() -> None:
    for text in ("", " ", "123", "(%)", "[code]", "🎉 (!)"):
        inline = Inline(tokens(text))
        assert inline.segment is None and written(*rendered([inline], [])) == text


def test_atoms_keep_their_distance() -> None:
    assert Inline(tokens("one % two")).segment == Segment("one two", (Span(4, 4),))
    assert translated("one % two", "eins zwei") == "eins % zwei"
    assert translated("one% two", "eins zwei") == "eins% zwei"
    assert translated("one [ls] two", "eins zwei") == "eins [ls] zwei"


def test_a_long_atom_is_not_shown() -> None:
    long = "[" + "x" * 100 + "]"
    assert Inline(tokens(f"one {long} two")).segment == Segment("one two", (Span(4, 4),))
    assert translated(f"one {long} two", "eins zwei") == f"eins {long} zwei"


def test_tags_without_partners_go_their_way() -> None:
    assert translated("one) two", "eins zwei") == "eins) zwei"
    assert translated("one (two", "eins zwei") == "eins (zwei"


def test_tags_are_nested_as_deep_as_one_likes() -> None:
    deep = "x " + "(" * 500 + "y" + ")" * 500 + " z"
    assert translated(deep, "u v w") == deep.replace("x", "u").replace("y", "v").replace("z", "w")


@given(st.data(), st.text(st.sampled_from("ab ()%"), max_size=20))
def test_every_token_comes_back_once(data: st.DataObject, text: str) -> None:
    inlines = [Inline(tokens(text)), Inline(tokens("(one)"))]
    answers = [Translated(data.draw(st.text("xy "))) for _ in segments_of(inlines)]
    found = [written(each) for each in rendered(inlines, answers)]
    for sign in "()%":
        assert [each.count(sign) for each in found] == [text.count(sign), "(one)".count(sign)]
