"""How fast a model translates here, in CTranslate2 and in Hugging Face, with the same weights, on the same sentences.

    python -m benchmarks.decoding MODEL --source test_2016_flickr.en --reference test_2016_flickr.de

Notable: every system is a process of its own (or two, each with half of the batches) that has loaded its model before
anyone is timed; they take turns, so that a machine that slows down slows them all, and the median of the turns counts.
What is timed begins and ends with pieces: loading and cutting text are told apart. BLEU stands beside each speed, and
who cannot be this model is left out with the reason.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in the processes started from here

import torch
from torch.nn.utils.rnn import pad_sequence

from kakehashi.data.corpus import read_lines
from kakehashi.decoding import Beam, Greedy, search
from kakehashi.errors import UserError
from kakehashi.evaluation.metrics import score
from kakehashi.interop.ctranslate2.directory import CTranslate2
from kakehashi.interop.huggingface import HuggingFace
from kakehashi.translator import Translator

LONGEST = 256  # tokens of a translation
Ids = list[list[int]]
Translate = Callable[[list[Ids], int], Ids]
"""Batches of sources without their ends, and the size of the beam; the translations of all, in order."""


@dataclass(frozen=True)
class System:
    """`load`: makes it of a model's path, in its own process; `workers`: within a process, `processes`: of one each."""

    name: str
    load: Callable[[Path, int, Path], Translate]
    path: Path
    workers: int = 1
    processes: int = 1


def load_ours(path: Path, workers: int, model: Path) -> Translate:
    translator = Translator.load(path, device="cpu")
    vocabulary = translator.model.source_vocabulary

    def translate(batches: list[Ids], beam: int) -> Ids:
        limits: dict[str, Any] = {"max_length": LONGEST, "extra_length": LONGEST}
        decoding = Greedy(**limits) if beam == 1 else Beam(size=beam, **limits)
        found: Ids = []
        for batch in batches:
            source, mask = padded(batch, vocabulary.end, vocabulary.pad)
            found += [best.tokens for best, *_ in search(translator.model, source, mask, decoding)]
        return found

    return translate


def load_ctranslate2(path: Path, workers: int, model: Path) -> Translate:
    import ctranslate2

    segmenters = Translator.load(model, device="cpu").segmenters
    there = ctranslate2.Translator(str(path), inter_threads=workers, intra_threads=1)

    def translate(batches: list[Ids], beam: int) -> Ids:
        pieces = [[segmenters.source.piece(id) for id in ids] for batch in batches for ids in batch]
        found = there.translate_batch(
            pieces,
            max_batch_size=max(map(len, batches)),
            beam_size=beam,
            length_penalty=0 if beam == 1 else 1,
            max_decoding_length=LONGEST,
            max_input_length=0,
        )
        return [[segmenters.target.id(piece) for piece in each.hypotheses[0]] for each in found]

    return translate


def load_huggingface(path: Path, workers: int, model: Path) -> Translate:
    from transformers import GenerationConfig

    from kakehashi.interop.huggingface.library import Transformers

    special, there = Translator.load(model, device="cpu").segmenters.target.special, Transformers.load(path).model

    def translate(batches: list[Ids], beam: int) -> Ids:
        settings = GenerationConfig(
            num_beams=beam,
            max_new_tokens=LONGEST,
            pad_token_id=special.pad,
            eos_token_id=special.end,
            decoder_start_token_id=special.begin,
            bad_words_ids=[[id] for id in {special.pad, special.begin} - {special.end}],
        )
        found: Ids = []
        for batch in batches:
            source, mask = padded(batch, special.end, special.pad)
            rows = there.generate(input_ids=source, attention_mask=mask.long(), generation_config=settings)
            found += [[id for id in row if id not in special] for row in rows[:, 1:].tolist()]
        return found

    return translate


def padded(batch: Ids, end: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [torch.tensor([*ids, end]) for ids in batch]
    mask = pad_sequence([torch.ones(len(row), dtype=torch.bool) for row in rows], batch_first=True)
    return pad_sequence(rows, batch_first=True, padding_value=pad), mask


def serve(pipe: Connection, system: System, model: Path) -> None:
    """A worker's process: says how long it took to load, then translates what it is given until it is given nothing."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    translate = system.load(system.path, system.workers, model)
    pipe.send(time.perf_counter() - start)
    while task := pipe.recv():
        pipe.send((translate(*task), anonymous_memory()))


def anonymous_memory() -> int:
    """Bytes that this process holds and shares with no file; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


class Running:
    """A system that has loaded its model. Raises EOFError where a process of its ended."""

    def __init__(self, system: System, model: Path) -> None:
        self.system, self.memory, self.pipes = system, 0, list[Connection]()
        self.processes = []
        for _ in range(system.processes):
            ours, theirs = get_context("spawn").Pipe()
            process = get_context("spawn").Process(target=serve, args=(theirs, system, model), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)
        self.loading = max(pipe.recv() for pipe in self.pipes)

    def translate(self, batches: list[Ids], beam: int) -> tuple[float, Ids]:
        """Seconds, and the translations in order."""
        shares = [batches[i :: len(self.pipes)] for i in range(len(self.pipes))]
        start = time.perf_counter()
        for pipe, share in zip(self.pipes, shares, strict=True):
            pipe.send((share, beam))
        answers = [pipe.recv() for pipe in self.pipes]
        seconds = time.perf_counter() - start
        self.memory = max(self.memory, sum(memory for _, memory in answers))
        parts = [iter(found) for found, _ in answers]
        return seconds, [next(parts[i % len(parts)]) for i, batch in enumerate(batches) for _ in batch]

    def close(self) -> None:
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.send(None)
            process.join()


def systems(model: Path, folder: Path) -> list[System]:
    """Ours, and those that the model can be exported to; the others are told."""
    translator = Translator.load(model, device="cpu")
    formats = {"ctranslate2": CTranslate2(), "ctranslate2 int8": CTranslate2("int8"), "huggingface": HuggingFace()}
    found = [System("kakehashi", load_ours, model), System("kakehashi", load_ours, model, processes=2)]
    for name, format in formats.items():
        try:
            format.check(translator)
        except UserError as error:
            print(f"{name} is left out: {error}")
            continue
        format.write(translator, folder / name)
        if name == "huggingface":
            found += [System(name, load_huggingface, folder / name, processes=count) for count in (1, 2)]
        else:
            found += [System(name, load_ctranslate2, folder / name, workers=count) for count in (1, 2)]
    return found


def measure(model: Path, sources: Sequence[str], references: Sequence[str], repeats: int, sizes: Sequence[int]) -> None:
    translator = Translator.load(model, device="cpu")
    start = time.perf_counter()
    ids = translator.segmenters.source.encode_all(sources)
    cutting = time.perf_counter() - start
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]), reverse=True)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running = [Running(system, model) for system in systems(model, Path(folder))]
        for each in running:
            stack.callback(each.close)
            each.translate([[ids[order[0]]]], 1)  # what is made once, at the first sentence
        print(f"\n{len(ids)} sentences, {sum(map(len, ids))} pieces, cut in {cutting:.2f} s; {repeats} turns each\n")
        print("| system | workers | loaded in s | batch | beam | s | sentences/s | BLEU | MB |\n|---|" + "--:|" * 8)
        for size in sizes:
            batches = [[ids[i] for i in order[place : place + size]] for place in range(0, len(order), size)]
            for beam in (1, 5):
                turns = [[each.translate(batches, beam) for each in running] for _ in range(repeats)]
                for each, measured in zip(running, zip(*turns, strict=True), strict=True):
                    outputs = dict(zip(order, measured[-1][1], strict=True))
                    texts = [translator.segmenters.target.decode(outputs[i]) for i in range(len(ids))]
                    (bleu,) = score(texts, references, translator.config.target, ["bleu"])
                    print(row(each, size, beam, median(seconds for seconds, _ in measured), len(ids), bleu.value))


def row(each: Running, size: int, beam: int, seconds: float, sentences: int, bleu: float) -> str:
    system = each.system
    cells = [system.name, system.workers * system.processes, f"{each.loading:.1f}", size, beam, f"{seconds:.2f}"]
    cells += [f"{sentences / seconds:.1f}", f"{bleu:.2f}", f"{each.memory / 1e6:.0f}"]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    given = parser.parse_args()
    sources, references = (list(read_lines(path))[: given.sentences] for path in (given.source, given.reference))
    measure(given.model, sources, references, given.repeats, given.batch)


if __name__ == "__main__":
    main()
