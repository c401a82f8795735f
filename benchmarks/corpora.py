"""The same data for every system, in one folder.

text/{train,valid}.{source,target}      what a user has
pieces/{train,valid}.{source,target}    the same cut into subwords, with spaces between them
subwords/subwords.model                 the SentencePiece model that cut it
vocabulary.txt                          its pieces; line n is number n, from 0
"""

import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import sentencepiece

from kakehashi.config import resolve
from kakehashi.data.corpus import Corpus, Pair, read_pairs, write_lines
from kakehashi.data.subwords import BEGIN, BPE, END, JOINT_FILE, PAD, UNKNOWN, Segmenter, Unigram, train_subwords

SEED = 1
RANDOM_PAIRS, SHORTEST, LONGEST, UNLIKE = 20_000, 10, 50, 4  # words of a side; how far the other side may be off


def multi30k(folder: Path, vocabulary: int, valid: int) -> None:
    """English to German, with joint unigram subwords; of the development set the first `valid` pairs."""
    pattern = "${KAKEHASHI_DATA}/multi30k/%s.{en,de}.gz"
    train, development = (list(read_pairs(resolve({"files": pattern % part}, Corpus))) for part in ("train", "val"))
    of_pairs(folder, Unigram(size=vocabulary), train, development[:valid])


def of_pairs(folder: Path, subwords: Unigram | BPE, train: Sequence[Pair], valid: Sequence[Pair]) -> None:
    """With joint subwords, learnt from `train`."""
    segmenter = cast(Segmenter, train_subwords(subwords, train).source)
    _write(folder, segmenter, {"train": train, "valid": valid})


def random_words(folder: Path, vocabulary: int, valid: int) -> None:
    """Pairs of words drawn evenly: what a large vocabulary costs, where no text is at hand that fills one."""
    draw = random.Random(SEED)
    words = [f"w{i}" for i in range(vocabulary - 4)]

    def line(length: int) -> str:
        return " ".join(draw.choices(words, k=length))

    lengths = (draw.randint(SHORTEST, LONGEST) for _ in range(RANDOM_PAIRS))
    pairs = [Pair(line(length), line(length + draw.randint(-UNLIKE, UNLIKE))) for length in lengths]
    _write(folder, _segmenter_of(words), {"train": pairs, "valid": pairs[:valid]})


def _segmenter_of(words: Sequence[str]) -> Segmenter:
    """One piece a word."""
    model = io.BytesIO()
    cast(Any, sentencepiece.SentencePieceTrainer).train(
        sentence_iterator=iter(words),
        model_writer=model,
        model_type="word",
        vocab_size=len(words) + 4,
        pad_id=PAD,
        bos_id=BEGIN,
        eos_id=END,
        unk_id=UNKNOWN,
        minloglevel=2,
    )
    return Segmenter(model.getvalue())


def _write(folder: Path, segmenter: Segmenter, parts: Mapping[str, Sequence[Pair]]) -> None:
    for name in ("text", "pieces", "subwords"):
        (folder / name).mkdir(parents=True)
    segmenter.save(folder / "subwords" / JOINT_FILE)
    write_lines(folder / "vocabulary.txt", map(segmenter.piece, range(segmenter.size)))
    for part, pairs in parts.items():
        for side in Pair._fields:
            lines = [getattr(pair, side) for pair in pairs]
            write_lines(folder / "text" / f"{part}.{side}", lines)
            pieces = (" ".join(map(segmenter.piece, ids)) for ids in segmenter.encode_all(lines))
            write_lines(folder / "pieces" / f"{part}.{side}", pieces)
