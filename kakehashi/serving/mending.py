"""Translates sentences, and again where something is amiss."""

from collections.abc import Sequence
from typing import Any

from kakehashi.serving.wire import Found, Job
from kakehashi.translator import Translation, Translator


def translate(translator: Translator, job: Job, texts: Sequence[str]) -> list[Found]:
    """Raises UserError where the job's wording cannot be followed with this model."""
    overrides = _search(translator, job)
    return [_found(each) for each in translator.stream(texts, job.count, wording=job.wording, **overrides)]


def _search(translator: Translator, job: Job) -> dict[str, Any]:
    """What the model's own search must change to give so many translations, or such that hold phrases."""
    needed = max(job.count, 2 if job.terms or job.required else 1)
    return {} if translator.config.decoding.build().size >= needed else {"kind": "beam", "size": max(4, needed)}


def _found(translation: Translation) -> Found:
    texts = tuple(each.text for each in (translation, *translation.alternatives))
    return Found(texts, notes=tuple(filter(None, [translation.note])))
