"""What is kept letter by letter, out of a sentence and back into its translation."""

import pytest

from kakehashi.alignment import Link, Token
from kakehashi.serving.engine.apart import apart
from kakehashi.translator import Translation

LANGUAGES = "en", "de"


@pytest.mark.parametrize(
    ("whole", "phrases", "text", "kept"),
    [
        ("ant {x} bee", ["{x}"], "ant bee", ["{x}"]),
        ("{x} ant", ["{x}"], "ant", ["{x}"]),
        ("{x}, %s: ant", ["%s", "{x}"], "ant", ["{x}, %s:"]),
        ("Ant bee ({x}).", ["{x}"], "Ant bee.", ["({x})"]),
        ("Ant [{x} {y}]{x} bee", ["{x}", "{y}"], "Ant bee", ["[{x} {y}]", "{x}"]),
        ("ant({x}, cat) bee", ["{x}"], "ant(, cat) bee", ["{x}"]),
        ("a{x}b", ["{x}"], "ab", ["{x}"]),
    ],
)
def test_what_is_left_of_a_sentence(whole: str, phrases: list[str], text: str, kept: list[str]) -> None:
    parted = apart(whole, phrases, LANGUAGES)
    assert parted.text == text and [whole[slice(*place)] for place in parted.kept] == kept
    assert len(parted.origins) == len(text)
    assert all(whole[origin] == sign for origin, sign in zip(parted.origins, text, strict=True))


def test_a_run_of_signs_takes_no_time() -> None:
    """Nor where it cannot have an end that was looked for: a colon, a bracket."""
    run = "👍🏻👍 !" * 200
    parted = apart(f"({run} ant", ["👍🏻", "👍", "🏻"], LANGUAGES)
    assert (parted.text, len(parted.kept)) == ("(! ant", 1)


def test_all_is_put_back_where_the_links_lead() -> None:
    """The two words have changed places, and each has taken along what stood behind it."""
    parted = apart("Ant {x} bee {y}", ["{x}", "{y}"], LANGUAGES)
    words = (Token("CAT", -0.1, (0, 3)), Token("BUG", -0.2, (4, 7)))
    links = (Link((4, 7), (0, 3), 1.0), Link((0, 3), (4, 7), 1.0))
    other = Translation("Ant bee", "CAT")
    found = parted.joined(Translation("Ant bee", "CAT BUG", tokens=words, links=links, alternatives=(other,)))
    assert found.source == "Ant {x} bee {y}" and sorted(found.text.split()) == ["BUG", "CAT", "{x}", "{y}"]
    assert "  " not in found.text
    assert [found.text[slice(*token.span)] for token in found.tokens] == ["CAT", "BUG"]
    linked = {(found.source[slice(*link.source)], found.text[slice(*link.target)]) for link in found.links}
    assert linked == {("bee", "CAT"), ("Ant", "BUG"), ("{x}", "{x}"), ("{y}", "{y}")}
    assert all(each in found.alternatives[0].text for each in ("CAT", "{x}", "{y}"))


def test_signs_stay_where_they_belong() -> None:
    parted = apart("Ant bee (www.example.org).", ["www.example.org"], LANGUAGES)
    links = (Link((0, 3), (0, 3), 1.0), Link((4, 7), (4, 7), 1.0), Link((7, 8), (7, 8), 1.0))
    assert parted.joined(Translation("Ant bee.", "Bug cat.", links=links)).text == "Bug cat (www.example.org)."
    front = apart("{x}: Ant bee.", ["{x}"], LANGUAGES)
    assert front.joined(Translation("Ant bee.", "Bug cat.", links=links)).text == "{x}: Bug cat."
    number = apart("Ant bee (1,250).", ["(1,250)"], LANGUAGES)
    assert number.joined(Translation("Ant bee.", "Bug cat.", links=links)).text == "Bug cat (1.250)."
