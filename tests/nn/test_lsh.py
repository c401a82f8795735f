"""Attention within hash buckets against brute force over all pairs; the hash itself; what it costs."""

import math

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kakehashi.nn.mixers import lsh
from kakehashi.nn.mixers.lsh import LSH, LSHAttention
from kakehashi.nn.mixers.protocol import Context
from kakehashi.nn.positions import Mode
from kakehashi.nn.state import State

WIDTH, HEADS, LENGTH = 12, 3, 13
SIZES = [LSH(buckets=2, chunk=2, rounds=1), LSH(buckets=4, chunk=3, rounds=3), LSH(buckets=4, chunk=50, rounds=2)]


def build(config: LSH, mode: Mode) -> LSHAttention:
    torch.manual_seed(1)
    return config.build(WIDTH, HEADS, mode, "a").double()


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def context(length: int, mask: Tensor | None = None) -> Context:
    return Context(torch.arange(length)[None], mask)


def partners(buckets: list[list[int]], i: int, chunk: int, causal: bool) -> set[int]:
    """Whom token i finds: in each round at most `chunk` of its bucket to the left and, when bidirectional, right."""
    found: set[int] = set()
    for one in buckets:
        before = [j for j in range(i) if one[j] == one[i]]
        behind = [] if causal else [j for j in range(i + 1, len(one)) if one[j] == one[i]]
        found |= {*before[-chunk:], *behind[:chunk]}
    return found or {i}


@torch.no_grad()
def by_formula(module: LSHAttention, x_LD: Tensor) -> Tensor:
    """Of one sentence without padding; a head and a query at a time."""
    size, heads = WIDTH // HEADS, list[Tensor]()
    for h in range(HEADS):
        part = slice(h * size, h * size + size)
        q, v = (x_LD @ p.weight[part].T + p.bias[part] for p in (module.query, module.value))
        buckets = [[int(torch.cat((y @ r, -(y @ r))).argmax()) for y in q] for r in module.rotations]
        rows: list[Tensor] = []
        for i in range(len(q)):
            seen = sorted(partners(buckets, i, module.config.chunk, module.causal))
            scores = [math.exp(float(q[i] @ q[j] / q[j].norm()) / math.sqrt(size)) for j in seen]
            rows.append(torch.stack([s / sum(scores) * v[j] for s, j in zip(scores, seen, strict=True)]).sum(0))
        heads.append(torch.stack(rows))
    return module.output(torch.cat(heads, -1))


@pytest.mark.parametrize("config", SIZES, ids=str)
@pytest.mark.parametrize("mode", ["bidirectional", "causal"])
def test_it_equals_brute_force(mode: Mode, config: LSH) -> None:
    module, x = build(config, mode), numbers(2, LENGTH, WIDTH)
    mask = torch.ones(2, LENGTH, dtype=torch.bool)
    if mode == "bidirectional":
        mask[1, 8:] = False
    found = module(x, context(LENGTH, mask if mode == "bidirectional" else None))
    for row, length in enumerate(mask.sum(1).tolist()):
        torch.testing.assert_close(found[row, :length], by_formula(module, x[row, :length]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("config", SIZES, ids=str)
@pytest.mark.parametrize("chunks", [[1] * 13, [3, 1, 9]], ids=str)
def test_steps_equal_the_whole(chunks: list[int], config: LSH, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of the sorted sequence and a mask over the cache find the same pairs."""
    monkeypatch.setattr(lsh, "_BLOCK", 4)
    module, x = build(config, "causal"), numbers(2, LENGTH, WIDTH)
    state, parts = State(2, torch.device("cpu")), list[Tensor]()
    for part in x.split(chunks, 1):
        parts.append(module(part, Context(state.positions(part.shape[1]), state=state)))
        state.advance(part.shape[1])
    torch.testing.assert_close(torch.cat(parts, 1), module(x, context(LENGTH)), atol=1e-12, rtol=0)


def test_with_one_bucket_it_is_attention_with_shared_queries_and_keys() -> None:
    module, x = build(LSH(chunk=LENGTH), "bidirectional"), numbers(2, LENGTH, WIDTH)
    module.rotations.zero_()
    q, v = (part(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (module.query, module.value))
    scores = q @ (q / q.norm(dim=-1, keepdim=True)).transpose(-1, -2) / (WIDTH / HEADS) ** 0.5
    weights = scores.masked_fill(torch.eye(LENGTH, dtype=torch.bool), -math.inf).softmax(-1)
    expected = module.output((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(module(x, context(LENGTH)), expected, atol=1e-12, rtol=0)


def test_near_vectors_share_a_bucket_more_often() -> None:
    """Kitaev et al. 2020, section 2: what makes the hash locality-sensitive. Opposite vectors never do."""
    module, x = build(LSH(buckets=8, rounds=64), "causal"), numbers(1, HEADS, 40, WIDTH // HEADS)
    shares: list[float] = []
    for angle in (0.0, 0.3, 0.8, 1.5, math.pi):
        other = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        other = other - (other * x).sum(-1, keepdim=True) / (x * x).sum(-1, keepdim=True) * x
        turned = math.cos(angle) * x / x.norm(dim=-1, keepdim=True)
        turned = turned + math.sin(angle) * other / other.norm(dim=-1, keepdim=True)
        shares.append((module._hash(turned, None) == module._hash(x, None)).double().mean().item())
    assert shares == sorted(shares, reverse=True) and shares[0] == 1 and shares[-1] == 0 and shares[1] > 2 * shares[3]


def test_each_layer_hashes_in_its_own_way_whatever_the_seed() -> None:
    torch.manual_seed(7)
    first, again, other = (LSH().build(WIDTH, HEADS, "causal", name) for name in ("a", "a", "b"))
    assert torch.equal(first.rotations, again.rotations) and not torch.equal(first.rotations, other.rotations)
    assert "rotations" in first.state_dict()


def test_an_odd_number_of_buckets_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 2"):
        LSH(buckets=3)


@pytest.mark.parametrize("mode", ["bidirectional", "causal"])
def test_operations_grow_with_the_length_alone(mode: Mode) -> None:
    module, counts = build(LSH(chunk=16), mode), list[int]()
    for length in (512, 1024):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(numbers(1, length, WIDTH), context(length))
        counts.append(counter.get_total_flops())
    assert counts[1] == 2 * counts[0]
