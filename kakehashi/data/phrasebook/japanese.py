"""Japanese numerals, counters and verb forms, as far as the phrasebook needs them.

Counters keep one written form whatever their sound (1本 ippon, 3本 sambon), except the native つ, which takes kanji
(三つ) and gives way to 個 from ten on.
"""

from typing import NamedTuple

_DIGITS = "〇一二三四五六七八九"


def kanji(number: int) -> str:
    """1 to 99 in kanji: 二十一."""
    tens, unit = divmod(number, 10)
    return (_DIGITS[tens] if tens > 1 else "") + ("十" if tens else "") + (_DIGITS[unit] if unit else "")


def count(number: int, counter: str) -> str:
    """3本, 25枚, 三つ, 12個."""
    if counter != "つ":
        return f"{number}{counter}"
    return f"{kanji(number)}つ" if number < 10 else f"{number}個"


def counted(number: int, counter: str) -> str:
    """As `count`, but a single thing goes without: "a book" is 本, "three books" 本 ... 3冊."""
    return "" if number == 1 else count(number, counter)


class Verb(NamedTuple):
    """The stems on which polite forms are built.

    polite: 買い + ます; negative: 買わ + なければ; plain: 買う + つもり; gerund: 買って + ください.
    """

    polite: str
    negative: str
    plain: str
    gerund: str


def godan(stem: str, row: str, gerund: str) -> Verb:
    """A five-row verb from its stem, its row in the order a, i, u ("わいう", "さしす") and its gerund's ending."""
    return Verb(stem + row[1], stem + row[0], stem + row[2], stem + gerund)


def ichidan(stem: str) -> Verb:
    """A one-row verb: 食べ + る."""
    return Verb(stem, stem, f"{stem}る", f"{stem}て")


def suru(noun: str) -> Verb:
    """A verbal noun with する: 注文 + する."""
    return Verb(f"{noun}し", f"{noun}し", f"{noun}する", f"{noun}して")
