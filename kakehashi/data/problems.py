"""The ways in which a pair of a corpus can be wrong; a pair that has several is booked under the first of them here."""

import re
from dataclasses import dataclass

LONGEST = 1_000  # characters of a side; about 250 subwords, and seldom one sentence
UNTRANSLATED_WORDS = 4  # identical sides of fewer words may be a name or a command

# What the bytes 0x80..0xBF of UTF-8 become when they are read as Windows-1252 or Latin-1.
_TAIL = f"[\x80-\x9f{re.escape(bytes(range(0x80, 0xC0)).decode('cp1252', 'ignore'))}]"
_MOJIBAKE = (
    f"(?<![A-ZÀ-Þ])[ÂÃ]{_TAIL}",  # Latin letters; not after a capital: "MANHÃ..." is Portuguese
    f"(?:[ÐÑ]{_TAIL}){{2}}",  # Cyrillic
    f"(?:[åæçèéãï]{_TAIL}{{2}}){{2}}",  # Chinese, Japanese; twice, for "né »" is French
    f"â(?!\xa0){_TAIL}{{2}}",  # quotes, dashes, arrows
    f"ðŸ{_TAIL}{{2}}",  # emoji
    "[縺繧繝].{0,3}[縺繧繝]",  # Japanese that was read as Shift_JIS
)


@dataclass(frozen=True)
class Problem:
    """A way in which a pair can be wrong.

    dropped: whether `clean` leaves such pairs out. pattern: finds it in a side, and in sides that are joined by `\n`;
    None where it takes more than one side's text to see it.
    """

    name: str
    dropped: bool
    why: str
    remedy: str
    pattern: re.Pattern[str] | None = None


def _dropped(name: str, why: str, remedy: str, pattern: str | None = None) -> Problem:
    return Problem(name, True, why, remedy, re.compile(pattern, re.MULTILINE) if pattern else None)


def _reported(name: str, why: str, remedy: str, pattern: str | None = None) -> Problem:
    return Problem(name, False, why, remedy, re.compile(pattern, re.MULTILINE) if pattern else None)


_ALL = (
    _dropped("empty", "a side without text", "give it its text, or leave the pair out"),
    _dropped("replacement", "U+FFFD stands where text was lost", "convert the original file again", "\ufffd"),
    _dropped(
        "control",
        "control characters",
        "remove them; in U+0080..U+009F they were Windows-1252",
        "[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f]",
    ),
    _dropped(
        "mojibake",
        "UTF-8 that was read in another encoding ('Ã¤' for 'ä')",
        "convert the original file again",
        "|".join(_MOJIBAKE),
    ),
    _dropped(
        "too_long",
        f"a side of more than {LONGEST:,} characters",
        "split both sides at their sentence ends",
        f"^.{{{LONGEST + 1}}}",
    ),
    _dropped("untranslated", "both sides are the same sentence", "translate it, or leave the pair out"),
    _dropped("wrong_script", "a side is not in the script of its column", "look for swapped or lost lines"),
    _dropped("proportion", "one side is far too long for the other", "look for wrongly aligned lines"),
    _dropped("duplicate", "the same pair was there before", "keep it once; to have it seen oftener, use a weight"),
    _reported("ambiguous", "the source has other targets too", "nothing, if all of them are right"),
    _reported("copied", "both sides are the same few words", "nothing, if it is a name"),
    _reported(
        "markup",
        "tags or character entities",
        "remove them, unless they are to be translated",
        r"</?[A-Za-z][^<>\n]*>|&(?:[A-Za-z]{2,8}|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});",
    ),
    _reported(
        "separators",
        "TAB, U+0085, U+2028 or U+2029 in the text",
        "put a space there; other tools break columns and lines",
        "[\t\x85\u2028\u2029]",
    ),
    _reported(
        "invisible",
        "zero-width space, soft hyphen or direction control",
        "remove them; they make two words of one",
        "[\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]",
    ),
    _reported("margins", "white space at the start or the end of a side", "strip it", r"^[^\S\n]|[^\S\n]$"),
)
PROBLEMS = {problem.name: problem for problem in _ALL}

# By whether the text is ASCII: most text is, and cannot have the problems that others are searched for.
_BEYOND_ASCII = {"replacement", "mojibake", "invisible"}
PATTERNS = {
    ascii: {p.name: p.pattern for p in _ALL if p.pattern and not (ascii and p.name in _BEYOND_ASCII)}
    for ascii in (True, False)
}
