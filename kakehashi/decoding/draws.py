"""Random numbers that depend on a seed, a sentence and a step, and on nothing else: not on who is in the batch.

They are hashes (SplitMix64, Steele et al. 2014) and not a generator's state, so that there is nothing to carry along
when sentences leave the batch. Shapes: B sentences, S source tokens.
"""

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15: 2^64 / golden ratio, odd
_FIRST, _SECOND = -4658895280553007687, -7723592293110705685  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def keys(tokens_BS: Tensor, mask_BS: Tensor) -> Tensor:
    """A number [B] for what stands in each row, whatever its padding."""
    places_S = torch.arange(tokens_BS.shape[1], device=tokens_BS.device)
    return (_mix(_mix(places_S) + tokens_BS) * mask_BS).sum(1)


def uniforms(seed: int, keys_B: Tensor, step: int) -> Tensor:
    """Numbers [B] in [0, 1), float64."""
    chosen = _mix(torch.full_like(keys_B, seed)) + step
    return _shifted(_mix(_mix(chosen) ^ keys_B), 12).double() * 2.0**-52  # 52 bits: no product with one rounds up


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's output function, on int64 as 64 bits that wrap."""
    x = x * _GOLDEN + _GOLDEN
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, count: int) -> Tensor:
    """To the right, filling up with zeros: torch's shift fills up with the sign."""
    return (x >> count) & ((1 << (64 - count)) - 1)
