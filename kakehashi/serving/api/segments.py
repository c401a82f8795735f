"""Texts with tags, of HTML and of documents, translated segment by segment."""

from collections.abc import Sequence
from dataclasses import replace

from kakehashi.data.terms import Wording
from kakehashi.errors import UserError
from kakehashi.serving.api.turns import Turns, together
from kakehashi.serving.engine.protocol import Answer, Request
from kakehashi.serving.markup.inline import Segment


async def translate_segments(turns: Turns, request: Request, segments: Sequence[Segment]) -> list[Answer]:
    """Answers with links, in the order of the segments."""
    plain = replace(request, alternatives=0, alignment=True)
    return await together(_translate(turns, plain, segment) for segment in segments)


async def _translate(turns: Turns, request: Request, segment: Segment) -> Answer:
    """With its verbatim phrases as terms, where the model can write them."""
    request = replace(request, text=segment.text)
    if not segment.verbatim:
        return await turns.translate(request)
    wording = request.wording or Wording()
    terms = {phrase: phrase for phrase in segment.verbatim} | dict(wording.terms)
    try:
        return await turns.translate(replace(request, wording=replace(wording, terms=terms)))
    except UserError:
        return await turns.translate(request)
