"""Which number format sums are made in."""

import torch


def wide(dtype: torch.dtype) -> torch.dtype:
    """At least fp32: sums of many small terms, as over a sequence or of gathered gradients, would stall in 16 bits."""
    return torch.promote_types(dtype, torch.float32)
