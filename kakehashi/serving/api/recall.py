"""What the memory answers of a request's texts: of each as a whole, and of sentences of it."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from kakehashi.data.languages import is_unspaced
from kakehashi.data.terms import Wording
from kakehashi.serving.corrections.memory import Correction, Memory
from kakehashi.serving.engine.sentences import stretches

AT_ONCE = 500  # parts of texts that are looked up together

Recalled = Mapping[str, Correction]
"""Corrections by the text as it stands in the request, without the white space around it."""


async def recall(
    memory: Memory, source: str, target: str, texts: Iterable[str], wording: Wording | None = None
) -> Recalled:
    """A correction in which a term of the wording is missing does not answer."""
    return await asyncio.to_thread(_recalled, memory, source, target, texts, wording or Wording())


def translations(recalled: Recalled) -> dict[str, str]:
    """What the engine is told."""
    return {text: correction.entry.target for text, correction in recalled.items()}


def _recalled(memory: Memory, source: str, target: str, texts: Iterable[str], wording: Wording) -> Recalled:
    spaced = not is_unspaced(source)
    found: dict[str, Correction] = {}
    parts = _parts(texts, source)
    while some := list(dict.fromkeys(islice(parts, AT_ONCE))):
        for part, correction in zip(some, memory.answers(source, target, some), strict=True):
            if correction and all(term in correction.entry.target for term in wording.terms_in(part, spaced=spaced)):
                found[part] = correction
    return found


def _parts(texts: Iterable[str], language: str) -> Iterator[str]:
    for text in texts:
        if whole := text.strip():
            yield whole
            yield from stretches(text, language)
