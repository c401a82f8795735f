"""How fast a model translates here, in CTranslate2 and in Hugging Face, with the same weights, on the same sentences.

    python -m benchmarks.decoding MODEL --source test_2016_flickr.en --reference test_2016_flickr.de
    python -m benchmarks.decoding MODEL --source test_2016_flickr.en --random paper-base --only '*int8*'
    python -m benchmarks.decoding --table                the tables again, for benchmarks/RESULTS.md

Notable: every system is a process of its own (or two, each with half of the batches) that has loaded its model before
anyone is timed; they take turns, so that a machine that slows down slows them all, and the median of the turns counts.
What is timed begins and ends with pieces: loading and cutting text are told apart. BLEU stands beside each speed, and
who cannot be this model is left out with the reason.
A preset with random weights (and the subwords of MODEL) writes 20 tokens of every sentence; beside its speed stands the
share of sentences that the first system answers alike. Each line of benchmarks/results/decoding.jsonl is one row.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in the processes started from here

import torch
from torch.nn.utils.rnn import pad_sequence

from benchmarks.records import RESULTS, Line, append, machine, read
from kakehashi.config import resolve
from kakehashi.data.corpus import read_lines
from kakehashi.decoding import Beam, Greedy, search
from kakehashi.errors import UserError
from kakehashi.evaluation.metrics import score
from kakehashi.interop.ctranslate2.directory import CTranslate2
from kakehashi.interop.huggingface import HuggingFace
from kakehashi.models.protocol import Vocabulary
from kakehashi.training.recipe import PRESETS, Recipe
from kakehashi.translator import Translator

LONGEST = 256  # tokens of a translation
FIXED = 20  # tokens of each, where weights are random
FILE = RESULTS / "decoding.jsonl"
AGAINST = "ctranslate2 int8"
BARE = "a process with torch alone"
Ids = list[list[int]]
Translate = Callable[[list[Ids], int, int], Ids]
"""Batches of sources without their ends, the size of the beam, and how long translations are (0: until they end); the
translations of all, in order."""


@dataclass(frozen=True)
class System:
    """`load`: makes it of a model's path, in its own process; `workers`: within a process, `processes`: of one each."""

    name: str
    load: Callable[[Path, int, Path], Translate]
    path: Path
    workers: int = 1
    processes: int = 1


def load_ours(path: Path, workers: int, model: Path, precision: Any = "fp32") -> Translate:
    translator = Translator.load(path, precision, "cpu")
    vocabulary = translator.model.source_vocabulary

    def translate(batches: list[Ids], beam: int, fixed: int) -> Ids:
        longest = fixed or LONGEST
        limits: dict[str, Any] = {"max_length": longest, "extra_length": longest, "min_length": fixed or 1}
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

    def translate(batches: list[Ids], beam: int, fixed: int) -> Ids:
        pieces = [[segmenters.source.piece(id) for id in ids] for batch in batches for ids in batch]
        found = there.translate_batch(
            pieces,
            max_batch_size=max(map(len, batches)),
            beam_size=beam,
            length_penalty=0 if beam == 1 else 1,
            max_decoding_length=fixed or LONGEST,
            min_decoding_length=fixed or 1,
            max_input_length=0,
        )
        return [[segmenters.target.id(piece) for piece in each.hypotheses[0]] for each in found]

    return translate


def load_huggingface(path: Path, workers: int, model: Path) -> Translate:
    from transformers import GenerationConfig

    from kakehashi.interop.huggingface.library import Transformers

    special, there = Translator.load(model, device="cpu").segmenters.target.special, Transformers.load(path).model

    def translate(batches: list[Ids], beam: int, fixed: int) -> Ids:
        settings = GenerationConfig(
            num_beams=beam,
            max_new_tokens=fixed or LONGEST,
            min_new_tokens=fixed or None,
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

    def translate(self, batches: list[Ids], beam: int, fixed: int = 0) -> tuple[float, Ids]:
        """Seconds, and the translations in order."""
        shares = [batches[i :: len(self.pipes)] for i in range(len(self.pipes))]
        start = time.perf_counter()
        for pipe, share in zip(self.pipes, shares, strict=True):
            pipe.send((share, beam, fixed))
        answers = [pipe.recv() for pipe in self.pipes]
        seconds = time.perf_counter() - start
        self.memory = max(self.memory, sum(memory for _, memory in answers))
        parts = [iter(found) for found, _ in answers]
        return seconds, [next(parts[i % len(parts)]) for i, batch in enumerate(batches) for _ in batch]

    def close(self) -> None:
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.send(None)
            process.join()


def systems(model: Path, folder: Path, only: str) -> list[System]:
    """Ours, and those that the model can be exported to; the others are told."""
    translator = Translator.load(model, device="cpu")
    ours = {"kakehashi": "fp32", "kakehashi bf16": "bf16", "kakehashi int8": "int8"}
    found = [
        System(name, partial(load_ours, precision=precision), model, processes=count)
        for name, precision in ours.items()
        for count in (1, 2)
        if fnmatch(name, only)
    ]
    formats = {"ctranslate2": CTranslate2(), AGAINST: CTranslate2("int8"), "huggingface": HuggingFace()}
    for name, format in formats.items():
        if not fnmatch(name, only):
            continue
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


def load_nothing(path: Path, workers: int, model: Path) -> Translate:
    return lambda batches, beam, fixed: [[] for batch in batches for _ in batch]


def randomised(model: Path, preset: str, folder: Path) -> Path:
    """A directory with the preset's network, its weights as they start, and the model's subwords."""
    translator = Translator.load(model, device="cpu")
    task = {
        "kind": "translation",
        "source": "en",
        "target": "de",
        "train": "x.{source,target}",
        "valid": "x.{source,target}",
    }
    network = resolve({"base": preset, "task": task}, Recipe, (), PRESETS).model
    config = translator.config.model_copy(update={"model": network})
    torch.manual_seed(1)
    built: Any = network.build(*(Vocabulary(each.size, *each.special) for each in translator.segmenters))
    replace(translator, config=config, model=built.eval()).save(folder / "random")
    return folder / "random"


def measure(given: argparse.Namespace) -> None:
    sources = list(read_lines(given.source))[: given.sentences]
    references = list(read_lines(given.reference))[: given.sentences] if given.reference else []
    session = {"session": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        model = randomised(given.model, given.random, Path(folder)) if given.random else given.model
        translator = Translator.load(model, device="cpu")
        start = time.perf_counter()
        ids = translator.segmenters.source.encode_all(sources)
        cutting = time.perf_counter() - start
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]), reverse=True)
        session["model"] = given.random or "/".join(given.model.parts[-2:])
        running = [Running(system, model) for system in systems(model, Path(folder), given.only)]
        bare = Running(System(BARE, load_nothing, model), model)
        for each in (*running, bare):
            stack.callback(each.close)
            each.translate([[ids[order[0]]]], 1)  # what is made once, at the first sentence
        print(f"{len(ids)} sentences, {sum(map(len, ids))} pieces, cut in {cutting:.2f} s", flush=True)
        for size in given.batch:
            picked = order if size > 1 else order[:: max(1, len(order) // given.latency)]
            batches = [[ids[i] for i in picked[place : place + size]] for place in range(0, len(picked), size)]
            for beam in given.beam:
                fixed = FIXED if given.random else 0
                turns = [[each.translate(batches, beam, fixed) for each in running] for _ in range(given.repeats)]
                for each, measured in zip(running, zip(*turns, strict=True), strict=True):
                    seconds = [seconds for seconds, _ in measured]
                    line = {**session, "batch": size, "beam": beam, "sentences": len(picked), "seconds": seconds}
                    line |= {"system": each.system.name, "workers": each.system.workers * each.system.processes}
                    line |= {
                        "loading": each.loading,
                        "memory": each.memory,
                        "bare": bare.memory,
                        "load": os.getloadavg()[0],
                    }
                    said, first = measured[-1][1], turns[-1][0][1]
                    line["alike"] = sum(map(list.__eq__, said, first)) / len(said)
                    if references:
                        texts = [translator.segmenters.target.decode(tokens) for tokens in said]
                        known = [references[i] for i in picked]
                        (bleu,) = score(texts, known, translator.config.target, ["bleu"])
                        line["bleu"] = bleu.value
                    append(FILE, line)
                print(f"batch {size}, beam {beam}: done", flush=True)


def table(lines: Sequence[Line]) -> list[str]:
    """One for each model, of the last session that measured it."""
    rows: list[str] = []
    for model in dict.fromkeys(line["model"] for line in lines):
        session = max(line["session"] for line in lines if line["model"] == model)
        own = [line for line in lines if (line["model"], line["session"]) == (model, session)]
        rows += [f"### {model}, {own[0]['machine']}, load {max(line['load'] for line in own):.1f} ({session[:10]})", ""]
        rows.append(
            "| batch | beam | system | workers | sentences/s | to CTranslate2 int8 | BLEU | alike | MB over torch |"
        )
        rows.append("|--:|--:|---|" + "--:|" * 6)
        rows += [row(line, own) for line in own]
        rows.append("")
    return rows


def row(line: Line, lines: Sequence[Line]) -> str:
    """Its speed, and that as a multiple of CTranslate2's with int8 weights and as many workers, by medians; anonymous
    memory of all its processes, less that of as many which import torch alone."""
    place = ("batch", "beam", "workers")
    peers = [each for each in lines if each["system"] == AGAINST and all(each[key] == line[key] for key in place)]
    speed, ratio = line["sentences"] / median(line["seconds"]), "–"
    if peers:
        ratio = f"{median(peers[0]['seconds']) / median(line['seconds']):.2f}"
    processes = 1 if line["system"].startswith("ctranslate2") else line["workers"]
    over = (line["memory"] - processes * line["bare"]) / 1e6
    bleu = f"{line['bleu']:.2f}" if "bleu" in line else "–"
    cells = [line["batch"], line["beam"], line["system"], line["workers"], f"{speed:.1f}", ratio, bleu]
    cells += [f"{line['alike']:.0%}", f"{over:.0f}"]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--source", type=Path)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--latency", type=int, default=200, help="so many of them one by one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--beam", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--only", default="*", help="systems whose name fits this pattern, as '*int8'")
    parser.add_argument(
        "--random", choices=("small", "paper-base", "paper-big"), help="its network, with random weights"
    )
    parser.add_argument("--table", action="store_true", help="only print the tables")
    given = parser.parse_args()
    if not given.table:
        if given.model is None or given.source is None:
            parser.error("a MODEL and --source are needed")
        measure(given)
    print("\n".join(table(read(FILE))))


if __name__ == "__main__":
    main()
