import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kakehashi.data.check import OverlapReport, Report, check, clean, overlap
from kakehashi.data.corpus import Corpus, Pair, read_lines, read_pairs, write_lines
from kakehashi.data.problems import PROBLEMS
from kakehashi.errors import UserError

# Sound text of the usual lengths, none of it twice.
GERMAN = [Pair(f"The train number {n} leaves today.", f"Der Zug Nummer {n} fährt heute ab.") for n in range(60)]
JAPANESE = [Pair(f"The train number {n} leaves today.", f"本日、{n}番の列車が出発します。") for n in range(60)]


def corpus(folder: Path, pairs: list[Pair], name: str = "train") -> Corpus:
    write_lines(folder / f"{name}.en", [pair.source for pair in pairs])
    write_lines(folder / f"{name}.xx", [pair.target for pair in pairs])
    return Corpus(files=str(folder / f"{name}.{{en,xx}}"))


def counts(report: Report) -> dict[str, int]:
    return {finding.problem.name: finding.count for finding in report.findings}


def with_pair(folder: Path, source: str, target: str, usual: list[Pair] = GERMAN) -> dict[str, int]:
    return counts(check([corpus(folder, [*usual, Pair(source, target)])]))


def test_a_sound_corpus_has_no_findings(tmp_path: Path) -> None:
    for pairs, scripts in ((GERMAN, ("LATIN", "LATIN")), (JAPANESE, ("LATIN", "CJK"))):
        report = check([corpus(tmp_path, pairs)])
        assert (report.pairs, report.kept, report.dropped, report.findings) == (60, 60, {}, ())
        assert report.scripts == scripts
        assert report.lines() == ["60 pairs: 60 to keep, 0 to drop"]


@pytest.mark.parametrize(
    ("problem", "source", "target"),
    [
        ("empty", "The engine is cold.", ""),
        ("empty", " \u3000", "Der Motor ist kalt."),
        ("replacement", "The engine is cold.", "Der Motor l\ufffduft nicht."),
        ("control", "The engine is cold.", "Der Motor\x08 ist kalt."),
        ("control", "The engine is\rcold.", "Der Motor ist kalt."),
        ("control", "The engine \x96 it is cold.", "Der Motor, er ist kalt."),
        ("mojibake", "The dog runs over there.", "Der Hund lÃ¤uft da drÃ¼ben."),
        ("mojibake", "It\u00e2\u20ac\u2122s cold in the morning.", "Es ist kalt am Morgen."),
        ("too_long", "word " * 201, "Wort " * 201),
        ("untranslated", "This line was never translated.", "this line  was never translated. "),
        ("wrong_script", "The engine is cold today.", "Двигатель сегодня холодный."),
        ("proportion", "The engine is cold today, as it was yesterday and the day before that.", "@@"),
        ("proportion", "Hm.", "Der Motor ist heute kalt, wie er es auch gestern und am Tag zuvor gewesen ist."),
        ("duplicate", *GERMAN[3]),
        ("copied", "Berlin Hauptbahnhof", "Berlin Hauptbahnhof"),
        ("markup", "The <b>engine</b> is cold.", "Der Motor ist kalt."),
        ("markup", "The engine &amp; the wheel.", "Der Motor und das Rad."),
        ("separators", "The engine is cold.", "Der Motor\tist kalt."),
        ("separators", "The engine\u2028is cold.", "Der Motor ist kalt."),
        ("invisible", "The engine is cold.", "Der Mo\u200btor ist kalt."),
        ("margins", "The engine is cold.", "Der Motor ist kalt. "),
        ("margins", "\u3000The engine is cold.", "Der Motor ist kalt."),
    ],
)
def test_each_problem_is_found_alone(tmp_path: Path, problem: str, source: str, target: str) -> None:
    report = check([corpus(tmp_path, [*GERMAN, Pair(source, target)])])
    (finding,) = [finding for finding in report.findings if finding.problem.name != "margins" or problem == "margins"]
    assert (finding.problem.name, finding.count) == (problem, 1)
    (example,) = finding.examples
    assert (example.line, example.source, example.target) == (61, source, target)
    assert report.dropped == ({problem: 1} if finding.problem.dropped else {})
    assert report.kept == 61 - finding.problem.dropped


@pytest.mark.parametrize(
    "garbled", [("cp1252", "bl\u00e4 \u0141\u00f3d\u017a"), ("latin-1", "日本語の文"), ("latin-1", "мир да")]
)
def test_utf8_that_was_read_as_another_encoding_is_found(tmp_path: Path, garbled: tuple[str, str]) -> None:
    encoding, text = garbled
    misread = "".join(byte.decode(encoding, "replace") for byte in (bytes([value]) for value in text.encode()))
    assert "mojibake" in with_pair(tmp_path, "It is here today.", misread)


def test_utf8_that_was_read_as_shift_jis_is_found(tmp_path: Path) -> None:
    misread = "これは日本語です".encode().decode("cp932", "ignore")
    assert "mojibake" in with_pair(tmp_path, "This is Japanese text.", misread, JAPANESE)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("She cried: “Fun”…", "Sie rief „Viel Spaß“…"),
        ("Where he was “born”, he said.", "« Là où il est né\u00a0», dit-il."),
        ("Good morning... he shouted.", "Ele gritou: “BOM DIA, MANHÃ…”"),
        ("It is 30 °C in São Tomé.", "In São Tomé sind es 30\u00a0°C."),
        ("Press Ctrl+Alt+Del now & wait.", "Jetzt Strg+Alt+Entf drücken & warten."),
        ("If a < b and b > c, then stop.", "Wenn a < b und b > c, dann halt."),
        ("I like 東京 very much.", "Ich mag 東京 sehr gern."),
        ("3.14", "3.14"),
    ],
)
def test_what_is_right_raises_no_alarm(tmp_path: Path, source: str, target: str) -> None:
    assert with_pair(tmp_path, source, target) == {}


@pytest.mark.parametrize("target", ["糸が縺れた。", "DVDを見る", "AltF5 または Super↑", "ﾊﾝｶｸも読めます", "〆切は々"])
def test_what_is_right_in_japanese_raises_no_alarm(tmp_path: Path, target: str) -> None:
    assert with_pair(tmp_path, "Press AltF5 or Super.", target, JAPANESE) == {}


def test_a_latin_sentence_in_a_japanese_column_is_foreign_but_a_name_is_not(tmp_path: Path) -> None:
    foreign = with_pair(tmp_path, "Could you send it to me?", "Please send me your resume.", JAPANESE)
    assert foreign == {"wrong_script": 1}
    named = "Photo OCRはPhoto Optical Character Recognitionの略です。"
    assert with_pair(tmp_path, "Photo OCR stands for Photo Optical Character Recognition.", named, JAPANESE) == {}
    assert with_pair(tmp_path, "Hewlett-Packard LaserJet", "Hewlett-Packard LaserJet", JAPANESE) == {"copied": 1}


def test_a_column_of_two_scripts_has_none(tmp_path: Path) -> None:
    cyrillic = [Pair(f"The engine number {n} is cold.", f"Мотор број {n} је данас хладан.") for n in range(30)]
    report = check([corpus(tmp_path, [*GERMAN, *cyrillic])])
    assert report.scripts == ("LATIN", None)
    assert "wrong_script" not in counts(report)


def test_proportion_is_judged_by_the_usual_ratio_of_the_corpus(tmp_path: Path) -> None:
    long_targets = [Pair("x" * 20 + str(n), "y" * 120) for n in range(30)]
    assert counts(check([corpus(tmp_path, long_targets)])) == {}
    assert counts(check([corpus(tmp_path, [*long_targets, Pair("x" * 30, "y" * 25)])])) == {"proportion": 1}


def test_a_shifted_part_of_a_corpus_is_mostly_found_by_proportion(tmp_path: Path) -> None:
    chance = random.Random(7)
    lengths = [chance.choice([10, 20, 40, 100, 300]) for _ in range(400)]
    pairs = [Pair("a" * length + f" {n}", "b" * length + f" {n}") for n, length in enumerate(lengths)]
    shifted = [
        Pair(pair.source, other.target) for pair, other in zip(pairs[300:], pairs[301:] + pairs[300:301], strict=True)
    ]
    assert counts(check([corpus(tmp_path, pairs)])) == {}
    assert counts(check([corpus(tmp_path, pairs[:300] + shifted)]))["proportion"] > 30


def test_the_first_of_equal_pairs_is_kept_and_other_targets_are_reported(tmp_path: Path) -> None:
    one, other = Pair("It is gone now.", "Es ist nun weg."), Pair("It is gone now.", "Nun ist es fort.")
    report = check([corpus(tmp_path, [*GERMAN, one, one, other]), corpus(tmp_path, [one], "more")])
    assert counts(report) == {"duplicate": 2, "ambiguous": 2}
    assert (report.pairs, report.kept, report.dropped) == (64, 62, {"duplicate": 2})
    duplicate, ambiguous = report.findings
    assert [(Path(e.files).name, e.line) for e in duplicate.examples] == [("train.{en,xx}", 62), ("more.{en,xx}", 1)]
    assert [e.line for e in ambiguous.examples] == [61, 63]


def test_a_pair_with_several_problems_is_dropped_once_for_the_first(tmp_path: Path) -> None:
    bad = Pair("The \x07 engine is cold.", "Der <b>Motor</b> ist k\ufffdlt.")
    report = check([corpus(tmp_path, [*GERMAN, bad, bad])])
    assert counts(report) == {"replacement": 2, "control": 2, "duplicate": 1, "markup": 2}
    assert (report.kept, report.dropped) == (60, {"replacement": 2})


def test_the_report_shows_where_and_what_to_do_and_is_json(tmp_path: Path) -> None:
    long = "Der Motor ist kalt und bleibt es auch, solange niemand fährt, "
    pairs = [*GERMAN, Pair("x" * 75, long + "l\ufffduft er nicht."), Pair("He said hello. ", "Er sagte hallo.")]
    report = check([corpus(tmp_path, pairs)])
    text = "\n".join(report.lines())
    assert "62 pairs: 61 to keep, 1 to drop" in text
    assert "1  replacement: U+FFFD stands where text was lost. Remedy: convert the original file again." in text
    assert "train.{en,xx}, line 61: " in text and "l\ufffduft" in text, "the example shows the place, not the beginning"
    assert text.index("to drop:") < text.index("replacement") < text.index("look at them:") < text.index("margins")
    tree = json.loads(json.dumps(report.as_dict()))
    assert tree["dropped"] == {"replacement": 1}
    assert [(f["problem"], f["dropped"], f["count"]) for f in tree["findings"]] == [
        ("replacement", True, 1),
        ("margins", False, 1),
    ]
    assert tree["findings"][0]["examples"][0]["line"] == 61


def test_few_examples_are_kept_of_many_cases(tmp_path: Path) -> None:
    (finding,) = check([corpus(tmp_path, [*GERMAN, *(Pair("", str(n)) for n in range(50))])]).findings
    assert finding.count == 50
    assert [example.line for example in finding.examples] == [61, 62, 63]


def test_every_problem_says_why_and_what_to_do() -> None:
    for name, problem in PROBLEMS.items():
        assert problem.name == name and problem.why and problem.remedy


# The clean corpus


def test_the_clean_corpus_is_the_old_one_without_what_is_dropped(tmp_path: Path) -> None:
    bad = [Pair("", "leer"), Pair("l\ufffdst", "verloren"), GERMAN[0], Pair(" kept\t ", "behalten")]
    source = corpus(tmp_path, [*GERMAN, *bad])
    report = clean([source], tmp_path / "out")
    assert [path.name for path in report.written] == ["clean.en", "clean.xx"]
    expected = [*GERMAN, Pair(" kept\t ", "behalten")]
    assert list(read_pairs(Corpus(files=str(tmp_path / "out" / "clean.{en,xx}")))) == expected
    assert report.kept == len(expected)
    again = check([Corpus(files=str(tmp_path / "out" / "clean.{en,xx}"))])
    assert (again.kept, again.dropped) == (len(expected), {})
    assert report.lines()[-1] == f"written: {tmp_path / 'out' / 'clean.xx'}"


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["en-de.train.en.gz", "en-de.train.de.gz"], ["clean.en.gz", "clean.de.gz"]),
        (["train.en.txt.zst", "train.de.txt.zst"], ["clean.en.zst", "clean.de.zst"]),
        (["src.txt", "tgt.txt"], ["clean.src", "clean.tgt"]),
        (["en/train.txt", "de/train.txt"], ["clean.source", "clean.target"]),
        (["train.en.gz", "train.de"], ["clean.en.gz", "clean.de"]),
    ],
)
def test_clean_files_are_named_by_what_tells_the_sides_apart(
    tmp_path: Path, files: list[str], names: list[str]
) -> None:
    write_lines(tmp_path / files[0], ["one"])
    write_lines(tmp_path / files[1], ["eins"])
    report = clean([Corpus(files=f"{tmp_path}/{{{','.join(files)}}}")], tmp_path / "out")
    assert [path.name for path in report.written] == names
    assert [list(read_lines(path)) for path in report.written] == [["one"], ["eins"]]


def test_rows_keep_their_other_columns_and_several_corpora_their_own_files(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.tsv.gz", ["one\teins\tCC-BY Anna", "\tzwei\t", "two\tzwei\tCC-BY Bert"])
    write_lines(tmp_path / "b.jsonl", ['{"id": 1, "source": "three", "target": "drei"}'])
    corpora = [Corpus(files=str(tmp_path / name)) for name in ("a.tsv.gz", "b.jsonl")]
    report = clean(corpora, tmp_path / "out")
    assert [path.name for path in report.written] == ["clean-1.tsv.gz", "clean-2.jsonl"]
    assert list(read_lines(report.written[0])) == ["one\teins\tCC-BY Anna", "two\tzwei\tCC-BY Bert"]
    assert list(read_lines(report.written[1])) == ['{"id": 1, "source": "three", "target": "drei"}']


def test_nothing_is_written_when_a_corpus_is_broken_hopeless_or_would_be_overwritten(tmp_path: Path) -> None:
    broken = corpus(tmp_path, GERMAN, "broken")
    write_lines(tmp_path / "broken.xx", ["zu wenig"])
    with pytest.raises(UserError, match="has 60 lines and"):
        clean([broken], tmp_path / "out")
    with pytest.raises(UserError, match=r"no pair would be left[\s\S]*empty"):
        clean([corpus(tmp_path, [Pair("", "x")], "hopeless")], tmp_path / "out")
    with pytest.raises(UserError, match="would be overwritten"):
        clean([corpus(tmp_path, GERMAN, "clean")], tmp_path)
    assert list((tmp_path / "out").iterdir()) == []
    assert len(list(read_lines(tmp_path / "clean.en"))) == 60


@settings(max_examples=40)
@given(pairs=st.lists(st.tuples(st.text("a ü\t日\ufffd\x00<b>", max_size=6), st.text("a ü日", max_size=6)), min_size=1))
def test_the_counts_always_add_up(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.getbasetemp()
    report = check([corpus(folder, [Pair(*pair) for pair in pairs], "any")])
    assert report.pairs == len(pairs)
    assert report.kept + sum(report.dropped.values()) == report.pairs
    found = counts(report)
    assert all(count <= found[name] for name, count in report.dropped.items())
    assert all(PROBLEMS[name].dropped for name in report.dropped)


# Test lines in the training text


def test_overlap_counts_test_lines_that_occur_in_training_however_they_are_written() -> None:
    train = [
        Pair("It is  GONE.", "Es ist weg."),
        Pair("ｆｕｌｌ width", "breit"),
        Pair("", "leer"),
        Pair("new", "neu"),
        Pair("raw", "今日 は 。"),
    ]
    test = [
        Pair("it is gone.", "es ist weg."),  # the pair
        Pair("It is gone.", "Nun ist es fort."),  # its source only
        Pair("full width", "BREIT "),  # the pair
        Pair("tokenised", "今日は。"),  # its target only
        Pair("other", "neu"),  # its target only
        Pair("", ""),
        Pair("unseen", "ungesehen"),
    ]
    report = overlap(iter(train), iter(test))
    assert report == OverlapReport(total=7, sources=3, targets=4, pairs=2)
    (line,) = report.lines()
    assert "of 7 test pairs 3 have their source in the training text" in line


def test_overlap_of_texts_with_nothing_in_common_says_nothing() -> None:
    report = overlap(GERMAN, [Pair("unseen", "ungesehen"), Pair("", "")])
    assert report == OverlapReport(total=2, sources=0, targets=0, pairs=0)
    assert report.lines() == []


# Real text


def test_multi30k_has_the_findings_that_a_reader_confirms(data_dir: Path) -> None:
    report = check([Corpus(files=str(data_dir / "multi30k" / "val.{en,de}.gz"))])
    assert (report.pairs, report.kept, report.dropped) == (1014, 1014, {})
    assert set(counts(report)) <= {"markup", "margins", "ambiguous"}


@pytest.mark.slow
def test_real_training_text_raises_few_false_alarms(data_dir: Path) -> None:
    report = check([Corpus(files=str(data_dir / "multi30k" / "train.{en,de}.gz"))])
    assert report.dropped == {"proportion": 2, "duplicate": 3}  # two targets are "@@"
    (separators,) = [finding for finding in report.findings if finding.problem.name == "separators"]
    assert [example.line for example in separators.examples] == [7366]
    assert check([Corpus(files=str(data_dir / "tatoeba_enja" / "train.{en,ja}.gz"))]).dropped == {}
    assert check([Corpus(files=str(data_dir / "gnome_docs" / "en-ja.train.{en,ja}.gz"))]).dropped == {}
