"""The tables of benchmarks/serving.py, from the lines of its results."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median

from benchmarks.records import Line
from benchmarks.training_table import spread

Kind = tuple[int, int]

TITLES = {
    "ours": "Kakehashi, fp32",
    "ours-int8": "Kakehashi, int8",
    "libretranslate": "LibreTranslate, fp32, two translators of one thread",
    "libretranslate-wide": "LibreTranslate, fp32, one translator of two threads",
    "libretranslate-int8": "LibreTranslate, int8, two translators of one thread",
}
NOTES = """- Items: texts, one sentence each; median over the rounds (lowest to highest). p50, p95, p99: of a request,
  in milliseconds, median of the rounds.
- Ours to this: items/s of our fastest over this system's, median of the rounds' ratios.
- Core time: of all processes of the server, a text. Memory: the same, with an equal part of what they share.
- BLEU: of what came back, sacrebleu's with its defaults. Ours searches as the model says (beam 5), LibreTranslate with
  beam 4 and a length penalty of its own; it cuts no sentences, which its default would do with a network of its own.
- The client's share: of one core, at most.
- Load: processes that wanted a core when a turn began."""


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """The smallest number that so many percent are not above."""
    ordered = sorted(seconds)
    return {f"p{share}": ordered[max(0, -(-share * len(ordered) // 100) - 1)] for share in (50, 95, 99)}


def speed(line: Line) -> float:
    """Texts a second."""
    return line["items"] / line["seconds"]


def said(line: Line) -> str:
    return (
        f"{line['system']}, {_kind(line)}: {speed(line):.1f} items/s, p95 {1000 * line['p95']:.0f} ms, "
        f"{1000 * line['busy'] / line['items']:.1f} ms of a core an item, BLEU {line['bleu']:.2f}"
    )


def tables(lines: Sequence[Line]) -> Iterator[str]:
    """One for each kind of work, of the last session of each model."""
    sessions: dict[str, str] = {line["model"]: line["session"] for line in lines}
    for model, session in sessions.items():
        own = [line for line in lines if (line["model"], line["session"]) == (model, session)]
        loads, shares = [line["load"] for line in own], [line["client"] / line["seconds"] for line in own]
        yield f"### {model} ({session[:10]})"
        yield ""
        yield f"{own[0]['machine']}, load {min(loads)} to {max(loads)}; the client's share: {max(shares):.0%}."
        yield ""
        for kind in dict.fromkeys((line["clients"], line["size"]) for line in own):
            yield from _table([line for line in own if (line["clients"], line["size"]) == kind])
    yield from NOTES.split("\n")


def _kind(line: Line) -> str:
    clients = f"{line['clients']} client{'s' * (line['clients'] > 1)}"
    return f"{clients}, {'single texts' if line['size'] == 1 else 'lists of ' + str(line['size'])}"


def _table(lines: Sequence[Line]) -> Iterator[str]:
    runs = {name: {line["round"]: line for line in lines if line["system"] == name} for name in TITLES}
    runs = {name: of_rounds for name, of_rounds in runs.items() if of_rounds}
    ours = [name for name in runs if name.startswith("ours")]
    best = max(ours, key=lambda name: median(map(speed, runs[name].values())), default=None)
    yield f"**{_kind(lines[0])}**"
    yield ""
    yield "| system | items/s | ours to this | p50 | p95 | p99 | core time | memory | BLEU |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, of_rounds in runs.items():
        cells = _cells(of_rounds, runs[best] if best else {})
        yield f"| {TITLES[name]} | {' | '.join(cells)} |"
    yield ""


def _cells(runs: dict[int, Line], best: dict[int, Line]) -> Iterator[str]:
    def middle(value: Callable[[Line], float], form: str) -> str:
        return form.format(median(map(value, runs.values())))

    yield spread([speed(run) for run in runs.values()], "{:.1f}")
    ratios = [speed(best[turn]) / speed(run) for turn, run in runs.items() if turn in best]
    yield f"{median(ratios):.2f}" if ratios else "–"
    for share in ("p50", "p95", "p99"):
        yield f"{median(1000 * run[share] for run in runs.values()):.0f}"
    yield middle(lambda run: 1000 * run["busy"] / run["items"], "{:.1f} ms")
    yield middle(lambda run: run["memory"] / 2**20, "{:.0f} MiB")
    yield middle(lambda run: run["bleu"], "{:.2f}")
