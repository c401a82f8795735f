"""On the way: timetables, tickets, hotels, directions, opening hours."""

from itertools import combinations, permutations

from kakehashi.data.phrasebook import calendar, english, german, japanese, lexicon
from kakehashi.data.phrasebook.calendar import Moment
from kakehashi.data.phrasebook.grammar import Construction, Words, construction, sentence
from kakehashi.data.phrasebook.lexicon import Person, Place

TRANSPORTS = (
    Words("by train", "電車で", "mit dem Zug"),
    Words("by bus", "バスで", "mit dem Bus"),
    Words("by car", "車で", "mit dem Auto"),
    Words("by bicycle", "自転車で", "mit dem Fahrrad"),
)
IN_TOWN = (
    *TRANSPORTS[1:],
    Words("by taxi", "タクシーで", "mit dem Taxi"),
    Words("by subway", "地下鉄で", "mit der U-Bahn"),
    Words("by tram", "路面電車で", "mit der Straßenbahn"),
    Words("on foot", "歩いて", "zu Fuß"),
)
TRAINS = (
    Words("train", "電車", "der Zug"),
    Words("express", "急行", "der Schnellzug"),
    Words("night train", "夜行列車", "der Nachtzug"),
)
LINES = (*TRAINS, Words("bus", "バス", "der Bus"))
ROUTES = (*permutations(lexicon.JAPANESE_CITIES, 2), *permutations(lexicon.EUROPEAN_CITIES, 2))
NEIGHBOURS = tuple(permutations(lexicon.PLACES, 2))


def _definite(place: Place, case: german.Case) -> str:
    return german.phrase("der", place.de, case)


def _from_to(start: Place, goal: Place) -> str:
    """ "vom Bahnhof zur Post"."""
    origin = german.after("von", _definite(start, "dative"))
    return f"{origin} {german.after('zu', _definite(goal, 'dative'))}"


def departure(line: Words, city: Words, platform: int, time: Words) -> Words:
    """ "The train to Osaka leaves from platform 7 at 3:45 p.m." German: separable verb."""
    return sentence(
        f"the {line.en} to {city.en} leaves from platform {platform} at {time.en}",
        f"{city.ja}行きの{line.ja}は{time.ja}に{platform}番線から出発します",
        f"{line.de} nach {city.de} fährt um {time.de} von Gleis {platform} ab",
    )


def arrival(line: Words, route: tuple[Words, Words], time: Words) -> Words:
    """ "The train from Berlin arrives in Munich at 8:20 a.m." """
    origin, goal = route
    return sentence(
        f"the {line.en} from {origin.en} arrives in {goal.en} at {time.en}",
        f"{origin.ja}発の{line.ja}は{time.ja}に{goal.ja}に着きます",
        f"{line.de} aus {origin.de} kommt um {time.de} in {goal.de} an",
    )


def delay(line: Words, city: Words, minutes: int) -> Words:
    """ "The train to Osaka is 25 minutes late." """
    return sentence(
        f"the {line.en} to {city.en} is {minutes} minutes late",
        f"{city.ja}行きの{line.ja}は{minutes}分遅れています",
        f"{line.de} nach {city.de} hat {minutes} Minuten Verspätung",
    )


def journey(moment: Moment, person: Person, city: Words, transport: Words) -> Words:
    """ "In May, we will travel to Vienna by train." """
    return sentence(
        f"{moment.en}, {person.en} will travel to {city.en} {transport.en}",
        f"{moment.adverb}{person.ja}は{transport.ja}{city.ja}へ行きます",
        f"{moment.de} {person.form('fahre', 'fährt', 'fahren')} {person.nominative} {transport.de} nach {city.de}",
    )


def past_journey(moment: Moment, person: Person, city: Words, transport: Words) -> Words:
    """ "Last week, my uncle traveled to Rome by car." German: perfect with sein."""
    return sentence(
        f"{moment.en}, {person.en} traveled to {city.en} {transport.en}",
        f"{moment.adverb}{person.ja}は{transport.ja}{city.ja}へ行きました",
        f"{moment.de} {person.form('bin', 'ist', 'sind')} {person.nominative} {transport.de} nach {city.de} gefahren",
    )


TICKETS = (
    Words("ticket", "切符", "die Fahrkarte, Fahrkarten"),
    Words("round-trip ticket", "往復切符", "die Rückfahrkarte, Rückfahrkarten"),
)


def tickets(number: int, ticket: Words, route: tuple[Words, Words], date: Words) -> Words:
    """ "Two round-trip tickets from Berlin to Munich for May 3, please." """
    origin, goal = route
    return sentence(
        f"{english.counted(number, ticket.en)} from {origin.en} to {goal.en} for {date.en}, please",
        f"{date.ja}の{origin.ja}から{goal.ja}までの{ticket.ja}を{number}枚お願いします",
        f"{german.counted(number, german.noun(ticket.de), 'accusative')} von {origin.de} nach {goal.de} "
        f"für den {date.de}, bitte",
    )


ROOMS = (
    Words("single room", "シングルルーム", "Einzelzimmer"),
    Words("double room", "ダブルルーム", "Doppelzimmer"),
    Words("family room", "ファミリールーム", "Familienzimmer"),
)


def hotel(room: Words, nights: int, date: Words) -> Words:
    """ "I would like to reserve a double room for three nights from May 3." """
    return sentence(
        f"I would like to reserve a {room.en} for {english.numeral(nights)} nights from {date.en}",
        f"{date.ja}から{nights}泊で{room.ja}を予約したいのですが",
        f"ich möchte ab dem {date.de} für {german.numeral(nights)} Nächte ein {room.de} reservieren",
    )


SIDES = (Words("left", "左", "links"), Words("right", "右", "rechts"))
LANDMARKS = (
    Words("traffic light", "信号", "die Ampel"),
    Words("intersection", "交差点", "die Kreuzung"),
    Words("corner", "角", "die Ecke"),
    Words("crosswalk", "横断歩道", "der Zebrastreifen"),
)


def _nth(ordinal: int, landmark: Words) -> Words:
    """ "at the second corner", 二つ目の角を, "an der zweiten Ecke"; the first is number 0."""
    which = german.phrase("der", german.noun(landmark.de), "dative", german.ORDINALS[ordinal])
    return Words(
        f"at the {english.ORDINALS[ordinal]} {landmark.en}",
        f"{japanese.count(ordinal + 1, 'つ')}目の{landmark.ja}を",
        german.after("an", which),
    )


def turn_and_go_on(side: Words, ordinal: int, landmark: Words, meters: int) -> Words:
    """ "Turn left at the second corner and then go straight ahead for 200 meters." """
    where = _nth(ordinal, landmark)
    return sentence(
        f"turn {side.en} {where.en} and then go straight ahead for {meters} meters",
        f"{where.ja}{side.ja}に曲がって、それから{meters}メートルまっすぐ行ってください",
        f"biegen Sie {where.de} {side.de} ab und gehen Sie dann {meters} Meter geradeaus",
    )


def turn_and_see(side: Words, ordinal: int, landmark: Words, place: Place) -> Words:
    """ "Turn left at the second corner and you will see the museum." """
    where = _nth(ordinal, landmark)
    return sentence(
        f"turn {side.en} {where.en} and you will see the {place.en}",
        f"{where.ja}{side.ja}に曲がると、{place.ja}が見えます",
        f"biegen Sie {where.de} {side.de} ab, dann sehen Sie {_definite(place, 'accusative')}",
    )


POSITIONS = (
    Words("next to", "隣", "neben"),
    Words("behind", "後ろ", "hinter"),
    Words("in front of", "前", "vor"),
    Words("opposite", "向かい", "gegenüber"),
)


def position(places: tuple[Place, Place], where: Words) -> Words:
    """ "The station is behind the post office." """
    place, other = places
    return sentence(
        f"the {place.en} is {where.en} the {other.en}",
        f"{place.ja}は{other.ja}の{where.ja}にあります",
        f"{_definite(place, 'nominative')} ist {where.de} {_definite(other, 'dative')}",
    )


def between(place: Place, neighbours: tuple[Place, Place]) -> Words:
    """ "The bank is between the museum and the park." """
    one, other = neighbours
    return sentence(
        f"the {place.en} is between the {one.en} and the {other.en}",
        f"{place.ja}は{one.ja}と{other.ja}の間にあります",
        f"{_definite(place, 'nominative')} ist zwischen {_definite(one, 'dative')} und {_definite(other, 'dative')}",
    )


def nearby(place: Place, other: Place) -> Words:
    """ "Is there a pharmacy near the station?" German: genitive, then accusative."""
    return sentence(
        f"is there {english.indefinite(place.en)} near the {other.en}",
        f"{other.ja}の近くに{place.ja}はありますか",
        f"gibt es in der Nähe {_definite(other, 'genitive')} {german.phrase('ein', place.de, 'accusative')}",
        end="?",
    )


def way(places: tuple[Place, Place], transport: Words) -> Words:
    """ "How do I get from the museum to the station by bus?" """
    start, goal = places
    return sentence(
        f"how do I get from the {start.en} to the {goal.en} {transport.en}",
        f"{start.ja}から{goal.ja}まで{transport.ja}行くにはどうすればいいですか",
        f"wie komme ich {transport.de} {_from_to(start, goal)}",
        end="?",
    )


def duration(places: tuple[Place, Place], minutes: int, transport: Words) -> Words:
    """ "It takes 25 minutes from the station to the museum on foot." """
    start, goal = places
    return sentence(
        f"it takes {minutes} minutes from the {start.en} to the {goal.en} {transport.en}",
        f"{start.ja}から{goal.ja}まで{transport.ja}{minutes}分かかります",
        f"{_from_to(start, goal)} dauert es {transport.de} {minutes} Minuten",
    )


def ride(line: Words, number: int, place: Place) -> Words:
    """ "Take the number 12 bus and get off at the museum." """
    return sentence(
        f"take the number {number} {line.en} and get off at the {place.en}",
        f"{number}番の{line.ja}に乗って、{place.ja}で降りてください",
        f"nehmen Sie {line.de} {number} und steigen Sie {german.after('an', _definite(place, 'dative'))} aus",
    )


NUMBERED_LINES = (
    Words("bus", "バス", "den Bus Nummer"),
    Words("tram", "路面電車", "die Straßenbahn Nummer"),
)


def distance(places: tuple[Place, Place], kilometers: int) -> Words:
    """ "The castle is 3 kilometers from the station." """
    place, other = places
    return sentence(
        f"the {place.en} is {kilometers} kilometers from the {other.en}",
        f"{place.ja}は{other.ja}から{kilometers}キロのところにあります",
        f"{_definite(place, 'nominative')} ist {kilometers} Kilometer "
        f"{german.after('von', _definite(other, 'dative'))} entfernt",
    )


def hours(place: Place, opening: Words, closing: Words) -> Words:
    """ "The bank opens at 9:15 a.m. and closes at 5 p.m." """
    return sentence(
        f"the {place.en} opens at {opening.en} and closes at {closing.en}",
        f"{place.ja}は{opening.ja}に開き、{closing.ja}に閉まります",
        f"{_definite(place, 'nominative')} öffnet um {opening.de} und schließt um {closing.de}",
    )


def weekly_hours(place: Place, days: tuple[Words, Words], opening: Words, closing: Words) -> Words:
    """ "The library is open from Monday to Friday from 9 a.m. to 6 p.m." """
    first, last = days
    return sentence(
        f"the {place.en} is open from {first.en} to {last.en} from {opening.en} to {closing.en}",
        f"{place.ja}は{first.ja}から{last.ja}まで、{opening.ja}から{closing.ja}まで開いています",
        f"{_definite(place, 'nominative')} ist von {first.de} bis {last.de} von {opening.de} bis {closing.de} geöffnet",
    )


def closed(place: Place, days: tuple[Words, Words]) -> Words:
    """ "The museum is closed from May 3 to June 12." """
    first, last = days
    return sentence(
        f"the {place.en} is closed from {first.en} to {last.en}",
        f"{place.ja}は{first.ja}から{last.ja}まで休みです",
        f"{_definite(place, 'nominative')} ist vom {first.de} bis zum {last.de} geschlossen",
    )


def day_off(place: Place, day: Words) -> Words:
    """ "The museum is closed on Mondays." German: montags."""
    return sentence(
        f"the {place.en} is closed on {day.en}s",
        f"{place.ja}は毎週{day.ja}が休みです",
        f"{_definite(place, 'nominative')} ist {day.de.lower()}s geschlossen",
    )


def built(place: Place, year: int) -> Words:
    """ "The theater was built in 1985." """
    return sentence(
        f"the {place.en} was built in {year}",
        f"{place.ja}は{year}年に建てられました",
        f"{_definite(place, 'nominative')} wurde {year} gebaut",
    )


_OPEN = (*lexicon.SHOPS[1:], *lexicon.SIGHTS, *lexicon.SERVICES[:-1], lexicon.OUTDOORS[-1])
_SHUTTING = (*lexicon.SHOPS[1:], *lexicon.SIGHTS[:-2], *lexicon.SERVICES[:-1], lexicon.OUTDOORS[-1])
# From Monday to Tuesday is no span, but two days.
_SPANS = tuple(
    (calendar.WEEKDAYS[first], calendar.WEEKDAYS[last]) for first, last in combinations(range(7), 2) if last - first > 1
)
_MINUTES = (*range(2, 13), *range(15, 60, 5))
_BUILDINGS = (*lexicon.SIGHTS, *lexicon.INSTITUTIONS, *lexicon.SERVICES, *lexicon.OUTDOORS[:2])

CONSTRUCTIONS: tuple[Construction, ...] = (
    construction(departure, TRAINS, lexicon.CITIES, range(1, 17), calendar.CLOCK),
    construction(arrival, LINES, ROUTES, calendar.CLOCK),
    construction(delay, LINES, lexicon.CITIES, _MINUTES),
    construction(journey, calendar.LATER, lexicon.EVERYONE, lexicon.EUROPEAN_CITIES, TRANSPORTS),
    construction(past_journey, calendar.EARLIER, lexicon.EVERYONE, lexicon.EUROPEAN_CITIES, TRANSPORTS),
    construction(tickets, range(1, 13), TICKETS, ROUTES, calendar.DATES),
    construction(hotel, ROOMS, range(2, 15), calendar.DATES),
    construction(turn_and_go_on, SIDES, range(5), LANDMARKS, range(100, 1000, 50)),
    construction(turn_and_see, SIDES, range(5), LANDMARKS, lexicon.PLACES),
    construction(position, NEIGHBOURS, POSITIONS),
    construction(between, lexicon.SERVICES, tuple(permutations((*lexicon.SIGHTS, *lexicon.OUTDOORS), 2))),
    construction(nearby, lexicon.SERVICES, (*lexicon.SHOPS, *lexicon.SIGHTS, *lexicon.INSTITUTIONS, *lexicon.OUTDOORS)),
    construction(way, NEIGHBOURS, IN_TOWN),
    construction(duration, NEIGHBOURS, _MINUTES, IN_TOWN),
    construction(ride, NUMBERED_LINES, range(1, 61), lexicon.PLACES),
    construction(distance, NEIGHBOURS, range(2, 31)),
    construction(hours, _OPEN, calendar.OPENING, calendar.CLOSING),
    construction(weekly_hours, _OPEN, _SPANS, calendar.OPENING, calendar.CLOSING),
    construction(closed, _SHUTTING, tuple(combinations(calendar.DATES, 2))),
    construction(day_off, _SHUTTING, calendar.WEEKDAYS),
    construction(built, _BUILDINGS, range(1900, 2021)),
)
