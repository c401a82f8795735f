import pytest

from kakehashi.data.phrasebook import calendar, english, german, japanese

APPLE, UMBRELLA = german.noun("der Apfel, Äpfel"), german.noun("der Regenschirm, Regenschirme")
CUP, BOOK, CAR = german.noun("die Tasse, Tassen"), german.noun("das Buch, Bücher"), german.noun("das Auto, Autos")


@pytest.mark.parametrize(
    ("number", "en", "de", "ja"),
    [
        (1, "one", "eins", "一"),
        (6, "six", "sechs", "六"),
        (10, "ten", "zehn", "十"),
        (12, "twelve", "zwölf", "十二"),
        (16, "sixteen", "sechzehn", "十六"),
        (17, "seventeen", "siebzehn", "十七"),
        (20, "twenty", "zwanzig", "二十"),
        (21, "twenty-one", "einundzwanzig", "二十一"),
        (30, "thirty", "dreißig", "三十"),
        (36, "thirty-six", "sechsunddreißig", "三十六"),
        (47, "forty-seven", "siebenundvierzig", "四十七"),
        (60, "sixty", "sechzig", "六十"),
        (77, "seventy-seven", "siebenundsiebzig", "七十七"),
        (99, "ninety-nine", "neunundneunzig", "九十九"),
    ],
)
def test_numerals(number: int, en: str, de: str, ja: str) -> None:
    assert english.numeral(number) == en
    assert german.numeral(number) == de
    assert japanese.kanji(number) == ja


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        (german.phrase("der", APPLE, "nominative", "rot"), "der rote Apfel"),
        (german.phrase("der", APPLE, "accusative", "rot"), "den roten Apfel"),
        (german.phrase("der", APPLE, "dative", "rot"), "dem roten Apfel"),
        (german.phrase("der", APPLE, "genitive", "rot"), "des roten Apfels"),
        (german.phrase("ein", APPLE, "nominative", "rot"), "ein roter Apfel"),
        (german.phrase("ein", APPLE, "accusative", "rot"), "einen roten Apfel"),
        (german.phrase("ein", APPLE, "dative", "rot"), "einem roten Apfel"),
        (german.phrase("kein", CUP, "nominative", "weiß"), "keine weiße Tasse"),
        (german.phrase("mein", CUP, "dative", "weiß"), "meiner weißen Tasse"),
        (german.phrase("der", CUP, "genitive"), "der Tasse"),
        (german.phrase("ein", BOOK, "nominative", "neu"), "ein neues Buch"),
        (german.phrase("ein", BOOK, "accusative", "alt"), "ein altes Buch"),
        (german.phrase("kein", BOOK, "dative", "neu"), "keinem neuen Buch"),
        (german.phrase("dieser", BOOK, "nominative", "neu"), "dieses neue Buch"),
        (german.phrase("dieser", CUP, "accusative", "neu"), "diese neue Tasse"),
        (german.phrase("dieser", APPLE, "accusative"), "diesen Apfel"),
        (german.phrase("dieser", APPLE, "nominative", "rot", "plural"), "diese roten Äpfel"),
        (german.phrase("", APPLE, "accusative", "rot", "plural"), "rote Äpfel"),
        (german.phrase("", APPLE, "dative", "rot", "plural"), "roten Äpfeln"),
        (german.phrase("kein", BOOK, "accusative", "alt", "plural"), "keine alten Bücher"),
        (german.phrase("der", CUP, "dative", "", "plural"), "den Tassen"),
        (german.phrase("der", CAR, "dative", "", "plural"), "den Autos"),
        (german.phrase("der", german.noun("das Krankenhaus"), "genitive"), "des Krankenhauses"),
        (german.counted(1, UMBRELLA, "accusative", "blau"), "einen blauen Regenschirm"),
        (german.counted(4, UMBRELLA, "accusative", "blau"), "vier blaue Regenschirme"),
        (german.counted(15, BOOK, "nominative"), "15 Bücher"),
        (german.after("zu", "der Post"), "zur Post"),
        (german.after("von", "der Post"), "von der Post"),
        (german.after("in", "das Museum"), "ins Museum"),
        (german.after("auf", "dem Markt"), "auf dem Markt"),
    ],
)
def test_german_declension(phrase: str, expected: str) -> None:
    assert phrase == expected


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        (japanese.count(3, "本"), "3本"),
        (japanese.count(2, "杯"), "2杯"),
        (japanese.count(1, "つ"), "一つ"),
        (japanese.count(9, "つ"), "九つ"),
        (japanese.count(10, "つ"), "10個"),
        (japanese.counted(1, "冊"), ""),
        (japanese.counted(7, "匹"), "7匹"),
        (english.counted(1, "umbrella"), "an umbrella"),
        (english.counted(1, "umbrella", "blue"), "a blue umbrella"),
        (english.counted(1, "book", "interesting"), "an interesting book"),
        (english.counted(12, "knife"), "twelve knives"),
        (english.counted(13, "box", "old"), "13 old boxes"),
        (english.plural("dictionary"), "dictionaries"),
        (english.plural("key"), "keys"),
        (english.plural("mouse"), "mice"),
        (english.plural("scarf"), "scarves"),
    ],
)
def test_counting(counted: str, expected: str) -> None:
    assert counted == expected


@pytest.mark.parametrize(
    ("en", "ja", "de"),
    [
        ("3:45 p.m.", "午後3時45分", "15:45 Uhr"),
        ("9 a.m.", "午前9時", "9 Uhr"),
        ("9:05 a.m.", "午前9時5分", "9:05 Uhr"),
        ("10 p.m.", "午後10時", "22 Uhr"),
        ("one o'clock", "1時", "ein Uhr"),
        ("seven o'clock", "7時", "sieben Uhr"),
        ("half past twelve", "12時半", "halb eins"),
        ("half past three", "3時半", "halb vier"),
        ("a quarter past one", "1時15分", "Viertel nach eins"),
        ("a quarter to one", "12時45分", "Viertel vor eins"),
        ("ten to seven", "6時50分", "zehn vor sieben"),
        ("twenty past eleven", "11時20分", "zwanzig nach elf"),
    ],
)
def test_the_clock(en: str, ja: str, de: str) -> None:
    assert next(time for time in calendar.CLOCK if time.en == en) == (en, ja, de)


@pytest.mark.parametrize(
    ("en", "ja", "de"),
    [
        ("12.50 euros", "12ユーロ50セント", "12,50 Euro"),
        ("2.20 dollars", "2ドル20セント", "2,20 Dollar"),
        ("85 euros", "85ユーロ", "85 Euro"),
        ("3,500 yen", "3,500円", "3.500 Yen"),
        ("12,000 yen", "12,000円", "12.000 Yen"),
        ("450 yen", "450円", "450 Yen"),
    ],
)
def test_prices(en: str, ja: str, de: str) -> None:
    assert next(price for price in calendar.PRICES if price.en == en) == (en, ja, de)


def test_the_year_has_365_dates() -> None:
    assert len(set(calendar.DATES)) == 365
    assert ("December 31", "12月31日", "31. Dezember") in calendar.DATES
    assert all(date.en != "February 30" for date in calendar.DATES)


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        (japanese.godan("買", "わいう", "って"), ("買い", "買わ", "買う", "買って")),
        (japanese.godan("消", "さしす", "して"), ("消し", "消さ", "消す", "消して")),
        (japanese.ichidan("食べ"), ("食べ", "食べ", "食べる", "食べて")),
        (japanese.suru("修理"), ("修理し", "修理し", "修理する", "修理して")),
    ],
)
def test_japanese_verbs(verb: japanese.Verb, forms: tuple[str, str, str, str]) -> None:
    assert verb == forms
