"""What the configs of all families of parts have in common: they name the laws that their part cannot keep.

The laws themselves are tests (tests/laws). A variant is held to every one of them; what it cannot keep it declares,
with the reason, and the documents show that declaration.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, cast

from kakehashi.config import Config

Law = Literal["causality", "source", "padding", "batch", "step", "rewind", "gradients", "alignment", "bf16"]
"""causality: a future token changes nothing. source: every source token counts. padding: it changes nothing, nor does
its amount. batch: neither its order nor who else is in it changes anything. step: `step` = `decode`, in any chunks and
through a beam's `repeat`, `reorder`, `keep`. rewind: also after `rewind`. gradients: they reach every parameter.
alignment: `alignment` is a distribution over the source. bf16: close to fp32."""


class Variant(Config):
    """The base of a part's config. `breaks`: the laws that its kind cannot keep, whatever the options."""

    breaks: ClassVar[Mapping[Law, str]] = {}

    def exceptions(self) -> Mapping[Law, str]:
        """The laws that this config declares broken; a kind of which an option decides answers for itself."""
        return self.breaks


def broken(config: object) -> dict[Law, str]:
    """All laws that a tree of configs declares broken, with the reasons."""
    reasons: dict[Law, str] = {}
    for variant in variants(config):
        reasons.update(variant.exceptions())
    return reasons


def variants(node: object) -> Iterator[Variant]:
    """Every variant in a tree of configs."""
    if isinstance(node, Variant):
        yield node
    if isinstance(node, Config):
        for _, child in node:
            yield from variants(child)
    elif isinstance(node, tuple):
        for child in cast(tuple[object, ...], node):
            yield from variants(child)
