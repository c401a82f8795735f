"""What training knows of a task. A task never steps and never owns the optimiser."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Sums:
    """A loss as sums and counts, so that averages are right under accumulation and over many processes.

    loss: what is minimised, summed over tokens, with its gradient; likelihood: -log p of the targets, summed;
    tokens: how many.
    """

    loss: Tensor
    likelihood: Tensor
    tokens: int
