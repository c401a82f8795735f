"""The models that the laws are tried on: one for each variant of each family, and some particular ones.

The variants are read from the unions: a new one is tried from the moment that it is declared, in the modes that it
knows. Where its defaults would not show at these sizes (a window longer than the sentence), add a smaller one to
PARTICULAR. A new model needs a row in MODELS; a test says so.
"""

from typing import Any, get_args

import torch

from kakehashi.config import Config
from kakehashi.models.decoder_only import DecoderOnly
from kakehashi.models.encoder_only import EncoderOnly
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, Placement, Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.feedforward import FeedForward, ReLU
from kakehashi.nn.mixers import CrossMixer, Mixer
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.norms import Norm
from kakehashi.nn.patterns import Both, Causal, PatternConfig
from kakehashi.nn.positions import Mode, PositionConfig, Sinusoidal
from kakehashi.nn.variant import broken

SOURCE, TARGET = 23, 29  # sizes of the vocabularies
LENGTHS = [6, 3, 1, 5]


def members(family: Any) -> list[Any]:
    """The variants of `Annotated[A | B, Family()]`, also when there is one only."""
    union = get_args(family)[0]
    return list(get_args(union)) or [union]


def small(trunk: dict[str, Any], layer: dict[str, Any], cross: dict[str, Any], tie: str, scale: str) -> EncoderDecoder:
    def parts(mode: Mode) -> dict[str, Any]:
        kept = {name: part for name, part in layer.items() if mode in getattr(part, "modes", {mode})}
        return {"feedforward": ReLU(size=24), **kept}

    return EncoderDecoder(
        width=16,
        heads=2,
        embeddings=Embeddings.model_validate({"tie": tie, "scale": scale}),
        encoder=Stack(depth=2, layers=(Layer(**parts("bidirectional")),), **trunk),
        decoder=CrossStack(depth=2, layers=(CrossLayer(**parts("causal"), **cross),), **trunk),
    )


def model_of(
    *, tie: str = "target", scale: str = "sqrt_width", cross: Config | None = None, **parts: Any
) -> EncoderDecoder:
    """A small encoder-decoder with these parts in both stacks, as far as they can stand there."""
    trunk = {name: part for name, part in parts.items() if name in ("position", "placement", "norm")}
    layer = {name: part for name, part in parts.items() if name not in trunk}
    return small(trunk, layer, {} if cross is None else {"cross": cross}, tie, scale)


def choices(field: str) -> list[str]:
    return list(get_args(Embeddings.model_fields[field].annotation))


DECLARED: dict[str, EncoderDecoder] = {
    **{f"position {m().kind}": model_of(position=m()) for m in members(PositionConfig)},
    **{f"placement {name}": model_of(placement=name) for name in get_args(Placement)},
    **{f"norm {m().kind}": model_of(norm=m()) for m in members(Norm)},
    **{f"feedforward {m().kind}": model_of(feedforward=m()) for m in members(FeedForward)},
    **{f"mixer {m().kind}": model_of(mixer=m()) for m in members(Mixer)},
    **{f"cross {m().kind}": model_of(cross=m()) for m in members(CrossMixer)},
    **{f"pattern {m().kind}": model_of(mixer=Attention(pattern=m())) for m in members(PatternConfig)},
    **{f"tie {name}": model_of(tie=name) for name in choices("tie")},
    **{f"scale {name}": model_of(scale=name) for name in choices("scale")},
}
PARTICULAR: dict[str, EncoderDecoder] = {
    "sizes of a head": model_of(mixer=Attention(key_size=3, value_size=5), cross=Attention(key_size=7, value_size=2)),
    "two patterns": model_of(mixer=Attention(pattern=Both(first=Causal(), second=Causal()))),
    "alternating layers": EncoderDecoder(
        width=16,
        heads=4,
        embeddings=Embeddings(tie="none"),
        encoder=Stack(depth=3, placement="post", layers=(Layer(feedforward=ReLU(size=8)), Layer())),
        decoder=CrossStack(depth=1, position=Sinusoidal()),
    ),
}


def causal(config: EncoderDecoder) -> DecoderOnly:
    """The decoder of a small model as a model of its own, without what looks at a source."""
    layers = tuple(Layer(mixer=layer.mixer, feedforward=layer.feedforward) for layer in config.decoder.layers)
    stack = Stack(layers=layers, **{name: part for name, part in config.decoder if name != "layers"})
    return DecoderOnly(width=config.width, heads=config.heads, embeddings=config.embeddings, decoder=stack)


# It reads its source by stepping, and takes back the padding: what cannot `rewind` translates text of one length only.
DECODER_ONLY = {
    f"decoder_only, {name}": causal(config)
    for name, config in DECLARED.items()
    if name.startswith(("position", "placement", "mixer", "pattern", "tie")) and "rewind" not in broken(config.decoder)
}
MODELS: dict[type[Config], dict[str, Any]] = {
    EncoderDecoder: {**DECLARED, **PARTICULAR},
    DecoderOnly: DECODER_ONLY,
    EncoderOnly: {},  # it generates nothing: its laws are in tests/models/test_encoder_only.py
}
ALL: list[tuple[str, Any]] = [row for configs in MODELS.values() for row in configs.items()]
# The defaults of all families make one and the same model: it is tried once.
DEFAULTS = {"defaults": model_of(), "decoder_only, defaults": causal(model_of())}
VARIANTS: dict[str, Any] = {
    **DEFAULTS,
    **{name: config for name, config in ALL if config not in DEFAULTS.values()},
}


def build(name: str, seed: int = 1) -> Any:
    """The variant in float64 and in evaluation, all its parameters away from their start."""
    torch.manual_seed(seed)
    config = VARIANTS[name]
    size = TARGET if config.embeddings.tie == "all" or isinstance(config, DecoderOnly) else SOURCE
    model = config.build(Vocabulary(size), Vocabulary(TARGET)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model
