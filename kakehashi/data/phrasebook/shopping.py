"""Shops and restaurants: buying, needing, prices, presents, orders."""

from collections.abc import Callable
from itertools import permutations
from typing import Literal, NamedTuple

from kakehashi.data.phrasebook import calendar, english, german, japanese, lexicon
from kakehashi.data.phrasebook.calendar import Moment
from kakehashi.data.phrasebook.grammar import Construction, Words, construction, sentence
from kakehashi.data.phrasebook.lexicon import PLAIN, Adjective, Person, Place, Thing, Verb, some, the

NUMBERS = (*range(1, 13), 15, 20, 25, 30, 48)
FEW = tuple(range(1, 7))
LOOKS = (PLAIN, *lexicon.LOOKS)
BOOKISH = (PLAIN, *lexicon.BOOKISH)
FRESH = (PLAIN, *lexicon.FRESH)


def past(
    moment: Moment, person: Person, verb: Verb, number: int, adjective: Adjective, thing: Thing, place: Place
) -> Words:
    """ "Yesterday, my mother bought three red apples at the market." German: perfect, verb second."""
    thing_phrase = some(number, adjective, thing)
    return sentence(
        f"{moment.en}, {person.en} {verb.past} {thing_phrase.en} at the {place.en}",
        f"{moment.adverb}{person.ja}は{place.ja}で{thing_phrase.ja}{verb.ja.polite}ました",
        f"{moment.de} {person.haben} {person.nominative} {place.located} {thing_phrase.de} {verb.participle}",
    )


class Modal(NamedTuple):
    """How one stands to a deed; the Japanese ending may depend on who it is."""

    en: tuple[str, str, str]
    ja: Callable[[japanese.Verb, Person], str]
    de: tuple[str, str, str]


def _wanting(verb: japanese.Verb, person: Person) -> str:
    """Only one's own wish is known (たい); another's shows (たがる)."""
    return f"{verb.polite}{'たいです' if person in lexicon.SPEAKERS else 'たがっています'}"


MODALS = (
    Modal(
        ("have to", "has to", "have to"),
        lambda verb, _: f"{verb.negative}なければなりません",
        ("muss", "muss", "müssen"),
    ),
    Modal(("want to", "wants to", "want to"), _wanting, ("möchte", "möchte", "möchten")),
    Modal(("can", "can", "can"), lambda verb, _: f"{verb.plain}ことができます", ("kann", "kann", "können")),
    Modal(
        ("am going to", "is going to", "are going to"),
        lambda verb, _: f"{verb.plain}つもりです",
        ("werde", "wird", "werden"),
    ),
)


def modal(
    person: Person, how: Modal, verb: Verb, number: int, adjective: Adjective, thing: Thing, moment: Moment
) -> Words:
    """ "I have to buy two stamps tomorrow." German: infinitive at the end."""
    thing_phrase = some(number, adjective, thing)
    return sentence(
        f"{person.en} {person.form(*how.en)} {verb.en} {thing_phrase.en} {moment.en}",
        f"{person.ja}は{moment.adverb}{thing_phrase.ja}{how.ja(verb.ja, person)}",
        f"{person.nominative} {person.form(*how.de)} {moment.de} {thing_phrase.de} {verb.infinitive}",
    )


def owning(person: Person, adjective: Adjective, thing: Thing) -> Words:
    """ "Ms. Sato has a red car." """
    return sentence(
        f"{person.en} {person.english('have', 'has')} {english.indefinite(thing.en, adjective.en)}",
        f"{person.ja}は{adjective.ja}{thing.ja}を持っています",
        f"{person.nominative} {person.haben} {german.phrase('ein', thing.de, 'accusative', adjective.de)}",
    )


def lacking(person: Person, adjective: Adjective, thing: Thing) -> Words:
    """ "Ms. Sato does not have a red car." German: kein."""
    return sentence(
        f"{person.en} {person.english('do', 'does')} not have {english.indefinite(thing.en, adjective.en)}",
        f"{person.ja}は{adjective.ja}{thing.ja}を持っていません",
        f"{person.nominative} {person.haben} {german.phrase('kein', thing.de, 'accusative', adjective.de)}",
    )


def need(person: Person, number: int, adjective: Adjective, thing: Thing) -> Words:
    """ "We need five new chairs." """
    thing_phrase = some(number, adjective, thing)
    return sentence(
        f"{person.en} {person.english('need', 'needs')} {thing_phrase.en}",
        f"{person.ja}には{adjective.ja}{thing.ja}が{japanese.counted(number, thing.counter)}必要です",
        f"{person.nominative} {person.form('brauche', 'braucht', 'brauchen')} {thing_phrase.de}",
    )


class Pointing(NamedTuple):
    """A definite article or a demonstrative."""

    en: str
    ja: str
    de: Literal["der", "dieser"]
    column: Literal["plural"] | None

    def subject(self, adjective: Adjective, thing: Thing) -> Words:
        """ "these red coats", この赤いコート, "diese roten Mäntel" (nominative)."""
        return Words(
            english.spaced(self.en, adjective.en, english.plural(thing.en) if self.column else thing.en),
            f"{self.ja}{adjective.ja}{thing.ja}",
            german.phrase(self.de, thing.de, "nominative", adjective.de, self.column),
        )


THE, THIS = Pointing("the", "", "der", None), Pointing("this", "この", "dieser", None)
THESE = Pointing("these", "この", "dieser", "plural")


def price(pointing: Pointing, adjective: Adjective, thing: Thing, amount: Words) -> Words:
    """ "This red coat costs 85 euros." """
    subject = pointing.subject(adjective, thing)
    return sentence(
        f"{subject.en} {'cost' if pointing.column else 'costs'} {amount.en}",
        f"{subject.ja}は{amount.ja}です",
        f"{subject.de} {'kosten' if pointing.column else 'kostet'} {amount.de}",
    )


def price_question(pointing: Pointing, adjective: Adjective, thing: Thing) -> Words:
    """ "How much do these red coats cost?" """
    subject = pointing.subject(adjective, thing)
    return sentence(
        f"how much {'do' if pointing.column else 'does'} {subject.en} cost",
        f"{subject.ja}はいくらですか",
        f"wie viel {'kosten' if pointing.column else 'kostet'} {subject.de}",
        end="?",
    )


COMPARATIVES = (
    Words("bigger", "大きい", "größer"),
    Words("smaller", "小さい", "kleiner"),
    Words("newer", "新しい", "neuer"),
    Words("older", "古い", "älter"),
    Words("cheaper", "安い", "billiger"),
    Words("more expensive", "高い", "teurer"),
    Words("heavier", "重い", "schwerer"),
    Words("lighter", "軽い", "leichter"),
)


def comparison(colours: tuple[Adjective, Adjective], one: Thing, comparative: Words, other: Thing) -> Words:
    """ "The red coat is cheaper than the blue jacket." """
    first, second = the(colours[0], one, "nominative"), the(colours[1], other, "nominative")
    return sentence(
        f"{first.en} is {comparative.en} than {second.en}",
        f"{first.ja}は{second.ja}より{comparative.ja}です",
        f"{first.de} ist {comparative.de} als {second.de}",
    )


def search(person: Person, adjective: Adjective, thing: Thing, receiver: Person) -> Words:
    """ "We are looking for a black bag for my mother." German: für with the accusative."""
    return sentence(
        f"{person.en} {person.be} looking for {english.indefinite(thing.en, adjective.en)} for {receiver.en}",
        f"{person.ja}は{receiver.ja}のために{adjective.ja}{thing.ja}を探しています",
        f"{person.nominative} {person.form('suche', 'sucht', 'suchen')} "
        f"{german.phrase('ein', thing.de, 'accusative', adjective.de)} für {receiver.accusative}",
    )


def present(moment: Moment, giver: Person, receiver: Person, adjective: Adjective, thing: Thing) -> Words:
    """ "Last week, I gave my aunt a red scarf." German: dative before accusative."""
    gift = some(1, adjective, thing)
    return sentence(
        f"{moment.en}, {giver.en} gave {receiver.en} {gift.en}",
        f"{moment.adverb}{giver.ja}は{receiver.ja}に{gift.ja}あげました",
        f"{moment.de} {giver.haben} {giver.nominative} {receiver.dative} {gift.de} geschenkt",
    )


def where_to_buy(adjective: Adjective, thing: Thing, place: Place) -> Words:
    """ "Where can I buy fresh apples near the station?" German: genitive."""
    return sentence(
        f"where can I buy {english.spaced(adjective.en, english.plural(thing.en))} near the {place.en}",
        f"{place.ja}の近くで{adjective.ja}{thing.ja}はどこで買えますか",
        f"wo kann ich in der Nähe {german.phrase('der', place.de, 'genitive')} "
        f"{german.phrase('', thing.de, 'accusative', adjective.de, 'plural')} kaufen",
        end="?",
    )


DEADLINES = (
    Words("tomorrow", "明日", "morgen"),
    *calendar.WEEKDAYS,
    *(Words(date.en, date.ja, f"zum {date.de}") for date in calendar.DATES),
)


def obligation(verb: Verb, adjective: Adjective, thing: Thing, deadline: Words) -> Words:
    """ "The blue car has to be repaired by Friday." German: passive infinitive."""
    subject = the(adjective, thing, "nominative")
    return sentence(
        f"{subject.en} has to be {verb.past} by {deadline.en}",
        f"{subject.ja}は{deadline.ja}までに{verb.ja.negative}なければなりません",
        f"{subject.de} muss bis {deadline.de} {verb.participle} werden",
    )


ANIMAL_LOOKS = (PLAIN, *lexicon.ANIMAL_LOOKS)
_LOST = (*lexicon.CLOTHES, *lexicon.STATIONERY)
_READING = lexicon.READING[:-1]
_WASHABLE = (*lexicon.CLOTHES[:6], *lexicon.CROCKERY[:3])
_GIFTS = (*lexicon.CLOTHES, *lexicon.READING)
_COMPARABLE = (*lexicon.CLOTHES, *lexicon.FURNITURE)
_EARLIER, _LATER, _EVERYONE = calendar.EARLIER, calendar.LATER, lexicon.EVERYONE

CONSTRUCTIONS: tuple[Construction, ...] = (
    construction(past, _EARLIER, _EVERYONE, (lexicon.BUY,), NUMBERS, LOOKS, _COMPARABLE, lexicon.SHOPS[::2]),
    construction(past, _EARLIER, _EVERYONE, (lexicon.BUY,), NUMBERS, FRESH, lexicon.FOOD, lexicon.SHOPS),
    construction(past, _EARLIER, _EVERYONE, (lexicon.LOSE, lexicon.FIND), (1, 2), LOOKS, _LOST, lexicon.OUTDOORS),
    construction(past, _EARLIER, _EVERYONE, (lexicon.SEE,), FEW, ANIMAL_LOOKS, lexicon.ANIMALS, lexicon.OUTDOORS[-2:]),
    construction(modal, _EVERYONE, MODALS, (lexicon.BUY, lexicon.SELL), NUMBERS, LOOKS, lexicon.GOODS, _LATER),
    construction(modal, _EVERYONE, MODALS, (lexicon.READ, lexicon.BORROW), FEW, BOOKISH, _READING, _LATER),
    construction(modal, _EVERYONE, MODALS, (lexicon.SEND, lexicon.PICK_UP), NUMBERS, (PLAIN,), lexicon.POST, _LATER),
    construction(owning, _EVERYONE, LOOKS, lexicon.GOODS),
    construction(lacking, _EVERYONE, LOOKS, lexicon.GOODS),
    construction(need, _EVERYONE, NUMBERS, LOOKS, (*lexicon.FURNITURE, *lexicon.CROCKERY)),
    construction(price, (THE, THIS, THESE), LOOKS, lexicon.GOODS, calendar.PRICES),
    construction(price_question, (THE, THIS, THESE), LOOKS, lexicon.GOODS),
    construction(comparison, tuple(permutations(lexicon.COLOURS, 2)), _COMPARABLE, COMPARATIVES, _COMPARABLE),
    construction(search, lexicon.SPEAKERS, LOOKS, _GIFTS, lexicon.OTHERS),
    construction(present, _EARLIER, lexicon.SPEAKERS, lexicon.OTHERS, LOOKS, _GIFTS),
    construction(where_to_buy, FRESH, lexicon.FOOD, lexicon.PLACES),
    construction(obligation, (lexicon.REPAIR, lexicon.SELL), LOOKS, lexicon.MACHINES, DEADLINES),
    construction(obligation, (lexicon.WASH,), LOOKS, _WASHABLE, DEADLINES),
)
