"""Words of a text as places: what a tag may not cut, in any script."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Set

Place = tuple[int, int]  # start and end, in characters

# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han. A run of katakana is a word.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_JOINER = "\u200d"


def words(text: str, *, cuts: Set[int] = frozenset(), soft_cuts: Set[int] = frozenset()) -> list[Place]:
    """Words, signs (each alone) and line breaks and tabs, in order; other white space lies between them.

    A character keeps its accents and its emoji's modifiers. `cuts`: places where a word ends in any case; `soft_cuts`:
    where it ends if its script has no spaces.
    """
    found: list[Place] = []
    before = ""
    for place in range(len(text)):
        if before and _belongs(text, place):
            found[-1] = (found[-1][0], place + 1)
            continue
        kind = _kind(text, place, before)
        cut = place in cuts or (kind == "unspaced" and place in soft_cuts)
        if kind == before and kind in ("word", "katakana", "unspaced", "flag") and not cut:
            found[-1] = (found[-1][0], place + 1)
        elif kind:
            found.append((place, place + 1))
        before = kind
    return found


def is_unspaced(character: str) -> bool:
    """Whether a letter is of a script without spaces between words."""
    return _UNSPACED.match(character) is not None


def _kind(text: str, place: int, before: str) -> str:
    """Which characters may follow one another in a word; '' for white space."""
    character = text[place]
    if character in "\n\t":
        return "break"
    if character.isspace():
        return ""
    if "\U0001f1e6" <= character <= "\U0001f1ff":
        return "flag"  # a pair of letters
    if character.isalnum() or character == "_":
        if "\u30a1" <= character <= "\u30ff":
            return "katakana"
        return "unspaced" if is_unspaced(character) else "word"
    if character in "'’" and before == "word" and text[place + 1 : place + 2].isalnum():
        return "word"
    return "sign"


def _belongs(text: str, place: int) -> bool:
    """Whether a character only modifies the one before it."""
    character = text[place]
    return (
        character == _JOINER
        or text[place - 1] == _JOINER
        or unicodedata.category(character).startswith("M")
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
    )


def same_words(source: str, target: str) -> Iterator[tuple[Place, Place]]:
    """Words, signs and what stands between spaces that both texts have equally often, the first with the first.

    Names, numbers, addresses, brackets.
    """
    places = defaultdict[str, tuple[list[Place], list[Place]]](lambda: ([], []))
    for side, text in enumerate((source, target)):
        between_spaces = (match.span() for match in re.finditer(r"\S+", text))
        for start, end in {*words(text), *between_spaces}:
            places[text[start:end]][side].append((start, end))
    for word, (here, there) in places.items():
        if len(here) == len(there) and is_telling(word):
            yield from zip(sorted(here), sorted(there), strict=True)


def is_telling(phrase: str) -> bool:
    """Whether a phrase that stands in two languages means the same in both: not if it is all small letters ("die")."""
    return any(not (character.islower() or character.isspace()) for character in phrase)


def occurrences(phrase: str, text: str, flags: re.RegexFlag = re.NOFLAG) -> Iterator[Place]:
    """Where a phrase stands in a text, not as a part of a longer word."""
    before = r"(?<!\w)" if phrase[:1].isalnum() and not is_unspaced(phrase[0]) else ""
    after = r"(?!\w)" if phrase[-1:].isalnum() and not is_unspaced(phrase[-1]) else ""
    return (match.span() for match in re.finditer(before + re.escape(phrase) + after, text, flags))
