"""The models that the laws are tried on: one for each variant of each family, and some particular ones.

The variants are read from the unions: a new one is tried from the moment that it is declared, in the modes that it
knows. Where its defaults would not show at these sizes (a window longer than the sentence), add a smaller one to
PARTICULAR. A new model needs a row in MODELS; a test says so.
"""

from typing import Any, get_args

import torch

from kakehashi.config import Config
from kakehashi.models.bytenet import ByteNet, DilatedBlocks
from kakehashi.models.convs2s import Blocks, ConvS2S
from kakehashi.models.decoder_only import DecoderOnly
from kakehashi.models.encoder_only import EncoderOnly
from kakehashi.models.lstm import LSTM
from kakehashi.models.lstm.attention import AttentionConfig, Bahdanau, Luong
from kakehashi.models.lstm.layers import EncoderLayers, Layers
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossLayer, CrossSkip, CrossStack, Layer, Placement, Skip, Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.feedforward import Experts, FeedForward, ReLU, SwiGLU
from kakehashi.nn.mixers import CrossMixer, Mixer
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.mixers.convolution import DilatedConvolution, DynamicConvolution, GatedConvolution, LightConvolution
from kakehashi.nn.mixers.indexed import Indexed
from kakehashi.nn.mixers.knn import KNN
from kakehashi.nn.mixers.linformer import Linformer
from kakehashi.nn.mixers.lsh import LSH
from kakehashi.nn.mixers.recurrence import SSRU, GatedRecurrence
from kakehashi.nn.norms import Norm
from kakehashi.nn.patterns import Both, Causal, Either, Fixed, Global, PatternConfig, Random, Strided, Window
from kakehashi.nn.positions import T5, Alibi, Learned, Mode, PositionConfig, Rope, Shaw, Sinusoidal
from kakehashi.nn.scores import Additive, ScoreConfig
from kakehashi.nn.variant import broken

SOURCE, TARGET = 23, 29  # sizes of the vocabularies
LENGTHS = [6, 3, 1, 5]


def members(family: Any) -> list[Any]:
    """The variants of `Annotated[A | B, Family()]`, also when there is one only."""
    union = get_args(family)[0]
    return list(get_args(union)) or [union]


def small(
    trunk: dict[str, Any], layer: dict[str, Any], cross: dict[str, Any], embeddings: dict[str, str]
) -> EncoderDecoder:
    def parts(mode: Mode) -> dict[str, Any]:
        kept = {name: part for name, part in layer.items() if mode in getattr(part, "modes", {mode})}
        return {"feedforward": ReLU(size=24), **kept}

    return EncoderDecoder(
        width=16,
        heads=2,
        embeddings=Embeddings.model_validate(embeddings),
        encoder=Stack(depth=2, layers=(Layer(**parts("bidirectional")),), **trunk),
        decoder=CrossStack(depth=2, layers=(CrossLayer(**parts("causal"), **cross),), **trunk),
    )


def model_of(*, tie: str = "target", cross: Config | None = None, **parts: Any) -> EncoderDecoder:
    """A small encoder-decoder with these parts in both stacks, as far as they can stand there."""
    trunk = {name: part for name, part in parts.items() if name in ("position", "placement", "norm")}
    embeddings = {"tie": tie, **{name: part for name, part in parts.items() if name in Embeddings.model_fields}}
    layer = {name: part for name, part in parts.items() if name not in trunk | embeddings}
    return small(trunk, layer, {} if cross is None else {"cross": cross}, embeddings)


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
    **{f"score {m().kind}": model_of(mixer=Attention(score=m())) for m in members(ScoreConfig)},
    **{f"tie {name}": model_of(tie=name) for name in choices("tie")},
    **{f"scale {name}": model_of(scale=name) for name in choices("scale")},
}
SMALL = ReLU(size=24)
DILATED = [DilatedConvolution(dilation=d) for d in (1, 2, 4)]
PARTICULAR: dict[str, EncoderDecoder] = {
    "sizes of a head": model_of(mixer=Attention(key_size=3, value_size=5), cross=Attention(key_size=7, value_size=2)),
    "position learned, just long enough": model_of(position=Learned(max_length=12)),
    "position shaw, clip 2, sizes of a head": model_of(
        position=Shaw(clip=2), mixer=Attention(key_size=3, value_size=5)
    ),
    "position t5, few buckets": model_of(position=T5(buckets=6, max_distance=5)),
    "position alibi, learned slopes": model_of(position=Alibi(slopes="learned")),
    "position rope, sizes of a head": model_of(position=Rope(theta=100.0), mixer=Attention(key_size=6, value_size=5)),
    "mixer knn": model_of(mixer=KNN(window=2, neighbours=2)),  # the default's memory is empty in so short a sentence
    "mixer indexed, few keys": model_of(mixer=Indexed(keep=2, index_size=4)),
    "mixer linformer, small": model_of(mixer=Linformer(rank=3, max_length=16)),
    "mixer lsh, few buckets": model_of(mixer=LSH(buckets=2, chunk=2, rounds=2)),
    "two patterns": model_of(mixer=Attention(pattern=Both(patterns=(Causal(), Causal())))),
    "window of 2": model_of(mixer=Attention(pattern=Window(size=2))),
    "stride of 3": model_of(mixer=Attention(pattern=Strided(stride=3))),
    "blocks of 3 with summaries": model_of(mixer=Attention(pattern=Fixed(stride=3, summary=1))),
    "random blocks of 2": model_of(mixer=Attention(pattern=Random(block=2, count=1))),
    "dilated window": model_of(mixer=Attention(pattern=Both(patterns=(Window(size=4), Strided(stride=2))))),
    "BigBird": model_of(mixer=Attention(pattern=Either(patterns=(Window(size=1), Global(), Random(block=2, count=1))))),
    "additive scores": model_of(mixer=Attention(score=Additive()), cross=Attention(score=Additive(), kv_heads=1)),
    "output bias, frozen padding": model_of(bias="learned", pad="frozen"),
    "multi-query": model_of(mixer=Attention(kv_heads=1), cross=Attention(kv_heads=1)),
    "values are keys": model_of(mixer=Attention(values="keys"), cross=Attention(values="keys")),
    "window, tied, multi-query, additive": model_of(
        mixer=Attention(pattern=Window(size=2), values="keys", kv_heads=1, score=Additive())
    ),
    "alternating layers": EncoderDecoder(
        width=16,
        heads=4,
        embeddings=Embeddings(tie="none"),
        encoder=Stack(depth=3, placement="post", layers=(Layer(feedforward=ReLU(size=8)), Layer())),
        decoder=CrossStack(depth=1, position=Sinusoidal()),
    ),
    "convolution and attention, recurrence and attention": EncoderDecoder(
        width=16,
        heads=2,
        embeddings=Embeddings(tie="none"),
        encoder=Stack(depth=2, layers=(Layer(mixer=GatedConvolution(), feedforward=SMALL), Layer(feedforward=SMALL))),
        decoder=CrossStack(
            depth=2, layers=(CrossLayer(mixer=SSRU(), feedforward=SMALL), CrossLayer(feedforward=SMALL))
        ),
    ),
    "dilations": EncoderDecoder(
        width=16,
        heads=2,
        embeddings=Embeddings(tie="none"),
        encoder=Stack(depth=3, layers=tuple(Layer(mixer=d, feedforward=SMALL) for d in DILATED)),
        decoder=CrossStack(depth=3, layers=tuple(CrossLayer(mixer=d, feedforward=SMALL) for d in DILATED)),
    ),
    "small light kernel": model_of(mixer=LightConvolution(kernel=3)),
    "small dynamic kernel": model_of(mixer=DynamicConvolution(kernel=3)),
    "recurrence without its convolution": model_of(mixer=GatedRecurrence(kernel=1)),
    "one expert a token": model_of(feedforward=Experts(experts=2, top=1, expert=SwiGLU(size=12))),
    "experts of little room": model_of(feedforward=Experts(experts=2, capacity=0.7, expert=ReLU(size=12))),
    "deepnorm without a skip": EncoderDecoder(
        width=16,
        heads=2,
        encoder=Stack(depth=3, placement="deepnorm", norm="rms", layers=(Layer(skip=Skip(mixer=0)), Layer())),
        decoder=CrossStack(depth=2, placement="deepnorm", layers=(CrossLayer(skip=CrossSkip(mixer=2, feedforward=0)),)),
    ),
}
RECURRENT: dict[str, LSTM] = {
    **{f"lstm {m().kind}": LSTM(width=16, attention=m()) for m in members(AttentionConfig)},
    "lstm dot, nothing fed": LSTM(
        width=16,
        embeddings=Embeddings(tie="none"),
        encoder=EncoderLayers(depth=1, direction="backward"),
        decoder=Layers(depth=3, residual_from=2),
        attention=Luong(score="dot", feeding="none"),
    ),
    "lstm forward": LSTM(
        width=16,
        embeddings=Embeddings(tie="target"),
        encoder=EncoderLayers(depth=3, direction="forward", residual_from=2),
        decoder=Layers(depth=1),
        attention=Bahdanau(),
    ),
}
CONVOLUTIONAL: dict[str, ConvS2S | ByteNet] = {
    "convs2s": ConvS2S(width=16, encoder=Blocks(depth=2), decoder=Blocks(depth=2)),
    "convs2s of several kernels": ConvS2S(
        width=16,
        max_length=12,
        embeddings=Embeddings(tie="none", scale="none"),
        encoder=Blocks(depth=1, kernel=5),
        decoder=Blocks(depth=3, kernel=2),
    ),
    "bytenet": ByteNet(
        width=16,
        encoder=DilatedBlocks(sets=1, dilations=(1, 2)),
        decoder=DilatedBlocks(sets=2, dilations=(1, 2)),
    ),
    "bytenet of several kernels": ByteNet(
        width=16,
        embeddings=Embeddings(tie="target"),
        encoder=DilatedBlocks(sets=1, kernel=5, dilations=(1,)),
        decoder=DilatedBlocks(sets=1, kernel=2, dilations=(3, 1)),
    ),
}


def causal(config: EncoderDecoder) -> DecoderOnly:
    """The decoder of a small model as a model of its own, without what looks at a source."""
    layers = tuple(Layer(mixer=layer.mixer, feedforward=layer.feedforward) for layer in config.decoder.layers)
    stack = Stack(layers=layers, **{name: part for name, part in config.decoder if name != "layers"})
    return DecoderOnly(width=config.width, heads=config.heads, embeddings=config.embeddings, decoder=stack)


# Through two layers of these the first source tokens reach no target: without cross-attention they do not count.
SHORT_SIGHTED = {"mixer gated_convolution", "mixer dilated_convolution", "pattern global"}
# It reads its source by stepping, and takes back the padding: what cannot `rewind` translates text of one length only.
DECODER_ONLY = {
    f"decoder_only, {name}": causal(PARTICULAR.get(name, config))
    for name, config in DECLARED.items()
    if name.startswith(("position", "placement", "mixer", "pattern", "tie"))
    and "rewind" not in broken(config.decoder)
    and name not in SHORT_SIGHTED
}
MODELS: dict[type[Config], dict[str, Any]] = {
    EncoderDecoder: {**DECLARED, **PARTICULAR},
    DecoderOnly: DECODER_ONLY,
    EncoderOnly: {},  # it generates nothing: its laws are in tests/models/test_encoder_only.py
    LSTM: RECURRENT,
    ConvS2S: {name: config for name, config in CONVOLUTIONAL.items() if isinstance(config, ConvS2S)},
    ByteNet: {name: config for name, config in CONVOLUTIONAL.items() if isinstance(config, ByteNet)},
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
    return built(VARIANTS[name], seed)


def built(config: Any, seed: int = 1) -> Any:
    torch.manual_seed(seed)
    size = TARGET if config.embeddings.tie == "all" or isinstance(config, DecoderOnly) else SOURCE
    model = config.build(Vocabulary(size), Vocabulary(TARGET)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model
