"""What the words of a translation go back to: tokens and links, in characters of the text.

Spans are those of `data.listed.Span`; without the white space at their edges, so that they mark what can be seen.
Shapes: T tokens of the translation, S of its source; t and s: spans of them that differ.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kakehashi.data.listed import Span

LEAST = 0.05  # a link of less says nothing: a model looks a little everywhere


@dataclass(frozen=True)
class Token:
    """`piece`, as the vocabulary writes it; the model's log-probability of it; its place in the translation.

    Pieces that spell one character in bytes share its span; one that spells nothing to see has an empty span.
    """

    piece: str
    log_probability: float
    span: Span


@dataclass(frozen=True)
class Link:
    """`weight`, from 0 to 1: how much of what the model looked at, as it wrote these characters of the translation,
    were these of the source. Looking at the source's end counts too, so that the links of a span may sum to less."""

    source: Span
    target: Span
    weight: float


def placed(spans: Sequence[Span], text: str, offset: int) -> list[Span]:
    """Spans of a text, trimmed, where the text begins at `offset` of a longer one."""
    return [(start + offset, end + offset) for start, end in (_trimmed(text, span) for span in spans)]


def _trimmed(text: str, span: Span) -> Span:
    seen = text[slice(*span)].strip()
    start = text.index(seen, span[0])
    return start, start + len(seen)


def links(weights_TS: Tensor, source: Sequence[Span], target: Sequence[Span]) -> list[Link]:
    """From each span of the target its strongest link, and all of LEAST or more; empty spans have none.

    Tokens that share a span are one: their weights add up in the source, and are averaged in the target.
    """
    sources, targets = _distinct(source), _distinct(target)
    if not sources or not targets:
        return []
    in_source_Ss, in_target_Tt = _belonging(source, sources), _belonging(target, targets)
    weights_ts = in_target_Tt.T @ weights_TS.double() @ in_source_Ss / in_target_Tt.sum(0)[:, None]
    strong_ts = weights_ts >= LEAST
    strong_ts[range(len(targets)), weights_ts.argmax(1)] = True
    return [Link(sources[s], targets[t], weights_ts[t, s].item()) for t, s in strong_ts.nonzero().tolist()]


def _distinct(spans: Sequence[Span]) -> list[Span]:
    return list(dict.fromkeys(span for span in spans if span[0] < span[1]))


def _belonging(spans: Sequence[Span], distinct: Sequence[Span]) -> Tensor:
    """1 where a token [row] has a span [column]."""
    place = {span: i for i, span in enumerate(distinct)}
    pairs = [(row, place[span]) for row, span in enumerate(spans) if span in place]
    belonging = torch.zeros(len(spans), len(distinct), dtype=torch.double)
    belonging[tuple(zip(*pairs, strict=True))] = 1
    return belonging


def pharaoh(source: str, target: str, found: Sequence[Link]) -> str:
    """`0-0 1-2`: pairs of words between white space, counted from 0, source first: those that the strongest link of
    a span touches."""
    strongest: dict[Span, Link] = {}
    for link in found:
        strongest[link.target] = max(strongest.get(link.target, link), link, key=lambda each: each.weight)
    source_words, target_words = _words(source), _words(target)
    pairs = {
        (i, j)
        for link in strongest.values()
        for i in _touched(source_words, link.source)
        for j in _touched(target_words, link.target)
    }
    return " ".join(f"{i}-{j}" for i, j in sorted(pairs))


def _words(text: str) -> list[Span]:
    return [word.span() for word in re.finditer(r"\S+", text)]


def _touched(words: Sequence[Span], span: Span) -> list[int]:
    return [i for i, (start, end) in enumerate(words) if start < span[1] and span[0] < end]
