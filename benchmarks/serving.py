"""How fast we serve a model, and LibreTranslate 1.9.6 the same weights: side by side, on one machine, over HTTP.

    python -m benchmarks.serving --setup              makes LibreTranslate's virtual environment, once
    python -m benchmarks.serving runs/multi30k/model  sentences of test_2016_flickr (KAKEHASHI_DATA), all distinct
    python -m benchmarks.serving --load runs/multi30k/model   ours alone: its capacity, and ten times that
    python -m benchmarks.serving --sizes runs/multi30k/model  ours alone, with larger models too
    python -m benchmarks.serving --table              the tables again

All servers are there from the beginning, and those that are not asked rest; they take turns with each kind of work,
round after round: a busy minute meets all of them. Before anyone is timed, each translates sentences that are not
asked again. Each line of benchmarks/results/serving.jsonl is one turn; the tables show the last session.
"""

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from benchmarks import environments, serving_load, serving_sizes
from benchmarks.client import Texts
from benchmarks.records import Line, append, machine, read
from benchmarks.servers import LibreTranslate, NoServer, Ours, Outcome, Running
from benchmarks.serving_table import quantiles, said, tables
from kakehashi.config import resolve
from kakehashi.data.corpus import Corpus, Pair, read_pairs
from kakehashi.errors import UserError
from kakehashi.evaluation.metrics import score

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "serving.jsonl"
PEER = "libretranslate"
LANGUAGES = ("en", "de")
WARMUP = 40  # sentences
FASTEST = Ours(("engine.precision=int8",))
SYSTEMS: dict[str, Ours | LibreTranslate] = {
    "ours": Ours(),
    "ours-int8": FASTEST,
    "libretranslate": LibreTranslate(),
    "libretranslate-wide": LibreTranslate(translators=1, threads=2),
    "libretranslate-int8": LibreTranslate(weights="int8"),
}


@dataclass(frozen=True)
class Work:
    """So many clients, each with so many texts a request; `share`: of the sentences."""

    clients: int
    size: int
    share: float = 1.0

    def requests(self, sentences: Sequence[str]) -> list[Texts]:
        own = sentences[: max(1, round(self.share * len(sentences)))]
        if self.size == 1:
            return list(own)
        return [list(own[i : i + self.size]) for i in range(0, len(own), self.size)]


WORKS = (Work(1, 1, share=0.2), Work(20, 1), Work(1, 20), Work(20, 20))


def pairs(part: str) -> list[Pair]:
    return list(read_pairs(resolve({"files": f"${{KAKEHASHI_DATA}}/multi30k/{part}.{{en,de}}.gz"}, Corpus)))


def measure(arguments: argparse.Namespace, names: Sequence[str]) -> None:
    conditions = {
        "session": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": arguments.model.parent.name,
        "machine": machine(),
    }
    test = pairs("test_2016_flickr")[: arguments.sentences]
    warmup = [pair.source for pair in pairs("val")[:WARMUP]]
    with ExitStack() as stack:
        servers: dict[str, Running] = {}
        for name in names:
            print(f"{name} begins ...", flush=True)
            servers[name] = stack.enter_context(SYSTEMS[name].running(arguments.model, LANGUAGES, arguments.peers))
            servers[name].load([warmup[i : i + 4] for i in range(0, WARMUP, 4)], clients=4)
        turns = ((turn, work, name) for turn in range(1, arguments.rounds + 1) for work in WORKS for name in names)
        for turn, work, name in turns:
            load = round(os.getloadavg()[0], 1)
            line = {**conditions, "round": turn, "system": name, "load": load, **one(servers[name], work, test)}
            append(RESULTS, line)
            print(f"{turn}/{arguments.rounds} {said(line)}", flush=True)


def one(server: Running, work: Work, test: Sequence[Pair]) -> Line:
    """One turn. Raises RuntimeError where a request is not answered."""
    asked = work.requests([pair.source for pair in test])
    busy = server.busy()
    outcome = server.load(asked, clients=work.clients)
    busy = server.busy() - busy
    found = translations(outcome)
    references = [pair.target for pair in test[: len(found)]]
    return {
        "clients": work.clients,
        "size": work.size,
        "items": len(found),
        "seconds": outcome.seconds,
        **quantiles([reply.seconds for reply in outcome.replies]),
        "busy": busy,
        "client": outcome.busy,
        "memory": sum(server.memory().values()),
        "bleu": score(found, references, LANGUAGES[1], ["bleu"])[0].value,
    }


def translations(outcome: Outcome) -> list[str]:
    """In the order of what was asked."""
    if wrong := {reply.status for reply in outcome.replies} - {200}:
        raise RuntimeError(f"not every request was answered: {wrong}")
    found = (reply.found for reply in sorted(outcome.replies, key=lambda reply: reply.place))
    return list(chain.from_iterable([each] if isinstance(each, str) else each or [] for each in found))


def prove(arguments: argparse.Namespace) -> int:
    """What to exit with."""
    sentences = [pair.source for pair in pairs("test_2016_flickr")]
    phases: list[serving_load.Phase] = []
    with FASTEST.running(arguments.model, LANGUAGES, arguments.peers) as server:
        for phase in serving_load.prove(server, sentences, arguments.seconds):
            print(f"{phase.name}: {phase.seconds:.0f} s", flush=True)
            phases.append(phase)
    print("\n".join(serving_load.table(phases)))
    return 0 if all(phase.kept for phase in phases) else 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=Path("runs/multi30k/model"))
    parser.add_argument("--setup", action="store_true", help="make LibreTranslate's environment, and no more")
    parser.add_argument("--peers", type=Path, default=environments.DEFAULT, help="the folder of that environment")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, help="the systems that take turns")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=600)
    parser.add_argument("--load", action="store_true", help="ours alone, beyond its capacity")
    parser.add_argument("--sizes", action="store_true", help="ours alone, with models of several sizes")
    parser.add_argument("--seconds", type=float, default=120.0, help="of the overload; other phases take a part of it")
    parser.add_argument("--table", action="store_true", help="only print the tables")
    arguments = parser.parse_args()
    if arguments.setup:
        return environments.set_up(arguments.peers, [PEER])
    names = arguments.only or list(SYSTEMS)
    if arguments.load:
        raise SystemExit(prove(arguments))
    if arguments.sizes:
        sentences = [pair.source for pair in pairs("test_2016_flickr")[: arguments.sentences]]
        return print("\n".join(serving_sizes.table(list(serving_sizes.measured(arguments.model, sentences)))))
    if not arguments.table:
        if any(name.startswith(PEER) for name in names) and not environments.ready(arguments.peers, PEER):
            parser.error(f"no environment for {PEER} in {arguments.peers}: make it with --setup, or leave it out")
        try:
            measure(arguments, names)
        except (UserError, NoServer) as error:
            parser.error(str(error))
    print("\n".join(tables(read(RESULTS))))


if __name__ == "__main__":
    main()
