"""Which networks CTranslate2's Transformer can be: our configuration as its settings, and back.

Its settings are scalars among the weights (ctranslate2/specs/transformer_spec.py); the rest follows from which weights
there are.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kakehashi.errors import UserError
from kakehashi.interop.ctranslate2.binary import Variables
from kakehashi.models import ModelConfig
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.embeddings import Embeddings
from kakehashi.nn.feedforward import GEGLU, GELU, GLU, GELUSigmoid, GELUTanh, ReGLU, ReLU, SwiGLU, Swish
from kakehashi.nn.mixers import CrossMixer, Mixer
from kakehashi.nn.mixers.attention import Attention
from kakehashi.nn.norms import LayerNorm, NoNorm, RMSNorm
from kakehashi.nn.patterns import Full
from kakehashi.nn.positions import T5, Alibi, Learned, NoPosition, PositionConfig, Rope, Shaw, Sinusoidal
from kakehashi.nn.positions.absolute import sinusoids
from kakehashi.nn.scores import Dot

PLAIN = {0: ReLU, 1: GELUTanh, 2: Swish, 3: GELU, 4: GELUSigmoid}
GATED = {0: ReGLU, 2: SwiGLU, 3: GEGLU, 6: GLU}
ACTIVATIONS: dict[type, int] = {kind: number for family in (PLAIN, GATED) for number, kind in family.items()}
"""Their numbers (common_spec.Activation) of the activation in each of our feed-forwards."""

TABLES = "encoder/embeddings_0/weight", "decoder/embeddings/weight", "decoder/projection/weight"
START_FROM_ZERO = "decoder/start_from_zero_embedding"
"""Whether a translation begins with a vector of zeros instead of a piece."""

Side = tuple[str, Stack | CrossStack]


def sides(config: EncoderDecoder) -> tuple[Side, Side]:
    return ("encoder", config.encoder), ("decoder", config.decoder)


def layers(trunk: Stack | CrossStack) -> list[Layer | CrossLayer]:
    """The layers, tiled over the depth."""
    return [trunk.layers[i % len(trunk.layers)] for i in range(trunk.depth)]


def expressible(config: ModelConfig) -> EncoderDecoder:
    """The configuration itself. Raises UserError with every part of it that CTranslate2 has not."""
    if not isinstance(config, EncoderDecoder):
        raise UserError(
            f"CTranslate2 has no translator of kind {config.kind}: only encoder_decoder can be exported to it"
        )
    if strange := list(dict.fromkeys(_strange(config))):
        raise UserError("CTranslate2's Transformer cannot be this model, it has no " + ", no ".join(strange))
    return config


def _strange(config: EncoderDecoder) -> Iterator[str]:
    if len({trunk.norm.epsilon for _, trunk in sides(config) if not isinstance(trunk.norm, NoNorm)}) > 1:
        yield "different epsilons in encoder.norm and decoder.norm"
    for side, trunk in sides(config):
        if trunk.placement == "deepnorm":
            yield f"{side}.placement {trunk.placement}"
        if isinstance(trunk.norm, NoNorm):
            yield f"{side}.norm none"
        if isinstance(trunk.position, Alibi) and (side == "encoder" or trunk.position.slopes == "learned"):
            yield f"{side}.position alibi" + (" with learned slopes" if side == "decoder" else "")
        if len({ACTIVATIONS.get(type(layer.feedforward)) for layer in trunk.layers}) > 1:
            yield f"different activations in {side}.layers"
        for layer in trunk.layers:
            yield from (f"{side}.{part}" for part in _strange_layer(layer, config))


def _strange_layer(layer: Layer | CrossLayer, config: EncoderDecoder) -> Iterator[str]:
    if type(layer.feedforward) not in ACTIVATIONS:
        yield f"feedforward {layer.feedforward.kind}"
    if layer.skip != type(layer.skip)():
        yield f"skip ({layer.skip})"
    yield from (f"mixer {part}" for part in _strange_mixer(layer.mixer, config))
    if isinstance(layer, CrossLayer):
        yield from (f"cross {part}" for part in _strange_mixer(layer.cross, config))


def _strange_mixer(mixer: Mixer | CrossMixer, config: EncoderDecoder) -> Iterator[str]:
    if not isinstance(mixer, Attention):
        yield mixer.kind
        return
    head = config.width // config.heads
    if mixer.values == "separate" and (mixer.key_size or head) != (mixer.value_size or head):
        yield "attention with a value_size that is not key_size"
    if not isinstance(mixer.score, Dot):
        yield f"attention with score {mixer.score.kind}"
    if not isinstance(mixer.pattern, Full):
        yield f"attention with pattern {mixer.pattern.kind}"


def settings(config: EncoderDecoder) -> Variables:
    """The scalars of a configuration that is `expressible`."""
    found: Variables = {}
    scale = config.width**0.5 if config.embeddings.scale == "sqrt_width" else 1.0
    for side, trunk in sides(config):
        found |= {
            f"{side}/num_heads": _int16(config.heads),
            f"{side}/pre_norm": _int8(trunk.placement != "post"),
            f"{side}/activation": _int8(ACTIVATIONS[type(trunk.layers[0].feedforward)]),
            f"{side}/scale_embeddings": torch.tensor(scale),
        }
        for i, layer in enumerate(layers(trunk)):
            place = f"{side}/layer_{i}/self_attention"
            found |= _attention_settings(place, layer.mixer, config) | _position_settings(place, trunk.position)
            if isinstance(layer, CrossLayer):
                found |= _attention_settings(f"{side}/layer_{i}/attention", layer.cross, config)
    return found | {"decoder/alibi": _int8(isinstance(config.decoder.position, Alibi)), "decoder/scale_alibi": _int8(0)}


def _attention_settings(place: str, mixer: Mixer | CrossMixer, config: EncoderDecoder) -> Variables:
    assert isinstance(mixer, Attention)
    head, heads = config.width // config.heads, config.heads
    found: Variables = {}
    if (mixer.key_size or head) != head:
        found[f"{place}/head_dim"] = _int32(mixer.key_size or head)
    if (mixer.kv_heads or heads) != heads:
        found[f"{place}/num_heads_kv"] = _int32(mixer.kv_heads or heads)
    return found


def _position_settings(place: str, position: PositionConfig) -> Variables:
    match position:
        case Rope():
            found = {
                "rotary_dim": _int32(0),
                "rotary_interleave": _int8(0),
                "rotary_base": torch.tensor(position.theta),
            }
        case T5():
            found = {"relative_attention_max_distance": _int32(position.max_distance)}
        case _:
            found = {}
    return {f"{place}/{name}": number for name, number in found.items()}


def _int8(number: int) -> Tensor:
    return torch.tensor(number, dtype=torch.int8)


def _int16(number: int) -> Tensor:
    return torch.tensor(number, dtype=torch.int16)


def _int32(number: int) -> Tensor:
    return torch.tensor(number, dtype=torch.int32)


def upgraded(variables: Variables) -> Variables:
    """The variables under the names of revision 7, scales as numbers, and with what was left to a default."""
    found = dict(variables)
    if "encoder/embeddings/weight" in found:  # before an encoder could have several
        found[TABLES[0]] = found.pop("encoder/embeddings/weight")
    for side, table in zip(("encoder", "decoder"), TABLES, strict=False):
        for name, default in (("num_heads", _int16(8)), ("pre_norm", _int8(1)), ("activation", _int8(0))):
            found.setdefault(f"{side}/{name}", found.get(name, default))
        scale = found.get(f"{side}/scale_embeddings", found.pop(f"{side}/embeddings/multiply_by_sqrt_depth", _int8(1)))
        if not scale.is_floating_point():
            scale = torch.tensor(found[table].shape[1] ** 0.5 if scale else 1.0)
        found[f"{side}/scale_embeddings"] = scale
    return {name: found[name] for name in found if "/" in name}  # what was one for both sides has been dealt out


def configuration(variables: Variables, epsilon: float | None, source_end: str) -> EncoderDecoder:
    """The configuration that the variables are read as; `epsilon`: of the norms, None for CTranslate2's own choice.

    It is sloppy: the caller compares what `settings` and `names` say of the result with what there is.
    Raises LookupError where a variable is missing, and ValueError where ours cannot be so.
    """
    heads, width = int(variables["encoder/num_heads"]), variables["decoder/embeddings/weight"].shape[1]
    stacks = {side: _stack(variables, side, width, heads, epsilon) for side in ("encoder", "decoder")}
    parts = {"embeddings": _embeddings(variables), "source_end": source_end, **stacks}
    return EncoderDecoder.model_validate({"width": width, "heads": heads, **parts})


def _embeddings(variables: Variables) -> Embeddings:
    source, target, projection = (variables[name] for name in TABLES)
    tied = torch.equal(target, projection)
    return Embeddings(
        tie="none" if not tied else "all" if torch.equal(source, target) else "target",
        scale="none" if variables["encoder/scale_embeddings"] == 1 else "sqrt_width",
        bias="learned" if "decoder/projection/bias" in variables else "none",
        pad="frozen" if variables.get(START_FROM_ZERO) else "learned",  # it is what a translation begins with
    )


def _stack(variables: Variables, side: str, width: int, heads: int, epsilon: float | None) -> dict[str, Any]:
    depth = 0
    while f"{side}/layer_{depth}/self_attention/linear_0/weight" in variables:
        depth += 1
    read = [_layer(variables, side, i, width, heads) for i in range(depth)]
    norms = {
        name.rpartition("/")[2] for name in variables if name.startswith(f"{side}/layer_0/") and "layer_norm/" in name
    }
    sandwich = f"{side}/layer_0/post_feedforward_layer_norm/gamma" in variables
    return {
        "depth": depth,
        "position": _position(variables, side, width),
        "placement": "sandwich" if sandwich else "pre" if variables[f"{side}/pre_norm"] else "post",
        "norm": LayerNorm(epsilon=epsilon or 1e-5) if "beta" in norms else RMSNorm(epsilon=epsilon or 1e-6),
        "layers": read[:1] if all(layer == read[0] for layer in read) else read,
    }


def _layer(variables: Variables, side: str, i: int, width: int, heads: int) -> dict[str, Any]:
    place, number = f"{side}/layer_{i}", int(variables[f"{side}/activation"])
    family = GATED if f"{place}/ffn/linear_0_noact/weight" in variables else PLAIN
    if number not in family:
        raise ValueError(f"{side}/activation is {number}, and there are {', '.join(map(str, family))}")
    layer = {
        "mixer": _attention(variables, f"{place}/self_attention", width, heads),
        "feedforward": family[number](size=len(variables[f"{place}/ffn/linear_0/weight"])),
    }
    return layer | ({"cross": _attention(variables, f"{place}/attention", width, heads)} if side == "decoder" else {})


def _attention(variables: Variables, place: str, width: int, heads: int) -> Attention:
    key, kv_heads = variables.get(f"{place}/head_dim"), variables.get(f"{place}/num_heads_kv")
    size = None if key is None or int(key) == width // heads else int(key)
    return Attention(
        key_size=size, value_size=size, kv_heads=None if kv_heads is None or int(kv_heads) == heads else int(kv_heads)
    )


def _position(variables: Variables, side: str, width: int) -> PositionConfig:
    place, table = f"{side}/layer_0/self_attention", variables.get(f"{side}/position_encodings/encodings")
    if (vectors := variables.get(f"{place}/relative_position_keys")) is not None:
        return Shaw(clip=len(vectors) // 2)
    if (biases := variables.get(f"{place}/relative_attention_bias")) is not None:
        return T5(buckets=len(biases), max_distance=int(variables[f"{place}/relative_attention_max_distance"]))
    if f"{place}/rotary_dim" in variables:
        return Rope(theta=float(variables[f"{place}/rotary_base"]))
    if variables.get(f"{side}/alibi"):
        return Alibi()
    if table is None:
        raise ValueError(f"{side} has no table of positions: CTranslate2 makes those of OpenNMT-tf, which ours has not")
    if not table.any():
        return NoPosition()
    return Sinusoidal() if sinusoidal(table) else Learned(max_length=len(table))


def sinusoidal(table: Tensor, order: Tensor | None = None) -> bool:
    """Whether a table of positions holds ours, in another order of the width if one is given."""
    some = torch.arange(min(256, len(table)))  # further ones are rounded too much, where fp32 computed their angles
    if table.shape[1] % 2:
        return False
    expected = sinusoids(some, table.shape[1])
    return torch.allclose(table[some], expected if order is None else expected[:, order], atol=2e-3)
