"""Linformer: attention over a fixed number of mixtures of the keys. Linear in the length.

Shapes: R rows, H heads, L tokens, P projected keys (the rank), C key size, D width.
"""

from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from kakehashi.nn import kernels
from kakehashi.nn.mixers.heads import head_size, join, split
from kakehashi.nn.mixers.protocol import Context, MixerConfig
from kakehashi.nn.positions import Mode


class Linformer(MixerConfig):
    """head = softmax(Q (E K)^T / sqrt(d_k)) (F V), E and F [rank, max_length] learned, shared by the heads.

    Wang et al. 2020 (arXiv 2006.04768), equation 7, with its headwise sharing. A shorter sequence uses the first
    columns; padding's keys and values are zero before they are mixed, so that it adds nothing. Each mixture holds the
    whole sequence, so there is no causal form. E and F have a column for each place and know the order themselves:
    positions that act in attention have no place here. Operations: n `rank` D.
    """

    modes: ClassVar[frozenset[Mode]] = frozenset({"bidirectional"})
    kind: Literal["linformer"] = "linformer"
    rank: PositiveInt = 64
    max_length: PositiveInt = 1024

    def build(self, width: int, heads: int, mode: Mode, name: str) -> "LinformerAttention":
        head_size(width, heads)
        return LinformerAttention(self, width, heads)


class LinformerAttention(nn.Module):
    """x [R, L, D] -> [R, L, D]. L <= `limit`: the stack sees to it."""

    def __init__(self, config: Linformer, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.limit = heads, config.max_length
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.mix_keys = nn.Parameter(torch.empty(config.rank, config.max_length))
        self.mix_values = nn.Parameter(torch.empty(config.rank, config.max_length))

    def initialise(self, generator: torch.Generator | None) -> None:
        """Normal, variance 1 / rank, as the projections of the paper's theorems: they keep lengths, however many
        vectors they mix (Johnson and Lindenstrauss)."""
        for mix in (self.mix_keys, self.mix_values):
            nn.init.normal_(mix, std=len(mix) ** -0.5, generator=generator)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        length = x.shape[1]
        k, v = self.key(x), self.value(x)
        if context.mask is not None:
            k, v = (y.masked_fill(~context.mask[..., None], 0) for y in (k, v))
        k_RHPC, v_RHPC = (
            split(mix[:, :length] @ y, self.heads) for mix, y in ((self.mix_keys, k), (self.mix_values, v))
        )
        q = split(self.query(x), self.heads)
        return self.output(join(kernels.attend(q * q.shape[-1] ** -0.5, k_RHPC, v_RHPC, None)))
