"""Tags move with their words: textbook cases, and properties over any nesting, any text and any links."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kakehashi.serving.engine.protocol import Link
from kakehashi.serving.markup.tags import Span, project
from kakehashi.serving.markup.words import occurrences, same_words, words


def moved(source: str, target: str, marked: list[str], pairs: dict[str, str]) -> list[str]:
    """What the target has in the spans of words that are marked in the source, given links of words."""
    spans = [Span(source.index(text), source.index(text) + len(text)) for text in marked]
    links = [Link(at(source, word), at(target, other), 1.0) for word, other in pairs.items()]
    return [target[start:end] for start, end in project(spans, source, target, links)]


def at(text: str, word: str) -> tuple[int, int]:
    return text.index(word), text.index(word) + len(word)


def test_a_tag_goes_with_its_words() -> None:
    pairs = {"I": "Ich", "opened": "geöffnet", "the red door": "die rote Tür", "yesterday": "gestern"}
    source, target = "I opened the red door yesterday.", "Ich habe gestern die rote Tür geöffnet."
    assert moved(source, target, ["opened", "the red door", "yesterday"], pairs) == [
        "geöffnet",
        "die rote Tür",
        "gestern",
    ]


def test_without_links_the_same_words_and_the_pace_decide() -> None:
    assert moved("I use Google every day.", "Ich nutze täglich Google.", ["Google"], {}) == ["Google"]
    assert moved("one two three", "eins zwei drei", ["two"], {}) == ["zwei"]


def test_the_whole_stays_the_whole() -> None:
    assert moved("Press the key.", "キーを押す。", ["Press the key."], {}) == ["キーを押す。"]


def test_a_word_without_links_takes_the_free_place() -> None:
    assert moved("the big house", "das große Haus", ["big"], {"the": "das", "house": "Haus"}) == ["große"]


def test_a_sign_at_the_edge_stays_outside() -> None:
    pairs = {"Activities": "(Aktivitäten)", "Open": "Öffnen"}
    assert moved("Open Activities now", "Öffnen Sie (Aktivitäten)", ["Activities"], pairs) == ["Aktivitäten"]


def test_edges_within_a_word_that_is_the_same() -> None:
    source = "Hello @user, see https://example.com/a/b now"
    target = "こんにちは @user さん、https://example.com/a/b をご覧ください"
    assert moved(source, target, ["user", "https://", "example.com/a", "/b"], {}) == [
        "user",
        "https://",
        "example.com/a",
        "/b",
    ]


def test_phrases_that_are_kept_are_found_where_they_stand() -> None:
    source, target = "Run set to set a variable, set!", "set で変数を set します。set!"
    spans = [Span(4, 7, kept=True), Span(27, 30, kept=True)]
    assert project(spans, source, target, []) == [(0, 3), (17, 20)]


def test_line_breaks_go_to_line_breaks() -> None:
    source, target = "a b\nc\nd", "x\ny z w\nv"
    spans = [Span(3, 4, kept=True), Span(5, 6, kept=True)]
    assert [target[slice(*place)] for place in project(spans, source, target, [])] == ["\n", "\n"]


def test_empty_tags_keep_their_order_and_their_words() -> None:
    source, target = "red cat black dog", "chat rouge chien noir"
    links = [
        Link(at(source, a), at(target, b), 1.0)
        for a, b in zip(source.split(), "rouge chat noir chien".split(), strict=True)
    ]
    spans = [Span(0, 0), Span(8, 8), Span(8, 8), Span(17, 17)]
    assert project(spans, source, target, links) == [(0, 0), (11, 11), (11, 11), (21, 21)]


texts = st.text(st.sampled_from("ab cdX1 .,\n\t日本語テスト👩‍🔧é\u0301 ")) | st.text(max_size=30)


@st.composite
def nestings(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """A text and tags over it: opened and closed at random, so that any nesting can come."""
    text = draw(texts)
    spans: list[Span] = []
    around = [-1]
    place = 0
    for _ in range(draw(st.integers(0, 12))):
        place = draw(st.integers(place, len(text)))
        if draw(st.booleans()):
            spans.append(Span(place, len(text), around[-1]))
            around.append(len(spans) - 1)
        elif len(around) > 1:
            span = around.pop()
            kept = draw(st.booleans()) and all(other.parent != span for other in spans)
            spans[span] = Span(spans[span].start, place, spans[span].parent, kept)
    return text, spans


@st.composite
def linked(draw: st.DrawFn, source: str, target: str) -> list[Link]:
    if not source or not target:
        return []
    links: list[Link] = []
    for _ in range(draw(st.integers(0, 10))):
        (a, b), (c, d) = (
            sorted(draw(st.tuples(st.integers(0, len(t)), st.integers(0, len(t))))) for t in (source, target)
        )
        if a < b and c < d:
            links.append(Link((a, b), (c, d), draw(st.floats(0, 1))))
    return links


@given(st.data(), nestings(), texts)
def test_any_tags_and_links_give_sound_nesting(
    data: st.DataObject, tagged: tuple[str, list[Span]], target: str
) -> None:
    source, spans = tagged
    places = project(spans, source, target, data.draw(linked(source, target)))
    assert len(places) == len(spans)
    edges = {0, *(edge for word in words(target) for edge in word)}
    for place, (span, (start, end)) in enumerate(zip(spans, places, strict=True)):
        low, high = places[span.parent] if span.parent >= 0 else (0, len(target))
        assert low <= start <= end <= high
        for other in range(place):
            if spans[other].parent == span.parent and places[other] != (start, end):
                first, second = sorted([places[other], (start, end)])
                assert first[1] <= second[0], "siblings overlap"
    empty = [place for span, place in zip(spans, places, strict=True) if span.start == span.end and span.parent == -1]
    assert empty == sorted(empty)
    if not set(source) & set(target):  # no word is the same, so none was cut
        assert {edge for place in places for edge in place} <= edges | (
            {*range(len(target))} if "日" in target else edges
        )


@given(texts)
def test_words_lie_apart_and_leave_out_only_spaces(text: str) -> None:
    found = words(text)
    assert all(start < end for start, end in found)
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(found))
    inside = {place for start, end in found for place in range(start, end)}
    assert all(text[place].isspace() for place in range(len(text)) if place not in inside)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, x_1!", ["Don't", "stop", ",", "x_1", "!"]),
        ("é👩‍🔧👍🏽🇯🇵", ["é", "👩‍🔧", "👍🏽", "🇯🇵"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("設定のキーボード", ["設定の", "キーボード"]),
        ("مرحبا بالعالم", ["مرحبا", "بالعالم"]),
    ],
)
def test_words_of_many_scripts(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in words(text)] == expected


def test_words_of_scripts_without_spaces_are_cut_where_links_end() -> None:
    text = "設定を開くABC"
    assert [text[start:end] for start, end in words(text, soft_cuts={2, 3, 6})] == ["設定", "を", "開く", "ABC"]


def test_same_words() -> None:
    source, target = "the die Orca 3 (x)", "die Orca 3 (die)"
    pairs = {(source[a:b], target[c:d]) for (a, b), (c, d) in same_words(source, target)}
    assert pairs == {("Orca", "Orca"), ("3", "3"), ("(", "("), (")", ")")}
    assert [*occurrences("ls", "ls details ls")] == [(0, 2), (11, 13)]
