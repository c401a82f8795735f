"""The engine: texts of many clients in, their translations out.

    async with Engine([Path("en-de"), Path("de-en")]) as engine:
        answer = await engine.translate(Request("Good morning!", "en", "de"))

Notable: a text goes sentence by sentence, and never more than a window of them at once, so that the longest text takes
no more of the queue and of the memory than any other and all get their turns. A cancelled request's sentences leave the
queue. The queue holds at most `capacity` sentences and, of the request that came last, a window; beyond that it is
`Busy`. What was accepted is answered, whatever happens to a worker.
"""

import asyncio
import math
import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PositiveInt

from kakehashi.alignment import LEAST
from kakehashi.config import Config
from kakehashi.data.languages import is_unspaced
from kakehashi.serving.engine.batches import Waiting
from kakehashi.serving.engine.catalogue import Catalogue, read_models
from kakehashi.serving.engine.detection import Detector
from kakehashi.serving.engine.integrity import translatable
from kakehashi.serving.engine.pool import Pool
from kakehashi.serving.engine.protocol import Answer, Busy, Detection, Language, Link, Request, Status, TooLate, Word
from kakehashi.serving.engine.sentences import Piece, gap_between, split_around
from kakehashi.serving.engine.wire import Found, Job, Place
from kakehashi.translator import TranslatorPrecision

RESTARTING = 10.0  # seconds after which to try again: about what another server needs to start


class EngineSettings(Config):
    """How models are put to work."""

    workers: PositiveInt = Field(
        default_factory=lambda: os.cpu_count() or 1,
        description="Processes of one thread each; unless said, one a core.",
    )
    batch_tokens: PositiveInt = Field(default=2048, description="Source tokens of a batch, padding counted.")
    wait: Annotated[float, Field(ge=0)] = Field(
        default=0.002,
        description="Seconds that sentences wait for others to share a batch with, while others are at work.",
    )
    capacity: PositiveInt = Field(
        default=1024, description="Sentences that may wait before requests are refused (503)."
    )
    window: PositiveInt = Field(default=64, description="Sentences of one text in the queue at once.")
    memory: PositiveInt = Field(default=4 * 2**30, description="Bytes of models' weights in memory.")
    precision: TranslatorPrecision = Field(
        default="fp32",
        description="Format of the weights: fp32, which alone workers share, bf16, or int8, by far the fastest on "
        "x86 with a C compiler.",
    )


class Engine:
    """See the module. Raises UserError where a model cannot be read, or a worker does not start."""

    def __init__(self, models: Iterable[Path | str], settings: EngineSettings | None = None) -> None:
        self.settings = settings or EngineSettings()
        own = self.settings
        self._catalogue = Catalogue(read_models([Path(each) for each in models]), own.memory)
        self._waiting = Waiting(own.batch_tokens, own.wait, own.capacity)
        self._pool = Pool(own.workers, own.precision, self._waiting, self._catalogue)
        self._detector: Detector | None = None
        self._accepting = True
        self._open = 0
        self._none_open = asyncio.Event()
        self._none_open.set()
        self._accepted = self._answered = self._refused = 0

    async def __aenter__(self) -> Self:
        detector = asyncio.to_thread(Detector, self._catalogue.sources)
        try:
            self._detector, _ = await asyncio.gather(detector, self._pool.start())
        except BaseException:
            await self._pool.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._accepting = False
        await self._pool.stop()

    async def translate(self, request: Request) -> Answer:
        """Raises UnknownDirection, Busy, TooLate, Broken; UserError where a model cannot follow the wording. Cancel the
        task when nobody waits for the answer any more: what is not begun is dropped."""
        request = replace(request, source=request.source.lower(), target=request.target.lower())
        route = self._catalogue.route(request.source, request.target, request.model)
        if not route:
            return Answer(request.text, links=_whole(request) if request.alignment else ())
        self._admit()
        try:
            async with asyncio.timeout(request.deadline):
                answer = await _Text(request, route, self._waiting, self.settings.window).translate()
        except TimeoutError:
            raise TooLate from None
        finally:
            self._open -= 1
            if not self._open:
                self._none_open.set()
        self._answered += 1
        return answer

    def detect(self, text: str) -> list[Detection]:
        """Best first, among the languages that some model translates from; [] where nothing can be said."""
        assert self._detector, "the engine is not started"
        return self._detector.detect(text)

    def languages(self) -> list[Language]:
        return self._catalogue.languages()

    def status(self) -> Status:
        waiting = self._waiting
        return Status(
            accepting=self._accepting,
            waiting=len(waiting),
            running=waiting.running,
            capacity=waiting.capacity,
            workers=self._pool.size,
            models=tuple(self._catalogue.models),
            loaded=tuple(self._catalogue.used),
            accepted=self._accepted,
            answered=self._answered,
            refused=self._refused,
            dropped=waiting.dropped,
            batches=waiting.batches,
            sentences=waiting.sentences,
            source_tokens=waiting.source_tokens,
            restarted=self._pool.restarted,
            seconds=waiting.seconds,
        )

    async def drain(self) -> None:
        """Finishes what was accepted; whatever comes from now on is `Busy`."""
        self._accepting = False
        await self._none_open.wait()

    def refusal(self) -> Busy | None:
        """How a text that comes now is refused, which is counted; None where there is room for it."""
        if self._accepting and not self._waiting.full:
            return None
        self._refused += 1
        left = self._waiting.seconds_left(self._pool.size) if self._accepting else RESTARTING
        return Busy(max(1.0, math.ceil(left)))

    def _admit(self) -> None:
        if refusal := self.refusal():
            raise refusal
        self._accepted += 1
        self._open += 1
        self._none_open.clear()


class _Text:
    """One request on its way: what is translated of it, and how much is still in work."""

    def __init__(self, request: Request, route: tuple[str, ...], waiting: Waiting, window: int) -> None:
        self.request, self.route = request, route
        self.waiting, self.window = waiting, window
        self.texts = [StringIO() for _ in range(request.alternatives + 1)]
        self.length = 0
        self.words: list[Word] = []
        self.links: list[Link] = []
        self.notes: dict[str, None] = {}
        self.known: dict[str, None] = {}
        self.confidence, self.tokens = 0.0, 0  # of all tokens together, so far

    async def translate(self) -> Answer:
        in_work: deque[tuple[Piece, asyncio.Future[Found] | None]] = deque()
        known, begun = self.request.known, False
        try:
            for number, piece in enumerate(split_around(self.request.text, self.request.source, known), 1):
                if len(in_work) == self.window:
                    await self._take(*in_work.popleft())
                if number % self.window == 0:
                    await asyncio.sleep(0)  # others' turn, also where nothing is to be translated
                if piece.text in known:
                    in_work.append((piece, self._linked(piece.text)))
                    continue
                worded = translatable(piece.text)
                in_work.append((piece, self._begin(piece.text, first=not begun) if worded else None))
                begun = begun or worded
            while in_work:
                await self._take(*in_work.popleft())
        finally:
            for _, found in in_work:
                if found and not found.cancel() and not found.cancelled():
                    found.exception()  # seen, though another's is raised
        best, *others = dict.fromkeys(written.getvalue() for written in self.texts)
        confidence = self.confidence / self.tokens if self.tokens else None
        return Answer(
            best,
            tuple(others),
            confidence,
            tuple(self.words),
            tuple(self.links),
            tuple(self.notes),
            tuple(self.known),
        )

    def _linked(self, text: str) -> asyncio.Future[Found] | None:
        """The links of a translation that is known, where they are asked for and one model can tell."""
        *between, model = self.route
        if between or not self.request.alignment:
            return None
        return self.waiting.submit(Job(model, alignment=True, translation=self.request.known[text]), text)

    def _begin(self, text: str, *, first: bool) -> asyncio.Future[Found]:
        """The sentence's translation. It is in the queue when this returns, so that the next request finds it there."""
        *before, last = self.route
        job = self._job(last, text, first=first)
        if not before:
            return self.waiting.submit(job, text)
        between = self.waiting.submit(Job(before[0], alignment=self.request.alignment), text)
        found = asyncio.ensure_future(self._onwards(between, job))
        found.add_done_callback(lambda _: between.cancel())
        return found

    async def _onwards(self, between: asyncio.Future[Found], job: Job) -> Found:
        """From a language between to the last; only there are alternatives. As good as both translations at once."""
        first = await between
        second = await self.waiting.submit(job, first.texts[0])
        return Found(
            second.texts,
            first.confidence * second.confidence,
            second.tokens,
            second.words,
            _through(first.links, second.links),
            tuple(dict.fromkeys(first.notes + second.notes)),
        )

    def _job(self, model: str, text: str, *, first: bool) -> Job:
        """What a whole text must contain, its first sentence does. A term of the source language cannot be found in
        that of a language between: it is looked up here."""
        wording, count = self.request.wording, self.request.alternatives + 1
        direct, alignment = len(self.route) == 1, self.request.alignment
        if wording is None:
            return Job(model, count, alignment)
        required = tuple(wording.required) if first else ()
        terms = tuple(wording.terms.items()) if direct else ()
        if not direct:
            spaced = not is_unspaced(self.request.source)
            required += tuple(wording.terms_in(text, spaced=spaced))
        return Job(model, count, alignment, terms, required, tuple(wording.forbidden))

    async def _take(self, piece: Piece, future: asyncio.Future[Found] | None) -> None:
        """Adds a sentence, and what stands before it, to the answer."""
        known = self.request.known.get(piece.text)
        found = await future if future else Found((piece.text if known is None else known,))
        gap = piece.gap
        if piece.text and self.length:
            gap = gap_between(gap, self.request.source, self.request.target)
        for place, written in enumerate(self.texts):
            written.write(gap + found.texts[min(place, len(found.texts) - 1)])
        begin = self.length + len(gap)
        self.length = begin + len(found.texts[0])
        self.notes |= dict.fromkeys(found.notes)
        self.confidence += found.confidence * found.tokens
        self.tokens += found.tokens
        if known is not None:
            self.known[piece.text] = None
            self.words.append(Word(begin, self.length, None))
        for start, end, confidence in found.words:
            self.words.append(Word(begin + start, begin + end, confidence))
        for a, b, c, d, weight in found.links:
            self.links.append(Link((piece.start + a, piece.start + b), (begin + c, begin + d), weight))


def _whole(request: Request) -> tuple[Link, ...]:
    length = len(request.text)
    return (Link((0, length), (0, length), 1.0),) if length else ()


def _through(first: Sequence[Place], second: Sequence[Place]) -> tuple[Place, ...]:
    """Links through a language between: the product of the weights, by how much of what the second model looked at is
    what the first one wrote there."""
    weights: dict[tuple[int, int, int, int], float] = {}
    for start, end, e, f, second_weight in second:
        for a, b, begin, stop, first_weight in first:
            shared = (min(end, stop) - max(start, begin)) / (end - start)
            if shared > 0:
                place = (a, b, e, f)
                weights[place] = weights.get(place, 0.0) + shared * first_weight * second_weight
    strong = [(*place, weight) for place, weight in weights.items() if weight >= LEAST]
    return tuple(sorted(strong, key=lambda place: (place[2:4], place[:2])))
