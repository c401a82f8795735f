"""The search for translations: one loop for every strategy and every model.

Notable:
* It knows of a model what `kakehashi.models.protocol` says, nothing more.
* Log-probabilities are the model's own: the normaliser is taken before the processors forbid tokens, and where one
  reweighs them, the model's scores are kept beside, so that scoring again by `model.decode` gives the same number.
* Finished sentences leave the batch at once; a hypothesis that reaches its limit without an end is returned as such.
* Python sees only hypotheses that end; all else is one tensor operation for the whole batch.

Shapes: B sentences in the batch, F live hypotheses a sentence (1 before the first token, then the strategy's size),
R = B * F rows, V vocabulary, T tokens emitted so far, S source tokens, G groups of hypotheses that a sentence has (one
in most strategies), X = B * G, K hypotheses a group, C candidates a group (sorted, best first).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kakehashi.decoding.constraints import Constrained, Constraints
from kakehashi.decoding.draws import keys
from kakehashi.decoding.hypothesis import Hypothesis, ranked
from kakehashi.decoding.processors import Ban, MinimumLength, Processor
from kakehashi.decoding.scores import normalizers
from kakehashi.decoding.strategies.protocol import Candidates, DecodingSettings, Frontier, Strategy
from kakehashi.errors import UserError
from kakehashi.models.protocol import Output, State, Translating, Vocabulary


@dataclass
class _Live:
    """The sentences still in the batch.

    `keys_B`: a number for what each of them is to be continued from; `words`: where all sources of the search, by the
    numbers in `sentences_B`, have tokens, the end not among them; `finished_BGK`: scores of each group's finished
    hypotheses, best first, else -inf; `alignments_BFTS`: where somebody needs them, and once the next token is
    predicted, its own among them: what stands before it decides it; `calm`: up to this length no sentence can be done
    before one of its hypotheses ends, or all are dead; 0: one has.
    """

    state: State
    sentences_B: Tensor
    keys_B: Tensor
    words: Tensor
    limits_B: Tensor
    tokens_BFT: Tensor
    log_probabilities_BFT: Tensor
    totals_BF: Tensor
    finished_BGK: Tensor
    alignments_BFTS: Tensor | None
    calm: int


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
    _check(constraints or (), strategy)
    live = _begin(model, source, mask, start, decoding, strategy, alignment)  # (1) read the source
    while len(live.sentences_B):
        constrained = _constrained(constraints, live, start, vocabulary) if constraints else None
        frontier, own_RV = _predict(model, live, processors, start, constrained)  # (2) score every next token
        expanded = strategy.expand(frontier)  # (3) choose among them
        divided = constrained.divide(expanded, frontier) if constrained else expanded
        candidates = _told(divided, frontier, own_RV).rows(len(live.sentences_B) * strategy.groups)
        ends_XC = candidates.tokens == vocabulary.end
        size = strategy.size // strategy.groups
        if _is_calm(live, candidates, ends_XC, mortal=bool(constraints or decoding.processors)):
            live = _advance(live, candidates.first(size), None)  # in most steps nothing ends: (8) follows
            continue
        ends_XC &= candidates.totals > -torch.inf
        ended_XK = ends_XC[:, :size]
        _collect(found, live, candidates, ended_XK, strategy, finished=True)  # (4) keep what ends
        going = _going(candidates, ends_XC, size)  # (5) the best of the rest go on
        done_X, cut_X = _stop(live, candidates, going, ended_XK, strategy, count)  # (6) which groups are done
        cut_XK = cut_X[:, None] & (going.totals > -torch.inf)
        _collect(found, live, going, cut_XK, strategy, finished=False)  # (7) report what the limit cuts
        live = _advance(live, going, done_X)  # (8) the others take in their tokens
    if live.alignments_BFTS is not None:
        found = [[h.aligned(row if alignment else None) for h in hs] for hs, row in zip(found, mask, strict=True)]
    stuck = [i for i, each in enumerate(constraints or ()) if each.required and not found[i]]
    if constraints and stuck:
        freed = [replace(constraints[i], required=()) for i in stuck]
        again = search(model, source[stuck], mask[stuck], decoding, count, start[stuck], freed, alignment)
        for i, hypotheses in zip(stuck, again, strict=True):
            found[i] = [replace(hypothesis, finished=False) for hypothesis in hypotheses]
    return [ranked(hypotheses, count) for hypotheses in found]


def _check(constraints: Sequence[Constraints], strategy: Strategy) -> None:
    """Raises UserError where constraints ask for what the strategy cannot do."""
    if (strategy.size == 1 or strategy.groups > 1) and any(each.required for each in constraints):
        raise UserError(
            "phrases that must appear need hypotheses side by side: decoding=beam, with a size of 2 or more"
        )


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
    strategy: Strategy,
    alignment: bool,
) -> _Live:
    sentences, device, groups = len(source), source.device, strategy.groups
    aligned = alignment or strategy.weighs_coverage
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
    finished_BGK = torch.full((sentences, groups, strategy.size // groups), -torch.inf, device=device)
    return _Live(
        state=state,
        sentences_B=torch.arange(sentences, device=device),
        keys_B=keys(source, mask) ^ keys(start, torch.ones_like(start)),
        words=mask & (source != model.source_vocabulary.end),
        limits_B=limits_B,
        tokens_BFT=torch.empty(sentences, 1, 0, dtype=torch.long, device=device),
        log_probabilities_BFT=torch.empty(sentences, 1, 0, device=device),
        totals_BF=torch.zeros(sentences, 1, device=device),
        finished_BGK=finished_BGK,
        alignments_BFTS=torch.empty(sentences, 1, 0, source.shape[1], device=device) if aligned else None,
        calm=_calm(limits_B, finished_BGK),
    )


def _predict(
    model: Translating, live: _Live, processors: Sequence[Processor], start: Tensor, constrained: Constrained | None
) -> tuple[Frontier, Tensor]:
    """The next token's logits, forbidden ones -inf, with the logarithms of their normalisers, in fp32; and the model's
    own logits, the same tensor unless a processor reweighs."""
    tokens_RT = live.tokens_BFT.flatten(0, 1)
    new_RL = tokens_RT[:, -1:] if tokens_RT.shape[1] else start
    output = model.step(new_RL, live.state, live.alignments_BFTS is not None)
    logits_RV = output.logits[:, -1].float().contiguous()
    normalizers_R = normalizers(logits_RV)
    if not math.isfinite(normalizers_R.sum().item()):
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
    new_RS = output.attention[:, -1]
    return torch.cat([before_BFTS, new_RS.unflatten(0, before_BFTS.shape[:2])[:, :, None]], 2)


def _told(candidates: Candidates, frontier: Frontier, own_RV: Tensor) -> Candidates:
    """The candidates with the model's own log-probabilities, also where others have chosen them."""
    if own_RV is frontier.logits:
        return candidates
    sentences, fanout = frontier.totals.shape
    row_BC = torch.arange(0, sentences * fanout, fanout, device=own_RV.device)[:, None] + candidates.parents
    return replace(candidates, log_probabilities=own_RV[row_BC, candidates.tokens] - frontier.normalizers[row_BC])


def _going(candidates: Candidates, ends_XC: Tensor, size: int) -> Candidates:
    """The best `size` candidates that do not end; where there are fewer, places with a total of -inf."""
    order_XK = ends_XC.to(torch.uint8).argsort(dim=1, stable=True)[:, :size]
    return replace(candidates, totals=candidates.totals.masked_fill(ends_XC, -torch.inf)).ordered(order_XK)


def _stop(
    live: _Live, candidates: Candidates, going: Candidates, ended_XK: Tensor, strategy: Strategy, count: int
) -> tuple[Tensor, Tensor]:
    """Which groups are done, and which of these need live hypotheses since the limit came before enough ends [X].

    Done: at the limit; or `K` hypotheses are finished; or no live one can still come among the best `count`. Of several
    groups each goes on to its K: what one says decides what the others do.
    """
    size, limits_X = ended_XK.shape[1], live.limits_B.repeat_interleave(strategy.groups)
    scores_XK = _scores(live, strategy, candidates.totals[:, :size], candidates.parents[:, :size])
    reached_XK = torch.cat([live.finished_BGK.flatten(0, 1), scores_XK.masked_fill(~ended_XK, -torch.inf)], 1)
    finished_XK = reached_XK.topk(size, dim=1).values
    live.finished_BGK, live.calm = finished_XK.view_as(live.finished_BGK), 0
    needed_X = finished_XK[:, (count if strategy.groups == 1 else size) - 1]
    beaten_X = needed_X >= strategy.bound(going.totals.amax(1), limits_X)
    at_limit_X = limits_X <= live.tokens_BFT.shape[2] + 1
    done_X = at_limit_X | beaten_X | (finished_XK[:, -1] > -torch.inf)
    return done_X, at_limit_X & (needed_X == -torch.inf)


def _scores(live: _Live, strategy: Strategy, totals_XK: Tensor, parents_XK: Tensor) -> Tensor:
    """What hypotheses, each one token longer than its parent, are ranked by."""
    length, received = live.tokens_BFT.shape[2] + 1, None
    if strategy.weighs_coverage and live.alignments_BFTS is not None:
        sentence_X1 = torch.arange(len(totals_XK), device=totals_XK.device)[:, None] // strategy.groups
        received_XKS = live.alignments_BFTS.sum(2)[sentence_X1, parents_XK]
        received = received_XKS.masked_fill(~live.words[live.sentences_B[sentence_X1]], 1.0)
    return strategy.score(totals_XK, length, received)


def _collect(
    found: list[list[Hypothesis]],
    live: _Live,
    candidates: Candidates,
    chosen_XK: Tensor,
    strategy: Strategy,
    *,
    finished: bool,
) -> None:
    """Turns the chosen candidates into hypotheses."""
    group_N, place_N = chosen_XK.nonzero(as_tuple=True)
    if not len(group_N):
        return
    row_N, parent_N = group_N // strategy.groups, candidates.parents[group_N, place_N]
    new_N1 = candidates.tokens[group_N, place_N][:, None]
    new_log_probability_N1 = candidates.log_probabilities[group_N, place_N][:, None]
    tokens_NT = torch.cat([live.tokens_BFT[row_N, parent_N], new_N1], 1)
    log_probabilities_NT = torch.cat([live.log_probabilities_BFT[row_N, parent_N], new_log_probability_N1], 1)
    scores_XC = _scores(live, strategy, candidates.totals, candidates.parents)
    if finished:
        tokens_NT = tokens_NT[:, :-1]
    alignments = [None] * len(row_N) if live.alignments_BFTS is None else live.alignments_BFTS[row_N, parent_N].cpu()
    for sentence, tokens, score, log_probabilities, alignment in zip(
        live.sentences_B[row_N].tolist(),
        tokens_NT.tolist(),
        scores_XC[group_N, place_N].tolist(),
        log_probabilities_NT.tolist(),
        alignments,
        strict=True,
    ):
        total = math.fsum(log_probabilities)
        found[sentence].append(Hypothesis(tokens, score, total, log_probabilities, finished, alignment))


def _advance(live: _Live, going: Candidates, done_X: Tensor | None) -> _Live:
    """The sentences that are not done (None: all) with their new live hypotheses, of which a group that is done has
    none more; the state follows."""
    sentences, fanout, length = live.tokens_BFT.shape
    going = going if done_X is None else replace(going, totals=going.totals.masked_fill(done_X[:, None], -torch.inf))
    still = going.rows(sentences)
    size = still.parents.shape[1]
    if fanout == size > 1:
        still = _settled(still)
    if done_X is not None and len(kept_B := (~done_X).view(sentences, -1).any(1).nonzero()[:, 0]) < sentences:
        live, still = _kept(live, kept_B), still.of(kept_B)
    if fanout < size:
        live.state.repeat(size)  # the first token: all come from the one empty hypothesis
    elif size > 1:
        first_rows_B1 = torch.arange(0, still.parents.numel(), size, device=still.parents.device)[:, None]
        live.state.reorder((first_rows_B1 + still.parents).flatten())
    from_BFT = still.parents[:, :, None].expand(-1, -1, length)
    aligned_BFTS, sentence_B1 = live.alignments_BFTS, torch.arange(len(still.parents), device=from_BFT.device)[:, None]
    return replace(
        live,
        tokens_BFT=torch.cat([live.tokens_BFT.gather(1, from_BFT), still.tokens[:, :, None]], 2),
        log_probabilities_BFT=torch.cat(
            [live.log_probabilities_BFT.gather(1, from_BFT), still.log_probabilities[:, :, None]], 2
        ),
        totals_BF=still.totals,
        alignments_BFTS=None if aligned_BFTS is None else aligned_BFTS[sentence_B1, still.parents],
    )


def _kept(live: _Live, kept_B: Tensor) -> _Live:
    """These sentences alone."""
    live.state.keep(kept_B)
    limits_B, finished_BGK, aligned_BFTS = live.limits_B[kept_B], live.finished_BGK[kept_B], live.alignments_BFTS
    return replace(
        live,
        sentences_B=live.sentences_B[kept_B],
        keys_B=live.keys_B[kept_B],
        limits_B=limits_B,
        tokens_BFT=live.tokens_BFT[kept_B],
        log_probabilities_BFT=live.log_probabilities_BFT[kept_B],
        finished_BGK=finished_BGK,
        alignments_BFTS=None if aligned_BFTS is None else aligned_BFTS[kept_B],
        calm=_calm(limits_B, finished_BGK),
    )


def _is_calm(live: _Live, candidates: Candidates, ends_XC: Tensor, *, mortal: bool) -> bool:
    """Whether no sentence can be done in this step. mortal: a hypothesis may be left without a token to go on with."""
    early = live.tokens_BFT.shape[2] + 1 < live.calm and not bool(ends_XC.any())
    return early and not (mortal and bool((candidates.totals[:, 0] == -torch.inf).any()))


def _calm(limits_B: Tensor, finished_BGK: Tensor) -> int:
    """How long hypotheses become before a sentence can be done, unless one ends; 0 where one has ended."""
    ended = not len(limits_B) or bool((finished_BGK > -torch.inf).any())
    return 0 if ended else int(limits_B.min())


def _settled(going: Candidates) -> Candidates:
    """The same, the first of each parent's children in the parent's place, so that few rows of the state move.

    Groups keep their places: each has as many children as places, and its parents' places before its vacant ones.
    """
    parents_BF, size = going.parents, going.parents.shape[1]
    later_BF = (parents_BF[:, :, None] == parents_BF[:, None]).tril(-1).any(2)
    child_BF = parents_BF.masked_fill(later_BF, size).argsort(dim=1, stable=True)
    vacant_BF = torch.ones_like(later_BF).scatter_(1, parents_BF, False)
    place_BF = vacant_BF.to(torch.uint8).argsort(dim=1, stable=True)  # those of parents in order, as their children are
    return going.ordered(torch.empty_like(child_BF).scatter_(1, place_BF, child_BF))
