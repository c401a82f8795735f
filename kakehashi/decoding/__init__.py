"""From a model and a batch of source ids to hypotheses: `search`, its settings (`Decoding`) and what it returns."""

from kakehashi.decoding.constraints import Constraints
from kakehashi.decoding.search import Hypothesis, search
from kakehashi.decoding.strategies import Beam, Decoding, Greedy, Sample

__all__ = ["Beam", "Constraints", "Decoding", "Greedy", "Hypothesis", "Sample", "search"]
