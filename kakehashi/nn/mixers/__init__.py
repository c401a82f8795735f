"""Mixers: attention and its peers, any of them in any layer. The union is the registry."""

from typing import Annotated

from kakehashi.config import Family
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.mixers.convolution import DilatedConvolution, DynamicConvolution, GatedConvolution, LightConvolution
from kakehashi.nn.mixers.indexed import Indexed
from kakehashi.nn.mixers.knn import KNN
from kakehashi.nn.mixers.linear_attention import AverageAttention, LinearAttention
from kakehashi.nn.mixers.linformer import Linformer
from kakehashi.nn.mixers.lsh import LSH
from kakehashi.nn.mixers.recurrence import LSTM, SSRU, GatedRecurrence

_ByContent = Indexed | Linformer | LSH | KNN
_Convolution = GatedConvolution | LightConvolution | DynamicConvolution | DilatedConvolution
_Recurrence = LSTM | SSRU | GatedRecurrence | AverageAttention | LinearAttention

Mixer = Annotated[Attention | _ByContent | _Convolution | _Recurrence, Family()]
CrossMixer = Annotated[Attention, Family()]
"""Mixers that can look at an encoded source."""
