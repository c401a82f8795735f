"""Segmentations drawn at random: how often each comes, by enumeration; what decides it; what is kept of the text."""

import io
import math
import struct
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from kakehashi.data.corpus import Pair
from kakehashi.data.extension import extend
from kakehashi.data.listed import ListedSegmenter, Special
from kakehashi.data.sampling import LONGEST, Sampler
from kakehashi.data.subwords import SegmenterPair
from kakehashi.errors import UserError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
KINDS = {"unigram": 1, "bpe": 2, "word": 3}
PIECES = "▁ t h e a n d th he ▁t an nd the ▁th and ▁the ▁a eat".split()
SCORES = {piece: -2.0 - 0.2 * i for i, piece in enumerate(PIECES)}  # for unigram, and for BPE an order of merges
DRAWS = 10_000

Distribution = Mapping[tuple[str, ...], float]


def model_of(kind: str, *others: tuple[str, float, int]) -> bytes:
    """A SentencePiece model of PIECES and others, which neither normalizes nor adds a space in front."""

    def field(number: int, body: bytes) -> bytes:
        return bytes([number << 3 | 2, len(body)]) + body

    pieces = [("<unk>", 0.0, UNKNOWN), *((piece, score, NORMAL) for piece, score in SCORES.items()), *others]
    entries = (field(1, piece.encode()) + b"\x15" + struct.pack("<f", s) + bytes([0x18, t]) for piece, s, t in pieces)
    kind_of_model, as_it_stands = bytes([0x18, KINDS[kind]]), b"\x18\x00\x20\x00"
    return b"".join(field(1, entry) for entry in entries) + field(2, kind_of_model) + field(3, as_it_stands)


def processor(model: bytes) -> Any:
    loaded: Any = sentencepiece.SentencePieceProcessor()
    loaded.LoadFromSerializedProto(model)
    return loaded


def sampler(model: bytes) -> Sampler:
    return Sampler(model, processor(model))


# How often: every segmentation against its share


def shares(text: str, scores: Mapping[str, float], alpha: float) -> Distribution:
    """P(x)^alpha / sum, of all segmentations x of a text; an unknown character is 10 nats below the rarest piece."""

    def cuts(text: str) -> Iterator[tuple[str, ...]]:
        if not text:
            yield ()
        for end in range(1, len(text) + 1):
            if text[:end] in scores or end == 1:
                yield from ((text[:end], *rest) for rest in cuts(text[end:]))

    unknown = min(SCORES.values()) - 10
    weights = {x: math.exp(alpha * sum(scores.get(piece, unknown) for piece in x)) for x in cuts(text)}
    return {x: weight / sum(weights.values()) for x, weight in weights.items()}


def dropouts(text: list[str], scores: Mapping[str, float], p: float, frozen: str = "") -> Distribution:
    """As SentencePiece merges: the best pair is next; one that was left out stays so, as long as both its parts do."""
    found: dict[tuple[str, ...], float] = defaultdict(float)

    def go_on(symbols: tuple[tuple[int, str], ...], left_out: frozenset[Any], chance: float) -> None:
        pairs = [
            (-scores[a + b], i, (start, a, b))
            for i, ((start, a), (_, b)) in enumerate(pairwise(symbols))
            if a + b in scores and (start, a, b) not in left_out and frozen not in (a, b)
        ]
        if not pairs:
            found[tuple(piece for _, piece in symbols)] += chance
            return
        _, i, (start, a, b) = pair = min(pairs)
        go_on((*symbols[:i], (start, a + b), *symbols[i + 2 :]), left_out, chance * (1 - p))
        go_on(symbols, left_out | {pair[2]}, chance * p)

    starts = [sum(map(len, text[:i])) for i in range(len(text))]
    go_on(tuple(zip(starts, text, strict=True)), frozenset(), 1.0)
    return found


def spelled(of: Distribution, known: Mapping[str, float]) -> Distribution:
    """Neighbouring unknown characters as one piece."""
    joined: dict[tuple[str, ...], float] = defaultdict(float)
    for x, share in of.items():
        runs = [(k, list(pieces)) for k, pieces in groupby(x, known.__contains__)]
        joined[tuple(piece for k, run in runs for piece in (run if k else ["".join(run)]))] += share
    return joined


def assert_drawn_as(expected: Distribution, model: bytes, text: str, strength: float) -> None:
    """Pearson's chi-square over all segmentations, rare ones together, within four sigma of its mean."""
    drawing = sampler(model)
    counts = Counter(tuple(drawing.draw(text, seed, strength)) for seed in range(DRAWS))
    assert counts.keys() <= expected.keys()
    cells = [(counts[x], share * DRAWS) for x, share in expected.items() if share * DRAWS >= 5]
    assert len(cells) > 2
    seen, due = (sum(column) for column in zip(*cells, strict=True))
    cells += [(DRAWS - seen, DRAWS - due)] if DRAWS - due > 5 else []
    square = sum((seen - due) ** 2 / due for seen, due in cells)
    assert square < len(cells) + 4 * (2 * len(cells)) ** 0.5


TEXTS = ["the hand", "eat the", "tandheat", "dxxthe"]


@pytest.mark.parametrize("alpha", [0.1, 1.0])
@pytest.mark.parametrize("text", TEXTS)
def test_unigram_draws_in_proportion_to_a_power_of_the_probability(text: str, alpha: float) -> None:
    expected = spelled(shares(text.replace(" ", "▁"), SCORES, alpha), SCORES)
    assert_drawn_as(expected, model_of("unigram"), text, alpha)


@pytest.mark.parametrize("p", [0.1, 0.6])
@pytest.mark.parametrize("text", TEXTS)
def test_bpe_leaves_merges_out(text: str, p: float) -> None:
    expected = spelled(dropouts([*text.replace(" ", "▁")], SCORES, p), SCORES)
    assert_drawn_as(expected, model_of("bpe"), text, p)


def test_pieces_that_were_asked_for_and_pieces_out_of_use() -> None:
    others = ("hea", -9.0, USER_DEFINED), ("dt", -0.1, UNUSED)
    expected = shares("dtheand", {**SCORES, "hea": -0.1}, 0.3)
    assert_drawn_as(expected, model_of("unigram", *others), "dtheand", 0.3)
    extended = ("hean", -8.0, NORMAL), *others  # what was asked for is not merged with others
    scores = {**SCORES, "hean": -8.0, "hea": -9.0}
    assert_drawn_as(
        dropouts([*"dandt", "hea", *"nd"], scores, 0.4, "hea"), model_of("bpe", *extended), "dandtheand", 0.4
    )


def test_a_word_too_long_to_be_kept_is_drawn_as_a_short_one() -> None:
    word = "hand" * (LONGEST // 4 + 1)
    for kind, strength in (("unigram", 0.3), ("bpe", 0.3)):
        drawing = sampler(model_of(kind))
        pieces = Counter(piece for seed in range(500) for piece in drawing.draw(word, seed, strength))
        short = Counter(piece for seed in range(3500) for piece in drawing.draw("xhandx", seed, strength))
        for piece in ("h", "a", "n", "d", "an", "nd", "and"):
            assert pieces[piece] == pytest.approx(short[piece], abs=5 * max(9, short[piece]) ** 0.5)


# What is kept


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_without_chance_it_is_the_best_segmentation(kind: str) -> None:
    model = model_of(kind, ("hea", -9.0, USER_DEFINED))
    drawing, best = sampler(model), processor(model)
    for text in [*TEXTS, "", " ", "heathen xx and  the", "hand" * 20]:
        assert drawing.draw(text, 1, 1e6 if kind == "unigram" else 1e-15) == best.encode(text, out_type=str)


def trained(kind: str, **options: Any) -> bytes:
    written = io.BytesIO()
    trainer: Any = sentencepiece.SentencePieceTrainer
    lines = ["the cat sat on the mat", "a dog and a cat", "the dog ran"] * 20
    settings = {"vocab_size": 40, "hard_vocab_limit": False, "minloglevel": 2, **options}
    trainer.train(sentence_iterator=iter(lines), model_writer=written, model_type=kind, **settings)
    return written.getvalue()


OPTIONS: list[dict[str, Any]] = [
    {},
    {"byte_fallback": True, "vocab_size": 320},
    {"user_defined_symbols": ["<x>", "og", "▁d"], "normalization_rule_name": "nmt_nfkc_cf"},
    {"treat_whitespace_as_suffix": True, "split_by_whitespace": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=[" ".join(each) or "plain" for each in OPTIONS])
@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_it_says_what_the_best_segmentation_says(kind: str, options: dict[str, Any]) -> None:
    model = trained(kind, **options)
    loaded = processor(model)
    listed = ListedSegmenter(model, [loaded.id_to_piece(id) for id in range(len(loaded))], Special(1, 1, 2, 0))
    strength = 1e6 if kind == "unigram" else 1e-15
    for text in ["the cat  sat", " a dog<x>dog", "ﬁne ＣＡＴ 🙂🙃 \u2581x", "", "  ", "on\tthe\x00mat", "林檎 cat"]:
        best = listed.encode(text)
        assert listed.sample(text, 1, strength) == best
        for seed in range(20):
            assert listed.decode(listed.sample(text, seed, 0.3)) == listed.decode(best)


def test_new_pieces_are_drawn_too() -> None:
    for kind in ("unigram", "bpe"):
        old = ListedSegmenter(model_of(kind), ["<unk>", *PIECES], Special(0, 0, 0, 0))
        new = extend(SegmenterPair(old, old), [Pair("handthe", "handthe")] * 20, 5).source
        drawn = {id for seed in range(50) for id in new.sample("handthe", seed, 0.2)}
        assert drawn - set(range(old.size)) and drawn & set(range(old.size))


def test_other_kinds_are_refused() -> None:
    with pytest.raises(UserError, match="only unigram and BPE"):
        sampler(model_of("word"))


# What decides

ELSEWHERE = """
import sys
from pathlib import Path
from tests.data.test_sampling import drawn
print(drawn())
"""


def drawn() -> list[list[str]]:
    texts = [" ".join([text] * 3) for text in TEXTS]
    return [
        sampler(model_of(kind)).draw(text, seed, 0.3)
        for kind in KINDS
        if kind != "word"
        for seed in range(9)
        for text in texts
    ]


def test_the_same_in_every_process() -> None:
    """SentencePiece's own sampler, seeded alike, gives other draws in each process."""
    root = Path(__file__).parents[2]
    other = subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=root, capture_output=True, text=True, check=True)
    assert other.stdout == f"{drawn()}\n"
