"""What holds for every model and every variant of its parts.

They are listed in zoo.py. A law that a variant declares broken is skipped, with the declared reason.
Shapes: N sentences, S source tokens, R hypotheses, L target tokens.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from kakehashi.models import ModelConfig
from kakehashi.models.protocol import Encoded, State, Translating
from kakehashi.nn.variant import broken
from tests.laws.zoo import ALL, LENGTHS, MODELS, SOURCE, TARGET, VARIANTS, build, members


def test_every_variant_is_tried() -> None:
    assert all(config in VARIANTS.values() for _, config in ALL) and len(VARIANTS) >= 10
    assert MODELS.keys() == set(members(ModelConfig)), "give the new model a row in MODELS"


law = pytest.mark.law  # law("step") on a test: a variant that declares this law broken is not held to it


@pytest.fixture(autouse=True)
def _skip_what_is_declared(request: pytest.FixtureRequest) -> None:
    if "name" not in request.fixturenames:
        return
    declared = broken(VARIANTS[request.getfixturevalue("name")])
    for mark in request.node.iter_markers("law"):
        if mark.args[0] in declared:
            pytest.skip(f"{mark.args[0]} is declared broken: {declared[mark.args[0]]}")


@pytest.fixture(params=VARIANTS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str) -> Any:
    return build(name)


def sources(width: int = max(LENGTHS), junk: int = 0) -> tuple[Tensor, Tensor]:
    """Source [N, width] and its mask; `junk` is what stands in the padding."""
    tokens = torch.randint(3, SOURCE, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(width) < torch.tensor(LENGTHS)[:, None]
    return nn.functional.pad(tokens, (0, width - max(LENGTHS))).masked_fill(~mask, junk), mask


def targets(length: int = 8) -> Tensor:
    return torch.randint(3, TARGET, (len(LENGTHS), length), generator=torch.Generator().manual_seed(3))


def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-9)


@law("causality")
@torch.no_grad()
def test_a_future_token_changes_nothing(model: Translating) -> None:
    encoded, tokens = model.encode(*sources()), targets()
    before = model.decode(tokens, encoded).logits
    for place in (0, 3, 7):
        other = tokens.clone()
        other[:, place] = 3 + (other[:, place] - 2) % (TARGET - 3)
        after = model.decode(other, encoded).logits
        assert_equal(after[:, :place], before[:, :place])
        assert ((after - before)[:, place:].abs().amax(-1) > 1e-6).any(-1).all(), "the tokens themselves must count"


@law("source")
@torch.no_grad()
def test_every_source_token_counts(model: Translating) -> None:
    source, mask = sources()
    before = model.decode(targets(), model.encode(source, mask)).logits
    for place in range(max(LENGTHS)):
        other = source.clone()
        other[:, place] = 3 + (other[:, place] - 2) % (SOURCE - 3)
        changed = (model.decode(targets(), model.encode(other, mask)).logits - before).abs().amax((1, 2))
        assert torch.equal(changed > 1e-6, mask[:, place]), "a word changes something, padding nothing"


@law("padding")
@torch.no_grad()
def test_padding_changes_nothing(model: Translating) -> None:
    (source, mask), (wide, wide_mask) = sources(), sources(width=11, junk=5)
    encoded, padded = model.encode(source, mask), model.encode(wide, wide_mask)
    assert_equal(padded.states[wide_mask], encoded.states[mask])
    assert_equal(model.decode(targets(), padded).logits, model.decode(targets(), encoded).logits)
    for row, length in enumerate(LENGTHS):
        alone = model.encode(source[row : row + 1, :length], mask[row : row + 1, :length])
        assert_equal(
            model.decode(targets()[row : row + 1], alone).logits[0], model.decode(targets(), encoded).logits[row]
        )


@law("batch")
@torch.no_grad()
def test_batch_order_changes_nothing(model: Translating) -> None:
    (source, mask), order = sources(), torch.tensor([2, 0, 3, 1])
    whole = model.decode(targets(), model.encode(source, mask)).logits
    shuffled = model.decode(targets()[order], model.encode(source[order], mask[order])).logits
    assert_equal(shuffled, whole[order])


# Step = decode


@law("step")
@pytest.mark.parametrize("chunks", [[1] * 8, [3, 1, 4], [8]], ids=str)
@torch.no_grad()
def test_step_equals_decode(model: Translating, chunks: list[int]) -> None:
    encoded, tokens = model.encode(*sources()), targets()
    state = model.begin(encoded)
    parts = [model.step(part, state).logits for part in tokens.split(chunks, 1)]
    assert_equal(torch.cat(parts, 1), model.decode(tokens, encoded).logits)


class Search:
    """A search that chooses blindly, and remembers what each of its hypotheses holds."""

    def __init__(self, model: Translating, seed: int) -> None:
        self.model, self.random = model, random.Random(seed)
        self.encoded = model.encode(*sources())
        self.sentences = list(range(len(LENGTHS)))
        self.state: State = model.begin(self.encoded)
        self.held: list[list[int]] = [[] for _ in self.sentences]

    def step(self, count: int) -> None:
        """Takes in `count` random tokens a row, and holds the answer against that of teacher forcing."""
        new = [[self.random.randrange(3, TARGET) for _ in range(count)] for _ in self.held]
        found = self.model.step(torch.tensor(new), self.state).logits
        self.held = [old + more for old, more in zip(self.held, new, strict=True)]
        lengths = [len(row) for row in self.held]
        whole = torch.tensor([row + [0] * (max(lengths) - len(row)) for row in self.held])
        owners = torch.tensor(self.sentences).repeat_interleave(self.state.fanout)
        expected = self.model.decode(whole, self.encoded.select(owners)).logits
        ends = torch.tensor(lengths)[:, None] - torch.arange(count, 0, -1)
        assert_equal(found, expected[torch.arange(len(ends))[:, None], ends])

    def repeat(self) -> None:
        self.state.repeat(2)
        self.held = [row for row in self.held for _ in range(2)]

    def reorder(self) -> None:
        fanout = self.state.fanout
        rows = [r // fanout * fanout + self.random.randrange(fanout) for r in range(len(self.held))]
        self.state.reorder(torch.tensor(rows))
        self.held = [self.held[r] for r in rows]

    def keep(self) -> None:
        kept = self.random.sample(range(len(self.sentences)), len(self.sentences) - 1)
        self.state.keep(torch.tensor(kept))
        fanout = self.state.fanout
        self.held = [self.held[s * fanout + f] for s in kept for f in range(fanout)]
        self.sentences = [self.sentences[s] for s in kept]

    def rewind(self) -> None:
        kept = [self.random.randint(max(0, len(row) - 3), len(row)) for row in self.held]
        back = [len(row) - length for row, length in zip(self.held, kept, strict=True)]
        self.state.rewind(self.state.lengths - torch.tensor(back))  # a state may count the source's tokens too
        self.held = [row[:length] for row, length in zip(self.held, kept, strict=True)]


COURSES: dict[str, list[Callable[[Search], None]]] = {
    "beam": [Search.repeat, Search.reorder, Search.keep, Search.reorder],
    "late beam": [Search.keep, Search.repeat, Search.repeat, Search.reorder],
    "speculation": [Search.rewind, Search.rewind, Search.keep, Search.rewind],
    "all of it": [Search.repeat, Search.rewind, Search.reorder, Search.keep, Search.rewind, Search.repeat],
}


@law("step")
@pytest.mark.parametrize(
    "course", [pytest.param(c, marks=[law("rewind")] if Search.rewind in COURSES[c] else []) for c in COURSES]
)
@torch.no_grad()
def test_step_equals_decode_in_any_search(model: Translating, course: str) -> None:
    search = Search(model, seed=len(course))
    search.step(3)
    for number, change in enumerate(COURSES[course]):
        change(search)
        search.step(1 + number % 2)


# Learning and keeping


@law("gradients")
def test_gradients_reach_every_parameter(model: Any) -> None:
    model.train()
    logits = model.decode(targets(), model.encode(*sources())).logits
    nn.functional.cross_entropy(logits.flatten(0, 1), targets().roll(-1, 1).flatten()).backward()
    missing = [path for path, p in model.named_parameters() if p.grad is None]
    # The bias of attention's keys adds the same to all scores of a query: its gradient is zero but for rounding,
    # unless positions rotate it.
    still = [path for path, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() < 1e-9]
    assert missing == [] and [path for path in still if not path.endswith("key.bias")] == []


@torch.no_grad()
def test_saving_is_exact(name: str, model: Any, tmp_path: Any) -> None:
    single = model.float()
    save_model(single, tmp_path / "model.safetensors")
    copies = [build(name, seed=2).float() for _ in range(2)]
    copies[0].load_state_dict(single.state_dict())
    load_model(copies[1], tmp_path / "model.safetensors")
    expected = single.decode(targets(), single.encode(*sources())).logits
    for copy in copies:
        assert torch.equal(copy.decode(targets(), copy.encode(*sources())).logits, expected)
        assert len(list(copy.parameters())) == len(list(single.parameters())), "what was tied stays tied"


@law("bf16")
@torch.no_grad()
def test_bf16_is_close_to_fp32(model: Any) -> None:
    source, mask = sources()

    def probabilities(dtype: torch.dtype) -> Tensor:
        model.to(dtype)
        logits = model.decode(targets(), model.encode(source, mask)).logits
        assert logits.dtype == dtype
        return logits.float().log_softmax(-1)

    single, half = probabilities(torch.float32), probabilities(torch.bfloat16)
    assert (half - single).abs().mean() < 0.02 * single.std() and (half - single).abs().max() < 0.2 * single.std()


@torch.no_grad()
def test_dropout_acts_in_training_only(model: Any) -> None:
    def logits() -> Tensor:
        return model.decode(targets(), model.encode(*sources())).logits

    assert torch.equal(logits(), logits())
    model.train()
    assert not torch.equal(logits(), logits())
    torch.manual_seed(1)
    one = logits()
    torch.manual_seed(1)
    assert torch.equal(logits(), one)


@law("alignment")
@torch.no_grad()
def test_alignment_is_a_distribution_over_the_source(name: str) -> None:
    model = build(name)
    (source, mask), tokens = sources(), targets()
    encoded: Encoded = model.encode(source, mask)
    output, plain = model.decode(tokens, encoded, alignment=True), model.decode(tokens, encoded)
    assert plain.alignment is None and output.alignment is not None
    assert_equal(output.logits, plain.logits)
    assert_equal(output.alignment.sum(-1), torch.ones(tokens.shape, dtype=torch.float64))
    assert not output.alignment.masked_select(~mask[:, None]).any()
    state = model.begin(encoded)
    stepped = [model.step(part, state, alignment=True).alignment for part in tokens.split(1, 1)]
    assert_equal(torch.cat(stepped, 1), output.alignment)
