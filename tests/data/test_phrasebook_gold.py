"""Sentences written by hand (phrasebook_gold.txt), against what the grammar says for the same slot values.

An entry of that file is four lines: the construction with the value of each of its slots, English, Japanese, German.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path

import pytest

from kakehashi.data.phrasebook import CONSTRUCTIONS
from kakehashi.data.phrasebook.grammar import Construction, Words

GOLD = [
    entry.splitlines()
    for entry in Path(__file__).with_name("phrasebook_gold.txt").read_text(encoding="utf-8").strip().split("\n\n")
]


def label(value: object) -> str:
    """What the file calls a slot's value: its English, of a verb the first form, a dash for none."""
    match value:
        case object(en=str() as english):
            return english or "-"
        case object(en=(str() as english, *_)):
            return english
        case object(being=str() as german):
            return german
        case tuple((one, other)):
            return f"{label(one)} + {label(other)}"
        case _:
            return str(value)


def combination(each: Construction, labels: Sequence[str]) -> list[object] | None:
    """The values that carry these labels, or None where a slot has no such value."""
    if len(labels) != len(each.slots):
        return None
    found = [[value for value in slot if label(value) == name] for slot, name in zip(each.slots, labels, strict=True)]
    assert all(len(values) <= 1 for values in found), f"two values of one slot are called alike: {labels}"
    return [value for (value,) in found] if all(found) else None


def name(each: Construction) -> str:
    assert inspect.isfunction(each.say)
    return each.say.__name__


def say(specification: str) -> Words:
    construction, _, slots = specification.partition(": ")
    candidates = [
        (each, values)
        for each in CONSTRUCTIONS
        if name(each) == construction and (values := combination(each, slots.split(" | "))) is not None
    ]
    ((each, values),) = candidates
    return each.say(*values)


@pytest.mark.parametrize(("specification", "en", "ja", "de"), GOLD, ids=[entry[1] for entry in GOLD])
def test_the_grammar_says_what_a_speaker_would(specification: str, en: str, ja: str, de: str) -> None:
    assert say(specification) == (en, ja, de)


def test_there_is_a_gold_sentence_for_every_construction() -> None:
    assert len(GOLD) >= 80
    assert {entry[0].partition(":")[0] for entry in GOLD} == {name(each) for each in CONSTRUCTIONS}
