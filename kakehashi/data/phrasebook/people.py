"""People and their days: events, appointments, routines, opinions, conditions, reasons, the weather."""

from typing import NamedTuple

from kakehashi.data.phrasebook import calendar, english, german, lexicon
from kakehashi.data.phrasebook.calendar import Moment
from kakehashi.data.phrasebook.grammar import Construction, Words, construction, sentence
from kakehashi.data.phrasebook.lexicon import Person, Place

EVENTS = (
    Words("concert", "コンサート", "das Konzert"),
    Words("meeting", "会議", "die Besprechung"),
    Words("movie", "映画", "der Film"),
    Words("party", "パーティー", "die Party"),
    Words("game", "試合", "das Spiel"),
    Words("lecture", "講演", "der Vortrag"),
    Words("exam", "試験", "die Prüfung"),
    Words("German course", "ドイツ語の授業", "der Deutschkurs"),
)


class Phase(NamedTuple):
    """Beginning or ending: English verb, Japanese verb (polite, plain), German verb."""

    en: str
    ja: str
    ja_plain: str
    de: str


PHASES = (Phase("begins", "始まります", "始まる", "beginnt"), Phase("ends", "終わります", "終わる", "endet"))


def event(event: Words, phase: Phase, day: Moment, time: Words) -> Words:
    """ "The concert begins on Friday at half past seven." """
    return sentence(
        f"the {event.en} {phase.en} {day.en} at {time.en}",
        f"{event.ja}は{day.ja}の{time.ja}に{phase.ja}",
        f"{event.de} {phase.de} {day.de} um {time.de}",
    )


def venue(event: Words, date: Moment, city: Words) -> Words:
    """ "The concert will take place on May 3 in Berlin." German: separable verb."""
    return sentence(
        f"the {event.en} will take place {date.en} in {city.en}",
        f"{event.ja}は{date.adverb}{city.ja}で行われます",
        f"{event.de} findet {date.de} in {city.de} statt",
    )


class View(NamedTuple):
    """Saying, thinking or knowing that; the Japanese with its conjunction, the German in the verb's three forms."""

    en: str
    ja: str
    de: tuple[str, str, str]


VIEWS = (
    View("say", "と言っています", ("sage", "sagt", "sagen")),
    View("think", "と思っています", ("glaube", "glaubt", "glauben")),
    View("know", "ことを知っています", ("weiß", "weiß", "wissen")),
)


def report(person: Person, view: View, event: Words, phase: Phase, day: Moment, time: Words) -> Words:
    """ "Ms. Sato says that the concert begins on Friday at half past seven." German: verb last."""
    return sentence(
        f"{person.en} {person.english(view.en, f'{view.en}s')} that the {event.en} {phase.en} {day.en} at {time.en}",
        f"{person.ja}は{event.ja}が{day.ja}の{time.ja}に{phase.ja_plain}{view.ja}",
        f"{person.nominative} {person.form(*view.de)}, dass {event.de} {day.de} um {time.de} {phase.de}",
    )


def birthday(person: Person, date: Moment) -> Words:
    """ "My daughter's birthday is on June 12." """
    return sentence(
        f"{person.en}'s birthday is {date.en}",
        f"{person.ja}の誕生日は{date.ja}です",
        f"{person.nominative} hat {date.de} Geburtstag",
    )


def age(person: Person, years: int) -> Words:
    """ "My grandfather is eighty-one years old." German: einundachtzig."""
    return sentence(
        f"{person.en} is {english.numeral(years)} years old",
        f"{person.ja}は{years}歳です",
        f"{person.nominative} ist {german.numeral(years)} Jahre alt",
    )


def appointment(person: Person, other: Person, day: Moment, time: Words) -> Words:
    """ "My father has an appointment with Ms. Sato on Tuesday at 3 p.m." """
    return sentence(
        f"{person.en} {person.english('have', 'has')} an appointment with {other.en} {day.en} at {time.en}",
        f"{person.ja}は{day.ja}の{time.ja}に{other.ja}と約束があります",
        f"{person.nominative} {person.haben} {day.de} um {time.de} einen Termin mit {other.dative}",
    )


def encounter(person: Person, other: Person, day: Moment, time: Words, place: Place) -> Words:
    """ "Ms. Sato will meet my father on Tuesday at 3 p.m. at the station." """
    return sentence(
        f"{person.en} will meet {other.en} {day.en} at {time.en} at the {place.en}",
        f"{person.ja}は{day.ja}の{time.ja}に{place.ja}で{other.ja}に会います",
        f"{person.nominative} {person.form('treffe', 'trifft', 'treffen')} {other.accusative} {day.de} um {time.de} "
        f"{place.located}",
    )


def call(other: Person, day: Moment, time: Words) -> Words:
    """ "Please call Mr. Tanaka tomorrow at 3:15 p.m." German: Herrn, separable verb."""
    return sentence(
        f"please call {other.en} {day.en} at {time.en}",
        f"{day.ja}の{time.ja}に{other.ja}に電話してください",
        f"bitte rufen Sie {other.accusative} {day.de} um {time.de} an",
    )


class Habit(NamedTuple):
    """A thing done daily; the German verb in its three forms, and what closes the sentence (a prefix, an object)."""

    en: tuple[str, str]
    ja: str
    de: tuple[str, str, str]
    de_end: str


HABITS = (
    Habit(("get up", "gets up"), "起きます", ("stehe", "steht", "stehen"), "auf"),
    Habit(("go to bed", "goes to bed"), "寝ます", ("gehe", "geht", "gehen"), "ins Bett"),
    Habit(("go shopping", "goes shopping"), "買い物に行きます", ("gehe", "geht", "gehen"), "einkaufen"),
    Habit(("come home", "comes home"), "家に帰ります", ("komme", "kommt", "kommen"), "nach Hause"),
    Habit(("leave the house", "leaves the house"), "家を出ます", ("verlasse", "verlässt", "verlassen"), "das Haus"),
    Habit(("watch TV", "watches TV"), "テレビを見ます", ("sehe", "sieht", "sehen"), "fern"),
    Habit(("start work", "starts work"), "仕事を始めます", ("fange", "fängt", "fangen"), "mit der Arbeit an"),
    Habit(
        ("clean up the kitchen", "cleans up the kitchen"),
        "台所を片付けます",
        ("räume", "räumt", "räumen"),
        "die Küche auf",
    ),
    Habit(("take a walk", "takes a walk"), "散歩をします", ("gehe", "geht", "gehen"), "spazieren"),
    Habit(("play tennis", "plays tennis"), "テニスをします", ("spiele", "spielt", "spielen"), "Tennis"),
    Habit(("study German", "studies German"), "ドイツ語を勉強します", ("lerne", "lernt", "lernen"), "Deutsch"),
)


def routine(person: Person, habit: Habit, when: Moment, time: Words) -> Words:
    """ "I get up every day at half past six." """
    return sentence(
        f"{person.en} {person.english(*habit.en)} {when.en} at {time.en}",
        f"{person.ja}は{when.ja}、{time.ja}に{habit.ja}",
        f"{person.nominative} {person.form(*habit.de)} {when.de} um {time.de} {habit.de_end}",
    )


def residence(person: Person, city: Words, span: Words) -> Words:
    """ "My daughter has lived in Vienna for five years." German: present with seit and dative."""
    return sentence(
        f"{person.en} {person.english('have', 'has')} lived in {city.en} for {span.en}",
        f"{person.ja}は{span.ja}前から{city.ja}に住んでいます",
        f"{person.nominative} {person.form('wohne', 'wohnt', 'wohnen')} seit {span.de} in {city.de}",
    )


WEATHER = (
    Words("rain", "雨", "regnen"),
    Words("snow", "雪", "schneien"),
    Words("be sunny", "晴れ", "sonnig sein"),
    Words("be cloudy", "曇り", "bewölkt sein"),
    Words("be cold", "寒い", "kalt sein"),
    Words("be warm", "暖かい", "warm sein"),
    Words("be hot", "暑い", "heiß sein"),
)


def forecast(moment: Moment, weather: Words, city: Words) -> Words:
    """ "Tomorrow, it will rain in Hamburg." German: future."""
    return sentence(
        f"{moment.en}, it will {weather.en} in {city.en}",
        f"{moment.ja}の{city.ja}は{weather.ja}でしょう",
        f"{moment.de} wird es in {city.de} {weather.de}",
    )


TRENDS = (Words("rise", "上がります", "steigt"), Words("fall", "下がります", "sinkt"))


def temperature(moment: Moment, city: Words, trend: Words, degrees: int) -> Words:
    """ "On Monday, the temperature in Berlin will rise to 23 degrees." """
    return sentence(
        f"{moment.en}, the temperature in {city.en} will {trend.en} to {degrees} degrees",
        f"{moment.ja}の{city.ja}の気温は{degrees}度まで{trend.ja}",
        f"{moment.de} {trend.de} die Temperatur in {city.de} auf {degrees} Grad",
    )


CONDITIONS = (
    Words("it rains", "雨が降ったら", "regnet"),
    Words("it snows", "雪が降ったら", "schneit"),
    Words("it is sunny", "晴れたら", "sonnig ist"),
    Words("it is cold", "寒かったら", "kalt ist"),
    Words("it is hot", "暑かったら", "heiß ist"),
)


class Plan(NamedTuple):
    """What one will do: the German verb in its three forms and what follows it."""

    en: str
    ja: str
    de: tuple[str, str, str]
    de_end: str


PLANS = (
    Plan("stay at home", "家にいます", ("bleibe", "bleibt", "bleiben"), "zu Hause"),
    Plan("go to the museum", "博物館へ行きます", ("gehe", "geht", "gehen"), "ins Museum"),
    Plan("go to the library", "図書館へ行きます", ("gehe", "geht", "gehen"), "in die Bibliothek"),
    Plan("go to the park", "公園へ行きます", ("gehe", "geht", "gehen"), "in den Park"),
    Plan("take the bus", "バスに乗ります", ("nehme", "nimmt", "nehmen"), "den Bus"),
    Plan("take a taxi", "タクシーに乗ります", ("nehme", "nimmt", "nehmen"), "ein Taxi"),
    Plan("make a soup", "スープを作ります", ("koche", "kocht", "kochen"), "eine Suppe"),
    Plan("bake a cake", "ケーキを焼きます", ("backe", "backt", "backen"), "einen Kuchen"),
    Plan("watch a movie", "映画を見ます", ("sehe", "sieht", "sehen"), "einen Film"),
    Plan("read a book", "本を読みます", ("lese", "liest", "lesen"), "ein Buch"),
    Plan("play chess", "チェスをします", ("spiele", "spielt", "spielen"), "Schach"),
    Plan("wash the car", "車を洗います", ("wasche", "wäscht", "waschen"), "das Auto"),
)


def condition(weather: Words, day: Moment, person: Person, plan: Plan) -> Words:
    """ "If it rains tomorrow, we will stay at home." German: verb last, then verb first."""
    return sentence(
        f"if {weather.en} {day.en}, {person.en} will {plan.en}",
        f"{day.bare}{weather.ja}、{person.ja}は{plan.ja}",
        f"wenn es {day.de} {weather.de}, {person.form(*plan.de)} {person.nominative} {plan.de_end}",
    )


class Reason(NamedTuple):
    """Why not: the English and German verbs in three forms, and what stands before the German one."""

    en: tuple[str, str, str]
    ja: str
    de_start: str
    de: tuple[str, str, str]


_HAVE_TO, _MUST = ("have to", "has to", "have to"), ("muss", "muss", "müssen")
_BE, _SEIN = ("am", "is", "are"), ("bin", "ist", "sind")
_HAVE, _HABEN = ("have", "has", "have"), ("habe", "hat", "haben")


def _reason(en: tuple[str, str, str], complement: str, ja: str, de_start: str, de: tuple[str, str, str]) -> Reason:
    first, third, plural = (f"{verb} {complement}" for verb in en)
    return Reason((first, third, plural), ja, de_start, de)


REASONS = (
    _reason(_HAVE_TO, "work", "仕事をしなければならない", "arbeiten", _MUST),
    _reason(_HAVE_TO, "study", "勉強しなければならない", "lernen", _MUST),
    _reason(_BE, "sick", "病気な", "krank", _SEIN),
    _reason(_BE, "tired", "疲れている", "müde", _SEIN),
    _reason(_HAVE, "no time", "時間がない", "keine Zeit", _HABEN),
    _reason(_HAVE, "no money", "お金がない", "kein Geld", _HABEN),
)
ACTIVITIES = (
    Words("go to the concert", "コンサートに行けません", "ins Konzert gehen"),
    Words("go to the party", "パーティーに行けません", "zur Party gehen"),
    Words("go to the theater", "劇場に行けません", "ins Theater gehen"),
    Words("go shopping", "買い物に行けません", "einkaufen gehen"),
    Words("go swimming", "泳ぎに行けません", "schwimmen gehen"),
    Words("play tennis", "テニスができません", "Tennis spielen"),
)


def excuse(person: Person, activity: Words, day: Moment, reason: Reason) -> Words:
    """ "I cannot go to the concert on Friday because I have to work." German: verb last after weil."""
    return sentence(
        f"{person.en} cannot {activity.en} {day.en} because {person.en} {person.form(*reason.en)}",
        f"{person.ja}は{reason.ja}ので、{day.ja}は{activity.ja}",
        f"{person.nominative} {person.form('kann', 'kann', 'können')} {day.de} nicht {activity.de}, "
        f"weil {person.nominative} {reason.de_start} {person.form(*reason.de)}",
    )


# A film is shown (上映), not held (行われる).
_HELD = tuple(event for event in EVENTS if event.en != "movie")
_THIRD_PERSONS = (*lexicon.PRONOUNS, *lexicon.OTHERS, *lexicon.GROUPS)
_HOSTS = (*lexicon.SPEAKERS, *lexicon.FAMILY)
_MEETING_PLACES = (*lexicon.SHOPS, *lexicon.SIGHTS, *lexicon.OUTDOORS)
_DAYS, _EARLY_DAYS = calendar.SOME_DAY, (*calendar.SOON, *calendar.ON_WEEKDAYS)

CONSTRUCTIONS: tuple[Construction, ...] = (
    construction(event, EVENTS, PHASES, _DAYS, calendar.CLOCK),
    construction(venue, _HELD, calendar.ON_DATES, lexicon.CITIES),
    construction(report, _THIRD_PERSONS, VIEWS, EVENTS, PHASES, _DAYS, calendar.CLOCK),
    construction(birthday, lexicon.OTHERS, calendar.ON_DATES),
    construction(age, lexicon.OTHERS, range(20, 100)),
    construction(appointment, _HOSTS, lexicon.NAMED, _DAYS, calendar.CLOCK),
    construction(encounter, lexicon.NAMED, lexicon.FAMILY, _DAYS, calendar.CLOCK, _MEETING_PLACES),
    construction(call, lexicon.OTHERS, _DAYS, calendar.CLOCK),
    construction(routine, lexicon.EVERYONE, HABITS, calendar.REGULARLY, calendar.CLOCK),
    construction(residence, lexicon.EVERYONE, lexicon.CITIES, calendar.LONG_DURATIONS),
    construction(forecast, (*calendar.LATER, calendar.SOME_DAY[0]), WEATHER, lexicon.CITIES),
    construction(temperature, _EARLY_DAYS, lexicon.CITIES, TRENDS, range(2, 36)),
    construction(condition, CONDITIONS, _DAYS, lexicon.EVERYONE, PLANS),
    construction(excuse, (*lexicon.SPEAKERS, *lexicon.PRONOUNS), ACTIVITIES, _DAYS, REASONS),
)
