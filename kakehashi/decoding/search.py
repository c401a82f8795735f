"""The search for translations: one loop for every strategy and every model.

Notable:
* It knows of a model what `kakehashi.models.protocol` says, nothing more.
* Log-probabilities are the model's own: the normaliser is taken before the processors forbid tokens, and where one
  reweighs them, the model's scores are kept beside, so that scoring again by `model.decode` gives the same number.
* Finished sentences leave the batch at once; a hypothesis that reaches its limit without an end is returned as such.
* Python sees only hypotheses that end; all else is one tensor operation for the whole batch.

Shapes: B sentences in the batch, F live hypotheses a sentence (1 before the first token, then K = the strategy's size),
R = B * F rows, V vocabulary, T tokens emitted so far, C candidates a sentence (sorted, best first).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from kakehashi.decoding.constraints import Constrained, Constraints
from kakehashi.decoding.draws import keys
from kakehashi.decoding.processors import Ban, MinimumLength, Processor
from kakehashi.decoding.strategies.protocol import Candidates, DecodingSettings, Frontier, Strategy
from kakehashi.errors import UserError
from kakehashi.models.protocol import Output, State, Translating, Vocabulary

_AT_ONCE = 2**17  # scores of the vocabulary, in the soft-max: half a megabyte


@dataclass(frozen=True)
class Hypothesis:
    """One translation.

    `tokens`: without begin and end; `score`: what it is ranked by, from the log-probabilities as processors reweigh
    them; `log_probability`: the sum of `token_log_probabilities` (the model's own, natural logarithms, the end's
    included); `finished`: False when the limit came before the end, so that the end of the translation may be missing,
    or when the phrases that it must contain did not fit; `alignment` [T, S], when asked for: how each of the T tokens
    that have a log-probability is shared among the S tokens of the source, its end among them; rows sum to one.
    """

    tokens: list[int]
    score: float
    log_probability: float
    token_log_probabilities: list[float]
    finished: bool
    alignment: Tensor | None = field(default=None, compare=False)


@dataclass
class _Live:
    """The sentences still in the batch.

    `keys_B`: a number for what each of them is to be continued from; `finished_BK`: scores of its finished hypotheses,
    best first, else -inf; `alignments_BFTS`: where asked for, and once the next token is predicted, its own among them:
    what it looks at depends on what stands before it.
    """

    state: State
    sentences_B: Tensor
    keys_B: Tensor
    limits_B: Tensor
    tokens_BFT: Tensor
    log_probabilities_BFT: Tensor
    totals_BF: Tensor
    finished_BK: Tensor
    alignments_BFTS: Tensor | None


@torch.inference_mode()
def search(
    model: Translating,
    source: Tensor,
    mask: Tensor,
    decoding: DecodingSettings,
    count: int = 1,
    start: Tensor | None = None,
    constraints: Sequence[Constraints] | None = None,
    alignment: bool = False,
) -> list[list[Hypothesis]]:
    """At most `count` hypotheses a sentence, best first, finished ones before unfinished ones.

    source [B, S] ids, the end included; mask [B, S], True where there is a token. start [B, P]: what the model reads
    before it emits anything, `begin` and what every hypothesis shall begin with; `begin` alone unless given.
    constraints: those of each sentence, kept by every hypothesis; where nothing keeps them, the hypotheses are those
    without `required`, and not finished. alignment: hypotheses come with theirs. Fewer than `count` come back only
    where no more exist. The model must be in evaluation mode.

    Raises UserError when `count` exceeds what the strategy keeps, when `start` leaves the model no place for a token or
    the processors none to emit, when the model cannot align, and FloatingPointError when it answers with NaN or
    infinity.
    """
    strategy = decoding.build()
    if not 1 <= count <= strategy.size:
        raise UserError(f"{count} alternatives asked, but the search keeps {strategy.size}: raise decoding.size")
    vocabulary = model.target_vocabulary
    processors = _processors(decoding, vocabulary)
    found: list[list[Hypothesis]] = [[] for _ in range(len(source))]
    if start is None:
        start = source.new_full((len(source), 1), vocabulary.begin)
    if strategy.size == 1 and any(each.required for each in constraints or ()):
        raise UserError(
            "phrases that must appear need hypotheses side by side: decoding=beam, with a size of 2 or more"
        )
    live = _begin(model, source, mask, start, decoding, strategy.size, alignment)  # (1) read the source
    while len(live.sentences_B):
        constrained = _constrained(constraints, live, start, vocabulary) if constraints else None
        frontier, own_RV = _predict(model, live, processors, start, constrained)  # (2) score every next token
        expanded = strategy.expand(frontier)  # (3) choose among them
        divided = constrained.divide(expanded, frontier) if constrained else expanded
        candidates = _told(divided, frontier, own_RV)
        ends_BC = (candidates.tokens == vocabulary.end) & (candidates.totals > -torch.inf)
        ended_BK = ends_BC[:, : strategy.size]
        _collect(found, live, candidates, ended_BK, strategy, finished=True)  # (4) keep what ends
        going = _going(candidates, ends_BC, strategy.size)  # (5) the best of the rest go on
        done_B, cut_B = _stop(live, candidates, going, ended_BK, strategy, count)  # (6) which sentences are done
        cut_BK = cut_B[:, None] & (going.totals > -torch.inf)
        _collect(found, live, going, cut_BK, strategy, finished=False)  # (7) report what the limit cuts
        live = _advance(live, going, (~done_B).nonzero()[:, 0])  # (8) the others take in their tokens
    if alignment:
        found = [_without_padding(hypotheses, row) for hypotheses, row in zip(found, mask, strict=True)]
    stuck = [i for i, each in enumerate(constraints or ()) if each.required and not found[i]]
    if constraints and stuck:
        freed = [replace(constraints[i], required=()) for i in stuck]
        again = search(model, source[stuck], mask[stuck], decoding, count, start[stuck], freed, alignment)
        for i, hypotheses in zip(stuck, again, strict=True):
            found[i] = [replace(hypothesis, finished=False) for hypothesis in hypotheses]
    return [_rank(hypotheses, count) for hypotheses in found]


def _processors(decoding: DecodingSettings, vocabulary: Vocabulary) -> list[Processor]:
    asked = [processor.build() for processor in decoding.processors]
    own = [
        Ban(sorted({vocabulary.pad, vocabulary.begin} - {vocabulary.end})),
        MinimumLength(decoding.min_length, vocabulary.end),
    ]
    return [*own, *asked]


def _constrained(constraints: Sequence[Constraints], live: _Live, start: Tensor, vocabulary: Vocabulary) -> Constrained:
    _, fanout, length = live.tokens_BFT.shape
    start_BFP = start[live.sentences_B, None, 1:].expand(-1, fanout, -1)
    said = torch.cat([start_BFP, live.tokens_BFT], 2).flatten(0, 1).tolist()
    return Constrained(
        [constraints[i] for i in live.sentences_B.tolist()],
        [tuple(tokens) for tokens in said],
        (live.limits_B - length - 1).tolist(),
        vocabulary.end,
    )


def _begin(
    model: Translating,
    source: Tensor,
    mask: Tensor,
    start: Tensor,
    decoding: DecodingSettings,
    size: int,
    alignment: bool,
) -> _Live:
    sentences, device = len(source), source.device
    state = model.begin(model.encode(source, mask))
    limits_B = (mask.sum(1) + decoding.extra_length).clamp(min=decoding.min_length, max=decoding.max_length)
    if model.max_length is not None:
        # a state that has read the source as the beginning of the text has so many places less
        limits_B = limits_B.minimum(model.max_length + 1 - start.shape[1] - state.lengths)
        if start.shape[1] > 1 and bool((limits_B < 1).any()):
            raise UserError(
                f"the text to begin with has {start.shape[1] - 1} tokens, and the model knows {model.max_length} "
                "places: cut it"
            )
    return _Live(
        state=state,
        sentences_B=torch.arange(sentences, device=device),
        keys_B=keys(source, mask) ^ keys(start, torch.ones_like(start)),
        limits_B=limits_B,
        tokens_BFT=torch.empty(sentences, 1, 0, dtype=torch.long, device=device),
        log_probabilities_BFT=torch.empty(sentences, 1, 0, device=device),
        totals_BF=torch.zeros(sentences, 1, device=device),
        finished_BK=torch.full((sentences, size), -torch.inf, device=device),
        alignments_BFTS=torch.empty(sentences, 1, 0, source.shape[1], device=device) if alignment else None,
    )


def _predict(
    model: Translating, live: _Live, processors: Sequence[Processor], start: Tensor, constrained: Constrained | None
) -> tuple[Frontier, Tensor]:
    """The next token's logits, forbidden ones -inf, with the logarithms of their normalisers, in fp32; and the model's
    own logits, the same tensor unless a processor reweighs."""
    tokens_RT = live.tokens_BFT.flatten(0, 1)
    new_RL = tokens_RT[:, -1:] if tokens_RT.shape[1] else start
    output = model.step(new_RL, live.state, live.alignments_BFTS is not None)
    logits_RV = output.logits[:, -1].float()
    normalizers_R = _normalizers(logits_RV)
    if not bool(normalizers_R.isfinite().all()):
        raise FloatingPointError(
            f"the model's scores of token {tokens_RT.shape[1] + 1} are not finite: its weights are damaged, "
            "or too large for its precision (fp32 may help)"
        )
    if live.alignments_BFTS is not None:
        live.alignments_BFTS = _aligned(live.alignments_BFTS, output)
    own_RV = logits_RV.clone() if any(process.reweighs for process in processors) else logits_RV
    for process in processors:
        process(logits_RV, tokens_RT)
    if constrained:
        constrained.forbid(logits_RV)
    return Frontier(logits_RV, normalizers_R, live.totals_BF, live.keys_B, tokens_RT.shape[1] + 1), own_RV


def _aligned(before_BFTS: Tensor, output: Output) -> Tensor:
    if output.alignment is None:
        raise UserError(
            "this model has no attention to its source, which alone could tell what a translated word goes back to: "
            "leave the alignment out"
        )
    new_RS = output.alignment[:, -1].float()
    return torch.cat([before_BFTS, new_RS.unflatten(0, before_BFTS.shape[:2])[:, :, None]], 2)


def _normalizers(logits_RV: Tensor) -> Tensor:
    """log(sum of exp(logits)) [R]: the highest score less the logarithm of its probability. Soft-max reads and writes
    the vocabulary once, logsumexp three times; few rows at once stay in the cache, and in memory that is there."""
    rows = max(1, _AT_ONCE // logits_RV.shape[1])
    highest = [scores.softmax(-1).amax(-1) for scores in logits_RV.split(rows)]
    return logits_RV.amax(-1) - torch.cat(highest).log_()


def _told(candidates: Candidates, frontier: Frontier, own_RV: Tensor) -> Candidates:
    """The candidates with the model's own log-probabilities, also where others have chosen them."""
    if own_RV is frontier.logits:
        return candidates
    sentences, fanout = frontier.totals.shape
    row_BC = torch.arange(0, sentences * fanout, fanout, device=own_RV.device)[:, None] + candidates.parents
    return replace(candidates, log_probabilities=own_RV[row_BC, candidates.tokens] - frontier.normalizers[row_BC])


def _going(candidates: Candidates, ends_BC: Tensor, size: int) -> Candidates:
    """The best `size` candidates that do not end; where there are fewer, places with a total of -inf."""
    order_BK = ends_BC.to(torch.uint8).argsort(dim=1, stable=True)[:, :size]
    totals_BC = candidates.totals.masked_fill(ends_BC, -torch.inf)
    return Candidates(
        candidates.parents.gather(1, order_BK),
        candidates.tokens.gather(1, order_BK),
        candidates.log_probabilities.gather(1, order_BK),
        totals_BC.gather(1, order_BK),
    )


def _stop(
    live: _Live, candidates: Candidates, going: Candidates, ended_BK: Tensor, strategy: Strategy, count: int
) -> tuple[Tensor, Tensor]:
    """Which sentences are done, and which of these need live hypotheses since the limit came before `count` ends [B].

    Done: at the limit; or `size` hypotheses are finished; or no live one can still come among the best `count`.
    """
    length = live.tokens_BFT.shape[2] + 1
    scores_BK = strategy.score(candidates.totals[:, : strategy.size], length).masked_fill(~ended_BK, -torch.inf)
    live.finished_BK = torch.cat([live.finished_BK, scores_BK], 1).topk(strategy.size, dim=1).values
    needed_B = live.finished_BK[:, count - 1]
    beaten_B = needed_B >= strategy.bound(going.totals.amax(1), live.limits_B)
    at_limit_B = live.limits_B <= length
    done_B = at_limit_B | beaten_B | (live.finished_BK[:, -1] > -torch.inf)
    return done_B, at_limit_B & (needed_B == -torch.inf)


def _collect(
    found: list[list[Hypothesis]],
    live: _Live,
    candidates: Candidates,
    chosen_BK: Tensor,
    strategy: Strategy,
    *,
    finished: bool,
) -> None:
    """Turns the chosen candidates into hypotheses."""
    row_N, place_N = chosen_BK.nonzero(as_tuple=True)
    if not len(row_N):
        return
    parent_N = candidates.parents[row_N, place_N]
    totals_N = candidates.totals[row_N, place_N]
    new_N1 = candidates.tokens[row_N, place_N][:, None]
    new_log_probability_N1 = candidates.log_probabilities[row_N, place_N][:, None]
    tokens_NT = torch.cat([live.tokens_BFT[row_N, parent_N], new_N1], 1)
    log_probabilities_NT = torch.cat([live.log_probabilities_BFT[row_N, parent_N], new_log_probability_N1], 1)
    scores_N = strategy.score(totals_N, tokens_NT.shape[1])
    if finished:
        tokens_NT = tokens_NT[:, :-1]
    alignments = [None] * len(row_N) if live.alignments_BFTS is None else live.alignments_BFTS[row_N, parent_N].cpu()
    for sentence, tokens, score, log_probabilities, alignment in zip(
        live.sentences_B[row_N].tolist(),
        tokens_NT.tolist(),
        scores_N.tolist(),
        log_probabilities_NT.tolist(),
        alignments,
        strict=True,
    ):
        total = math.fsum(log_probabilities)
        found[sentence].append(Hypothesis(tokens, score, total, log_probabilities, finished, alignment))


def _advance(live: _Live, going: Candidates, kept_B: Tensor) -> _Live:
    """The kept sentences with their new live hypotheses; the state follows."""
    sentences, fanout, length = live.tokens_BFT.shape
    size = going.parents.shape[1]
    if fanout == size > 1:
        going = _settled(going)
    if len(kept_B) < sentences:
        live.state.keep(kept_B)
    parents_BK = going.parents[kept_B]
    if fanout < size:
        live.state.repeat(size)  # the first token: all come from the one empty hypothesis
    else:
        first_rows_B1 = torch.arange(len(kept_B), device=kept_B.device)[:, None] * size
        live.state.reorder((first_rows_B1 + parents_BK).flatten())
    from_BKT = parents_BK[:, :, None].expand(-1, -1, length)
    aligned_BFTS = live.alignments_BFTS
    tokens_BKT = live.tokens_BFT[kept_B].gather(1, from_BKT)
    log_probabilities_BKT = live.log_probabilities_BFT[kept_B].gather(1, from_BKT)
    return _Live(
        state=live.state,
        sentences_B=live.sentences_B[kept_B],
        keys_B=live.keys_B[kept_B],
        limits_B=live.limits_B[kept_B],
        tokens_BFT=torch.cat([tokens_BKT, going.tokens[kept_B][:, :, None]], 2),
        log_probabilities_BFT=torch.cat([log_probabilities_BKT, going.log_probabilities[kept_B][:, :, None]], 2),
        totals_BF=going.totals[kept_B],
        finished_BK=live.finished_BK[kept_B],
        alignments_BFTS=None if aligned_BFTS is None else aligned_BFTS[kept_B[:, None], parents_BK],
    )


def _settled(going: Candidates) -> Candidates:
    """The same, the first of each parent's children in the parent's place, so that few rows of the state move."""
    parents_BK, size = going.parents, going.parents.shape[1]
    later_BK = (parents_BK[:, :, None] == parents_BK[:, None]).tril(-1).any(2)
    child_BK = parents_BK.masked_fill(later_BK, size).argsort(dim=1, stable=True)
    vacant_BK = torch.ones_like(later_BK).scatter_(1, parents_BK, False)
    place_BK = vacant_BK.to(torch.uint8).argsort(dim=1, stable=True)  # those of parents in order, as their children are
    order_BK = torch.empty_like(child_BK).scatter_(1, place_BK, child_BK)
    return Candidates(
        parents_BK.gather(1, order_BK),
        going.tokens.gather(1, order_BK),
        going.log_probabilities.gather(1, order_BK),
        going.totals.gather(1, order_BK),
    )


def _without_padding(hypotheses: list[Hypothesis], mask_S: Tensor) -> list[Hypothesis]:
    """The same with alignments to the source's tokens alone."""
    places = mask_S.nonzero()[:, 0].cpu()
    return [replace(h, alignment=None if h.alignment is None else h.alignment[:, places]) for h in hypotheses]


def _rank(hypotheses: list[Hypothesis], count: int) -> list[Hypothesis]:
    if not hypotheses:
        raise UserError("the decoding settings leave no token to emit: lower min_length or drop processors")
    return sorted(hypotheses, key=lambda hypothesis: (hypothesis.finished, hypothesis.score), reverse=True)[:count]
