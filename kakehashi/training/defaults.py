"""Recipes for those who bring text and no YAML: everything is chosen from the data, and each choice is explained.

A model that is too large for its text learns it by heart, and one that passes over it too often forgets the rest of the
language; both are the usual mistakes on little text. By the words of one side (a word; two characters of Japanese):

    words        about so many pairs    preset  dropout  tokens a step  passes over the data
    < 50,000     up to 5,000            tiny    0.3      2,048          100
    < 250,000    up to 20,000           tiny    0.3      4,096           40
    < 800,000    up to 70,000           tiny    0.25     4,096           36
    < 4,000,000  up to 300,000          small   0.2      8,192           20
    more                                base    0.1      25,000          10, and 100,000 steps at the most

Small batches and much dropout for little text: Sennrich & Zhang 2019 (arXiv 1905.11901). The third row is about what
configs/multi30k.yaml does, where the tiny preset beat the small one in less time (benchmarks/RESULTS.md). The rate
falls along half a cosine to zero at the last step. There are 20 looks at the development set; training stops after 5 in
a row without a better score.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch

from kakehashi.config import resolve
from kakehashi.data import phrasebook
from kakehashi.data.corpus import Corpus, brace_path, read_lines, write_lines
from kakehashi.data.holdout import Holdout, count_pairs, plan_holdout, write_holdout
from kakehashi.data.languages import guess_language, guess_languages, language_code
from kakehashi.errors import UserError
from kakehashi.evaluation.metrics import TITLES, build_metric
from kakehashi.training.recipe import PRESETS, Recipe, Training

SEED = 1
LOOKS = 20  # at the development set, in a whole run
PATIENCE = 5
# Pairs of a development set on which BLEU jumps about and the loss turns too early: on 600 pairs of Multi30k the loss
# was best after 45 passes, while chrF, which counts characters, rose from 26 to 32 until the end, after 95.
FEW = 200
MOST_STEPS = 100_000
TOKENS_A_WORD = 1.3  # subwords, measured with automatic sizes: 1.1 (Tatoeba English-Japanese) to 1.6 (WMT news)
PADDING = 1.1  # and batches that are not full
ORIGIN = "origin.json"  # says what DIRECTORY/data was made from

DEMO_TRAIN, DEMO_DEV, DEMO_TEST = 20_000, 300, 1_000


@dataclass(frozen=True)
class Choice:
    """A recipe, and for each thing that was chosen a sentence to the user."""

    recipe: Recipe
    reasons: tuple[str, ...]


class _Row(NamedTuple):
    """A row of the module's table, for fewer than `words`."""

    words: float
    preset: Literal["tiny", "small", "base"]
    dropout: float
    tokens: int
    passes: int
    peak: float
    warmup: int


_TABLE = (
    _Row(50_000, "tiny", 0.3, 2_048, 100, 3e-3, 400),
    _Row(250_000, "tiny", 0.3, 4_096, 40, 3e-3, 400),
    _Row(800_000, "tiny", 0.25, 4_096, 36, 2.5e-3, 500),
    _Row(4_000_000, "small", 0.2, 8_192, 20, 1.5e-3, 1_000),
    _Row(float("inf"), "base", 0.1, 25_000, 10, 7e-4, 4_000),
)
_WHY = {
    "tiny": "a larger one would learn so little text by heart",
    "small": "a larger one would learn it by heart, the tiny one could not hold it",
    "base": "there is enough text to fill it",
}


def recipe_for(
    source: Path,
    target: Path | None,
    directory: Path,
    languages: tuple[str | None, str | None] = (None, None),
    overrides: Sequence[str] = (),
    valid: tuple[Path, Path] | None = None,
    test: Mapping[str, tuple[Path, Path]] | None = None,
) -> Choice:
    """The recipe for a run in `directory` on two aligned texts, or on one .tsv or .jsonl file (`target` None).

    languages: of source and target; what is None is guessed from the names. valid: a development set; without one,
    1 pair in 20 (at most 1,000) is held out, and both parts are written to `directory`/data as train.* and valid.*.
    A second call with the same text finds them there. Raises UserError; then nothing has been written.
    """
    codes, guessed = _languages(source, target, languages)
    build_metric("bleu", codes[1])  # a missing package should be told now, not at the first validation
    corpus = _corpus(source, target)
    tests = {name: brace_path(*pair) for name, pair in (test or {}).items()}
    if valid is not None:
        ours = brace_path(*valid)
        counts = count_pairs(corpus, Corpus(files=ours))
        choice = _choice(counts, _task(codes, corpus.files, ours, tests), overrides)
    else:
        choice = _split(corpus, directory, codes, tests, overrides)
    return Choice(choice.recipe, ((guessed,) if guessed else ()) + choice.reasons)


def demo_recipe(directory: Path, pair: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of the demo, whose corpus, the phrasebook in the languages of `pair`, is written to `directory`/data.

    A second call finds it there. Raises UserError; then nothing has been written.
    """
    if pair not in phrasebook.PAIRS:
        raise UserError(f"the phrasebook does not speak {pair!r}: choose {' or '.join(phrasebook.PAIRS)}")
    target: phrasebook.Target = "ja" if pair == "en-ja" else "de"
    build_metric("bleu", target)
    data = directory / "data"
    files = {part: brace_path(data / f"{part}.en", data / f"{part}.{target}") for part in ("train", "dev", "test")}
    task = _task(("en", target), files["train"], files["dev"], {"test": files["test"]})
    recipe = resolve({"base": "demo", "task": task}, Recipe, overrides, PRESETS)
    origin = {"phrasebook": pair, "pairs": [DEMO_TRAIN, DEMO_DEV, DEMO_TEST], "seed": SEED}
    if data.exists():
        _same_origin(data, origin)
        return recipe
    _require_room(directory)

    def write(folder: Path) -> None:
        phrasebook.write(folder, target, phrasebook.split(target, DEMO_TRAIN, DEMO_DEV, DEMO_TEST, SEED))

    _publish(data, origin, write)
    return recipe


# --- The languages and the files


def _languages(
    source: Path, target: Path | None, said: tuple[str | None, str | None]
) -> tuple[tuple[str, str], str | None]:
    """The codes, and a sentence on those that the names told."""
    from_, to = (language_code(code) if code is not None else None for code in said)
    names = guess_languages(source) if target is None else (guess_language(source), guess_language(target))
    codes = from_ or names[0], to or names[1]
    if codes[0] is None or codes[1] is None:
        files = " and ".join(path.name for path in (source, target) if path is not None)
        missing = [option for option, code in zip(("--from en", "--to ja"), codes, strict=True) if code is None]
        raise UserError(f"no language code in the name of {files}: add one, as in {' '.join(missing)}")
    guessed = f"Languages: {codes[0]} to {codes[1]}, as the names of the files say (else: --from and --to)."
    return (codes[0], codes[1]), None if from_ and to else guessed


def _corpus(source: Path, target: Path | None) -> Corpus:
    for path in filter(None, (source, target)):
        if path.is_fifo():
            raise UserError(f"{path} is a pipe, and the text is read more than once: write it to a file")
        next(read_lines(path), None)  # tells what is missing or cannot be read
    table = source.name.lower().removesuffix(".gz").removesuffix(".zst").endswith((".tsv", ".jsonl"))
    match target:
        case None if not table:
            raise UserError(f"{source} holds one language: name its translation with --target FILE")
        case None if "{" in str(source.absolute()):
            raise UserError(f"{source}: a path with a brace cannot be written in a recipe; rename it")
        case None:
            return Corpus(files=str(source))
        case Path() if table:
            raise UserError(f"{source} holds both languages by its name: leave out --target, or rename it to .txt")
        case Path():
            if source.resolve() == target.resolve():
                raise UserError(f"--source and --target are the same file, {source}: name the translation")
            return Corpus(files=brace_path(source, target))


def _task(codes: tuple[str, str], train: str, valid: str, test: Mapping[str, str]) -> dict[str, Any]:
    return {
        "kind": "translation",
        "source": codes[0],
        "target": codes[1],
        "train": train,
        "valid": valid,
        "test": dict(test),
    }


# --- What the data decides


def _choice(counts: Holdout, task: Mapping[str, Any], overrides: Sequence[str]) -> Choice:
    """The table's row for so much text, under the user's own settings."""
    row = next(row for row in _TABLE if counts.words < row.words)
    tokens = (2 * TOKENS_A_WORD * counts.words + 2 * counts.train) * PADDING  # of one pass, source + target
    every = min(_rounded(row.passes * tokens / row.tokens / LOOKS), MOST_STEPS // LOOKS)
    steps = LOOKS * every
    training = {
        "steps": steps,
        "batch": {"tokens": row.tokens},
        "schedule": {"kind": "cosine", "peak": row.peak, "warmup": min(row.warmup, steps // 10)},
        "validation": {"every": every, "metric": "bleu" if counts.valid >= FEW else "chrf", "patience": PATIENCE},
    }
    tree = {"base": row.preset, "task": task, "model": {"dropout": row.dropout}, "training": training}
    recipe = resolve(tree, Recipe, overrides, PRESETS)
    words = counts.words / (counts.pairs - counts.empty)
    reasons = [
        f"Model: preset {row.preset}, for {counts.train:,} pairs of {words:.0f} words a side: {_WHY[row.preset]}.",
        _duration(recipe.training, tokens),
    ]
    if row.preset == "base" and not torch.cuda.is_available():
        reasons.append("There is no GPU here: a model of this size takes days to weeks on CPU cores.")
    return Choice(recipe, tuple(reasons))


def _rounded(number: float) -> int:
    """To two digits, and not to zero."""
    return max(1, round(float(f"{number:.2g}")))


def _duration(training: Training, tokens: float) -> str:
    """`tokens` of one pass over the data."""
    look = training.validation
    stop = f", and training ends after {look.patience} times without a better {TITLES.get(look.metric, look.metric)}"
    return (
        f"Training: {training.steps:,} steps of {training.batch.tokens:,} tokens, about "
        f"{training.steps * training.batch.tokens / tokens:.0f} passes over the data; every {look.every:,} steps the "
        f"development set is translated{stop if look.patience else ''}."
    )


# --- DIRECTORY/data


def _split(
    corpus: Corpus, directory: Path, codes: tuple[str, str], test: Mapping[str, str], overrides: Sequence[str]
) -> Choice:
    """The recipe on the two parts of the corpus, which are written unless they are there."""
    data = directory / "data"
    sides = codes if codes[0] != codes[1] else ("source", "target")
    names = {part: (f"{part}.{sides[0]}", f"{part}.{sides[1]}") for part in ("train", "valid")}
    files = {part: brace_path(data / one, data / other) for part, (one, other) in names.items()}
    task = _task(codes, files["train"], files["valid"], test)
    origin = {"languages": list(codes), "seed": SEED, "sha256": [_sha256(path) for path in corpus.paths]}
    if data.exists():
        counts = Holdout(**_same_origin(data, origin)["counts"])
        return _with_counts(counts, data, _choice(counts, task, overrides))
    _require_room(directory)
    plan = plan_holdout(corpus, SEED)
    choice = _with_counts(plan.counts, data, _choice(plan.counts, task, overrides))

    def write(folder: Path) -> None:
        train, valid = ((folder / one, folder / other) for one, other in names.values())
        write_holdout(corpus, plan, train, valid)

    _publish(data, origin | {"counts": asdict(plan.counts)}, write)
    return choice


def _with_counts(counts: Holdout, data: Path, choice: Choice) -> Choice:
    left_out = [
        f"{number:,} {reason}"
        for number, reason in (
            (counts.empty, "without text on a side"),
            (counts.shared, "that share a line with the development set"),
        )
        if number
    ]
    said = (
        f"Data: of {counts.pairs:,} pairs, {counts.valid:,} drawn at random are the development set, of which no line "
        f"stays in training{'; left out: ' + ' and '.join(left_out) if left_out else ''}. Both are in {data}."
    )
    return Choice(choice.recipe, (said, *choice.reasons))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _same_origin(data: Path, origin: Mapping[str, Any]) -> dict[str, Any]:
    """What is written about a folder that is there. Raises UserError when it was made from something else."""
    try:
        found = cast(dict[str, Any], json.loads((data / ORIGIN).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{data} is there already, and is not the data of a run: choose another run=DIR") from error
    changed = [key for key, value in origin.items() if found.get(key) != value]
    if changed:
        raise UserError(f"{data} was made from other text or settings ({', '.join(changed)}): choose another run=DIR")
    return found


def _require_room(directory: Path) -> None:
    """Nothing is written into a folder that is somebody else's."""
    if directory.exists():
        others = sorted(entry.name for entry in directory.iterdir() if entry.name != ".lock")
        if others:
            raise UserError(f"{directory} is not empty ({others[0]}), and has no data of a run: choose another run=DIR")


def _publish(data: Path, origin: Mapping[str, Any], write: Callable[[Path], None]) -> None:
    """A folder that `write` fills, there when it is whole, or not at all."""
    temporary = data.with_name(f".data-{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        write(temporary)
        write_lines(temporary / ORIGIN, json.dumps(origin, indent=2).splitlines())
        temporary.rename(data)
    except OSError as error:
        raise UserError(f"cannot write {data}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
