"""The search strategies: `Decoding` is their union. Imported only from above; the variants import `protocol` alone."""

from typing import Annotated

from kakehashi.config import Family
from kakehashi.decoding.strategies.beam import Beam
from kakehashi.decoding.strategies.greedy import Greedy
from kakehashi.decoding.strategies.sample import Sample

Decoding = Annotated[Greedy | Beam | Sample, Family()]

__all__ = ["Beam", "Decoding", "Greedy", "Sample"]
