"""Sentences that wait for a worker, and how they become batches.

Notable: whoever is idle takes what waits at once while nothing runs, each an equal share, so that a lone request is
answered by all workers together. While others run, an idle worker waits a few milliseconds for more: the requests of
many clients come just after the answers to their last ones. A batch is the oldest sentence and those most alike in
length, so that nobody starves and little is padded.
"""

import asyncio
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic

from kakehashi.serving.engine.protocol import Broken
from kakehashi.serving.engine.wire import Found, Job
from kakehashi.translator import SHORTEST

BYTES_A_TOKEN = 4  # of UTF-8: four letters of English, one and a third of Japanese
LIVES = 2  # so many workers may die on a sentence
MEMORY = 0.9  # of the past, when the time that a sentence takes is averaged


@dataclass(eq=False)
class Sentence:
    """`tokens`: about how many; `arrived`: by the monotonic clock; `future`: gets its translation, or is cancelled."""

    job: Job
    text: str
    future: asyncio.Future[Found]
    tokens: int
    arrived: float = field(default_factory=monotonic)
    deaths: int = 0


@dataclass(frozen=True)
class Batch:
    job: Job
    sentences: list[Sentence]
    begun: float = field(default_factory=monotonic)

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for one of them."""
        return not all(sentence.future.done() for sentence in self.sentences)


class Waiting:
    """The queue. `batch_tokens`: of a batch, padding counted; `wait`: seconds; `capacity`: sentences at which it is
    full. All is used from one event loop."""

    def __init__(self, batch_tokens: int, wait: float, capacity: int) -> None:
        self.batch_tokens, self.wait, self.capacity = batch_tokens, wait, capacity
        self.running = self.dropped = self.batches = self.sentences = self.source_tokens = 0
        self.seconds = 0.0
        self._sentences: deque[Sentence] = deque()
        self._some = asyncio.Event()
        self._idle = 0
        self._seconds_each = 0.0

    def __len__(self) -> int:
        self._drop_gone()
        return len(self._sentences)

    @property
    def full(self) -> bool:
        return len(self._sentences) >= self.capacity and len(self) >= self.capacity  # looked through only when in doubt

    def seconds_left(self, workers: int) -> float:
        """How long those that wait will take, at the pace of the last batches."""
        return len(self) * self._seconds_each / max(1, workers)

    def submit(self, job: Job, text: str) -> asyncio.Future[Found]:
        """The translation, once it is there; raises Broken, or the worker's UserError. Whoever cancels the future
        takes the sentence out of the queue."""
        tokens = max(SHORTEST, len(text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN)
        sentence = Sentence(job, text, asyncio.get_running_loop().create_future(), tokens)
        self._sentences.append(sentence)
        self._some.set()
        return sentence.future

    async def take(self) -> Batch:
        """The next batch for a worker."""
        self._idle += 1
        try:
            while True:
                await self._some.wait()
                if (pause := self._pause()) > 0:
                    await asyncio.sleep(pause)
                elif chosen := self._choose():
                    self.running += len(chosen)
                    return Batch(chosen[0].job, chosen)
                else:
                    self._some.clear()
        finally:
            self._idle -= 1

    def answer(self, batch: Batch, found: Iterable[Found], source_tokens: int) -> None:
        seconds = monotonic() - batch.begun
        self._end(batch)
        self.batches += 1
        self.sentences += len(batch.sentences)
        self.source_tokens += source_tokens
        self.seconds += seconds
        each = seconds / len(batch.sentences)
        self._seconds_each = MEMORY * self._seconds_each + (1 - MEMORY) * each if self._seconds_each else each
        for sentence, translation in zip(batch.sentences, found, strict=True):
            if not sentence.future.done():
                sentence.future.set_result(translation)

    def fail(self, batch: Batch, error: Exception) -> None:
        self._end(batch)
        for sentence in batch.sentences:
            if not sentence.future.done():
                sentence.future.set_exception(error)

    def put_back(self, batch: Batch) -> None:
        """The worker died. Its sentences come first again, each in a batch of its own, so that one that kills workers
        takes no other with it."""
        self._end(batch)
        for sentence in reversed(batch.sentences):
            sentence.deaths += 1
            if sentence.deaths < LIVES:
                self._sentences.appendleft(sentence)
            elif not sentence.future.done():
                sentence.future.set_exception(Broken("the translation of this text failed twice"))
        self._some.set()

    def abandon(self, error: Exception) -> None:
        """Nobody will take what waits."""
        for sentence in self._sentences:
            if not sentence.future.done():
                sentence.future.set_exception(error)

    def _end(self, batch: Batch) -> None:
        self.running -= len(batch.sentences)

    def _drop_gone(self) -> None:
        kept = deque(sentence for sentence in self._sentences if not sentence.future.done())
        self.dropped += len(self._sentences) - len(kept)
        self._sentences = kept

    def _pause(self) -> float:
        """Seconds for which an idle worker waits for more sentences."""
        if not self.running or not self._sentences or self._tokens() >= self.batch_tokens:
            return 0.0
        return self._sentences[0].arrived + self.wait - monotonic()

    def _tokens(self) -> int:
        return sum(sentence.tokens for sentence in self._sentences)

    def _choose(self) -> list[Sentence]:
        """Takes a batch out of the queue; empty when there is nothing."""
        self._drop_gone()
        if not self._sentences:
            return []
        first = self._sentences[0]
        share = math.ceil(self._tokens() / self._idle)
        alike = [] if first.deaths else [s for s in self._sentences if s.job == first.job and not s.deaths]
        alike.sort(key=lambda sentence: (sentence is not first, abs(sentence.tokens - first.tokens)))
        chosen, longest, tokens = [first], first.tokens, first.tokens
        for sentence in alike[1:]:
            longest, tokens = max(longest, sentence.tokens), tokens + sentence.tokens
            if tokens > share or longest * (len(chosen) + 1) > self.batch_tokens:
                break
            chosen.append(sentence)
        taken = set(chosen)
        self._sentences = deque(sentence for sentence in self._sentences if sentence not in taken)
        return chosen
