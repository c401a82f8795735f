"""What becomes of addresses, placeholders and numbers: in a first draft, and as the server mends it.

    python -m benchmarks.integrity MODEL FILES [--sentences 120] [--seed 1]

MODEL: a model directory; FILES: a test set in its languages, such as
'${KAKEHASHI_DATA}/multi30k/test_2016_flickr.{en,de}.gz'.

Into each of the first sentences goes one of the things below, drawn by the seed, or, into every fourth, four of them:
`X: sentence` or `sentence (X).` Other rows have these sentences as they were, and the first that have digits of their
own. The columns: sentences that lack nothing which the server looks for; the corpus chrF, against the reference, of
what is left when things and the signs that came with them are taken out; notes; CPU time a sentence, on one thread.
Below: how often each thing was put in, and in how many of these places it is there, as the target language writes it.
"""

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

import torch

from kakehashi.config import resolve
from kakehashi.data.corpus import Corpus, Pair, read_pairs
from kakehashi.evaluation.metrics import score
from kakehashi.serving.engine.integrity import missing
from kakehashi.serving.engine.mending import translate
from kakehashi.serving.engine.wire import Found, Job
from kakehashi.translator import Translator

THINGS = {
    "number": "1,250",
    "URL": "https://example.org/page?id=7",
    "e-mail address": "info@example.org",
    "IP address": "192.168.0.17",
    "{name}": "{name}",
    "%s": "%s",
    "code": "`make install`",
    "emoji": "🎉",
}
Way = Callable[[Sequence[str]], Sequence[Found]]


@dataclass(frozen=True)
class Case:
    """A sentence with things in it; `reference`: the translation without them."""

    text: str
    things: tuple[str, ...]
    reference: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("files")
    parser.add_argument("--sentences", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pairs = list(read_pairs(resolve({"files": args.files}, Corpus)))
    print(report(Translator.load(args.model, device="cpu"), pairs, args.sentences, args.seed))


def report(translator: Translator, pairs: Sequence[Pair], sentences: int, seed: int) -> str:
    def draft(texts: Sequence[str]) -> list[Found]:
        return [Found((each.text,)) for each in translator.stream(texts, detail="tokens")]

    def served(texts: Sequence[str]) -> list[Found]:
        return translate(translator, Job("model"), texts)

    served([pairs[0].source])  # the first call of a process is slow
    languages = translator.config.source, translator.config.target
    first = pairs[:sentences]
    cases = put_in(first, seed)
    digits = islice((pair for pair in pairs if re.search(r"\d", pair.source)), sentences)
    sets = {"things put in": cases, "as they were": whole(first), "digits of their own": whole(digits)}
    lines = ["| sentences | | all there | chrF of the rest | notes | CPU ms a sentence |", "|---|---|---|---|---|---|"]
    counts = [Counter(thing for case in cases for thing in case.things)]
    for name, each in sets.items():
        for how, way in (("first draft", draft), ("served", served)):
            cells, kept = measured(way, each, languages)
            lines.append(f"| {len(each)}, {name} | {how} | {cells} |")
            counts.append(kept)
    lines += ["", "| | put in | first draft | served |", "|---|---|---|---|"]
    lines += [f"| {thing} | " + " | ".join(str(each[thing]) for each in counts[:3]) + " |" for thing in THINGS]
    return "\n".join(lines)


def whole(pairs: Iterable[Pair]) -> list[Case]:
    return [Case(pair.source, (), pair.target) for pair in pairs]


def put_in(pairs: Sequence[Pair], seed: int) -> list[Case]:
    random = Random(seed)
    cases: list[Case] = []
    for number, pair in enumerate(pairs):
        things = random.sample(list(THINGS), 1 if number % 4 else 4)
        listed = ", ".join(THINGS[thing] for thing in things)
        words = pair.source.rstrip(".!?。！？")
        behind = f"{words} ({listed}){pair.source[len(words) :]}"
        cases.append(Case(random.choice([f"{listed}: {pair.source}", behind]), tuple(things), pair.target))
    return cases


def measured(way: Way, cases: Sequence[Case], languages: tuple[str, str]) -> tuple[str, Counter[str]]:
    """A row's cells, and how often each thing is there."""
    start = time.process_time()
    found = way([case.text for case in cases])
    seconds = time.process_time() - start
    kept, complete, rests = Counter[str](), 0, list[str]()
    for case, each in zip(cases, found, strict=True):
        written = {thing: missing(THINGS[thing], "", languages)[0].wanted for thing in case.things}
        kept.update(thing for thing, text in written.items() if text in each.texts[0])
        complete += not missing(case.text, each.texts[0], languages)
        rests.append(around(each.texts[0], list(written.values())))
    [chrf] = score(rests, [case.reference for case in cases], languages[1], ["chrf"])
    notes = sum(len(each.notes) for each in found)
    return f"{complete / len(cases):.0%} | {chrf.value:.1f} | {notes} | {1000 * seconds / len(cases):.0f}", kept


def around(text: str, things: Sequence[str]) -> str:
    """The text without the things, and without the signs that `put_in` writes with them.

    >>> around("Ein Hund schläft (%s, 🎉).", ["%s", "🎉"])
    'Ein Hund schläft.'
    """
    for thing in things:
        text = text.replace(thing, "")
    return re.sub(r"\s*[(（][\s,、]*[)）]|^[\s,、]*[:：]\s*", "", text)


if __name__ == "__main__":
    main()
