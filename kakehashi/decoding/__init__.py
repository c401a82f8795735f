"""From a model and a batch of source ids to hypotheses: `search`, its settings (`Decoding`) and what it returns."""

from kakehashi.decoding.constraints import Constraints
from kakehashi.decoding.hypothesis import Hypothesis
from kakehashi.decoding.search import search
from kakehashi.decoding.strategies import Beam, Decoding, Diverse, Greedy, Sample

__all__ = ["Beam", "Constraints", "Decoding", "Diverse", "Greedy", "Hypothesis", "Sample", "search"]
