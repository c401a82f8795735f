"""Declared exceptions are found wherever in a tree of configs they stand."""

from collections.abc import Mapping
from typing import ClassVar

from kakehashi.models.stack import Layer, Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.variant import Law, Variant, broken, variants


class Forgetful(Variant):
    breaks: ClassVar[Mapping[Law, str]] = {"step": "it forgets"}


class Bounded(Variant):
    breaks: ClassVar[Mapping[Law, str]] = {"bf16": "it is coarse"}
    limit: int | None = None

    def exceptions(self) -> Mapping[Law, str]:
        return self.breaks if self.limit is None else {**self.breaks, "batch": "rows share the limit"}


class Holder(Variant):
    parts: tuple[Variant, ...] = ()


def test_what_is_declared_below_counts_above() -> None:
    assert broken(Holder(parts=(Holder(), Holder(parts=(Forgetful(),))))) == {"step": "it forgets"}
    assert broken(Holder(parts=(Holder(),))) == {}


def test_an_option_may_decide() -> None:
    assert broken(Holder(parts=(Bounded(),))) == {"bf16": "it is coarse"}
    assert broken(Holder(parts=(Bounded(limit=3),))).keys() == {"bf16", "batch"}


def test_every_part_of_a_model_is_visited() -> None:
    kinds = {dict(v).get("kind") for v in variants(EncoderDecoder(encoder=Stack(layers=(Layer(), Layer()))))}
    assert kinds >= {Attention().kind, "full", "relu", "layer", "sinusoidal"}
    assert broken(EncoderDecoder()) == {}
