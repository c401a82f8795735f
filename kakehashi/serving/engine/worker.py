"""The process that holds models and answers batches.

`python -m kakehashi.serving.engine.worker PRECISION BATCH_TOKENS`

It reads messages from its standard input and writes answers to its standard output, one for each batch, in order:

    {"job", "directory", "texts"}  ->  {"found", "source_tokens"}, or {"mistake"} where a `UserError` says what is wrong
    {"drop"}                       ->  nothing: that model's memory is given back

and, while it is at work, {"alive"} every second before the answer.

Notable: one thread a process, so that as many processes as there are cores do not fight for them. The weights of an
fp32 model are pages of its file, which all workers share. Any other error ends the process, as does the end of its
input: the one who started it sees that. Signals that end a server are for that server; a worker outlives them.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from kakehashi.errors import UserError
from kakehashi.serving.engine.mending import translate
from kakehashi.serving.engine.wire import BEAT, LENGTH_BYTES, Found, Job, packed
from kakehashi.translator import Translator, TranslatorPrecision


class Models:
    """The models in this process, by name."""

    def __init__(self, precision: TranslatorPrecision, batch_tokens: int) -> None:
        self.precision: TranslatorPrecision = precision
        self.batch_tokens = batch_tokens
        self.translators: dict[str, Translator] = {}

    def answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        if "drop" in message:
            self.translators.pop(message["drop"], None)
            return None
        job, texts = Job.of(message["job"]), message["texts"]
        try:
            translator = self._translator(job.model, Path(message["directory"]))
            known = job.translation
            found = (
                translate(translator, job, texts)
                if known is None
                else [_linked(translator, text, known) for text in texts]
            )
        except UserError as error:
            return {"mistake": str(error)}
        encode = translator.segmenters.source.encode
        return {
            "found": [asdict(each) for each in found],
            "source_tokens": sum(len(encode(text)) + 1 for text in texts),
        }

    def _translator(self, name: str, directory: Path) -> Translator:
        if name not in self.translators:
            opened = Translator.load(directory, self.precision, "cpu")
            self.translators[name] = replace(opened, batch_tokens=self.batch_tokens)
        return self.translators[name]


def _linked(translator: Translator, text: str, translation: str) -> Found:
    """A translation that is known, and what it goes back to."""
    links = ((*link.source, *link.target, link.weight) for link in translator.align(text, translation))
    return Found((translation,), links=tuple(links))


def serve(models: Models, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers until the input ends."""
    while len(length := requests.read(LENGTH_BYTES)) == LENGTH_BYTES:
        size = int.from_bytes(length, "big")
        data = requests.read(size)
        if len(data) < size:
            return
        with heard(answers):
            answer = models.answer(json.loads(data))
        if answer is not None:
            answers.write(packed(answer))
            answers.flush()


@contextmanager
def heard(answers: BinaryIO) -> Generator[None]:
    """Says every now and then that this process is alive, while it does something."""
    done = threading.Event()

    def beat() -> None:
        with suppress(BrokenPipeError):  # nobody listens any more, as the answer will find out
            while not done.wait(BEAT):
                answers.write(packed({"alive": True}))
                answers.flush()

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()


def main() -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    torch.set_num_threads(1)
    precision, batch_tokens = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    models = Models(cast(TranslatorPrecision, precision), int(batch_tokens))
    answers.write(packed({"ready": True}))
    answers.flush()
    try:
        serve(models, sys.stdin.buffer, answers)
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more: not even the closing of the pipe would find anyone


if __name__ == "__main__":
    main()
