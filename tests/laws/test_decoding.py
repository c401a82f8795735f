"""What holds for every search strategy: with a Transformer, whose parts are tried by their own laws, and in part with
one model of every other kind."""

from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from kakehashi.decoding import Beam, Constraints, Decoding, Greedy, Hypothesis, Sample, search
from kakehashi.decoding.processors import NoRepeatNgram, RepetitionPenalty
from kakehashi.errors import UserError
from kakehashi.models import ModelConfig
from kakehashi.models.bytenet import ByteNet, DilatedBlocks
from kakehashi.models.convs2s import Blocks, ConvS2S
from kakehashi.models.decoder_only import DecoderOnly
from kakehashi.models.encoder_only import EncoderOnly
from kakehashi.models.lstm import LSTM
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossStack, Stack
from kakehashi.models.transformer import EncoderDecoder, Transformer
from kakehashi.nn.variant import broken
from tests.laws.zoo import members

SIZE = 30
STRATEGIES = [
    Greedy(extra_length=8),
    Greedy(max_length=7, min_length=4),
    Sample(extra_length=8),
    Sample(temperature=0.7, top_k=5, top_p=0.9, seed=7, min_length=3, max_length=12),
    Beam(extra_length=8),
    Beam(size=4, length_penalty=0.0, extra_length=2),
    Beam(size=7, length_penalty=0.6, min_length=3, max_length=12),
    Beam(size=3, processors=(NoRepeatNgram(size=2),), max_length=12),
    Greedy(processors=(RepetitionPenalty(penalty=1.5),), max_length=12),
    Sample(processors=(RepetitionPenalty(penalty=1.5),), max_length=12),
    Beam(size=3, processors=(RepetitionPenalty(penalty=1.5), NoRepeatNgram(size=3)), max_length=12),
]
LENGTHS = [5, 2, 9, 7, 1]


OTHERS = {
    "decoder_only": DecoderOnly(width=16, heads=2, decoder=Stack(depth=2)),
    "lstm": LSTM(width=16),
    "convs2s": ConvS2S(width=16, encoder=Blocks(depth=1), decoder=Blocks(depth=2)),
    "bytenet": ByteNet(width=16, encoder=DilatedBlocks(sets=1, dilations=(1, 2)), decoder=DilatedBlocks(sets=1)),
}


def other(kind: str, seed: int, size: int = SIZE) -> Any:
    """A tiny model of another kind whose choices are clear."""
    torch.manual_seed(seed)
    built = OTHERS[kind].build(Vocabulary(size), Vocabulary(size)).double().eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return built


def model(seed: int, size: int = SIZE) -> Transformer:
    """A tiny Transformer whose choices are clear (its logits are spread) and whose sentences end (END is raised)."""
    torch.manual_seed(seed)
    config = EncoderDecoder(width=16, heads=2, encoder=Stack(depth=1), decoder=CrossStack(depth=2))
    transformer = config.build(Vocabulary(size), Vocabulary(size)).eval()
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.mul_(2).add_(0.1 * torch.randn_like(parameter))
        end = transformer.projection.weight[2]
        transformer.decoder.norm.get_parameter("bias").add_(4 * end / end.square().sum())
    return transformer


def sources(seed: int, padding: int = 0) -> tuple[Tensor, Tensor]:
    longest = max(LENGTHS) + padding
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(3, SIZE, (len(LENGTHS), max(LENGTHS)), generator=generator)
    source = pad(source, (0, padding))
    mask = torch.arange(longest) < torch.tensor(LENGTHS)[:, None]
    source[range(len(LENGTHS)), [length - 1 for length in LENGTHS]] = 2
    return source.masked_fill(~mask, 0), mask


def assert_same(one: list[Hypothesis], other: list[Hypothesis]) -> None:
    """Equal scores to 1e-4; equal tokens, unless the next best is as good."""
    assert [h.score for h in one] == pytest.approx([h.score for h in other], abs=1e-4)
    for i, (a, b) in enumerate(zip(one, other, strict=True)):
        rivals = [h.score for h in one[:i] + one[i + 1 :]]
        if all(abs(a.score - score) > 1e-4 for score in rivals):
            assert a.tokens == b.tokens
            assert a.finished == b.finished
            if a.alignment is not None and b.alignment is not None:
                torch.testing.assert_close(a.alignment, b.alignment, atol=1e-4, rtol=0)


@pytest.fixture(params=STRATEGIES, ids=lambda d: f"{d.kind}-{STRATEGIES.index(d)}")
def decoding(request: pytest.FixtureRequest) -> Greedy | Beam | Sample:
    return request.param


def test_every_strategy_is_tried() -> None:
    union = get_args(get_args(Decoding)[0])
    assert {type(strategy) for strategy in STRATEGIES} == set(union)


def test_the_model_of_these_laws_is_a_fair_one() -> None:
    """Sentences of several lengths, most of them finished; else the laws below would say little."""
    found = [h[0] for seed in range(2) for h in search(model(seed), *sources(seed), Beam(extra_length=8))]
    assert len({len(h.tokens) for h in found}) >= 4
    assert sum(h.finished for h in found) > len(found) / 2


def assert_rescored(model: Any, seed: int, decoding: Greedy | Beam | Sample) -> None:
    """Every log-probability and alignment of a search is that of teacher forcing; every score too, as its processors
    reweigh it."""
    source, mask = sources(seed)
    size, aligns = decoding.build().size, "alignment" not in broken(model.config)
    for row, hypotheses in enumerate(search(model, source, mask, decoding, count=size, alignment=aligns)):
        encoded = model.encode(source[row : row + 1], mask[row : row + 1])
        for h in hypotheses:
            tokens = [*h.tokens, 2] if h.finished else h.tokens
            with torch.no_grad():
                output = model.decode(torch.tensor([[1, *tokens[:-1]]]), encoded, alignment=aligns)
            logits = output.logits
            if aligns:
                told = output.alignment[0, :, mask[row]].float()
                torch.testing.assert_close(h.alignment, told, atol=1e-5, rtol=1e-4)
            expected = logits.log_softmax(-1)[0, range(len(tokens)), tokens]
            assert h.token_log_probabilities == pytest.approx(expected.tolist(), abs=1e-4)
            assert h.log_probability == pytest.approx(expected.sum().item(), abs=1e-4)
            alpha = decoding.length_penalty if isinstance(decoding, Beam) else 0.0
            weighed = logits[0].clone()
            for process in (processor.build() for processor in decoding.processors):
                for place in range(len(tokens)):
                    process(weighed[place : place + 1], torch.tensor([tokens[:place]], dtype=torch.long))
            total = (weighed[range(len(tokens)), tokens] - logits[0].logsumexp(-1)).sum().item()
            assert h.score == pytest.approx(total / ((5 + len(tokens)) / 6) ** alpha, abs=1e-4)


def test_scores_equal_those_of_teacher_forcing(decoding: Greedy | Beam | Sample) -> None:
    for seed in range(2):
        assert_rescored(model(seed), seed, decoding)


@pytest.mark.parametrize("kind", OTHERS)
@torch.no_grad()
def test_search_agrees_with_every_model(kind: str) -> None:
    """Its scores are those of teacher forcing, and greedy search is the beam of size one."""
    for seed in range(2):
        built, (source, mask) = other(kind, seed), sources(seed)
        assert_rescored(built, seed, Beam(size=4, max_length=9))
        greedy = search(built, source, mask, Greedy(max_length=9))
        beam = search(built, source, mask, Beam(size=1, max_length=9))
        assert [h[0].tokens for h in greedy] == [h[0].tokens for h in beam]


@pytest.mark.parametrize("kind", ["encoder_decoder", *OTHERS])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@torch.no_grad()
def test_a_wide_enough_beam_finds_what_trying_all_finds(kind: str, alpha: float) -> None:
    """The best of all finished sequences up to the limit, scored by `decode`, of a vocabulary of three words."""
    size, longest = 6, 4
    for seed in range(2):
        built = model(seed, size) if kind == "encoder_decoder" else other(kind, seed, size)
        source, mask = torch.tensor([[3, 5, 4, 2]]), torch.ones(1, 4, dtype=torch.bool)
        scored: list[tuple[float, list[int]]] = []
        for length in range(longest):
            words = torch.cartesian_prod(*[torch.arange(3, size)] * length).view(-1, length) if length else None
            read = torch.ones(1, 1, dtype=torch.long) if words is None else pad(words, (1, 0), value=1)
            rows = len(read)
            encoded = built.encode(source.expand(rows, -1), mask.expand(rows, -1))
            log_probabilities = built.decode(read, encoded).logits.log_softmax(-1)
            emitted = pad(read[:, 1:], (0, 1), value=2)
            totals = log_probabilities.gather(2, emitted[:, :, None]).sum((1, 2)) / ((6 + length) / 6) ** alpha
            scored += zip(totals.tolist(), read[:, 1:].tolist(), strict=True)
        best = sorted(scored, reverse=True)[:5]
        beam = Beam(size=3**longest, length_penalty=alpha, max_length=longest)
        found = search(built, source, mask, beam, count=5)[0]
        assert [h.tokens for h in found] == [tokens for _, tokens in best]
        assert [h.score for h in found] == pytest.approx([score for score, _ in best], abs=1e-4)


def test_one_model_of_every_kind_is_tried() -> None:
    assert {EncoderDecoder, *map(type, OTHERS.values())} == set(members(ModelConfig)) - {EncoderOnly}


def test_a_model_without_attention_says_that_it_cannot_align() -> None:
    with pytest.raises(UserError, match="no attention to its source"):
        search(other("bytenet", 0), *sources(0), Greedy(), alignment=True)


def test_an_alignment_that_nobody_asked_for_is_not_computed() -> None:
    built, asked = model(0), list[bool]()
    step = built.step
    built.step = lambda tokens, state, alignment=False: (asked.append(alignment), step(tokens, state, alignment))[1]
    plain = search(built, *sources(0), Beam(size=3, max_length=6), count=3)
    assert not any(asked) and all(h.alignment is None for hypotheses in plain for h in hypotheses)
    told = search(built, *sources(0), Beam(size=3, max_length=6), count=3, alignment=True)
    assert told == plain, "it changes nothing else"


def test_order_size_and_padding_of_the_batch_change_nothing(decoding: Greedy | Beam | Sample) -> None:
    for seed in range(2):
        transformer = model(seed)
        source, mask = sources(seed)
        size = decoding.build().size
        together = search(transformer, source, mask, decoding, count=size)
        padded = search(transformer, *sources(seed, padding=6), decoding, count=size)
        turned = search(transformer, source.flip(0), mask.flip(0), decoding, count=size)[::-1]
        for row, hypotheses in enumerate(together):
            length = LENGTHS[row]
            alone = search(transformer, source[row : row + 1, :length], mask[row : row + 1, :length], decoding, size)
            for others in (padded[row], turned[row], alone[0]):
                assert_same(hypotheses, others)


def test_hypotheses_are_sorted_distinct_and_within_the_limits(decoding: Greedy | Beam | Sample) -> None:
    for seed in range(2):
        source, mask = sources(seed)
        size = decoding.build().size
        for length, hypotheses in zip(LENGTHS, search(model(seed), source, mask, decoding, count=size), strict=True):
            assert len(hypotheses) == size
            ranks = [(h.finished, h.score) for h in hypotheses]
            assert ranks == sorted(ranks, reverse=True)
            assert len({(*h.tokens, h.finished) for h in hypotheses}) == size
            limit = max(decoding.min_length, min(decoding.max_length, length + decoding.extra_length))
            for h in hypotheses:
                assert not {0, 1, 2} & set(h.tokens)  # no padding, no second beginning, nothing behind the end
                emitted = len(h.tokens) + h.finished
                assert decoding.min_length <= emitted <= limit
                assert h.finished or emitted == limit
                assert len(h.token_log_probabilities) == emitted


def test_the_best_of_many_is_the_best_of_one(decoding: Greedy | Beam | Sample) -> None:
    for seed in range(2):
        transformer, (source, mask) = model(seed), sources(seed)
        many = search(transformer, source, mask, decoding, count=decoding.build().size)
        for one, hypotheses in zip(search(transformer, source, mask, decoding), many, strict=True):
            assert_same(one, hypotheses[:1])


@pytest.mark.parametrize("settings", [{"max_length": 12}, {"max_length": 6}, {"min_length": 5, "extra_length": 0}])
def test_greedy_is_the_beam_of_size_one(settings: dict[str, Any]) -> None:
    for seed in range(2):
        transformer, (source, mask) = model(seed), sources(seed)
        greedy = search(transformer, source, mask, Greedy(**settings))
        plain = search(transformer, source, mask, Beam(size=1, length_penalty=0.0, **settings))
        for one, other in zip(greedy, plain, strict=True):
            assert one[0].tokens == other[0].tokens
            assert one[0].score == pytest.approx(other[0].score, abs=1e-4)
        longer = search(transformer, source, mask, Beam(size=1, length_penalty=1.0, **settings))
        assert [h[0].tokens for h in greedy] == [h[0].tokens for h in longer]


PHRASES = st.lists(st.integers(3, SIZE - 1), min_size=1, max_size=3).map(tuple)
CONSTRAINTS = st.builds(
    Constraints,
    st.lists(st.lists(PHRASES, min_size=1, max_size=2).map(tuple), max_size=3).map(tuple),
    st.lists(PHRASES, max_size=6).map(tuple),
)


def assert_constraints_hold(model: Any, seed: int, decoding: Beam, constraints: list[Constraints]) -> None:
    """In every hypothesis that is reported as finished, whatever stands beside its sentence in the batch."""
    source, mask = sources(seed)
    size = decoding.size
    found = search(model, source, mask, decoding, size, constraints=constraints)
    padded = search(model, *sources(seed, padding=6), decoding, size, constraints=constraints)
    turned = search(model, source.flip(0), mask.flip(0), decoding, size, constraints=constraints[::-1])[::-1]
    for row, (hypotheses, own) in enumerate(zip(found, constraints, strict=True)):
        length = LENGTHS[row]
        lone = source[row : row + 1, :length], mask[row : row + 1, :length]
        alone = search(model, *lone, decoding, size, constraints=[own])
        for others in (padded[row], turned[row], alone[0]):
            assert_same(hypotheses, others)
        for h in hypotheses:
            text = f" {' '.join(map(str, h.tokens))} "
            spelt = [[f" {' '.join(map(str, spelling))} " in text for spelling in phrase] for phrase in own.required]
            assert not h.finished or all(map(any, spelt))
            assert not any(f" {' '.join(map(str, phrase))} " in text for phrase in own.forbidden)


@settings(max_examples=3)
@given(st.lists(CONSTRAINTS, min_size=len(LENGTHS), max_size=len(LENGTHS)))
def test_constraints_hold(constraints: list[Constraints]) -> None:
    assert_constraints_hold(model(0), 0, Beam(size=4, extra_length=8), constraints)


@pytest.mark.parametrize("kind", OTHERS)
def test_constraints_hold_with_every_model(kind: str) -> None:
    @settings(max_examples=2)
    @given(st.lists(CONSTRAINTS, min_size=len(LENGTHS), max_size=len(LENGTHS)))
    def law(constraints: list[Constraints]) -> None:
        assert_constraints_hold(other(kind, 1), 1, Beam(size=3, max_length=10), constraints)

    law()


def test_constraints_are_often_kept_by_finished_translations() -> None:
    """Else the laws above would say little."""
    constraints = [Constraints((((5, 6),), ((7,), (8, 9))), ((4,),))] * len(LENGTHS)
    beam = Beam(size=4, extra_length=8)
    found = [h[0] for seed in range(2) for h in search(model(seed), *sources(seed), beam, constraints=constraints)]
    assert sum(h.finished for h in found) > len(found) / 3
