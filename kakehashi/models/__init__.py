"""Whole networks, behind the protocol of models/protocol.py. The union is the registry."""

from typing import Annotated

from kakehashi.config import Family
from kakehashi.models.bytenet import ByteNet
from kakehashi.models.convs2s import ConvS2S
from kakehashi.models.decoder_only import DecoderOnly
from kakehashi.models.encoder_only import EncoderOnly
from kakehashi.models.lstm import LSTM
from kakehashi.models.transformer import EncoderDecoder

ModelConfig = Annotated[EncoderDecoder | DecoderOnly | EncoderOnly | LSTM | ConvS2S | ByteNet, Family()]
