"""Variants of two families that meet in one layer keep the laws that each keeps alone."""

from itertools import product
from typing import Any, get_args

import pytest

from kakehashi.nn.feedforward import Experts, ReLU, SwiGLU
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.mixers.convolution import GatedConvolution
from kakehashi.nn.mixers.indexed import Indexed
from kakehashi.nn.mixers.knn import KNN
from kakehashi.nn.mixers.linear_attention import LinearAttention
from kakehashi.nn.mixers.recurrence import LSTM, SSRU
from kakehashi.nn.norms import Norm
from kakehashi.nn.patterns import Either, Fixed, Global, Random, Strided, Window
from kakehashi.nn.positions import T5, Alibi, Learned, Rope, Shaw, Sinusoidal
from kakehashi.nn.residual import Placement
from kakehashi.nn.scores import Additive
from kakehashi.nn.variant import broken
from tests.laws import test_models as laws
from tests.laws.zoo import built, members, model_of

POSITIONS = [Sinusoidal(), Learned(max_length=20), Shaw(clip=2), T5(buckets=6, max_distance=5), Alibi(), Rope()]
PATTERNS = [
    Window(size=2),
    Strided(stride=3),
    Fixed(stride=3, summary=1),
    Random(block=2, count=1),
    Either(patterns=(Window(size=1), Global(), Random(block=2, count=1))),
]
ATTENDING = [
    *(Attention(pattern=pattern) for pattern in PATTERNS),
    Attention(score=Additive()),
    Attention(kv_heads=1),
    Attention(values="keys"),
    Attention(kv_heads=1, pattern=Window(size=2), score=Additive()),
    Indexed(keep=2, index_size=4),
    KNN(window=2, neighbours=2),
]
OTHER_MIXERS = [GatedConvolution(), LinearAttention(), LSTM(), SSRU()]
FEEDFORWARDS = [SwiGLU(size=12), Experts(experts=2, top=1, expert=ReLU(size=12))]
PLACEMENTS = get_args(Placement)

PAIRS: list[dict[str, Any]] = [
    *({"position": position, "mixer": mixer} for position, mixer in product(POSITIONS, ATTENDING)),
    *({"placement": placement, "norm": norm()} for placement, norm in product(PLACEMENTS, members(Norm))),
    *({"placement": placement, "feedforward": part} for placement, part in product(PLACEMENTS, FEEDFORWARDS)),
    *({"placement": placement, "mixer": mixer} for placement, mixer in product(PLACEMENTS, OTHER_MIXERS)),
    *({"feedforward": part, "mixer": mixer} for part, mixer in product(FEEDFORWARDS, [*ATTENDING, *OTHER_MIXERS])),
]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: ", ".join(str(part) for part in pair.values()))
def test_two_that_meet_keep_the_laws(pair: dict[str, Any]) -> None:
    config = model_of(**pair)
    model = built(config)
    laws.test_a_future_token_changes_nothing(model)
    laws.test_padding_changes_nothing(model)
    laws.test_step_equals_decode_in_any_search(model, "beam" if "rewind" in broken(config) else "all of it")
