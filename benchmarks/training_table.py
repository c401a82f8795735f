"""The tables of benchmarks/training.py, from the lines of its results."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from statistics import median

from benchmarks.records import Line

TITLES = {
    "ours": "Kakehashi, bf16",
    "ours-apart": "Kakehashi, bf16, two processes of one thread (memory: of one)",
    "joeynmt": "JoeyNMT 2.3.0, fp32 (on a CPU it has no other)",
    "eole": "Eole 0.6.4, fp32",
    "eole-bf16": "Eole 0.6.4, bf16 autocast",
    "marian": "Hugging Face MarianMT 5.23.0, plain loop, fp32",
    "marian-bf16": "the same, bf16 autocast",
}
TEXTS = {"small": "Multi30k, English to German", "paper-base": "pairs of random words"}
NOTES = """- Speed: median over the rounds (lowest to highest); target tokens with their ends, padding not counted, over
  the wall clock from the end of one step to the end of another.
- Ours to this: our speed over this one, median of the rounds' ratios.
- Of the ceiling: speed times the operations that a target token needs (torch's flop counter on our model, forward and
  backward, pairs without padding), over a bf16 product of two 2048 x 2048 matrices, as many threads, same round.
- A step has a budget of 4,096 padded target tokens. Ours: rows * (longest source + longest target) is at most 8,192.
  Eole and the plain loop: rows * the longest of both sides is at most 4,096. JoeyNMT: a batch, drawn without regard to
  length, ends when that reaches 4,096. How many of them are tokens stands in the table.
- Parameters differ by norms: MarianMT is post-norm and has no last ones, Eole's decoder is always pre-norm.
- Ours keeps a moving average of its weights besides, the others none.
- Load: processes that wanted a core when a run began; above 1, the figures are those of a busy machine."""


def tables(lines: Sequence[Line]) -> Iterator[str]:
    """One for each model and number of threads, of the last session that measured it."""
    sessions: dict[tuple[str, int], list[Line]] = {}
    for line in lines:
        session = sessions.setdefault((line["model"], line["threads"]), [])
        if session and session[-1]["session"] != line["session"]:
            session.clear()
        session.append(line)
    for (model, threads), session in sorted(sessions.items(), reverse=True):
        first = session[0]
        yield f"### {model}, {TEXTS[model]}, {threads} thread{'s' * (threads > 1)} ({first['session'][:10]})"
        yield ""
        yield from Session(session).lines()
        yield ""
    yield from NOTES.split("\n")


class Session:
    """The lines of one model and number of threads in one session."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.all = lines
        self.whole = [line for line in lines if "failed" not in line]

    @cached_property
    def ceilings(self) -> dict[int, float]:
        """Operations a second, by round."""
        return {line["round"]: line["ceiling"] for line in self.whole if line["system"] == "ceiling"}

    @cached_property
    def operations(self) -> float | None:
        """A target token."""
        return next((line["operations"] for line in self.whole if line["system"] == "operations"), None)

    def runs(self, system: str) -> dict[int, Line]:
        """By round."""
        return {line["round"]: line for line in self.whole if line["system"] == system}

    def lines(self) -> Iterator[str]:
        first, loads = self.all[0], [line["load"] for line in self.all]
        yield f"{first['machine']}, load {min(loads)} to {max(loads)}; steps {first['warmup'] + 1} to {first['steps']}."
        if self.ceilings and self.operations:
            yield f"{self.operations / 1e6:.0f} million operations a target token; the product: {self._product()}."
        yield ""
        yield "| system | target tokens/s | ours to this | of the ceiling | peak memory | tokens a step | parameters |"
        yield "|---|---|---|---|---|---|---|"
        for system, title in TITLES.items():
            if runs := self.runs(system):
                yield f"| {title} | {' | '.join(self._cells(runs))} |"
        for line in self.all:
            if "failed" in line:
                yield f"| {TITLES.get(line['system'], line['system'])} | failed: {line['failed']} | | | | | |"

    def _product(self) -> str:
        return spread([each / 1e12 for each in self.ceilings.values()], "{:.2f}") + " TFLOP/s"

    def _cells(self, runs: dict[int, Line]) -> Iterator[str]:
        ours, ceilings, operations = self.runs("ours"), self.ceilings, self.operations

        def middle(value: Callable[[Line], float], form: str) -> str:
            return form.format(median(map(value, runs.values())))

        yield spread([speed(run) for run in runs.values()], "{:,.0f}")
        ratios = [speed(ours[turn]) / speed(run) for turn, run in runs.items() if turn in ours]
        yield f"{median(ratios):.2f}" if ratios else "–"
        shares = [speed(run) * operations / ceilings[turn] for turn, run in runs.items() if operations and ceilings]
        yield f"{median(shares):.1%}" if shares else "–"
        yield middle(lambda run: run["peak_memory"] / 2**30, "{:.2f} GiB")
        yield middle(lambda run: run["tokens"] / (run["steps"] - run["warmup"]), "{:,.0f}")
        yield middle(lambda run: run["parameters"], "{:,.0f}")


def speed(run: Line) -> float:
    """Target tokens a second."""
    return run["tokens"] / run["seconds"]


def spread(values: Sequence[float], form: str) -> str:
    low, middle, high = (form.format(f(values)) for f in (min, median, max))
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"
