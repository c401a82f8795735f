"""What of a source must be in its translation: numbers, and what is kept letter by letter.

Letter by letter go `code spans`, URLs, e-mail and IP addresses, emoji and placeholders ({name}, {{ name }}, ${name},
%s, %(name)s, %1$s, %1, &nbsp;). Numbers are compared by value, since languages write them in their own ways: English
1,000.5 is German 1.000,5, and either is １０００．５; 4 may be said in words. Where a way of writing can mean two
numbers, it means what the language makes of it: 1,000 is one thousand in English, and one in German.

Notable: a number whose unit is another one in the other language (11月 is November, 3万 is 30,000, 3 pm is 15:00,
2:30 is half past two) is not looked for.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from kakehashi.data.languages import unsubtagged

# Languages that write 1,000.5; all others write a comma before the fraction.
_POINT = frozenset("am bn en fil ga gu he hi ja kn ko ml mr ms mt my ne pa si sw ta te th tl ur yue zh".split())
# Of the others, those that write a point between thousands; the rest write a space.
_POINT_BETWEEN_THOUSANDS = frozenset("ca da de el es eu gl hr id is it nl pt ro sl sr tr vi".split())
_MYRIADS = frozenset("ja ko yue zh".split())  # languages that count in 10,000s, and number the months
# How numbers from two to twelve are said in words; one is an article in many languages.
_WORDS = {
    "de": "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
    "en": "two three four five six seven eight nine ten eleven twelve",
    "es": "dos tres cuatro cinco seis siete ocho nueve diez once doce",
    "fr": "deux trois quatre cinq six sept huit neuf dix onze douze",
    "ja": "二 三 四 五 六 七 八 九 十 十一 十二",
    "zh": "二 三 四 五 六 七 八 九 十 十一 十二",
}
_NARROW = str.maketrans("．，", ".,")  # full-width signs, one for one, so that places stay
_SPACES = " \u00a0\u2009\u202f'’\u066c"

_EMOJI = "[\U0001f300-\U0001faff\u2600-\u27bf\u2b1b\u2b1c\u2b50\u2b55\u231a\u231b\u23e9-\u23f3]"
_MODIFIED = f"{_EMOJI}[\ufe0f\U0001f3fb-\U0001f3ff]*"
_KEPT = re.compile(
    "|".join(
        [
            "``[^`\n]+``|`[^`\n]+`",
            # no Japanese or Chinese, which follow without a space, and no punctuation at the end
            r"(?:(?:https?|ftp)://|www\.)[!#-;=?-~\u00c0-\u1fff]*[#$%&*+/=@~0-9A-Za-z_\u00c0-\u1fff-]",
            r"(?<![A-Za-z0-9_.+-])[A-Za-z0-9_.+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*[A-Za-z0-9]",
            r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]*\d)",
            r"\{\{\s*[\w.|:-]+\s*\}\}|\$?\{[\w.:!\[\]-]*\}",
            r"%\(\w+\)[-+#0]*[\d.]*[A-Za-z]",
            r"%(?:\d+\$)?[-+#0]*(?:\d+|\*)?(?:\.\d+)?(?:hh?|ll?|[Lzjtq])?[diouxXeEfgGcsSnp@](?![A-Za-z])",
            r"(?<!\d)%\d{1,2}(?!\w)",
            r"&(?:#\d+|#x[\da-fA-F]+|[A-Za-z]\w*);",
            f"[\U0001f1e6-\U0001f1ff]{{2}}|[#*0-9]\ufe0f?\u20e3|{_MODIFIED}(?:\u200d{_MODIFIED})*",
        ]
    )
)
# On a text with digits for what is kept: nothing but these and signs in brackets, or before a colon at the start.
_ASIDE = re.compile(
    r"[(（](?:[^\w()（）]*\d)+[^\w()（）]*[)）]|\[(?:[^\w\[\]]*\d)+[^\w\[\]]*\]|^(?:[^\w:：]*\d)+[^\w:：]*(?::(?=\s)|：)"
)
# What makes another number of the number before it, or a word, in a language of the other way of counting.
_COUNTED_IN_MYRIADS = re.compile(r"\s*(?:月|万|萬|亿|億|兆|千|百|만|억|조|월)")
_COUNTED_IN_THOUSANDS = re.compile(
    r"[\s-]*(?:thousand|million|billion|trillion|tausend|milli|bilh|mi?l\b|tys|тыс|мил|млн)", re.I
)
_BY_THE_CLOCK = re.compile(r"(?:[:.]\d\d)?\s*(?:[ap]\.?m\b|時|时|시)|:30(?!\d)", re.I)


@dataclass(frozen=True)
class Item:
    """Something in a source: `text`, as it stands there; `wanted`: as the translation is to write it."""

    text: str
    wanted: str


@dataclass(frozen=True)
class _Number:
    """`whole`, `fraction`: digits in ASCII; `grouped`: with something between its thousands; `start`, `end`: where."""

    text: str
    whole: str
    fraction: str
    grouped: bool
    start: int
    end: int

    @property
    def value(self) -> str:
        return _plain(self.whole) + (f".{self.fraction.rstrip('0')}" if self.fraction.strip("0") else "")


def missing(source: str, translation: str, languages: tuple[str, str]) -> list[Item]:
    """What a source has and its translation has not, each once, in the source's order.

    languages: of the source and of the translation.
    """
    own, other = map(unsubtagged, languages)
    there = translation.replace("\ufe0f", "")
    kept = dict.fromkeys(match[0] for match in _KEPT.finditer(source))
    items = [Item(text, text) for text in kept if text.replace("\ufe0f", "") not in there]
    plain = _without_kept(source)
    numbers = [number for number in _numbers(plain, own) if not _another_there(plain, number, own, other)]
    if numbers:
        values = {number.value for number in _numbers(_without_kept(translation), other)}
        values |= {_plain(_ascii(digits)) for digits in re.findall(r"\d+", translation)}
        values |= _in_words(translation, other)
        items += [Item(number.text, _written(number, other)) for number in numbers if number.value not in values]
    return list(dict.fromkeys(items))


def translatable(text: str) -> bool:
    """Whether a sentence says anything in words: there is a letter, and not only in what is kept."""
    return any(map(str.isalpha, _KEPT.sub("", text)))


def kept_apart(text: str) -> Iterator[tuple[str, bool]]:
    """The text in parts, each with whether it is to be kept letter by letter."""
    end = 0
    for match in _KEPT.finditer(text):
        yield text[end : match.start()], False
        yield match[0], True
        end = match.end()
    yield text[end:], False


def ungoverned(text: str) -> list[str]:
    """What no word of a sentence governs: what is kept letter by letter, and asides of such things and numbers.

    >>> ungoverned("3 of us: see (1,250, %s).")
    ['%s', '(1,250, %s)']
    """
    blanked = "".join("0" * len(part) if kept else part for part, kept in kept_apart(text))
    asides = [text[slice(*match.span())] for match in _ASIDE.finditer(blanked)]
    return list(dict.fromkeys([part for part, kept in kept_apart(text) if kept] + asides))


def rewritten(text: str, languages: tuple[str, str]) -> str:
    """The text, its numbers as the second of the languages writes them.

    >>> rewritten("(1,250.5, 🎉)", ("en", "de"))
    '(1.250,5, 🎉)'
    """
    own, other = map(unsubtagged, languages)
    parts: list[str] = []
    for part, kept in kept_apart(text):
        end = 0
        for number in () if kept else _numbers(part, own):
            parts += [part[end : number.start], _written(number, other)]
            end = number.end
        parts.append(part[end:])
    return "".join(parts)


def loops(source: str, translation: str) -> bool:
    """Whether a translation says something three times or more in a row, and oftener than its source does."""
    times = _repeated(translation)
    return times >= 3 and times > _repeated(source)


_SPACELESS = r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]"
_UNIT = re.compile(rf"{_SPACELESS}|(?:(?!{_SPACELESS})[^\W_])+")
_PERIOD = 12  # units: longer loops are not looked for


def _repeated(text: str) -> int:
    """How many times in a row a run of words (of characters, where no spaces stand between words) is said, at most.

    A single character counts half: "ははは" is no loop.

    >>> _repeated("the cat, the cat, the cat sleeps"), _repeated("ははは"), _repeated("とてもとてもとても")
    (3, 1, 3)
    """
    units = [unit.casefold() for unit in _UNIT.findall(text)]
    most = min(1, len(units))
    for period in range(1, min(_PERIOD, len(units) // 2) + 1):
        run = 0
        for i in range(len(units) - period):
            run = run + 1 if units[i] == units[i + period] else 0
            if run >= period:
                times = run // period + 1
                most = max(most, times // 2 if len(units[i]) == period == 1 else times)
    return most


def _without_kept(text: str) -> str:
    return _KEPT.sub("\n", text)


def _numbers(text: str, language: str) -> Iterator[_Number]:
    point, between = (".", ",") if language in _POINT else (",", ".")
    for match in _pattern(point, between, language).finditer(text.translate(_NARROW)):
        whole, fraction = match["whole"] or match["plain"], match["fraction"] or match["other_fraction"] or ""
        digits = _ascii(whole)
        yield _Number(text[slice(*match.span())], digits, _ascii(fraction), len(digits) < len(whole), *match.span())


def _in_words(text: str, language: str) -> set[str]:
    pattern = "[一二三四五六七八九十百千万]+" if language in _MYRIADS else r"\w+"
    said = set(re.findall(pattern, text.casefold()))
    return {str(number) for number, word in enumerate(_WORDS.get(language, "").split(), 2) if word in said}


def _pattern(point: str, between: str, language: str) -> re.Pattern[str]:
    """Thousands apart, with or without a fraction; else digits, with a fraction behind either sign, unless other digits
    and signs stand around, as in dates and versions."""
    thousands = re.escape(between + (_SPACES[1:] if language in _POINT else _SPACES))
    return re.compile(
        rf"(?<!\d)(?P<whole>\d{{1,3}}(?P<sign>[{thousands}])\d{{3}}(?:(?P=sign)\d{{3}})*)(?:[{point}٫](?P<fraction>\d+))?"
        rf"(?![{point}{re.escape(between)}]?\d)"
        rf"|(?P<plain>\d+)(?:(?<!\d[.,]\d)(?<!\d[.,]\d\d)[.,٫](?P<other_fraction>\d+)(?![.,]?\d))?"
    )


def _ascii(number: str) -> str:
    return "".join(str(unicodedata.digit(sign)) for sign in number if sign.isdigit())


def _plain(digits: str) -> str:
    return digits.lstrip("0") or "0"


def _written(number: _Number, language: str) -> str:
    """A number in the language's own way, thousands apart if they are in the source."""
    point = "." if language in _POINT else ","
    between = "," if language in _POINT else "." if language in _POINT_BETWEEN_THOUSANDS else " "
    whole = re.sub(r"(?<=\d)(?=(?:\d{3})+$)", between, number.whole) if number.grouped else number.whole
    return whole + (point + number.fraction if number.fraction else "")


def _another_there(text: str, number: _Number, own: str, other: str) -> bool:
    """Whether the number is, with what stands behind it, another number or a word in the other language."""
    if _BY_THE_CLOCK.match(text, number.end) or (number.value == "30" and text[: number.start].endswith(":")):
        return True
    if (own in _MYRIADS) == (other in _MYRIADS):
        return False
    return bool((_COUNTED_IN_MYRIADS if own in _MYRIADS else _COUNTED_IN_THOUSANDS).match(text, number.end))
