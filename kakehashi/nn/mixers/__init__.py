"""Mixers: attention and its peers, any of them in any layer. The union is the registry."""

from typing import Annotated

from kakehashi.config import Family
from kakehashi.nn.mixers.attention import Attention

Mixer = Annotated[Attention, Family()]
CrossMixer = Annotated[Attention, Family()]
"""Mixers that can look at an encoded source."""
