"""How often tags come to stand at the words where a human translator put them.

    python -m benchmarks.tag_projection LANGUAGE

On GNOME's documentation ($KAKEHASHI_DATA/gnome_docs): the tags of the English text are projected onto the human
translation, along the links of IBM Model 1 (Brown et al. 1993) trained on the same pairs by expectation maximisation: a
weak aligner, and the translation is free, so that the figure is a floor. A segment is right if every tag holds exactly
the reference's characters, white space at its edges aside. Segments are counted that have the same tags on both sides.
"""

import argparse
import gzip
import math
import os
import re
from collections import Counter, defaultdict
from pathlib import Path

from kakehashi.serving.engine.protocol import Link
from kakehashi.serving.markup.tags import Span, project
from kakehashi.serving.markup.words import words

_TAG = re.compile(r"<(/?)([A-Za-z]+)([^<>]*?)(/?)>")
Pair = tuple[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("language", choices=["de", "fr", "cs", "ja"])
    language: str = parser.parse_args().language
    folder = Path(os.environ["KAKEHASHI_DATA"]) / "gnome_docs"
    sides = [
        gzip.decompress((folder / f"en-{language}.train.markup.{side}.gz").read_bytes()).decode().splitlines()
        for side in ("en", language)
    ]
    parsed = [(read(source), read(target)) for source, target in zip(*sides, strict=True)]
    table = model_1([(source[0], target[0]) for source, target in parsed])
    for name, linked in (("words of the same letters alone", False), ("IBM Model 1", True)):
        counted = right = tags = tags_right = 0
        for (source, spans), (target, expected) in parsed:
            if not spans or Counter(tag for tag, _ in spans) != Counter(tag for tag, _ in expected):
                continue
            links = align(source, target, table) if linked else []
            found = project([span for _, span in spans], source, target, links)
            got = Counter((tag, trimmed(target, place)) for (tag, _), place in zip(spans, found, strict=True))
            wanted = Counter((tag, trimmed(target, (span.start, span.end))) for tag, span in expected)
            counted, right = counted + 1, right + (got == wanted)
            tags, tags_right = tags + len(spans), tags_right + (got & wanted).total()
        print(f"{name}: {right / counted:.1%} of {counted} segments, {tags_right / tags:.1%} of {tags} tags")


def read(line: str) -> tuple[str, list[tuple[str, Span]]]:
    """A line's text, and its tags (with their attributes) as spans, in the order in which they open."""
    text, spans, around = "", list[tuple[str, Span]](), list[int]()
    end = 0
    for tag in _TAG.finditer(line):
        text += line[end : tag.start()]
        end = tag.end()
        if tag[1]:
            name, opened = spans[around[-1]]
            spans[around.pop()] = name, Span(opened.start, len(text), opened.parent)
        else:
            spans.append((tag[2] + tag[3], Span(len(text), len(text), around[-1] if around else -1)))
            if not tag[4]:
                around.append(len(spans) - 1)
    return text + line[end:], spans


def trimmed(text: str, place: tuple[int, int]) -> tuple[int, int]:
    inside = text[place[0] : place[1]]
    return place[0] + len(inside) - len(inside.lstrip()), place[1] - len(inside) + len(inside.rstrip())


def model_1(pairs: list[Pair], rounds: int = 6) -> dict[tuple[str, str], float]:
    """p(target word | source word), the empty source word among them."""
    split = [(["", *tokens(source)], tokens(target)) for source, target in pairs]
    table = defaultdict[tuple[str, str], float](lambda: 1.0)
    for _ in range(rounds):
        counts, totals = defaultdict[tuple[str, str], float](float), defaultdict[str, float](float)
        for source, target in split:
            for word in target:
                norm = sum(table[other, word] for other in source)
                for other in source:
                    part = table[other, word] / norm
                    counts[other, word] += part
                    totals[other] += part
        table = defaultdict[tuple[str, str], float](float)
        table.update({key: count / totals[key[0]] for key, count in counts.items() if count > 1e-4})
    return table


def tokens(text: str) -> list[str]:
    return [text[start:end].lower() for start, end in words(text, soft_cuts=single(text))]


def single(text: str) -> set[int]:
    """Every place: Japanese is aligned character by character."""
    return set(range(len(text)))


def align(source: str, target: str, table: dict[tuple[str, str], float]) -> list[Link]:
    """The likeliest source words of each target word, likelier near its relative place: exp(-4 d), Dyer et al. 2013."""
    here, there = words(source, soft_cuts=single(source)), words(target, soft_cuts=single(target))
    links: list[Link] = []
    for place, (start, end) in enumerate(there):
        word = target[start:end].lower()
        scores = [
            table.get((source[left:right].lower(), word), 0.0)
            * math.exp(-4 * abs(other / len(here) - place / len(there)))
            for other, (left, right) in enumerate(here)
        ]
        total = sum(scores) + table.get(("", word), 0.0) / len(here)
        links += [
            Link(here[other], (start, end), score / total) for other, score in enumerate(scores) if score > 0.1 * total
        ]
    return links


if __name__ == "__main__":
    main()
