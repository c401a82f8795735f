"""When, and for how much: clock times, dates, moments and prices in three languages."""

from itertools import product
from typing import NamedTuple

from kakehashi.data.phrasebook import english, german
from kakehashi.data.phrasebook.grammar import Words


class Moment(NamedTuple):
    """When something happens: "on Monday", "am Montag"; in Japanese with the particle に, or with none."""

    en: str
    ja: str
    particle: str
    de: str

    @property
    def bare(self) -> str:
        """月曜日に, 明日."""
        return self.ja + self.particle

    @property
    def adverb(self) -> str:
        """月曜日に, 明日、: set off by a comma where no particle does it."""
        return self.ja + (self.particle or "、")


def _digital(hour: int, minute: int) -> Words:
    """A time by the 24-hour clock: 15, 45 is "3:45 p.m.", 午後3時45分, "15:45 Uhr"; noon and midnight stay out."""
    dial, half, gozen = (hour, "a.m.", "午前") if hour < 12 else (hour - 12, "p.m.", "午後")
    colon, fun = (f":{minute:02}", f"{minute}分") if minute else ("", "")
    return Words(f"{dial}{colon} {half}", f"{gozen}{dial}時{fun}", f"{hour}{colon} Uhr")


def _spoken(hour: int, minute: int) -> Words:
    """A time by the dial: "half past three", 3時半, "halb vier"; "ten to four", 3時50分, "zehn vor vier"."""
    following = hour % 12 + 1
    en, en_next = english.numeral(hour), english.numeral(following)
    de, de_next = german.numeral(hour), german.numeral(following)
    if minute == 0:
        return Words(f"{en} o'clock", f"{hour}時", "ein Uhr" if hour == 1 else f"{de} Uhr")
    if minute == 30:
        return Words(f"half past {en}", f"{hour}時半", f"halb {de_next}")
    distance = min(minute, 60 - minute)
    step, schritt = (
        ("a quarter", "Viertel") if distance == 15 else (english.numeral(distance), german.numeral(distance))
    )
    # 4時10分前に would also mean "before ten past four": Japanese counts on.
    ja = f"{hour}時{minute}分"
    if minute < 30:
        return Words(f"{step} past {en}", ja, f"{schritt} nach {de}")
    return Words(f"{step} to {en_next}", ja, f"{schritt} vor {de_next}")


DIGITAL = tuple(_digital(hour, minute) for hour in (*range(6, 12), *range(13, 23)) for minute in range(0, 60, 5))
SPOKEN = tuple(_spoken(hour, minute) for hour in range(1, 13) for minute in (0, 5, 10, 15, 20, 30, 40, 45, 50, 55))
CLOCK = (*DIGITAL, *SPOKEN)
OPENING = tuple(_digital(hour, minute) for hour in range(6, 12) for minute in (0, 15, 30, 45))
CLOSING = tuple(_digital(hour, minute) for hour in range(13, 23) for minute in (0, 15, 30, 45))

WEEKDAYS = (
    Words("Monday", "月曜日", "Montag"),
    Words("Tuesday", "火曜日", "Dienstag"),
    Words("Wednesday", "水曜日", "Mittwoch"),
    Words("Thursday", "木曜日", "Donnerstag"),
    Words("Friday", "金曜日", "Freitag"),
    Words("Saturday", "土曜日", "Samstag"),
    Words("Sunday", "日曜日", "Sonntag"),
)
_MONTHS = (
    ("January", "Januar", 31),
    ("February", "Februar", 28),
    ("March", "März", 31),
    ("April", "April", 30),
    ("May", "Mai", 31),
    ("June", "Juni", 30),
    ("July", "Juli", 31),
    ("August", "August", 31),
    ("September", "September", 30),
    ("October", "Oktober", 31),
    ("November", "November", 30),
    ("December", "Dezember", 31),
)
DATES = tuple(
    Words(f"{month} {day}", f"{number}月{day}日", f"{day}. {monat}")
    for number, (month, monat, days) in enumerate(_MONTHS, start=1)
    for day in range(1, days + 1)
)

ON_WEEKDAYS = tuple(Moment(f"on {day.en}", day.ja, "に", f"am {day.de}") for day in WEEKDAYS)
ON_DATES = tuple(Moment(f"on {date.en}", date.ja, "に", f"am {date.de}") for date in DATES)
IN_MONTHS = tuple(
    Moment(f"in {month}", f"{number}月", "に", f"im {monat}")
    for number, (month, monat, _) in enumerate(_MONTHS, start=1)
)
SOON = (Moment("tomorrow", "明日", "", "morgen"), Moment("the day after tomorrow", "明後日", "", "übermorgen"))
SOME_DAY = (Moment("today", "今日", "", "heute"), *SOON, *ON_WEEKDAYS)
LATER = (
    *SOON,
    Moment("next week", "来週", "", "nächste Woche"),
    Moment("next month", "来月", "", "nächsten Monat"),
    *ON_WEEKDAYS,
    *IN_MONTHS,
)
_UNITS = (
    ("day", "日", german.noun("der Tag, Tage")),
    ("week", "週間", german.noun("die Woche, Wochen")),
    ("month", "か月", german.noun("der Monat, Monate")),
    ("year", "年", german.noun("das Jahr, Jahre")),
)
DURATIONS = tuple(
    Words(f"{english.numeral(number)} {en}s", f"{number}{ja}", german.counted(number, de, "dative"))
    for number, (en, ja, de) in product(range(2, 13), _UNITS)
)
"""The German is in the dative, as after seit and vor."""
LONG_DURATIONS = tuple(span for span in DURATIONS if not span.en.endswith("days"))
EARLIER = (
    Moment("yesterday", "昨日", "", "gestern"),
    Moment("the day before yesterday", "おととい", "", "vorgestern"),
    Moment("last week", "先週", "", "letzte Woche"),
    Moment("last month", "先月", "", "letzten Monat"),
    *ON_WEEKDAYS,
    *(Moment(f"{span.en} ago", f"{span.ja}前", "に", f"vor {span.de}") for span in DURATIONS),
)
REGULARLY = (
    Moment("every day", "毎日", "", "jeden Tag"),
    *(Moment(f"every {day.en}", f"毎週{day.ja}", "に", f"jeden {day.de}") for day in WEEKDAYS),
)

_WHOLE = (*range(2, 20), *range(20, 100, 5))
PRICES = (
    *(Words(f"{n} euros", f"{n}ユーロ", f"{n} Euro") for n in _WHOLE),
    *(Words(f"{n} dollars", f"{n}ドル", f"{n} Dollar") for n in _WHOLE),
    *(
        Words(f"{n}.{cents} {en}", f"{n}{ja}{cents}セント", f"{n},{cents} {de}")
        for n, cents in product(_WHOLE, (20, 50, 80, 95))
        for en, ja, de in (("euros", "ユーロ", "Euro"), ("dollars", "ドル", "Dollar"))
    ),
    *(
        Words(f"{n // 1000},{n % 1000:03} yen", f"{n // 1000},{n % 1000:03}円", f"{n // 1000}.{n % 1000:03} Yen")
        for n in range(1000, 20000, 500)
    ),
    *(Words(f"{n} yen", f"{n}円", f"{n} Yen") for n in range(100, 1000, 50)),
)
