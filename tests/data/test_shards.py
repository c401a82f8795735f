import os
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from kakehashi.data import shards as module
from kakehashi.data.batching import BatchSampler, collate
from kakehashi.data.corpus import Corpus, read_pairs, write_lines
from kakehashi.data.shards import build_shards
from kakehashi.data.subwords import BPE, Unigram, save_pair, train_subwords
from kakehashi.errors import UserError

WORDS = "zero one two three four five six seven eight nine".split()
WÖRTER = "null eins zwei drei vier fünf sechs sieben acht neun".split()


def sentence(words, number):
    return " ".join(words[int(digit)] for digit in str(number))


@pytest.fixture
def corpus(tmp_path):
    write_lines(tmp_path / "text.en", [sentence(WORDS, i * 37) for i in range(500)])
    write_lines(tmp_path / "text.de", [sentence(WÖRTER, i * 37) for i in range(500)])
    return Corpus(files=str(tmp_path / "text.{en,de}"))


@pytest.fixture(scope="module")
def segmenters():
    pairs = [(sentence(WORDS, i), sentence(WÖRTER, i)) for i in range(0, 3000, 7)]
    return train_subwords(BPE(vocabulary="separate"), [module.Pair(*pair) for pair in pairs])


def build(corpora, segmenters, tmp_path, config=None, max_tokens=100):
    return build_shards(corpora, config or BPE(), segmenters, max_tokens, tmp_path / "cache")


def files(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


@pytest.fixture
def small_chunks(monkeypatch):
    """Many record batches, as a large corpus has."""
    monkeypatch.setattr(module, "CHUNK", 64)


@pytest.mark.usefixtures("small_chunks")
def test_ids_are_those_of_the_segmenters(corpus, segmenters, tmp_path):
    shards = build([corpus], segmenters, tmp_path)
    pairs = list(read_pairs(corpus))
    assert len(shards) == len(pairs) == 500
    for i, pair in enumerate(pairs):
        source, target = shards.pair(i, epoch=0, seed=0)
        assert (source.dtype, target.dtype) == (np.int32, np.int32)
        assert source.tolist() == segmenters.source.encode(pair.source)
        assert target.tolist() == segmenters.target.encode(pair.target)
        assert (shards.source_lengths[i], shards.target_lengths[i]) == (len(source), len(target))
    assert shards.source_lengths.dtype == shards.target_lengths.dtype == np.int32
    assert shards.dropped == {}
    for outside in (-1, 500):
        with pytest.raises(IndexError):
            shards.pair(outside, 0, 0)


def test_ids_lie_in_the_file(corpus, segmenters, tmp_path):
    """A view of the memory map, not a copy of the corpus."""
    source, _ = build([corpus], segmenters, tmp_path).pair(3, 0, 0)
    assert not source.flags.owndata
    assert not source.flags.writeable


@pytest.mark.usefixtures("small_chunks")
def test_from_shards_to_a_batch(corpus, segmenters, tmp_path):
    shards = build([corpus], segmenters, tmp_path)
    sampler = BatchSampler(shards.source_lengths, shards.target_lengths, 512, 0, shards.weights)
    step = sampler.plan(0)[2]
    batch = collate([shards.pair(int(i), 0, 0) for i in step], step)
    pairs = list(read_pairs(corpus))
    for row, index in zip(batch.target_output.tolist(), batch.indices.tolist(), strict=True):
        assert segmenters.target.decode(row) == pairs[index].target


def test_dropped_pairs_are_counted_by_reason(segmenters, tmp_path):
    rows = ["one\teins", "\tzwei", " \u3000\tzwei", "two\t", "two\tzwei", "\t"]
    rows += ["one " * 50 + "\teins", "one\t" + "eins " * 50, "one " * 50 + "\t" + "eins " * 50]
    write_lines(tmp_path / "text.tsv", rows)
    shards = build([Corpus(files=str(tmp_path / "text.tsv"))], segmenters, tmp_path, max_tokens=20)
    assert [segmenters.source.decode(shards.pair(i, 0, 0)[0].tolist()) for i in range(len(shards))] == ["one", "two"]
    expected = {
        "empty source": 3,
        "empty target": 1,
        "source longer than max_tokens": 2,
        "target longer than max_tokens": 1,
    }
    assert shards.dropped == expected
    again = build([Corpus(files=str(tmp_path / "text.tsv"))], segmenters, tmp_path, max_tokens=20)
    assert again.dropped == expected


def test_max_tokens_is_inclusive(segmenters, tmp_path):
    write_lines(tmp_path / "text.tsv", ["one two three\teins"])
    corpus = Corpus(files=str(tmp_path / "text.tsv"))
    length = len(segmenters.source.encode("one two three"))
    assert len(build([corpus], segmenters, tmp_path, max_tokens=length)) == 1
    with pytest.raises(UserError, match=r"no pair is left of .*text\.tsv; dropped: 1 source longer than max_tokens"):
        build([corpus], segmenters, tmp_path, max_tokens=length - 1)


def test_several_corpora_with_weights(corpus, segmenters, tmp_path):
    write_lines(tmp_path / "more.tsv", ["one\teins", "\t", "two\tzwei"])
    more = Corpus(files=str(tmp_path / "more.tsv"), weight=2.5)
    shards = build([corpus, more], segmenters, tmp_path)
    assert shards.weights.tolist() == [1.0] * 500 + [2.5] * 2
    assert shards.pair(501, 0, 0)[1].tolist() == segmenters.target.encode("zwei")

    lighter = build([corpus, more.model_copy(update={"weight": 0.5})], segmenters, tmp_path)
    assert lighter.weights.tolist() == [1.0] * 500 + [0.5] * 2
    assert len(files(tmp_path)) == 1  # a weight needs no new file


def test_built_once_and_again_when_anything_changes(corpus, segmenters, tmp_path):
    def built():
        """How many files the build added."""
        return len(files(tmp_path)) - before

    build([corpus], segmenters, tmp_path)
    before, written = 1, os.stat(tmp_path / "cache" / files(tmp_path)[0])
    build([corpus], segmenters, tmp_path)
    os.utime(tmp_path / "text.en")  # the bytes count, not the time
    build([corpus], segmenters, tmp_path)
    assert os.stat(tmp_path / "cache" / files(tmp_path)[0]).st_ino == written.st_ino
    assert built() == 0

    build([corpus], segmenters, tmp_path, max_tokens=99)
    assert built() == 1
    build([corpus], segmenters, tmp_path, config=BPE(sampling=0.1))
    assert built() == 2
    build([corpus], segmenters._replace(target=segmenters.source), tmp_path)
    assert built() == 3
    build([corpus, corpus], segmenters, tmp_path)
    assert built() == 4
    lines = [sentence(WORDS, i * 37) for i in range(499)] + ["nine"]
    write_lines(tmp_path / "text.en", lines)
    shards = build([corpus], segmenters, tmp_path)
    assert built() == 5
    assert shards.pair(499, 0, 0)[0].tolist() == segmenters.source.encode("nine")


def test_columns_are_part_of_the_key(segmenters, tmp_path):
    write_lines(tmp_path / "text.tsv", ["one\teins\tzwei"])
    for column, word in ((2, "eins"), (3, "zwei")):
        corpus = Corpus(files=str(tmp_path / "text.tsv"), columns=(1, column))
        assert build([corpus], segmenters, tmp_path).pair(0, 0, 0)[1].tolist() == segmenters.target.encode(word)


DAMAGE = {
    "cut": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "end of zeros": lambda data: data[:-200] + bytes(200),
    "hole": lambda data: data[: len(data) // 3] + bytes(len(data) // 3) + data[2 * (len(data) // 3) :],
    "start only": lambda _: b"ARROW1",
    "empty": lambda _: b"",
}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_file_is_built_again(corpus, segmenters, tmp_path, damage):
    shards = build([corpus], segmenters, tmp_path)
    expected = [shards.pair(i, 0, 0)[0].tolist() for i in range(500)]
    path = tmp_path / "cache" / files(tmp_path)[0]
    whole = path.read_bytes()
    path.unlink()  # the map of `shards` keeps the old one
    path.write_bytes(damage(whole))
    again = build([corpus], segmenters, tmp_path)
    assert path.read_bytes() == whole
    assert [again.pair(i, 0, 0)[0].tolist() for i in range(500)] == expected
    assert len(files(tmp_path)) == 1


def test_failed_build_leaves_nothing_behind(corpus, segmenters, tmp_path):
    write_lines(tmp_path / "text.de", ["eins"])
    with pytest.raises(UserError, match=r"text\.en has 500 lines and .*text\.de has 1"):
        build([corpus], segmenters, tmp_path)
    assert files(tmp_path) == []
    with pytest.raises(UserError, match=r"cannot read .*missing\.tsv: No such file"):
        build([Corpus(files=str(tmp_path / "missing.tsv"))], segmenters, tmp_path)


def test_full_disk_is_a_message(corpus, segmenters, tmp_path):
    """A limit on the size of files stands for the full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write the tokenized corpus .*cache.*\.arrow: File too large"):
            build([corpus], segmenters, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write the tokenized corpus"):
        build_shards([corpus], BPE(), segmenters, 100, tmp_path / "file")


BUILD = """
import sys
from pathlib import Path
from kakehashi.data.corpus import Corpus
from kakehashi.data.shards import build_shards
from kakehashi.data.subwords import BPE, load_pair
folder = Path(sys.argv[1])
segmenters = load_pair(folder)
sys.stdin.readline()
for max_tokens in range(100, 120):
    shards = build_shards([Corpus(files=sys.argv[2])], BPE(), segmenters, max_tokens, folder / "cache")
    print(len(shards), shards.pair(499, 0, 0)[0].tolist())
"""


def test_two_processes_build_at_once(corpus, segmenters, tmp_path):
    save_pair(segmenters, tmp_path)
    command = [sys.executable, "-c", BUILD, str(tmp_path), corpus.files]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert outputs[0] == outputs[1] == f"500 {segmenters.source.encode(sentence(WORDS, 499 * 37))}\n" * 20
    assert len(files(tmp_path)) == 20


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("kind", [BPE, Unigram])
def test_sampling_follows_from_seed_epoch_and_index(corpus, tmp_path, kind):
    config = kind(sampling=0.2)
    segmenters = train_subwords(config, read_pairs(corpus))
    shards = build([corpus], segmenters, tmp_path, config)
    pairs = list(read_pairs(corpus))

    def ids(epoch, seed, order: Iterable[int] = range(500)):
        return {i: tuple(tuple(side.tolist()) for side in shards.pair(i, epoch, seed)) for i in order}

    drawn = ids(epoch=1, seed=5)
    assert ids(1, 5, reversed(range(500))) == drawn
    assert ids(2, 5) != drawn
    assert ids(1, 6) != drawn
    for i, (source, target) in drawn.items():
        assert segmenters.source.decode(source) == pairs[i].source
        assert segmenters.target.decode(target) == pairs[i].target
    assert [len(source) for source, _ in drawn.values()] != shards.source_lengths.tolist()


def test_sampled_segmentation_is_never_too_long(corpus, tmp_path):
    config = BPE(sampling=1.0)  # every merge is left out: single characters
    segmenters = train_subwords(config, read_pairs(corpus))
    longest = max(len(segmenters.source.encode(pair.source)) for pair in read_pairs(corpus))
    shards = build([corpus], segmenters, tmp_path, config, max_tokens=longest)
    lengths = [max(len(side) for side in shards.pair(i, 0, 0)) for i in range(len(shards))]
    assert max(lengths) <= longest
    assert len(shards.pair(0, 0, 0)[0]) > shards.source_lengths[0]


@pytest.mark.slow
@pytest.mark.skipif("KAKEHASHI_DATA" not in os.environ, reason="needs the real data: set KAKEHASHI_DATA")
def test_real_text(tmp_path):
    corpus = Corpus(files=str(Path(os.environ["KAKEHASHI_DATA"]) / "tatoeba_enja/train.{en,ja}.gz"))
    pairs = list(read_pairs(corpus))
    segmenters = train_subwords(BPE(), pairs)
    shards = build([corpus], segmenters, tmp_path)
    assert len(shards) + sum(shards.dropped.values()) == len(pairs)
    assert segmenters.target.decode(shards.pair(40_000, 0, 0)[1].tolist()) == pairs[40_000].target


@pytest.mark.parametrize("sampling", [0.0, 0.3])
def test_a_tag_stands_in_front_of_each_source_of_its_corpus(corpus, tmp_path, sampling):
    config = Unigram(sampling=sampling)
    back = Corpus(files=str(tmp_path / "text.{de,en}"), tag="en")
    segmenters = train_subwords(config, [*read_pairs(corpus), *read_pairs(back)], ["en"])
    shards = build([corpus, back], segmenters, tmp_path, config)
    tag, pairs = segmenters.source.tag("en"), list(read_pairs(corpus))
    assert len(shards) == 1000
    for i, pair in enumerate(pairs):
        (source, target), (tagged, answer) = shards.pair(i, 0, 1), shards.pair(500 + i, 0, 1)
        assert tag not in source and tag not in target and tag not in answer
        assert tagged[0] == tag and tag not in tagged[1:]
        decoded = [segmenters.source.decode(ids.tolist()) for ids in (source, target, tagged, answer)]
        assert decoded == [pair.source, pair.target, pair.target, pair.source]
    assert (shards.source_lengths[500:] == shards.target_lengths[:500] + 1).all()


def test_another_tag_is_another_file_and_a_tag_counts_among_the_tokens(corpus, tmp_path):
    pairs = list(read_pairs(corpus))
    segmenters = train_subwords(BPE(), pairs, ["a", "b"])
    longest = int(build([corpus], segmenters, tmp_path).source_lengths.max())
    tagged = [corpus.model_copy(update={"tag": name}) for name in ("a", "b")]
    paths = [build([each], segmenters, tmp_path).path for each in (corpus, *tagged)]
    assert len(set(paths)) == 3
    limit = max(longest, int(build([corpus], segmenters, tmp_path).target_lengths.max()))
    shards = build([tagged[0]], segmenters, tmp_path, max_tokens=limit)
    assert int(shards.source_lengths.max()) <= limit
