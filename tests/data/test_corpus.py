import gzip
import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kakehashi.config import Config, ConfigError, dump, load, resolve, schema
from kakehashi.data.corpus import (
    Corpora,
    Corpus,
    Pair,
    brace_path,
    line_writer,
    read_lines,
    read_pairs,
    read_rows,
    write_lines,
)
from kakehashi.errors import UserError

LINES = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=20))
SUFFIXES = ["", ".gz", ".zst"]


class Recipe(Config):
    train: Corpora


def aligned(folder: Path, source: list[str], target: list[str], suffix: str = "") -> Corpus:
    write_lines(folder / f"train.en{suffix}", source)
    write_lines(folder / f"train.de{suffix}", target)
    return Corpus(files=str(folder / f"train.{{en,de}}{suffix}"))


def failure(corpus: Corpus) -> str:
    with pytest.raises(UserError) as caught:
        list(read_pairs(corpus))
    return str(caught.value)


# Lines


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=50)
@given(lines=LINES)
def test_lines_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, lines: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / f"lines{suffix}"
    expected = [line.rstrip("\r") for line in lines]
    write_lines(path, expected)
    assert list(read_lines(path)) == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unicode_line_separators_are_text_and_carriage_returns_are_not(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text{suffix}"
    data = "a\u0085b\u2028c\x0cd\r\ne\rf\n\nlast".encode()
    packed = {"": data, ".gz": gzip.compress(data, mtime=0), ".zst": zstandard.compress(data)}[suffix]
    path.write_bytes(packed)
    assert list(read_lines(path)) == ["a\u0085b\u2028c\x0cd", "e\rf", "", "last"]


def test_a_byte_order_mark_is_no_text_except_where_it_belongs_to_the_text(tmp_path: Path) -> None:
    path = tmp_path / "marked"
    path.write_bytes(b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n")
    assert list(read_lines(path)) == ["one", "\ufefftwo"]
    write_lines(path, ["\ufeffone"])
    assert list(read_lines(path)) == ["\ufeffone"]


def test_archives_in_several_parts_are_read_whole(tmp_path: Path) -> None:
    for suffix, pack in ((".gz", gzip.compress), (".zst", zstandard.compress)):
        path = tmp_path / f"parts{suffix}"
        path.write_bytes(pack(b"one\ntw") + pack(b"o\nthree\n"))
        assert list(read_lines(path)) == ["one", "two", "three"]


def test_lines_longer_than_a_block_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kakehashi.data.corpus.BLOCK", 7)
    lines = ["橋" * 11, "", "x" * 40]
    for suffix in SUFFIXES:
        path = tmp_path / f"long{suffix}"
        write_lines(path, lines)
        assert list(read_lines(path)) == lines


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_truncated_a_corrupt_and_a_false_archive_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"lines{suffix}"
    write_lines(path, [f"line {number}" for number in range(2000)])
    whole = path.read_bytes()
    middle = len(whole) // 2
    for broken in (whole[:middle], whole[:-1], whole[:middle] + b"\xff\x00\xff\x00" + whole[middle + 4 :], b"plain\n"):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=rf"lines\{suffix} is not a whole {suffix} archive"):
            list(read_lines(path))


def test_what_is_no_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.en.gz", ["x"])
    with pytest.raises(UserError, match=r"there is no file .*trian\.en\.gz; did you mean .*train\.en\.gz\?"):
        next(read_lines(tmp_path / "trian.en.gz"))
    with pytest.raises(UserError, match="there is no folder"):
        next(read_lines(tmp_path / "nowhere" / "train.en"))
    with pytest.raises(UserError, match="is a folder: name a file in it"):
        next(read_lines(tmp_path))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"

    def denied(*_: object) -> None:  # chmod does not keep root out
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(UserError, match=r"cannot read .*secret: Permission denied"):
        next(read_lines(path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"good\ncaf\xe9\n", r"text, line 2: byte 0xe9 at position 4 is not UTF-8; .*WINDOWS-1252"),
        ("日本".encode("utf-16"), "is UTF-16 text: convert it with `iconv -f UTF-16 -t UTF-8`"),
        (gzip.compress(b"x", mtime=0), r"is a gzip archive: let its name end in \.gz"),
        (b"BZh91AY&SY\xff", "is a bzip2 archive"),
    ],
)
def test_what_is_not_utf8_is_refused_with_file_and_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        list(read_lines(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_write_that_fails_leaves_the_older_file_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text{suffix}"
    write_lines(path, ["old"])
    with pytest.raises(ValueError, match="cannot hold a line break"):
        write_lines(path, ["new", "a\nb"])
    with pytest.raises(KeyboardInterrupt), line_writer(path) as write:
        write("new")
        raise KeyboardInterrupt
    assert list(read_lines(path)) == ["old"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_where_nothing_can_be_written_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    write_lines(tmp_path / "file", ["x"])
    for path in (tmp_path / "file" / "text", tmp_path):
        with pytest.raises(UserError, match="cannot write"):
            write_lines(path, ["x"])


def test_equal_lines_give_equal_archives(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        write_lines(tmp_path / f"a{suffix}", ["x", "y"])
        write_lines(tmp_path / "deep" / f"b{suffix}", ["x", "y"])
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / "deep" / f"b{suffix}").read_bytes()


# Pairs


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_aligned_files_tsv_and_jsonl_hold_the_same_pairs(tmp_path: Path, suffix: str) -> None:
    pairs = [Pair("one", "eins"), Pair("", "nichts"), Pair('"two"\u2028', "zwei ")]
    write_lines(tmp_path / f"p.tsv{suffix}", [f"{source}\t{target}\tmore" for source, target in pairs])
    rows = [json.dumps({"source": source, "target": target, "id": 1}) for source, target in pairs]
    write_lines(tmp_path / f"p.jsonl{suffix}", rows)
    both = aligned(tmp_path, [pair.source for pair in pairs], [pair.target for pair in pairs], suffix)
    assert list(read_pairs(both)) == pairs
    for layout in ("tsv", "jsonl"):
        assert list(read_pairs(Corpus(files=str(tmp_path / f"p.{layout}{suffix}")))) == pairs


def test_columns_choose_the_sides(tmp_path: Path) -> None:
    write_lines(tmp_path / "p.tsv", ["7\teins\tone"])
    write_lines(tmp_path / "p.jsonl", ['{"de": "eins", "en": "one"}'])
    assert list(read_pairs(Corpus(files=str(tmp_path / "p.tsv"), columns=(3, 2)))) == [Pair("one", "eins")]
    assert list(read_pairs(Corpus(files=str(tmp_path / "p.jsonl"), columns=("en", "de")))) == [Pair("one", "eins")]


def test_rows_keep_the_lines_on_which_a_pair_stands(tmp_path: Path) -> None:
    write_lines(tmp_path / "p.tsv", ["one\teins\tCC-BY"])
    (row,) = read_rows(Corpus(files=str(tmp_path / "p.tsv")))
    assert row.lines == ("one\teins\tCC-BY",)
    (row,) = read_rows(aligned(tmp_path, ["one"], ["eins"]))
    assert row.lines == ("one", "eins")


@pytest.mark.parametrize(("source", "target"), [(3, 5), (5, 3)])
def test_different_numbers_of_lines_are_refused_with_both_counts(tmp_path: Path, source: int, target: int) -> None:
    message = failure(aligned(tmp_path, ["x"] * source, ["y"] * target))
    assert f"train.en has {source} lines and {tmp_path}/train.de has {target}: line 4 of the longer" in message


def test_an_empty_file_is_refused_by_its_name(tmp_path: Path) -> None:
    assert "train.de is empty" in failure(aligned(tmp_path, ["x"], []))
    assert "train.en is empty" in failure(aligned(tmp_path, [], []))
    write_lines(tmp_path / "p.tsv.zst", [])
    assert "p.tsv.zst is empty" in failure(Corpus(files=str(tmp_path / "p.tsv.zst")))


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("p.tsv", "alone", r"p\.tsv, line 2: 1 columns where column 2 is wanted"),
        ("p.jsonl", "{", r"p\.jsonl, line 2: not JSON, column 2"),
        ("p.jsonl", "[1]", r"p\.jsonl, line 2: a row is an object"),
        ("p.jsonl", '{"source": "x"}', r"line 2: no key 'target' among \['source'\]; `columns: "),
        ("p.jsonl", '{"source": "x", "target": 3}', "line 2: the value of 'target' is not a string: 3"),
        ("p.jsonl", '{"source": "x", "target": "a\\nb"}', "line 2: the value of 'target' holds a line break"),
        ("p.jsonl", '{"source": "\\ud800", "target": "y"}', "line 2: the value of 'source' holds half a surrogate"),
    ],
)
def test_a_malformed_row_is_refused_with_file_and_line(tmp_path: Path, name: str, row: str, message: str) -> None:
    good = {"p.tsv": "x\ty", "p.jsonl": '{"source": "x", "target": "y"}'}[name]
    write_lines(tmp_path / name, [good, row])
    with pytest.raises(UserError, match=message):
        list(read_pairs(Corpus(files=str(tmp_path / name))))


# Recipes


def test_a_string_a_mapping_and_a_list_of_them_are_corpora(tmp_path: Path) -> None:
    path = f"{tmp_path}/train.{{en,de}}"
    single = (Corpus(files=path),)
    for form in (path, {"files": path}, [path], [{"files": path}]):
        assert resolve({"train": form}, Recipe).train == single
    several = resolve({"train": [path, {"files": "/b.tsv", "weight": 2, "columns": [3, 1]}]}, Recipe).train
    assert several == (*single, Corpus(files="/b.tsv", weight=2.0, columns=(3, 1)))
    assert Recipe(train=several).train == several


def test_paths_are_relative_to_the_recipe_and_a_dump_loads_back(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text('train: ["data/a.{en,de}.gz", {files: b.jsonl, columns: [en, de]}]\n')
    recipe = load(tmp_path / "recipe.yaml", Recipe)
    assert recipe.train[0].paths == (tmp_path / "data/a.en.gz", tmp_path / "data/a.de.gz")
    assert recipe.train[1].paths == (tmp_path / "b.jsonl",)
    (tmp_path / "again.yaml").write_text(dump(recipe))
    assert load(tmp_path / "again.yaml", Recipe) == recipe


def test_the_json_schema_takes_the_three_forms() -> None:
    forms = schema(Recipe)["properties"]["train"]["anyOf"]
    assert [form.get("type", "mapping") for form in forms] == ["string", "mapping", "array"]
    assert len(forms[2]["items"]["anyOf"]) == 2 and forms[2]["minItems"] == 1


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("train.txt", r"one file that holds both sides ends in \.tsv or \.jsonl"),
        ("train.{en,de,fr}", "one pair of braces"),
        ("{en,de}/{a,b}", "one pair of braces"),
        ("train.{en", "one pair of braces"),
        ({"files": "a.{en,de}", "columns": [1, 2]}, "columns belong to"),
        ({"files": "a.tsv", "columns": [0, 1]}, "numbers from 1"),
        ({"files": "a.tsv", "columns": ["en", "de"]}, "numbers from 1"),
        ({"files": "a.jsonl.gz", "columns": [1, 2]}, "are keys"),
        ({"files": "a.tsv", "weight": 0}, "weight"),
        ({"files": "a.tsv", "wieght": 1.0}, "did you mean 'weight'"),
        ([], "train"),
        (3, "train"),
    ],
)
def test_an_impossible_corpus_is_refused_before_anything_is_read(train: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve({"train": train}, Recipe)


def test_corpora_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Corpus(files="/a.tsv").weight = 2.0  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("/d/train.en.gz", "/d/train.es.gz", "/d/train.{en,es}.gz"),
        ("/d/en/a.txt", "/d/de/a.txt", "/d/{en,de}/a.txt"),
        ("/d/src.txt", "/d/tgt.txt", "/d/{src,tgt}.txt"),
        ("/a/x", "/b/y", "/{a/x,b/y}"),
        ("/d/x.en", "/d/x.en.de", "/d/x.en{,.de}"),
    ],
)
def test_two_paths_are_written_as_one(source: str, target: str, expected: str) -> None:
    assert brace_path(Path(source), Path(target)) == expected


NAMES = st.text(st.sampled_from("ab./_-"), min_size=1, max_size=8).map(lambda name: f"/d/{name}")


@given(source=NAMES, target=NAMES)
def test_one_path_for_two_leads_back_to_the_two(source: str, target: str) -> None:
    corpus = Corpus.model_construct(files=brace_path(Path(source), Path(target)))
    assert corpus.paths == (Path(source), Path(target))


def test_a_path_that_cannot_be_written_as_one_is_refused() -> None:
    with pytest.raises(UserError, match="a comma or a brace"):
        brace_path(Path("/d/a,b.en"), Path("/d/a,b.de"))


def test_multi30k_reads_as_its_description_says(data_dir: Path) -> None:
    pairs = list(read_pairs(Corpus(files=str(data_dir / "multi30k" / "train.{en,de}.gz"))))
    assert len(pairs) == 29_000
    assert pairs[7365].target.startswith('"') and "\t" in pairs[7365].target
