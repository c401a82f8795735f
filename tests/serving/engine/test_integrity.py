"""What a translation must have of its source."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kakehashi.serving.engine.integrity import kept_apart, loops, missing, translatable, ungoverned


def lacking(source: str, translation: str, languages: str) -> list[str]:
    """How the translation is to write what it lacks; languages: "en-de"."""
    own, other = languages.split("-")
    return [item.wanted for item in missing(source, translation, (own, other))]


@pytest.mark.parametrize(
    ("source", "translation", "languages"),
    [
        ("It costs 1,000.50 dollars.", "Es kostet 1.000,50 Dollar.", "en-de"),
        ("It costs 1,000.50 dollars.", "Es kostet 1000,5 Dollar.", "en-de"),
        ("Er hat 10.000 Stück zu 3,5 kg.", "He has 10,000 pieces of 3.5 kg.", "de-en"),
        ("Il y en a 10 000.", "There are 10,000.", "fr-en"),
        ("１，０００円です。", "It is 1,000 yen.", "ja-en"),
        ("部屋は３０２です。", "The room is 302.", "ja-en"),
        ("11月24日です。", "It is November 24.", "ja-en"),
        ("3万円です。", "It is 30,000 yen.", "ja-en"),
        ("4 people and 12 dogs.", "Vier Menschen und zwölf Hunde.", "en-de"),
        ("Wait 3 hours.", "三時間待ってください。", "en-ja"),
        ("It has 2 million people.", "人口は200万人です。", "en-ja"),
        ("It has 2 million people.", "Es hat 2 Millionen Einwohner.", "en-de"),
        ("We meet at 3 p.m. today.", "Wir treffen uns heute um 15 Uhr.", "en-de"),
        ("عندي ٣ كتب و ١٢٫٥ ريال", "I have 3 books and 12.5 riyals.", "ar-en"),
        ("We meet at 2:30.", "2時半に会います。", "en-ja"),
        ("I have 3 books.", "عندي ٣ كتب", "en-ar"),
        ("On 24.11.2026 at 10:30, version 3.11.2.", "Am 24.11.2026 um 10.30 Uhr, Version 3.11.2.", "en-de"),
        ("Python 3.11", "Python 3.11", "en-de"),
        ("The address is 192.168.100.200.", "Die Adresse ist 192.168.100.200.", "en-de"),
        ("See https://example.org/a?b=1, please.", "Siehe https://example.org/a?b=1.", "en-de"),
        ("I like it ❤️ 👍🏽!", "Ich mag es ❤ 👍🏽!", "en-de"),
        ("100 % sure, 50% a day, 10% of 5", "100 % sicher, 50 % am Tag, 10 % von 5", "en-de"),
        ("The 3rd and the 1990s", "Der 3. und die 1990er", "en-de"),
        ("R&D; AT&T; a {really} odd } text {", "R&D; AT&T; {really}", "en-de"),
    ],
)
def test_nothing_is_missing(source: str, translation: str, languages: str) -> None:
    assert lacking(source, translation, languages) == []


@pytest.mark.parametrize(
    ("source", "languages", "wanted"),
    [
        ("It costs 1,000.50 dollars.", "en-de", ["1.000,50"]),
        ("It costs 1,000,000.50 dollars.", "en-fr", ["1 000 000,50"]),
        ("It costs 1.5 dollars.", "en-ja", ["1.5"]),
        ("１，０００円です。", "ja-de", ["1.000"]),
        ("Er zahlt 1.234,5 Euro.", "de-en", ["1,234.5"]),
        ("عندي ١٢٫٥ ريال", "ar-de", ["12,5"]),
        ("Agent 007", "en-de", ["007"]),
        ("Mail ann.b+c@mail.example.org or see http://example.org/x_(y).", "en-de",
         ["ann.b+c@mail.example.org", "http://example.org/x_(y"]),
        ("詳しくはhttps://example.org/をご覧ください。", "ja-en", ["https://example.org/"]),
        ("連絡はinfo@example.orgまで。", "ja-en", ["info@example.org"]),
        ("Hi {name}, {{ count }} of ${all}, {0:.2f} {}", "en-de", ["{name}", "{{ count }}", "${all}", "{0:.2f}", "{}"]),
        ("%s has %d of %1$s, %(n)s, %.2f, %1 and %2", "en-ja",
         ["%s", "%d", "%1$s", "%(n)s", "%.2f", "%1", "%2"]),
        ("Run `pip install x`&nbsp;now", "en-de", ["`pip install x`", "&nbsp;"]),
        ("👩‍👩‍👧 🇯🇵 1️⃣ ☕️ ✓", "en-ja", ["👩‍👩‍👧", "🇯🇵", "1️⃣", "☕️", "✓"]),
        ("2 and 2 and {a} and {a}", "en-de", ["{a}", "2"]),
    ],
)  # fmt: skip
def test_all_is_missing(source: str, languages: str, wanted: list[str]) -> None:
    assert lacking(source, "", languages) == wanted


def test_times() -> None:
    assert lacking("It is 2:35.", "", "en-de") == ["2", "35"]
    assert lacking("In 30 days: 30", "", "en-de") == ["30"]


def test_a_number_means_what_the_language_makes_of_it() -> None:
    assert lacking("It costs 1,000 yen.", "Es kostet 1,000 Yen.", "en-de") == ["1.000"]
    assert lacking("3 bees", "Dreizehn Bienen", "en-de") == lacking("3 bees", "蜂十三匹", "en-ja") == ["3"]
    assert lacking("Es wiegt 1,500 kg.", "It weighs 1,500 kg.", "de-en") == ["1.500"]
    assert lacking("It weighs 1.500 kg.", "重さは1.500kgです。", "en-ja") == []


@given(st.text())
def test_a_text_lacks_nothing_of_itself(text: str) -> None:
    assert missing(text, text, ("en", "en")) == []
    assert "".join(part for part, _ in kept_apart(text)) == text


@pytest.mark.parametrize(
    "text", ["", " ", "👍", "?!", "3.14 %", "https://example.org", "`code here`", "{name}: %s", "٣", "—"]
)
def test_nothing_to_translate(text: str) -> None:
    assert not translatable(text)


@pytest.mark.parametrize("text", ["a", "猫", "3 km", "See https://example.org", "م", "Ж", "{name} is"])
def test_something_to_translate(text: str) -> None:
    assert translatable(text)


@pytest.mark.parametrize(
    ("source", "translation"),
    [
        ("The cat sleeps.", "Die die die Katze schläft."),
        ("Die Katze schläft.", "the cat, the cat, the cat sleeps."),
        ("The cat.", "猫です猫です猫です"),
        ("It costs 7,000 yen.", "7,000円に基金金金金金金金"),
        ("No, no.", "Nein, nein, nein, nein."),
        ("القط", "قط قط قط"),
    ],
)
def test_loops(source: str, translation: str) -> None:
    assert loops(source, translation)


@pytest.mark.parametrize(
    ("source", "translation"),
    [
        ("No, no, no!", "Nein, nein, nein!"),
        ("It is very, very good.", "Es ist sehr, sehr gut."),
        ("Ha ha ha", "ははは"),
        ("Wow!", "すごーーい！"),
        ("10 10 10", "10, 10, 10"),
        ("", ""),
    ],
)
def test_no_loops(source: str, translation: str) -> None:
    assert not loops(source, translation)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("We (1,250, 🎉) [3] go.", ["🎉", "(1,250, 🎉)", "[3]"]),
        ("24, 25: 12:30 is late.", ["24, 25:"]),
        ("12:30 is late (4 hours), ( ! ).", []),
        ("１：行く（２）。", ["１：", "（２）"]),
    ],
)
def test_what_no_word_governs(text: str, parts: list[str]) -> None:
    assert ungoverned(text) == parts


@pytest.mark.parametrize(
    "unit", ["%", "1,", "9", "{", "a@", "`", "👩‍", "&a", "1 000", "www.", "$", "%1", "a.-", "a b ", "(1", "(("]
)
def test_no_text_takes_long(unit: str) -> None:
    """Cost is linear in the length: nothing backtracks over the whole again and again."""

    def seconds(text: str) -> float:
        """The best of five: what else the machine does only adds."""
        times: list[float] = []
        for _ in range(5):
            begun = time.process_time()
            missing(text, "", ("en", "de"))
            translatable(text)
            loops(text, text)
            ungoverned(text)
            times.append(time.process_time() - begun)
        return min(times)

    assert seconds(unit * (16_000 // len(unit))) < 64 * max(seconds(unit * (1000 // len(unit))), 0.002)
