"""Text in, text out: translates with a model directory.

Notable: nothing is cut silently. A line that is too long is split at sentence ends, else at clauses, else at spaces,
and a translation that hits its length limit says so, both in `Translation.note`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from kakehashi.alignment import Link, Token, links, placed
from kakehashi.confidence import FILE as CALIBRATION
from kakehashi.confidence import Calibration
from kakehashi.config import Config, merge, resolve
from kakehashi.data.languages import is_unspaced
from kakehashi.data.splitting import split_text
from kakehashi.data.subwords import AnySegmenter, SegmenterPair, Subwords, load_pair, save_pair
from kakehashi.data.terms import Wording
from kakehashi.decoding import Beam, Constraints, Decoding, Hypothesis, Sample, search
from kakehashi.decoding.loops import looping
from kakehashi.directory import Precision, load_model, read_card, read_config, save
from kakehashi.errors import UserError
from kakehashi.models import ModelConfig
from kakehashi.models.int8 import Int8, int8
from kakehashi.models.int8_transformer import Int8Transformer
from kakehashi.models.protocol import Translating, Vocabulary

SHORTEST = 16  # tokens that a sentence counts for at least: what each costs whatever its length

TranslatorPrecision = Precision | Literal["int8"]
Detail = Literal["text", "tokens", "links"]
"""How much a translation tells: its text alone; its tokens with their log-probabilities; what they go back to, too."""


class ModelDirectory(Config):
    """What `config.yaml` of a model directory says."""

    format_version: Literal[1] = 1
    source: str
    target: str
    model: ModelConfig
    subwords: Subwords
    decoding: Decoding = Beam()


class _Overridden(Config):
    decoding: Decoding


@dataclass(frozen=True)
class Translation:
    """A translated line.

    `score`: the sum over the line's parts of what the search ranked them by; `finished`: False when a part reached its
    length limit before its end; `note`: what else the reader should know, or ""; `alternatives`: the next best;
    `tokens`, `links`: of what the model wrote, a prefix not among it, when asked for.
    """

    source: str
    text: str
    score: float = 0.0
    finished: bool = True
    note: str = ""
    alternatives: tuple["Translation", ...] = ()
    tokens: tuple[Token, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class _Part:
    """A piece of a line that fits the model, from `place` on, what its translation begins with and must contain, and
    what follows it."""

    text: str
    ids: list[int]
    place: int
    separator: str
    prefix: tuple[int, ...] = ()
    required: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Request:
    """What is asked of every line."""

    count: int
    prefix: tuple[int, ...]
    worded: "_Worded | None"
    decoding: Decoding
    detail: Detail


@dataclass
class Translator:
    """A trained model with all that it needs to translate text.

    `calibration`: what its probabilities are worth; `batch_tokens`: source tokens of a batch, padding counted;
    `max_source_tokens`: longer lines are split; `loops`: a translation that ends in the same tokens so many times in a
    row (2 or more) gets a note; None: none does.
    """

    config: ModelDirectory
    model: Translating
    segmenters: SegmenterPair
    card: dict[str, Any] | None = None
    calibration: Calibration = field(default_factory=Calibration)
    batch_tokens: int = 2048
    max_source_tokens: int = 256
    loops: int | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        if self.model.max_length is not None:
            self.max_source_tokens = min(self.max_source_tokens, self.model.max_length)

    @classmethod
    def load(cls, directory: Path | str, precision: TranslatorPrecision = "fp32", device: str = "auto") -> "Translator":
        """Opens a model directory. `device`: torch's name of one; "auto" takes a GPU where there is one.

        precision: "int8" is for CPUs, and there by far the fastest where a C compiler is (native/library.py); such a
        translator cannot be saved.
        Raises UserError when a file is missing, damaged, of another format version, or does not fit the others.
        """
        directory = Path(directory)
        if precision == "int8":
            if device not in ("auto", "cpu"):
                raise UserError(f"precision=int8 is for CPUs, and not for device={device}: use bf16")
            opened = cls.load(directory, "fp32", "cpu")
            return replace(opened, model=int8(opened.model))
        config = read_config(directory, ModelDirectory, "translation")
        segmenters = load_pair(directory)
        model = config.model.build(*(Vocabulary(each.size, *each.special) for each in segmenters))
        place = load_model(model, directory, precision, device)
        card, calibration = read_card(directory), Calibration.read(directory)
        return cls(config, cast(Translating, model), segmenters, card, calibration, device=place)

    def save(self, directory: Path | str) -> None:
        """Writes a model directory; one that stands there is replaced only when the new one is complete.

        Raises UserError when something else stands at `directory`, or the weights are int8.
        """
        if isinstance(self.model, Int8 | Int8Transformer):
            raise UserError("a model with int8 weights cannot be saved: load it with precision=fp32 and save that")

        def rest(new: Path) -> None:
            save_pair(self.segmenters, new)
            if self.calibration != Calibration():
                self.calibration.write(new / CALIBRATION)

        save(Path(directory), self.config, cast(nn.Module, self.model), rest, self.card)

    def translate(
        self, texts: Sequence[str], prefix: str = "", wording: Wording | None = None, **overrides: Any
    ) -> list[str]:
        """The best translation of each text; `overrides` are fields of `decoding`: `kind="greedy", max_length=20`."""
        return [translation.text for translation in self.stream(texts, prefix=prefix, wording=wording, **overrides)]

    def alternatives(
        self,
        texts: Sequence[str],
        count: int,
        prefix: str = "",
        wording: Wording | None = None,
        detail: Detail = "text",
        **overrides: Any,
    ) -> list[list[Translation]]:
        """The `count` best translations of each text, best first, no text twice; fewer where no more are found.

        Sampling draws each with a seed of its own, from `seed` upwards.
        """
        found = self.stream(texts, count=count, prefix=prefix, wording=wording, detail=detail, **overrides)
        return [[best, *best.alternatives] for best in found]

    def stream(
        self,
        lines: Iterable[str],
        count: int = 1,
        window: int = 2000,
        prefix: str = "",
        wording: Wording | None = None,
        detail: Detail = "text",
        **overrides: Any,
    ) -> Iterator[Translation]:
        """Translates endless input in order and in bounded memory.

        `window` lines are read, sorted by length, batched and given back at a time (1 when someone waits for each
        line). A blank line stays as it is; a line break inside a text is kept.

        prefix: what every translation of a line begins with: whole words, since it is cut into subwords by itself;
        white space at its end is left out. Scores are those of what follows it.

        wording: terms and phrases that translations must contain or must not; one that does not hold gets a note.

        detail: "tokens" and "links" fill these fields; links need a model that attends to its source (else UserError).
        """
        decoding = self._decoding(overrides)
        if window < 1:
            raise UserError(f"window={window}: at least one line must be read at a time")
        start = tuple(self.segmenters.target.encode(prefix.rstrip())) if prefix.strip() else ()
        worded = None if wording is None else _Worded(wording, self.segmenters.target, self.config)
        return self._stream(iter(lines), window, _Request(count, start, worded, decoding, detail))

    @torch.inference_mode()
    def align(self, text: str, translation: str) -> list[Link]:
        """What somebody's translation goes back to: where the model looks as it is told to write that. None where one
        of the two is too long for it. Raises UserError for a model that does not attend to its source."""
        source, target = self.segmenters
        read, written = source.encode(text), target.encode(translation)
        if max(len(read), len(written)) >= self.max_source_tokens:
            return []
        tokens = torch.tensor([[self.model.target_vocabulary.begin, *written]], device=self.device)
        output = self.model.decode(tokens, self.model.encode(*self._collate([read])), alignment=True)
        spans = placed(source.spans(text), text, 0), placed(target.spans(translation), translation, 0)
        return links(output.attention[0, : len(written), : len(read)].cpu(), *spans)

    def _stream(self, lines: Iterator[str], window: int, request: _Request) -> Iterator[Translation]:
        worded = request.worded
        while batch := list(islice(lines, window)):
            lines_of_parts = [_begun(self._parts(line), request.prefix) for line in batch]
            if worded:
                lines_of_parts = [worded.require(parts) for parts in lines_of_parts]
            all_parts = [part for parts in lines_of_parts for part in parts]
            hypotheses = iter(self._search(all_parts, request))
            for line, parts in zip(batch, lines_of_parts, strict=True):
                found = self._join(line, parts, [next(hypotheses) for _ in parts], request)
                yield worded.noted(found, parts) if worded else found

    def _decoding(self, overrides: dict[str, Any]) -> Decoding:
        if not overrides:
            return self.config.decoding
        tree = merge({"decoding": self.config.decoding.model_dump()}, {"decoding": overrides})
        return resolve(tree, _Overridden).decoding

    def _parts(self, line: str) -> list[_Part]:
        """The line as pieces that fit the model; blank ones have no ids."""
        encode = self.segmenters.source.encode

        def fits(piece: str) -> bool:
            return len(encode(piece)) < self.max_source_tokens  # one is the end's

        space = "" if is_unspaced(self.config.target) else " "
        parts: list[_Part] = []
        end = 0
        for text in line.split("\n"):
            for piece in split_text(text, fits):
                place = line.index(piece, end)
                parts.append(_Part(piece, encode(piece) if piece.strip() else [], place, space))
                end = place + len(piece)
            parts[-1] = replace(parts[-1], separator="\n")
        parts[-1] = replace(parts[-1], separator="")
        return parts

    def _search(self, parts: Sequence[_Part], request: _Request) -> list[list[Hypothesis]]:
        """Hypotheses of each part, in order; none for a blank one. Alike lengths with one prefix share a batch."""
        results: list[list[Hypothesis]] = [[] for _ in parts]
        for prefix in dict.fromkeys(part.prefix for part in parts):
            alike = [i for i, part in enumerate(parts) if part.ids and part.prefix == prefix]
            order = sorted(alike, key=lambda i: len(parts[i].ids), reverse=True)
            while order:
                rows = max(1, self.batch_tokens // max(SHORTEST, len(parts[order[0]].ids) + 1))
                batch, order = order[:rows], order[rows:]
                found = self._found([parts[i] for i in batch], prefix, request)
                for i, hypotheses in zip(batch, found, strict=True):
                    results[i] = hypotheses
        return results

    def _found(self, parts: Sequence[_Part], prefix: tuple[int, ...], request: _Request) -> list[list[Hypothesis]]:
        """The hypotheses of one batch, best first."""
        source, mask = self._collate([part.ids for part in parts])
        start = torch.tensor([[self.model.target_vocabulary.begin, *prefix]] * len(parts), device=self.device)
        asked = [request.worded.constraints(part) for part in parts] if request.worded else None
        count, decoding, aligned = request.count, request.decoding, request.detail == "links"
        if not isinstance(decoding, Sample):
            wanted = count if count == 1 else max(count, decoding.build().size)  # spares, for texts that are equal
            return search(self.model, source, mask, decoding, wanted, start, asked, aligned)
        seeds = range(decoding.seed, decoding.seed + max(1, count))
        draws = [decoding.model_copy(update={"seed": seed}) for seed in seeds]
        drawn = [search(self.model, source, mask, draw, min(count, 1), start, asked, aligned) for draw in draws]
        of_each = ([best for (best,) in found] for found in zip(*drawn, strict=True))
        return [sorted(found, key=lambda h: (h.finished, h.score), reverse=True) for found in of_each]

    def _collate(self, sources: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        vocabulary = self.model.source_vocabulary
        longest = len(sources[0]) + 1
        rows = [[*ids, vocabulary.end, *[vocabulary.pad] * (longest - 1 - len(ids))] for ids in sources]
        lengths = torch.tensor([len(ids) + 1 for ids in sources])
        mask = torch.arange(longest) < lengths[:, None]
        return torch.tensor(rows).to(self.device), mask.to(self.device)

    def _join(self, line: str, parts: list[_Part], found: list[list[Hypothesis]], request: _Request) -> Translation:
        """The parts' translations as the line's; the n-th best is made of each part's n-th best."""
        notes: list[str] = []
        if (pieces := len(parts) - line.count("\n")) > 1:
            notes.append(f"more than {self.max_source_tokens} source tokens: split into {pieces} parts")
        if not all(hypotheses[0].finished for hypotheses in found if hypotheses):
            notes.append("the length limit came before the end: the translation may be incomplete")
        best_ones = [hypotheses[0].tokens for hypotheses in found if hypotheses]
        if self.loops is not None and any(looping(tokens, self.loops) for tokens in best_ones):
            notes.append(f"the translation repeats itself at least {self.loops} times at its end")
        ranked: dict[str, Translation] = {}
        for place in range(max([1, *map(len, found)])):
            chosen = [hypotheses[min(place, len(hypotheses) - 1)] if hypotheses else None for hypotheses in found]
            text = "".join(self._text(part, best) + part.separator for part, best in zip(parts, chosen, strict=True))
            score = sum(best.score for best in chosen if best)
            finished = all(best.finished for best in chosen if best)
            if text not in ranked and len(ranked) < request.count:
                tokens, linked = ([], []) if request.detail == "text" else self._details(parts, chosen)
                ranked[text] = Translation(
                    line, text, score, finished, "; ".join(notes), tokens=tuple(tokens), links=tuple(linked)
                )
        best, *others = ranked.values()
        return replace(best, alternatives=tuple(others))

    def _details(self, parts: list[_Part], chosen: list[Hypothesis | None]) -> tuple[list[Token], list[Link]]:
        """Tokens and, where hypotheses are aligned, links of the parts' translations, at their places in the line's."""
        tokens, linked, end = list[Token](), list[Link](), 0
        source, target = self.segmenters
        for part, best in zip(parts, chosen, strict=True):
            text = self._text(part, best)
            if best is not None:
                spans = placed(target.decoded_spans([*part.prefix, *best.tokens]), text, end)[len(part.prefix) :]
                scored = zip(best.tokens, best.token_log_probabilities, spans, strict=False)  # the end has no place
                tokens += [Token(target.piece(id), told, span) for id, told, span in scored]
                if best.alignment is not None:
                    read = placed(source.spans(part.text), part.text, part.place)
                    linked += links(best.alignment[: len(spans), : len(read)], read, spans)
            end += len(text) + len(part.separator)
        return tokens, linked

    def _text(self, part: _Part, hypothesis: Hypothesis | None) -> str:
        return part.text if hypothesis is None else self.segmenters.target.decode([*part.prefix, *hypothesis.tokens])


class _Worded:
    """A wording in the tokens of the target language."""

    def __init__(self, wording: Wording, segmenter: AnySegmenter, config: ModelDirectory) -> None:
        self.wording, self.segmenter = wording, segmenter
        self.source_spaced = not is_unspaced(config.source)
        self.target_spaced = not is_unspaced(config.target)
        forbidden = (self._spellings(phrase, everywhere=True) for phrase in wording.forbidden)
        self.forbidden = tuple(spelling for spellings in forbidden for spelling in spellings)
        self.required = {phrase: self._required(phrase) for phrase in (*wording.required, *wording.terms.values())}

    def require(self, parts: list[_Part]) -> list[_Part]:
        """The parts of a line with their terms; the first that says something has what every translation must."""
        first = next((i for i, part in enumerate(parts) if part.ids), None)
        required = [
            (*(self.wording.required if i == first else ()), *self.wording.terms_in(p.text, spaced=self.source_spaced))
            for i, p in enumerate(parts)
        ]
        return [replace(p, required=tuple(dict.fromkeys(r))) for p, r in zip(parts, required, strict=True)]

    def constraints(self, part: _Part) -> Constraints:
        return Constraints(tuple(self.required[phrase] for phrase in part.required), self.forbidden)

    def noted(self, found: Translation, parts: Sequence[_Part]) -> Translation:
        """The translation with a note of what does not hold in its text."""
        required = dict.fromkeys(phrase for part in parts if part.ids for phrase in part.required)
        notes = [f"{phrase!r} must appear, but did not fit" for phrase in required if phrase not in found.text]
        said = [phrase for phrase in self.wording.forbidden if any(part.ids for part in parts) and phrase in found.text]
        notes += [f"{phrase!r} is forbidden, but was spelt in other subwords" for phrase in said]
        return replace(found, note="; ".join([*filter(None, [found.note]), *notes]))

    def _required(self, phrase: str) -> tuple[tuple[int, ...], ...]:
        """Its spellings. Raises UserError where the vocabulary has none."""
        spellings = self._spellings(phrase, everywhere=not self.target_spaced)
        if not spellings:
            raise UserError(f"the model's subwords cannot write {phrase!r}: leave it out")
        return spellings

    def _spellings(self, phrase: str, *, everywhere: bool) -> tuple[tuple[int, ...], ...]:
        """Token sequences of a phrase: where a word begins, and, if `everywhere`, in the midst of text too."""
        encode = self.segmenter.encode
        spellings = [encode(phrase)]
        for before in ("(", "、") if everywhere else ():
            opening, whole = encode(before), encode(before + phrase)
            if whole[: len(opening)] == opening:
                spellings.append(whole[len(opening) :])
        plain = (s for s in spellings if s and self.segmenter.decode(s) == phrase)
        return tuple(dict.fromkeys(map(tuple, plain)))


def _begun(parts: list[_Part], prefix: tuple[int, ...]) -> list[_Part]:
    """The parts of a line, the first that says something with the line's prefix."""
    first = next((i for i, part in enumerate(parts) if part.ids), None)
    return [replace(part, prefix=prefix) if i == first else part for i, part in enumerate(parts)] if prefix else parts
