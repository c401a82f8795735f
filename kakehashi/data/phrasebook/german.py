"""German inflection, as far as the phrasebook needs it: numerals, determiners, adjective endings, contractions.

Notable: the plural is a fourth column beside the three genders, since German declines all genders alike there.
"""

from typing import Literal, NamedTuple

Column = Literal["m", "f", "n", "plural"]
Case = Literal["nominative", "accusative", "dative", "genitive"]
Determiner = Literal["der", "dieser", "ein", "kein", "mein", ""]
Agreement = Literal["ich", "sie", "wir"]
"""Which form a verb takes: that of ich, of sie (she), or of wir and sie (they), which is the infinitive's."""

_CASES: tuple[Case, ...] = ("nominative", "accusative", "dative", "genitive")
_ARTICLE: dict[Column, str] = {"m": "der den dem des", "f": "die die der der", "n": "das das dem des"}
_ARTICLE["plural"] = "die die den der"
_STRONG: dict[Column, str] = {"m": "er en em es", "f": "e e er er", "n": "es es em es", "plural": "e e en er"}
# "ein" has no ending in the masculine nominative and in the neuter nominative and accusative, marked by a dash.
_MIXED: dict[Column, str] = {**_STRONG, "m": "- en em es", "n": "- - em es"}
_ADJECTIVE_WEAK: dict[Column, str] = {"m": "e en en en", "f": "e e en en", "n": "e e en en", "plural": "en en en en"}
_ADJECTIVE_MIXED: dict[Column, str] = {**_ADJECTIVE_WEAK, "m": "er en en en", "n": "es es en en"}

_CONTRACTIONS = {
    "an dem": "am",
    "in dem": "im",
    "in das": "ins",
    "von dem": "vom",
    "zu dem": "zum",
    "zu der": "zur",
}

_UNITS = (
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn "
    "achtzehn neunzehn"
)
_TENS = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig"
ORDINALS = ("erst", "zweit", "dritt", "viert", "fünft")


class Noun(NamedTuple):
    """A noun as a dictionary lists it."""

    gender: Column
    singular: str
    plural: str


def noun(entry: str) -> Noun:
    """A noun from a dictionary's entry: "der Apfel, Äpfel"; without a plural: "die Post"."""
    article, forms = entry.split(" ", 1)
    singular, _, plural = forms.partition(", ")
    genders: dict[str, Column] = {"der": "m", "die": "f", "das": "n"}
    return Noun(genders[article], singular, plural)


def numeral(number: int) -> str:
    """0 to 99 in words: "einundzwanzig"."""
    if number < 20:
        return _UNITS.split()[number]
    tens, unit = divmod(number, 10)
    ones = {0: "", 1: "einund"}.get(unit, f"{_UNITS.split()[unit]}und")
    return ones + _TENS.split()[tens - 2]


def phrase(determiner: Determiner, noun: Noun, case: Case, adjective: str = "", column: Column | None = None) -> str:
    """Determiner, adjective (its stem) and noun, declined: ("ein", Apfel, "accusative", "rot") is "einen roten Apfel".

    The column is the noun's gender unless it is "plural".
    """
    chosen = column or noun.gender
    ending = _adjective_endings(determiner)[chosen].split()[_CASES.index(case)]
    parts = (_determiner(determiner, chosen, case), adjective + ending if adjective else "", _noun(noun, chosen, case))
    return " ".join(part for part in parts if part)


def _adjective_endings(determiner: Determiner) -> dict[Column, str]:
    match determiner:
        case "der" | "dieser":
            return _ADJECTIVE_WEAK
        case "ein" | "kein" | "mein":
            return _ADJECTIVE_MIXED
        case "":
            return _STRONG


def _determiner(determiner: Determiner, column: Column, case: Case) -> str:
    place = _CASES.index(case)
    match determiner:
        case "der":
            return _ARTICLE[column].split()[place]
        case "dieser":
            return "dies" + _STRONG[column].split()[place]
        case "ein" | "kein" | "mein":
            return determiner + _MIXED[column].split()[place].strip("-")
        case "":
            return ""


def _noun(noun: Noun, column: Column, case: Case) -> str:
    if column == "plural":
        return noun.plural + ("n" if case == "dative" and not noun.plural.endswith(("n", "s")) else "")
    if case == "genitive" and column != "f":
        return noun.singular + ("es" if noun.singular.endswith(("s", "ß", "z")) else "s")
    return noun.singular


def counted(number: int, noun: Noun, case: Case, adjective: str = "") -> str:
    """ "einen alten Mantel", "drei rote Äpfel", "15 Eier": up to twelve in words, beyond in digits."""
    if number == 1:
        return phrase("ein", noun, case, adjective)
    digits = numeral(number) if number <= 12 else str(number)
    return f"{digits} {phrase('', noun, case, adjective, 'plural')}"


def after(preposition: str, phrase: str) -> str:
    """The preposition before a phrase that is already in its case, contracted where German must: "zum Bahnhof"."""
    article, _, rest = phrase.partition(" ")
    contracted = _CONTRACTIONS.get(f"{preposition} {article}")
    return f"{contracted} {rest}" if contracted else f"{preposition} {phrase}"
