"""At table: orders, reservations, meals, likes."""

from itertools import permutations
from typing import NamedTuple

from kakehashi.data.phrasebook import calendar, english, german, japanese, lexicon
from kakehashi.data.phrasebook.calendar import Moment
from kakehashi.data.phrasebook.grammar import Construction, Words, construction, sentence
from kakehashi.data.phrasebook.lexicon import Person, Thing

FEW = tuple(range(1, 7))


class Serving(NamedTuple):
    """Food or drink by the cup, glass, piece ..."""

    vessel: str
    en: str
    ja: str
    counter: str
    container: german.Noun
    de: str

    def helping(self, number: int) -> Words:
        """ "two cups of coffee", コーヒーを2杯, "zwei Tassen Kaffee" (accusative)."""
        return Words(
            f"{english.counted(number, self.vessel)} of {self.en}",
            f"{self.ja}を{japanese.count(number, self.counter)}",
            f"{german.counted(number, self.container, 'accusative')} {self.de}",
        )


def _servings(vessel: str, counter: str, container: str, contents: str) -> tuple[Serving, ...]:
    rows = (row.strip().split("|") for row in contents.split(","))
    return tuple(Serving(vessel, en, ja, counter, german.noun(container), de) for en, ja, de in rows)


DRINKS = (
    *_servings("cup", "杯", "die Tasse, Tassen", "coffee|コーヒー|Kaffee, tea|お茶|Tee, cocoa|ココア|Kakao"),
    *_servings(
        "glass",
        "杯",
        "das Glas, Gläser",
        "water|水|Wasser, milk|牛乳|Milch, orange juice|オレンジジュース|Orangensaft,"
        "apple juice|りんごジュース|Apfelsaft",
    ),
    *_servings(
        "bottle",
        "本",
        "die Flasche, Flaschen",
        "beer|ビール|Bier, red wine|赤ワイン|Rotwein, white wine|白ワイン|Weißwein",
    ),
)
DISHES = (
    *_servings(
        "piece", "つ", "das Stück, Stück", "cake|ケーキ|Kuchen, chocolate cake|チョコレートケーキ|Schokoladenkuchen"
    ),
    *_servings("bowl", "杯", "die Schale, Schalen", "soup|スープ|Suppe, rice|ご飯|Reis"),
    *_servings("plate", "皿", "der Teller, Teller", "spaghetti|スパゲッティ|Spaghetti, salad|サラダ|Salat"),
)


def order(first_number: int, drink: Serving, second_number: int, dish: Serving) -> Words:
    """ "I would like two cups of coffee and a piece of cake, please." """
    first, second = drink.helping(first_number), dish.helping(second_number)
    return sentence(
        f"I would like {first.en} and {second.en}, please",
        f"{first.ja}と{second.ja}お願いします",
        f"ich hätte gern {first.de} und {second.de}, bitte",
    )


def service(first_number: int, dish: Serving, second_number: int, drink: Serving) -> Words:
    """ "Could you please bring us a piece of cake and three glasses of water?" """
    first, second = dish.helping(first_number), drink.helping(second_number)
    return sentence(
        f"could you please bring us {first.en} and {second.en}",
        f"{first.ja}と{second.ja}持ってきていただけますか",
        f"könnten Sie uns bitte {first.de} und {second.de} bringen",
        end="?",
    )


class Nourishment(NamedTuple):
    """What one has at table, with the verb for it: eat or drink."""

    en: str
    ja: str
    de: str
    verb: tuple[str, str, str, str]


_EAT, _DRINK = ("eat", "食べます", "isst", "essen"), ("drink", "飲みます", "trinkt", "trinken")
NOURISHMENTS = (
    Nourishment("bread", "パン", "Brot", _EAT),
    Nourishment("rice", "ご飯", "Reis", _EAT),
    Nourishment("cheese", "チーズ", "Käse", _EAT),
    Nourishment("fish", "魚", "Fisch", _EAT),
    Nourishment("meat", "肉", "Fleisch", _EAT),
    Nourishment("vegetables", "野菜", "Gemüse", _EAT),
    Nourishment("salad", "サラダ", "Salat", _EAT),
    Nourishment("coffee", "コーヒー", "Kaffee", _DRINK),
    Nourishment("tea", "お茶", "Tee", _DRINK),
    Nourishment("water", "水", "Wasser", _DRINK),
    Nourishment("milk", "牛乳", "Milch", _DRINK),
    Nourishment("beer", "ビール", "Bier", _DRINK),
)
MEALS = (
    Words("breakfast", "朝食", "Frühstück"),
    Words("lunch", "昼食", "Mittagessen"),
    Words("dinner", "夕食", "Abendessen"),
)
FREQUENCIES = (
    Words("always", "いつも", "immer"),
    Words("usually", "たいてい", "meistens"),
    Words("often", "よく", "oft"),
    Words("sometimes", "時々", "manchmal"),
)


def meal(meal: Words, person: Person, frequency: Words, food: Nourishment) -> Words:
    """ "For breakfast, my mother usually drinks tea." """
    plain, ja, third, infinitive = food.verb
    first = infinitive.removesuffix("n")
    return sentence(
        f"for {meal.en}, {person.en} {frequency.en} {person.english(plain, f'{plain}s')} {food.en}",
        f"{person.ja}は{meal.ja}に{frequency.ja}{food.ja}を{ja}",
        f"zum {meal.de} {person.form(first, third, infinitive)} {person.nominative} {frequency.de} {food.de}",
    )


def preference(person: Person, foods: tuple[Thing, Thing]) -> Words:
    """ "My son likes apples more than oranges." """
    better, worse = foods
    likes = person.english("like", "likes")
    return sentence(
        f"{person.en} {likes} {english.plural(better.en)} more than {english.plural(worse.en)}",
        f"{person.ja}は{worse.ja}より{better.ja}の方が好きです",
        f"{person.nominative} {person.form('mag', 'mag', 'mögen')} {better.de.plural} lieber als {worse.de.plural}",
    )


def table(guests: int, day: Moment, time: Words) -> Words:
    """ "I would like to reserve a table for four people on Friday at half past seven." """
    number = english.numeral(guests)
    return sentence(
        f"I would like to reserve a table for {number} people {day.en} at {time.en}",
        f"{day.ja}の{time.ja}に{guests}人の席を予約したいのですが",
        f"ich möchte für {day.de.removeprefix('am ')} um {time.de} "
        f"einen Tisch für {german.numeral(guests)} Personen reservieren",
    )


CONSTRUCTIONS: tuple[Construction, ...] = (
    construction(order, FEW, DRINKS, FEW, DISHES),
    construction(service, FEW, DISHES, FEW, DRINKS),
    construction(table, range(2, 13), calendar.SOME_DAY, calendar.CLOCK),
    construction(meal, MEALS, lexicon.EVERYONE, FREQUENCIES, NOURISHMENTS),
    construction(preference, lexicon.EVERYONE, tuple(permutations(lexicon.FOOD, 2))),
)
