"""Mixers: attention and its peers, any of them in any layer. The union is the registry."""

from typing import Annotated

from kakehashi.config import Family
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.mixers.indexed import Indexed
from kakehashi.nn.mixers.knn import KNN
from kakehashi.nn.mixers.linformer import Linformer
from kakehashi.nn.mixers.lsh import LSH

Mixer = Annotated[Attention | Indexed | Linformer | LSH | KNN, Family()]
CrossMixer = Annotated[Attention, Family()]
"""Mixers that can look at an encoded source."""
