"""The benchmark of integrity: what it puts in, takes out, and counts."""

from collections.abc import Sequence

from benchmarks.integrity import THINGS, Case, around, measured, put_in
from kakehashi.data.corpus import Pair
from kakehashi.serving.engine.wire import Found

PAIRS = [Pair("A dog sleeps.", "Ein Hund schläft.")] * 40


def test_what_is_put_in_comes_from_the_seed_and_can_be_taken_out() -> None:
    cases = put_in(PAIRS, 1)
    assert cases == put_in(PAIRS, 1) != put_in(PAIRS, 2)
    assert [len(case.things) for case in cases] == [4, 1, 1, 1] * 10
    assert all(THINGS[thing] in case.text for case in cases for thing in case.things)
    assert {around(case.text, [THINGS[thing] for thing in case.things]) for case in cases} == {"A dog sleeps."}


def test_what_is_there_is_counted_and_the_rest_is_scored() -> None:
    def known(texts: Sequence[str]) -> list[Found]:
        return [Found(("1.250: Ein Hund schläft.",)), Found(("Ein Hund schläft (1,250).",), notes=("lost",))]

    cases = [Case("1,250: A dog sleeps.", ("number",), "Ein Hund schläft.")] * 2
    cells, kept = measured(known, cases, ("en", "de"))
    share, chrf, notes, _ = cells.split(" | ")
    assert (share, notes, kept["number"]) == ("50%", "1", 1) and float(chrf) < 100
    cells, _ = measured(lambda texts: [known(texts)[0]], cases[:1], ("en", "de"))
    assert cells.split(" | ")[:2] == ["100%", "100.0"]
