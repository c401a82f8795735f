"""Which models can be graphs."""

from collections.abc import Mapping

from kakehashi.errors import UserError
from kakehashi.models import ModelConfig
from kakehashi.models.decoder_only import DecoderOnly
from kakehashi.models.encoder_only import EncoderOnly
from kakehashi.models.lstm import LSTM
from kakehashi.nn.feedforward import Experts
from kakehashi.nn.mixers import recurrence
from kakehashi.nn.mixers.indexed import Indexed
from kakehashi.nn.mixers.knn import KNN
from kakehashi.nn.mixers.lsh import LSH
from kakehashi.nn.scores import Additive
from kakehashi.nn.variant import Variant, variants

REFUSED: Mapping[type[Variant], str] = {
    DecoderOnly: "it reads its source as the beginning of the text, each row to an end of its own",
    EncoderOnly: "it generates nothing",
    LSTM: "it goes through a sentence token by token",
    recurrence.LSTM: "it goes through a sentence token by token",
    Indexed: "its keys are chosen in blocks, by the length",
    KNN: "its keys are chosen in blocks, by the length",
    LSH: "its keys are sorted in chunks, by the length",
    Additive: "its scores are computed in blocks, by the length",
    Experts: "how many tokens an expert gets depends on the tokens",
}
"""What no graph can express that is traced once for all lengths, and why."""


def expressible(config: ModelConfig) -> None:
    """Raises UserError that names every part that is refused."""
    strange = {type(variant): variant for variant in variants(config) if type(variant) in REFUSED}
    if strange:
        named = (f"{dict(variant)['kind']} ({REFUSED[kind]})" for kind, variant in strange.items())
        raise UserError(f"this model cannot be a graph of ONNX, it has {', '.join(named)}")
