"""The search strategies: `Decoding` is their union. Imported only from above; the variants import `protocol`, and
`diverse` the `beam` of which its groups are made."""

from typing import Annotated

from kakehashi.config import Family
from kakehashi.decoding.strategies.beam import Beam
from kakehashi.decoding.strategies.diverse import Diverse
from kakehashi.decoding.strategies.greedy import Greedy
from kakehashi.decoding.strategies.sample import Sample

Decoding = Annotated[Greedy | Beam | Diverse | Sample, Family()]

__all__ = ["Beam", "Decoding", "Diverse", "Greedy", "Sample"]
