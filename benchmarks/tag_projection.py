"""How often tags come to stand at the words where a human translator put them.

    python -m benchmarks.tag_projection LANGUAGE

On GNOME's documentation ($KAKEHASHI_DATA/gnome_docs): the tags of the English text are projected onto the human
translation, along the links of IBM Model 1 (Brown et al. 1993) trained on the same pairs by expectation maximisation: a
weak aligner, and the translation is free, so that the figure is a floor. A segment is right if every tag holds exactly
the reference's characters, white space at its edges aside. Segments are counted that have the same tags on both sides;
their order is right if the tags open in the reference's.

Then every line with tags goes the server's way through HTML, its elements renamed to some that HTML does not know
(GNOME's `link` is another one there). What comes back is whole if an XML parser reads it and finds the same tags.
"""

import argparse
import gzip
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from kakehashi.serving.engine.protocol import Link
from kakehashi.serving.markup.html import Markup
from kakehashi.serving.markup.inline import Translated
from kakehashi.serving.markup.tags import Span, project
from kakehashi.serving.markup.words import words

_TAG = re.compile(r"<(/?)([A-Za-z]+)([^<>]*?)(/?)>")
Pair = tuple[str, str]
Parsed = tuple[str, list[tuple[str, Span]]]
Table = dict[tuple[str, str], float]


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
    for name, known in (("words of the same letters alone", None), ("IBM Model 1", table)):
        print(f"{name}: {placed(parsed, known)}")
    lines = [(markup, target) for markup, (target, _) in zip(sides[0], (pair[1] for pair in parsed), strict=True)]
    tagged = [(markup, target) for markup, target in lines if _TAG.search(markup)]
    print(f"well-formed: {sum(whole(*line, table) for line in tagged)} of {len(tagged)} lines with tags")


def placed(parsed: Sequence[tuple[Parsed, Parsed]], table: Table | None) -> str:
    """How many segments and tags stand where the translator put them; without a table there are no links."""
    counted = right = ordered = tags = tags_right = 0
    for (source, spans), (target, expected) in parsed:
        if not spans or Counter(tag for tag, _ in spans) != Counter(tag for tag, _ in expected):
            continue
        links = align(source, target, table) if table else []
        found = project([span for _, span in spans], source, target, links)
        got = [(tag, trimmed(target, place)) for (tag, _), place in zip(spans, found, strict=True)]
        wanted = [(tag, trimmed(target, (span.start, span.end))) for tag, span in expected]
        counted, right = counted + 1, right + (Counter(got) == Counter(wanted))
        ordered += [tag for tag, _ in sorted(got, key=opening)] == [tag for tag, _ in wanted]
        tags, tags_right = tags + len(spans), tags_right + (Counter(got) & Counter(wanted)).total()
    return (
        f"{right / counted:.1%} of {counted} segments, {tags_right / tags:.1%} of {tags} tags; "
        f"in the reference's order: {ordered / counted:.1%} of segments"
    )


def opening(tag: tuple[str, tuple[int, int]]) -> tuple[int, int]:
    """Outer tags first."""
    start, end = tag[1]
    return start, -end


def whole(markup: str, target: str, table: Table) -> bool:
    """Whether a line with tags is well-formed after its words have become the target's, and has the same tags."""
    before = re.sub(r"<(/?)([A-Za-z]+)", r"<\1x-\2", markup)
    page = Markup(before)
    after = page.render([Translated(target, align(each.text, target, table)) for each in page.segments])
    return elements(after) == elements(before) is not None


def elements(markup: str) -> Counter[tuple[str, str]] | None:
    """Elements with their attributes; None where the markup is broken."""
    try:
        tree = ElementTree.fromstring(f"<all>{markup.replace('&nbsp;', ' ')}</all>")
    except ElementTree.ParseError:
        return None
    return Counter((each.tag, str(sorted(each.attrib.items()))) for each in tree.iter())


def read(line: str) -> Parsed:
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


def model_1(pairs: list[Pair], rounds: int = 6) -> Table:
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


def align(source: str, target: str, table: Table) -> list[Link]:
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
