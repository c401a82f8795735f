"""`config.json` and `generation_config.json`, to and from our configuration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, PositiveInt, ValidationError

from kakehashi.decoding import Beam, Decoding
from kakehashi.errors import UserError
from kakehashi.models import ModelConfig
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, Stack, Trunk
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.feedforward import GELU, FeedForwardConfig, GELUSigmoid, GELUTanh, ReLU, Swish
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.norms import LayerNorm
from kakehashi.nn.positions import Sinusoidal
from kakehashi.nn.residual import Placement

FILE = "config.json"
POSITIONS = 2048  # of an export: their table is computed, not stored, and a longer sentence is an error

ARCHITECTURES: dict[str, tuple[str, Placement]] = {
    "marian": ("MarianMTModel", "post"),
    "pegasus": ("PegasusForConditionalGeneration", "pre"),
}
ACTIVATIONS = {
    "relu": ReLU,
    "gelu": GELU,
    "gelu_python": GELU,
    "swish": Swish,
    "silu": Swish,
    "gelu_new": GELUTanh,
    "gelu_fast": GELUTanh,
    "gelu_pytorch_tanh": GELUTanh,
    "gelu_python_tanh": GELUTanh,
    "gelu_accurate": GELUTanh,
    "quick_gelu": GELUSigmoid,
}
_NAMES: dict[type[FeedForwardConfig], str] = {
    ReLU: "relu",
    GELU: "gelu",
    Swish: "swish",
    GELUTanh: "gelu_new",
    GELUSigmoid: "quick_gelu",
}
Tie = Literal["all", "target", "none"]


class Settings(BaseModel):
    """What `config.json` says, as far as it decides what a model computes; the library's own defaults."""

    model_type: str
    vocab_size: PositiveInt
    decoder_vocab_size: PositiveInt | None = None
    d_model: PositiveInt
    encoder_layers: PositiveInt
    decoder_layers: PositiveInt
    encoder_attention_heads: PositiveInt
    decoder_attention_heads: PositiveInt
    encoder_ffn_dim: PositiveInt
    decoder_ffn_dim: PositiveInt
    activation_function: str = "gelu"
    scale_embedding: bool = False
    share_encoder_decoder_embeddings: bool = True
    tie_word_embeddings: bool = True
    dropout: float = 0.1
    pad_token_id: int
    eos_token_id: int
    decoder_start_token_id: int

    @classmethod
    def read(cls, tree: Mapping[str, Any], path: Path) -> "Settings":
        """Raises UserError for another architecture, and where a value is missing or is none that we can express."""
        kind = tree.get("model_type")
        if kind not in ARCHITECTURES:
            raise UserError(f"{path}: a model of type {kind!r}; {' and '.join(ARCHITECTURES)} models can be imported")
        try:
            found = cls.model_validate(dict(tree))
        except ValidationError as error:
            mistakes = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise UserError(f"{path}: {mistakes}") from error
        if found.activation_function not in ACTIVATIONS:
            raise UserError(
                f"{path}: activation_function {found.activation_function!r}: choose from {', '.join(ACTIVATIONS)}"
            )
        if found.encoder_attention_heads != found.decoder_attention_heads:
            raise UserError(
                f"{path}: {found.encoder_attention_heads} attention heads in the encoder and "
                f"{found.decoder_attention_heads} in the decoder: ours have as many in both"
            )
        return found

    @property
    def tie(self) -> Tie:
        """A table that both sides share but the projection does not is copied: `none`."""
        shared = self.share_encoder_decoder_embeddings or self.model_type == "pegasus"
        return "none" if not self.tie_word_embeddings else "all" if shared else "target"

    @property
    def target_size(self) -> int:
        shared = self.share_encoder_decoder_embeddings or self.decoder_vocab_size is None
        return self.vocab_size if shared else self.decoder_vocab_size or self.vocab_size

    def model(self, biased: bool) -> EncoderDecoder:
        """`biased`: logits have a bias."""
        _, placement = ARCHITECTURES[self.model_type]
        feedforward = ACTIVATIONS[self.activation_function]
        return EncoderDecoder(
            width=self.d_model,
            heads=self.encoder_attention_heads,
            dropout=self.dropout,
            embeddings=Embeddings(
                tie=self.tie,
                scale="sqrt_width" if self.scale_embedding else "none",
                bias="learned" if biased else "none",
                pad="frozen" if self.pad_token_id == self.decoder_start_token_id else "learned",
            ),
            encoder=Stack(
                depth=self.encoder_layers,
                placement=placement,
                layers=(Layer(feedforward=feedforward(size=self.encoder_ffn_dim)),),
            ),
            decoder=CrossStack(
                depth=self.decoder_layers,
                placement=placement,
                layers=(CrossLayer(feedforward=feedforward(size=self.decoder_ffn_dim)),),
            ),
        )


def decoding(generation: Mapping[str, Any]) -> Decoding:
    """With the beam that the model's makers chose; length penalties are of other formulas and stay ours."""
    beams = generation.get("num_beams")
    return Beam(size=beams) if isinstance(beams, int) and beams > 1 else Beam()


def check(model: ModelConfig) -> None:
    """Raises UserError that names what neither Marian nor Pegasus has."""
    if not isinstance(model, EncoderDecoder):
        raise UserError(f"huggingface cannot express model.kind={model.kind}: only encoder_decoder")
    wrong = [*_beyond("encoder", model.encoder), *_beyond("decoder", model.decoder)]
    if model.encoder.placement != model.decoder.placement:
        wrong.append(f"model.encoder.placement={model.encoder.placement} with another one in the decoder")
    if (
        len(kinds := {type(layer.feedforward) for stack in (model.encoder, model.decoder) for layer in stack.layers})
        > 1
    ):
        wrong.append(f"feedforwards of {len(kinds)} kinds in one model")
    if model.encoder.placement == "pre" and model.embeddings.tie != "all":
        wrong.append(f"model.embeddings.tie={model.embeddings.tie} with placement=pre")
    if wrong:
        raise UserError("huggingface cannot express " + ", nor ".join(wrong))


def _beyond(name: str, stack: Stack | CrossStack) -> list[str]:
    """What of a stack is neither Marian's nor Pegasus's."""
    place, wrong = f"model.{name}", list[str]()
    if stack.placement not in ("pre", "post"):
        wrong.append(f"{place}.placement={stack.placement}")
    if not isinstance(stack.position, Sinusoidal):
        wrong.append(f"{place}.position={stack.position.kind}")
    if stack.norm != LayerNorm():
        wrong.append(f"{place}.norm={stack.norm.kind}" + (" of another epsilon" if stack.norm.kind == "layer" else ""))
    if any(layer != stack.layers[0] for layer in stack.layers):
        wrong.append(f"{place}.layers that differ")
    layer = stack.layers[0]
    mixers = {"mixer": layer.mixer, **({"cross": layer.cross} if isinstance(layer, CrossLayer) else {})}
    for part, mixer in mixers.items():
        if mixer != Attention():
            options = " with options" if isinstance(mixer, Attention) else ""
            wrong.append(f"{place}.layers.{part}={mixer.kind}{options}")
    if type(layer.feedforward) not in _NAMES:
        wrong.append(f"{place}.layers.feedforward={layer.feedforward.kind}")
    if layer.skip != type(layer.skip)():
        wrong.append(f"{place}.layers.skip other than 1")
    return wrong


def tree(model: EncoderDecoder, special: Vocabulary, sizes: Sequence[int]) -> dict[str, Any]:
    """`config.json` of a model that passed `check`. `sizes`: of the vocabularies, source and target."""
    kind = next(kind for kind, (_, placement) in ARCHITECTURES.items() if placement == model.encoder.placement)
    tie = model.embeddings.tie
    return {
        "architectures": [ARCHITECTURES[kind][0]],
        "model_type": kind,
        "is_encoder_decoder": True,
        "d_model": model.width,
        **_stack("encoder", model.encoder, model.heads),
        **_stack("decoder", model.decoder, model.heads),
        "activation_function": _NAMES[type(model.encoder.layers[0].feedforward)],
        "scale_embedding": model.embeddings.scale == "sqrt_width",
        "share_encoder_decoder_embeddings": tie == "all",
        "tie_word_embeddings": tie != "none",
        "vocab_size": sizes[0],
        "decoder_vocab_size": sizes[1],
        "max_position_embeddings": POSITIONS,
        "static_position_embeddings": True,
        "dropout": model.dropout,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "pad_token_id": special.pad,
        "eos_token_id": special.end,
        "bos_token_id": special.begin,
        "decoder_start_token_id": special.begin,
        "forced_eos_token_id": None,
        "dtype": "float32",
    }


def _stack(name: str, stack: Trunk, heads: int) -> dict[str, Any]:
    assert isinstance(stack, Stack | CrossStack)
    feedforward = stack.layers[0].feedforward
    return {
        f"{name}_layers": stack.depth,
        f"{name}_attention_heads": heads,
        f"{name}_ffn_dim": dict(feedforward)["size"],
        f"{name}_layerdrop": 0.0,
    }


def generation_tree(decoding: Decoding, special: Vocabulary) -> dict[str, Any]:
    """`generation_config.json`: the beam, and what may never be emitted."""
    return {
        "num_beams": decoding.size if isinstance(decoding, Beam) else 1,
        "max_length": decoding.max_length,
        "bad_words_ids": [[id] for id in sorted({special.pad, special.begin} - {special.end})],
        "pad_token_id": special.pad,
        "eos_token_id": special.end,
        "bos_token_id": special.begin,
        "decoder_start_token_id": special.begin,
    }
