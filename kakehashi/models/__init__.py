"""Whole networks, behind the protocol of models/protocol.py. The union is the registry."""

from typing import Annotated

from kakehashi.config import Family
from kakehashi.models.decoder_only import DecoderOnly
from kakehashi.models.encoder_only import EncoderOnly
from kakehashi.models.transformer import EncoderDecoder

ModelConfig = Annotated[EncoderDecoder | DecoderOnly | EncoderOnly, Family()]
