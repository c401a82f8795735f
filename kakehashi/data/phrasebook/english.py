"""English inflection, as far as the phrasebook needs it: numerals, articles, plurals."""

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
ORDINALS = ("first", "second", "third", "fourth", "fifth")

_IRREGULAR_PLURALS = {
    "child": "children",
    "knife": "knives",
    "man": "men",
    "mouse": "mice",
    "potato": "potatoes",
    "scarf": "scarves",
    "sheep": "sheep",
    "tomato": "tomatoes",
    "woman": "women",
}


def numeral(number: int) -> str:
    """0 to 99 in words: "twenty-one"."""
    if number < 20:
        return _UNITS.split()[number]
    tens, unit = divmod(number, 10)
    return _TENS.split()[tens - 2] + (f"-{_UNITS.split()[unit]}" if unit else "")


def plural(noun: str) -> str:
    """The plural of a noun; what the rules do not cover is listed."""
    if noun in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def spaced(*parts: str) -> str:
    """The parts that are not empty, with a space between."""
    return " ".join(part for part in parts if part)


def indefinite(noun: str, adjective: str = "") -> str:
    """ "an old book", "a red umbrella", "an umbrella"."""
    phrase = spaced(adjective, noun)
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def counted(number: int, noun: str, adjective: str = "") -> str:
    """ "an old book", "three red apples", "15 eggs": one is the article, up to twelve in words, beyond in digits."""
    if number == 1:
        return indefinite(noun, adjective)
    return spaced(numeral(number) if number <= 12 else str(number), adjective, plural(noun))
