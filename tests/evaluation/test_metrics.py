import gzip
import math
import socket
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from kakehashi.errors import UserError
from kakehashi.evaluation import metrics
from kakehashi.evaluation.metrics import SAMPLES, TITLES, build_metric, default_metrics, primary_subtag, resample, score

ENGLISH = [
    ("The cat sat on the mat, quietly.", "The cat sat on a mat quietly."),
    ("A dog doesn't run in the park!", "The dog does not run through the park!"),
    ("Two men are cooking dinner in a small kitchen.", "Two men are cooking dinner in the small kitchen."),
    ('She said: "See you at 10 a.m. tomorrow."', 'She said: "See you tomorrow at 10 a.m."'),
    ("It is raining today.", "Today it rains."),
]
JAPANESE = [
    ("彼は東京に住んでいます。", "彼は京都に住んでいます。"),
    ("今日は天気がとても良いですね。", "今日は天気が良いですね。"),
    ("私は昨日図書館で本を三冊借りました。", "私は昨日、図書館で三冊の本を借りました。"),
]


def columns(pairs: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    hypotheses, references = zip(*pairs, strict=True)
    return list(hypotheses), list(references)


def multi_bleu(hypotheses: list[str], references: list[str]) -> float:
    """BLEU from its definition (Papineni et al. 2002, equations 1-3) on tokens, as multi-bleu.perl has it."""
    matches, totals = [0] * 4, [0] * 4
    hypothesis_length = reference_length = 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        ours, theirs = hypothesis.split(), reference.split()
        hypothesis_length += len(ours)
        reference_length += len(theirs)
        for n in range(1, 5):
            grams = [Counter(zip(*(words[i:] for i in range(n)), strict=False)) for words in (ours, theirs)]
            matches[n - 1] += sum((grams[0] & grams[1]).values())
            totals[n - 1] += sum(grams[0].values())
    if not all(matches):
        return 0.0
    brevity = min(0.0, 1 - reference_length / hypothesis_length)
    return 100 * math.exp(brevity + sum(math.log(m / t) for m, t in zip(matches, totals, strict=True)) / 4)


@pytest.mark.parametrize(
    ("language", "name", "theirs"),
    [
        ("en", "bleu", BLEU(tokenize="13a")),
        ("en", "chrf", CHRF()),
        ("en", "ter", TER()),
        ("ja", "bleu", BLEU(tokenize="ja-mecab")),
        ("ja", "bleu_char", BLEU(tokenize="char")),
        ("ja", "ter", TER(normalized=True, asian_support=True)),
        ("zh", "bleu", BLEU(tokenize="zh")),
    ],
)
def test_score_and_signature_are_sacrebleus_own(language: str, name: str, theirs: BLEU | CHRF | TER) -> None:
    hypotheses, references = columns(ENGLISH if language == "en" else JAPANESE)
    [ours] = score(hypotheses, references, language, [name])
    expected = theirs.corpus_score(hypotheses, [references]).score
    assert 0 < expected < 100
    assert ours.value == pytest.approx(expected, abs=1e-9)
    assert ours.signature == theirs.get_signature().format()
    assert (ours.name, ours.low, ours.high) == (name, None, None)


def test_signatures_name_the_tokeniser() -> None:
    hypotheses, references = columns(JAPANESE)
    signatures = {each.name: each.signature for each in score(hypotheses, references, "ja-JP")}
    assert list(signatures) == ["bleu", "bleu_char", "chrf", "ter"]
    assert "tok:ja-mecab-0.996-IPA" in signatures["bleu"]
    assert "tok:char" in signatures["bleu_char"]
    assert "asian:yes" in signatures["ter"]
    hypotheses, references = columns(ENGLISH)
    assert "tok:13a" in score(hypotheses, references, "en")[0].signature


def test_ter_of_japanese_counts_parts_of_a_line() -> None:
    [ter] = score(["彼は東京に住んでいます。"], ["彼は京都に住んでいます。"], "ja", ["ter"])
    assert 0 < ter.value < 50


def test_identical_text_is_perfect_and_foreign_text_is_not() -> None:
    _, references = columns(ENGLISH)
    assert {each.name: each.value for each in score(references, references, "en", list(TITLES))} == pytest.approx(
        {"bleu": 100, "bleu_char": 100, "bleu_tokenized_lowercase": 100, "chrf": 100, "ter": 0}
    )
    nonsense = ["zzz"] * len(references)
    assert [each.value for each in score(nonsense, references, "en")] == pytest.approx([0, 0, 100])


def test_empty_output_lines_are_scored() -> None:
    _, references = columns(ENGLISH)
    assert [each.value for each in score([""] * len(references), references, "en")] == pytest.approx([0, 0, 100])


def test_confidence_interval_and_signature_are_sacrebleus() -> None:
    hypotheses, references = columns(ENGLISH * 8)
    for ours in score(hypotheses, references, "en", ["bleu", "chrf", "ter"], confidence=True):
        theirs = build_metric(ours.name, "en")
        estimate = theirs.corpus_score(hypotheses, [references], n_bootstrap=SAMPLES)
        assert ours.low is not None
        assert ours.high is not None
        assert ours.low < ours.value < ours.high
        assert (ours.high - ours.low) / 2 == pytest.approx(estimate._ci, abs=1e-3)
        assert ours.signature == theirs.get_signature().format()
        assert "bs:1000|seed:12345" in ours.signature


def test_resamples_draw_the_same_lines_from_every_table() -> None:
    lines = np.random.default_rng(0).random((30, 2))
    both, squared = resample([lines, lines * 10], samples=50, seed=7)
    np.testing.assert_allclose(squared, both * 10)
    drawn = np.random.default_rng(7).choice(30, size=(50, 30))  # all draws at once, as sacrebleu makes them
    np.testing.assert_allclose(both, lines[drawn].sum(axis=1))


def test_tokenized_lowercase_bleu_follows_the_formula() -> None:
    hypotheses, references = columns(ENGLISH)
    # Tokens as Moses' lowercase.perl | normalize-punctuation.perl -l en | tokenizer.perl -l en -no-escape has them.
    hypothesis_tokens = [
        "the cat sat on the mat , quietly .",
        "a dog doesn 't run in the park !",
        "two men are cooking dinner in a small kitchen .",
        'she said : " see you at 10 a.m. tomorrow . "',
        "it is raining today .",
    ]
    reference_tokens = [
        "the cat sat on a mat quietly .",
        "the dog does not run through the park !",
        "two men are cooking dinner in the small kitchen .",
        'she said : " see you tomorrow at 10 a.m. "',
        "today it rains .",
    ]
    [ours] = score(hypotheses, references, "en", ["bleu_tokenized_lowercase"])
    assert ours.value == pytest.approx(multi_bleu(hypothesis_tokens, reference_tokens), abs=1e-9)
    assert "case:lc" in ours.signature
    assert "smooth:none" in ours.signature
    assert "tok:moses-en-norm-sacremoses" in ours.signature


def test_tokenized_lowercase_bleu_by_hand() -> None:
    # Tokens: "ein mann läuft schnell ." against "ein mann läuft sehr schnell ."; matches 5/5, 3/4, 1/3 and 0/2.
    [zero] = score(["Ein Mann läuft schnell."], ["ein Mann läuft sehr schnell."], "de", ["bleu_tokenized_lowercase"])
    assert zero.value == 0  # no smoothing
    # "ein mann läuft sehr ." against the same reference: 5/5, 3/4, 2/3, 1/2; brevity exp(1 - 6/5).
    [value] = score(["Ein Mann läuft sehr."], ["ein Mann läuft sehr schnell."], "de", ["bleu_tokenized_lowercase"])
    assert value.value == pytest.approx(100 * math.exp(-0.2) * (3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_multi30k_reference_has_the_published_number_of_tokens(data_dir: Path) -> None:
    """The published test_2016_flickr figures print reflen 12103 (Wu et al., ACL 2021, their repository)."""
    text = gzip.decompress((data_dir / "multi30k" / "test_2016_flickr.de.gz").read_bytes()).decode("utf-8")
    lines = text.removesuffix("\n").split("\n")
    result = build_metric("bleu_tokenized_lowercase", "de").corpus_score(lines, [lines])
    assert (len(lines), result.ref_len) == (1000, 12103)


def test_korean_says_in_the_signature_how_it_found_words() -> None:
    korean = ["나는 어제 도서관에서 책을 빌렸다."]
    [bleu] = score(korean, korean, "ko", ["bleu"])
    assert bleu.value == pytest.approx(100)
    assert "tok:char" in bleu.signature or "tok:ko-mecab" in bleu.signature


@pytest.mark.parametrize(
    ("tag", "code"),
    [("de", "de"), ("ja-JP", "ja"), ("jpn_Jpan", "ja"), ("ZH_tw", "zh"), ("ain", "ain"), ("x-copy", "x")],
)
def test_language_tags(tag: str, code: str) -> None:
    assert primary_subtag(tag) == code


@pytest.mark.parametrize("wrong", ["", "japanese", "日本語", "d"])
def test_what_is_no_language_tag_is_refused(wrong: str) -> None:
    with pytest.raises(UserError, match="is not a language code"):
        default_metrics(wrong)


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="2 hypotheses but 1 references"):
        score(["a", "b"], ["a"], "en")
    with pytest.raises(UserError, match="nothing to score"):
        score([], [], "en")
    with pytest.raises(UserError, match="unknown metric 'blue': did you mean 'bleu'"):
        score(["a"], ["a"], "en", ["blue"])
    with pytest.raises(UserError, match="languages with spaces"):
        score(["あ"], ["あ"], "ja", ["bleu_tokenized_lowercase"])


def test_missing_packages_name_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_ja_mecab.MeCab", None)
    with pytest.raises(UserError, match=r"kakehashi\[ja\]"):
        score(["あ"], ["あ"], "ja")
    assert score(["あいうえお"], ["あいうえお"], "ja", ["bleu_char"])[0].value == pytest.approx(100)

    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(metrics, "import_module", missing)
    with pytest.raises(UserError, match=r"kakehashi\[moses\]"):
        score(["a"], ["a"], "en", ["bleu_tokenized_lowercase"])


def test_nothing_asks_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for language in ("en", "ja", "zh", "ko", "th"):
        assert score(["a b c d"], ["a b c d"], language, confidence=True)
    assert score(["a b c d"], ["a b c d"], "en", ["bleu_tokenized_lowercase"])
