"""Things and numbers: what is where, requests about the house, polite inquiries, arithmetic, sizes."""

from itertools import product
from typing import NamedTuple

from kakehashi.data.phrasebook import calendar, english, german, japanese, lexicon
from kakehashi.data.phrasebook.calendar import Moment
from kakehashi.data.phrasebook.grammar import Construction, Words, construction, sentence
from kakehashi.data.phrasebook.lexicon import PLAIN, Adjective, Person, Place, Thing, the


class Spot(NamedTuple):
    """A place in or about something. German: dative for being there, accusative for getting there."""

    en: str
    ja: str
    preposition: str
    de: german.Noun

    def german(self, case: german.Case) -> str:
        """ "im Schrank", "in den Schrank"."""
        return german.after(self.preposition, german.phrase("der", self.de, case))


def _spots(table: str) -> tuple[Spot, ...]:
    rows = (tuple(cell.strip() for cell in row.split("|")) for row in table.strip().splitlines())
    return tuple(Spot(en, ja, preposition, german.noun(de)) for en, ja, preposition, de in rows)


OUTSIDE = _spots("""
    in the garden         | 庭       | in     | der Garten
    in the park           | 公園     | in     | der Park
    in front of the house | 家の前   | vor    | das Haus
    behind the school     | 学校の裏 | hinter | die Schule
    on the street         | 通り     | auf    | die Straße
    under the tree        | 木の下   | unter  | der Baum
    on the bridge         | 橋の上   | auf    | die Brücke
""")
ROOMS = _spots("""
    in the kitchen     | 台所   | in | die Küche
    in the living room | 居間   | in | das Wohnzimmer
    in the bedroom     | 寝室   | in | das Schlafzimmer
    in the office      | 事務所 | in | das Büro
    in the classroom   | 教室   | in | das Klassenzimmer
    in the garage      | ガレージ | in | die Garage
    in the basement    | 地下室 | in | der Keller
""")
FOR_FLAT = _spots("""
    on the table             | テーブルの上 | auf   | der Tisch
    on the desk              | 机の上       | auf   | der Schreibtisch
    on the chair             | 椅子の上     | auf   | der Stuhl
    on the bed               | ベッドの上   | auf   | das Bett
    in the drawer            | 引き出しの中 | in    | die Schublade
    in the suitcase          | スーツケースの中 | in | der Koffer
    in the box               | 箱の中       | in    | die Kiste
    next to the computer     | パソコンの横 | neben | der Computer
    under the lamp           | ランプの下   | unter | die Lampe
    in front of the mirror   | 鏡の前       | vor   | der Spiegel
""")
FOR_TALL = _spots("""
    on the table             | テーブルの上 | auf    | der Tisch
    on the shelf             | 棚の上       | auf    | das Regal
    in the cupboard          | 戸棚の中     | in     | der Schrank
    under the chair          | 椅子の下     | unter  | der Stuhl
    under the bed            | ベッドの下   | unter  | das Bett
    next to the sofa         | ソファーの横 | neben  | das Sofa
    next to the piano        | ピアノの横   | neben  | das Klavier
    behind the door          | ドアの後ろ   | hinter | die Tür
    in front of the window   | 窓の前       | vor    | das Fenster
""")
FLAT = (*lexicon.READING, *lexicon.POST[:2], *lexicon.STATIONERY)
TALL = (*lexicon.CROCKERY, lexicon.CLOTHES[7], lexicon.FURNITURE[5])


class Posture(NamedTuple):
    """Flat things lie and are laid, tall things stand and are stood: German tells them apart."""

    being: str
    putting: str


LYING, STANDING = Posture("liegt", "legen"), Posture("steht", "stellen")


def creatures(spot: Spot, number: int, adjective: Adjective, thing: Thing) -> Words:
    """ "There are five small cats in the garden." Japanese: います."""
    return _existence(spot, number, adjective, thing, "います", ("ist", "sind"))


def furniture(spot: Spot, number: int, adjective: Adjective, thing: Thing) -> Words:
    """ "There are 15 chairs in the classroom." Japanese: あります."""
    return _existence(spot, number, adjective, thing, "あります", ("steht", "stehen"))


def _existence(spot: Spot, number: int, adjective: Adjective, thing: Thing, ja: str, de: tuple[str, str]) -> Words:
    return sentence(
        f"there {'is' if number == 1 else 'are'} {english.counted(number, thing.en, adjective.en)} {spot.en}",
        f"{spot.ja}に{adjective.ja}{thing.ja}が{japanese.counted(number, thing.counter)}{ja}",
        f"{spot.german('dative')} {de[0] if number == 1 else de[1]} "
        f"{german.counted(number, thing.de, 'nominative', adjective.de)}",
    )


def location(adjective: Adjective, thing: Thing, posture: Posture, spot: Spot) -> Words:
    """ "The red book is on the table." German: dative."""
    subject = the(adjective, thing, "nominative")
    return sentence(
        f"{subject.en} is {spot.en}",
        f"{subject.ja}は{spot.ja}にあります",
        f"{subject.de} {posture.being} {spot.german('dative')}",
    )


def placement(adjective: Adjective, thing: Thing, posture: Posture, spot: Spot) -> Words:
    """ "Please put the red book on the table." German: accusative. Japanese: 入れる into something, else 置く."""
    thing_phrase = the(adjective, thing, "accusative")
    return sentence(
        f"please put {thing_phrase.en} {spot.en}",
        f"{thing_phrase.ja}を{spot.ja}に{'入れて' if spot.ja.endswith('の中') else '置いて'}ください",
        f"bitte {posture.putting} Sie {thing_phrase.de} {spot.german('accusative')}",
    )


class Handling(NamedTuple):
    """What one does to a thing in the house; the German prefix is empty where the verb has none."""

    en: str
    gerund: str
    ja: japanese.Verb
    prefix: str
    de: str

    @property
    def zu(self) -> str:
        """The infinitive with zu: "einzuschalten", "zu öffnen"."""
        return f"{self.prefix}zu{self.de}" if self.prefix else f"zu {self.de}"


SWITCHING = (
    Handling("turn on", "turning on", japanese.ichidan("つけ"), "ein", "schalten"),
    Handling("turn off", "turning off", japanese.godan("消", "さしす", "して"), "aus", "schalten"),
)
MOVING = (
    Handling("open", "opening", japanese.ichidan("開け"), "", "öffnen"),
    Handling("close", "closing", japanese.ichidan("閉め"), "", "schließen"),
)
DEVICES = (
    Words("light", "電気", "das Licht"),
    Words("TV", "テレビ", "der Fernseher"),
    Words("radio", "ラジオ", "das Radio"),
    Words("heating", "暖房", "die Heizung"),
    Words("air conditioner", "エアコン", "die Klimaanlage"),
)
OPENINGS = (
    Words("window", "窓", "das Fenster"),
    Words("door", "ドア", "die Tür"),
    Words("curtain", "カーテン", "der Vorhang"),
)
CHORES = (*product(SWITCHING, DEVICES), *product(MOVING, OPENINGS))


def _fixture(thing: Words, room: Spot) -> Words:
    """ "the light in the kitchen", 台所の電気, "das Licht in der Küche" (accusative)."""
    accusative = german.phrase("der", german.noun(thing.de), "accusative")
    return Words(f"the {thing.en} {room.en}", f"{room.ja}の{thing.ja}", f"{accusative} {room.german('dative')}")


def please(chore: tuple[Handling, Words], room: Spot, time: Words) -> Words:
    """ "Please turn off the light in the kitchen at half past nine." German: separable verb."""
    handling, thing = chore
    fixture = _fixture(thing, room)
    return sentence(
        f"please {handling.en} {fixture.en} at {time.en}",
        f"{time.ja}に{fixture.ja}を{handling.ja.gerund}ください",
        english.spaced(f"bitte {handling.de} Sie {fixture.de} um {time.de}", handling.prefix),
    )


def could_you(chore: tuple[Handling, Words], room: Spot, time: Words) -> Words:
    """ "Could you please turn off the light in the kitchen at half past nine?" German: infinitive."""
    handling, thing = chore
    fixture = _fixture(thing, room)
    return sentence(
        f"could you please {handling.en} {fixture.en} at {time.en}",
        f"{time.ja}に{fixture.ja}を{handling.ja.gerund}いただけますか",
        f"könnten Sie bitte {fixture.de} um {time.de} {handling.prefix}{handling.de}",
        end="?",
    )


def would_you_mind(chore: tuple[Handling, Words], room: Spot, time: Words) -> Words:
    """ "Would you mind turning off the light in the kitchen at half past nine?" German: infinitive with zu."""
    handling, thing = chore
    fixture = _fixture(thing, room)
    return sentence(
        f"would you mind {handling.gerund} {fixture.en} at {time.en}",
        f"{time.ja}に{fixture.ja}を{handling.ja.gerund}いただいてもよろしいでしょうか",
        f"würde es Ihnen etwas ausmachen, {fixture.de} um {time.de} {handling.zu}",
        end="?",
    )


def do_not_forget(chore: tuple[Handling, Words], room: Spot, time: Words) -> Words:
    """ "Do not forget to turn off the light in the kitchen at half past nine." """
    handling, thing = chore
    fixture = _fixture(thing, room)
    return sentence(
        f"do not forget to {handling.en} {fixture.en} at {time.en}",
        f"{time.ja}に{fixture.ja}を{handling.ja.plain}のを忘れないでください",
        f"vergessen Sie nicht, {fixture.de} um {time.de} {handling.zu}",
    )


class Opener(NamedTuple):
    """The polite frame around an indirect question; `mark` ends it in English and German."""

    en: str
    ja: str
    de: str
    mark: str


OPENERS = (
    Opener("do you know", "ご存じですか", "wissen Sie", "?"),
    Opener("could you tell me", "教えていただけますか", "könnten Sie mir sagen", "?"),
    Opener("I would like to know", "知りたいのですが", "ich möchte wissen", "."),
)


def _inquiry(opener: Opener, question: Words) -> Words:
    return sentence(
        f"{opener.en} {question.en}", f"{question.ja}{opener.ja}", f"{opener.de}, {question.de}", end=opener.mark
    )


CHANGES = (Words("opens", "開く", "öffnet"), Words("closes", "閉まる", "schließt"))


def ask_hours(opener: Opener, place: Place, change: Words, day: Moment) -> Words:
    """ "Do you know when the museum opens on Friday?" German: verb last."""
    de = f"wann {german.phrase('der', place.de, 'nominative')} {day.de} {change.de}"
    ja = f"{day.adverb}{place.ja}が何時に{change.ja}か"
    return _inquiry(opener, Words(f"when the {place.en} {change.en} {day.en}", ja, de))


def ask_price(opener: Opener, adjective: Adjective, thing: Thing) -> Words:
    """ "Could you tell me how much the red coat costs?" """
    subject = the(adjective, thing, "nominative")
    question = Words(f"how much {subject.en} costs", f"{subject.ja}がいくらするか", f"wie viel {subject.de} kostet")
    return _inquiry(opener, question)


def ask_platform(opener: Opener, city: Words, time: Words) -> Words:
    """ "Could you tell me from which platform the 3:45 p.m. train to Berlin leaves?" """
    return _inquiry(
        opener,
        Words(
            f"from which platform the {time.en} train to {city.en} leaves",
            f"{time.ja}発の{city.ja}行きの電車が何番線から出発するか",
            f"von welchem Gleis der Zug nach {city.de} um {time.de} abfährt",
        ),
    )


ADDITIONS = tuple((one, other) for one, other in product(range(2, 90), repeat=2) if one + other < 100)


def addition(summands: tuple[int, int]) -> Words:
    """ "Twenty-one plus thirty-four is fifty-five." """
    one, other = summands
    return _arithmetic(one, ("plus", "足す", "plus"), other, one + other)


def subtraction(summands: tuple[int, int]) -> Words:
    """ "Fifty-five minus thirty-four is twenty-one." """
    difference, subtrahend = summands
    return _arithmetic(difference + subtrahend, ("minus", "引く", "minus"), subtrahend, difference)


def _arithmetic(left: int, operator: tuple[str, str, str], right: int, result: int) -> Words:
    en, ja, de = operator
    return sentence(
        f"{english.numeral(left)} {en} {english.numeral(right)} is {english.numeral(result)}",
        f"{japanese.kanji(left)}{ja}{japanese.kanji(right)}は{japanese.kanji(result)}です",
        f"{german.numeral(left)} {de} {german.numeral(right)} ist {german.numeral(result)}",
    )


def hotel_room(person: Person, floor: int, door: int) -> Words:
    """ "Mr. Tanaka is staying in room 312." """
    room = 100 * floor + door
    return sentence(
        f"{person.en} {person.be} staying in room {room}",
        f"{person.ja}は{room}号室に泊まっています",
        f"{person.nominative} {person.form('wohne', 'wohnt', 'wohnen')} in Zimmer {room}",
    )


def pages(first: int, length: int, deadline: Words) -> Words:
    """ "Please read pages 12 to 17 by Friday." """
    last = first + length
    return sentence(
        f"please read pages {first} to {last} by {deadline.en}",
        f"{deadline.ja}までに{first}ページから{last}ページまで読んでください",
        f"bitte lesen Sie bis {deadline.de} die Seiten {first} bis {last}",
    )


LUGGAGE = (
    Words("suitcase", "スーツケース", "der Koffer"),
    Words("package", "小包", "das Paket"),
    Words("box", "箱", "die Kiste"),
    Words("bag", "かばん", "die Tasche"),
)


def weight(adjective: Adjective, thing: Words, kilograms: int, tenths: int) -> Words:
    """ "The red suitcase weighs 2.5 kilograms." German: decimal comma."""
    de = german.phrase("der", german.noun(thing.de), "nominative", adjective.de)
    return sentence(
        f"{english.spaced('the', adjective.en, thing.en)} weighs {kilograms}.{tenths} kilograms",
        f"{adjective.ja}{thing.ja}の重さは{kilograms}.{tenths}キロです",
        f"{de} wiegt {kilograms},{tenths} Kilogramm",
    )


_NUMBERS = (*range(1, 13), 15, 20, 25, 30, 48)
_LOOKS, _ANIMAL_LOOKS = (PLAIN, *lexicon.LOOKS), (PLAIN, *lexicon.ANIMAL_LOOKS)
_STANDING_FURNITURE = (*lexicon.FURNITURE[:4], *lexicon.MACHINES[3:])
_SOON = (Words("tomorrow", "明日", "morgen"), *calendar.WEEKDAYS)
_OPEN = (*lexicon.SHOPS[1:], *lexicon.SIGHTS, *lexicon.SERVICES[:-1])
_REQUESTS = (please, could_you, would_you_mind, do_not_forget)

CONSTRUCTIONS: tuple[Construction, ...] = (
    construction(creatures, OUTSIDE, _NUMBERS, _ANIMAL_LOOKS, lexicon.ANIMALS),
    construction(creatures, OUTSIDE, _NUMBERS, (PLAIN, *lexicon.MOODS), lexicon.PEOPLE),
    construction(furniture, ROOMS, _NUMBERS, _LOOKS, _STANDING_FURNITURE),
    construction(location, _LOOKS, FLAT, (LYING,), FOR_FLAT),
    construction(location, _LOOKS, TALL, (STANDING,), FOR_TALL),
    construction(placement, _LOOKS, FLAT, (LYING,), FOR_FLAT),
    construction(placement, _LOOKS, TALL, (STANDING,), FOR_TALL),
    *(construction(request, CHORES, ROOMS, calendar.SPOKEN) for request in _REQUESTS),
    construction(ask_hours, OPENERS, _OPEN, CHANGES, calendar.SOME_DAY),
    construction(ask_price, OPENERS, _LOOKS, lexicon.GOODS),
    construction(ask_platform, OPENERS, lexicon.CITIES, calendar.DIGITAL),
    construction(addition, ADDITIONS),
    construction(subtraction, ADDITIONS),
    construction(hotel_room, lexicon.EVERYONE, range(1, 10), range(1, 25)),
    construction(pages, range(5, 90), range(2, 20), _SOON),
    construction(weight, _LOOKS, LUGGAGE, range(2, 30), range(1, 10)),
)
