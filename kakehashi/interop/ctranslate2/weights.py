"""Which variables of CTranslate2's Transformer are which parameters of ours, in both directions.

A variable is one parameter, or several one below the other: queries, keys and values. What our network computes and
CTranslate2 keeps (sinusoids) is made when a model is written.
"""

import re
from collections.abc import Collection, Iterator

import torch

from kakehashi.interop.ctranslate2.binary import Variables
from kakehashi.interop.ctranslate2.structure import GATED, TABLES, layers, settings, sides, sinusoidal
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, Stack
from kakehashi.models.transformer import EncoderDecoder, Transformer
from kakehashi.nn.norms import RMSNorm
from kakehashi.nn.positions import T5, Learned, Shaw
from kakehashi.nn.positions.absolute import sinusoids

PLACES = 2048  # of positions that follow a formula: CTranslate2 refuses what lies beyond its table

BIAS = "decoder/projection/bias"
NEVER = -1e4  # a logit; its probability is zero, and fp16 holds it

Names = Iterator[tuple[str, tuple[str, ...]]]


def names(config: EncoderDecoder) -> dict[str, tuple[str, ...]]:
    """Their names of the weights, and of each the names of the parameters that it holds, in order."""
    return dict(_names(config))


def _names(config: EncoderDecoder) -> Names:
    ours = "source_embedding.table.weight", "target_embedding.table.weight", "projection.weight"
    yield from zip(TABLES, ((name,) for name in ours), strict=True)
    if config.embeddings.bias == "learned":
        yield BIAS, ("projection.bias",)
    for side, trunk in sides(config):
        if isinstance(trunk.position, Learned):
            yield f"{side}/position_encodings/encodings", (f"{side}.positions.0.table.weight",)
        if trunk.placement != "post":
            yield from _norm(f"{side}/layer_norm", f"{side}.norm", trunk)
        for i, layer in enumerate(layers(trunk)):
            yield from _layer(f"{side}/layer_{i}", f"{side}.layers.{i}", layer, trunk)
            yield from _positions(f"{side}/layer_{i}/self_attention", f"{side}.positions", i, trunk)


def _layer(theirs: str, ours: str, layer: Layer | CrossLayer, trunk: Stack | CrossStack) -> Names:
    attention, cross, feedforward = f"{theirs}/self_attention", f"{theirs}/attention", f"{theirs}/ffn"
    yield from _linear(f"{attention}/linear_0", *(f"{ours}.mixer.{part}" for part in ("query", "key", "value")))
    yield from _linear(f"{attention}/linear_1", f"{ours}.mixer.output")
    if isinstance(layer, CrossLayer):
        yield from _linear(f"{cross}/linear_0", f"{ours}.cross.query")
        yield from _linear(f"{cross}/linear_1", f"{ours}.cross.key", f"{ours}.cross.value")
        yield from _linear(f"{cross}/linear_2", f"{ours}.cross.output")
    gated = type(layer.feedforward) in GATED.values()
    yield from _linear(f"{feedforward}/linear_0", f"{ours}.feedforward.{'gate' if gated else 'inner'}", bias=not gated)
    if gated:
        yield from _linear(f"{feedforward}/linear_0_noact", f"{ours}.feedforward.inner", bias=False)
    yield from _linear(f"{feedforward}/linear_1", f"{ours}.feedforward.outer", bias=not gated)
    for block in ("mixer", "cross", "feedforward") if isinstance(layer, CrossLayer) else ("mixer", "feedforward"):
        first, second = SANDWICH[block]
        if trunk.placement == "sandwich":
            yield from _norm(f"{theirs}/{first}", f"{ours}.{block}_residual.norm", trunk)
            yield from _norm(f"{theirs}/{second}", f"{ours}.{block}_residual.second_norm", trunk)
        else:
            yield from _norm(f"{theirs}/{INNER[block]}/layer_norm", f"{ours}.{block}_residual.norm", trunk)


INNER = {"mixer": "self_attention", "cross": "attention", "feedforward": "ffn"}
SANDWICH = {
    "mixer": ("input_layer_norm", "post_attention_layer_norm"),
    "cross": ("external_pre_encoder_attention_layer_norm", "external_post_encoder_attention_layer_norm"),
    "feedforward": ("pre_feedforward_layer_norm", "post_feedforward_layer_norm"),
}


def _linear(theirs: str, *ours: str, bias: bool = True) -> Names:
    for kind in ("weight", "bias") if bias else ("weight",):
        yield f"{theirs}/{kind}", tuple(f"{name}.{kind}" for name in ours)


def _norm(theirs: str, ours: str, trunk: Stack | CrossStack) -> Names:
    yield f"{theirs}/gamma", (f"{ours}.weight",)
    if not isinstance(trunk.norm, RMSNorm):
        yield f"{theirs}/beta", (f"{ours}.bias",)


def _positions(theirs: str, ours: str, layer: int, trunk: Stack | CrossStack) -> Names:
    if isinstance(trunk.position, T5):
        yield f"{theirs}/relative_attention_bias", (f"{ours}.0.table.weight",)
    if isinstance(trunk.position, Shaw):
        yield f"{theirs}/relative_position_keys", (f"{ours}.{layer}.keys.weight",)
        yield f"{theirs}/relative_position_values", (f"{ours}.{layer}.vectors.weight",)


def exported(model: Transformer) -> Variables:
    """The variables of a model whose configuration is `expressible`; those of one parameter share its memory.

    A model that begins with the padding (Marian's) could also emit it, which our search forbids and CTranslate2 does
    not: its logit is NEVER.
    """
    config, state, target = model.config, model.state_dict(), model.target_vocabulary
    found = settings(config) | _formulas(config)
    for name, parts in names(config).items():
        tensors = [state[part] for part in parts]
        found[name] = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
        if _one_sided(name):
            ahead = len(found[name]) - 1
            found[name] = torch.cat([found[name], found[name].new_zeros(ahead, found[name].shape[1])])
    if target.begin == target.pad:
        bias = found.get(BIAS, torch.zeros(target.size))
        found[BIAS] = bias.index_fill(0, torch.tensor([target.pad]), NEVER)
    return found


def extended(variables: Variables, source: bool, target: bool) -> Variables:
    """With a row of zeros at the end of the source's and the target's tables; the target's is never emitted."""
    found = dict(variables)
    for name, added in zip(TABLES, (source, target, target), strict=True):
        if added:
            found[name] = torch.cat([found[name], found[name].new_zeros(1, found[name].shape[1])])
    if target:
        bias = found.get(BIAS, torch.zeros(len(found[TABLES[2]]) - 1))
        found[BIAS] = torch.cat([bias, torch.tensor([NEVER])])
    return found


def _formulas(config: EncoderDecoder) -> Variables:
    """Tables of positions that ours computes, or has not."""
    tables = {"sinusoidal": sinusoids(torch.arange(PLACES), config.width), "none": torch.zeros(PLACES, config.width)}
    return {
        f"{side}/position_encodings/encodings": tables[trunk.position.kind]
        for side, trunk in sides(config)
        if trunk.position.kind in tables
    }


def _one_sided(name: str) -> bool:
    """Whether it is a table of relative positions in a decoder: ours has no rows for what lies ahead."""
    return name.startswith("decoder/") and "/relative_position_" in name


_COLUMNS = re.compile(r"(embeddings(_0)?|projection|linear_0|linear_0_noact|/attention/linear_1)/weight$|encodings$")
_ROWS = re.compile(r"(self_attention/linear_1|/attention/linear_2|ffn/linear_1)/(weight|bias)$|/(gamma|beta)$")


def paired(variables: Variables) -> Variables:
    """Where positions have their sines in one half of the width and their cosines in the other (Marian's): the same
    network with sines and cosines in turns, as ours. All that touches the width is put in that order."""
    width = variables[TABLES[1]].shape[1]
    if width % 2:
        return variables
    halves = torch.arange(width).view(-1, 2).T.flatten()  # where each place of halves is found in pairs
    tables = [variables.get(f"{side}/position_encodings/encodings") for side in ("encoder", "decoder")]
    if not all(table is not None and sinusoidal(table, halves) for table in tables):
        return variables
    pairs, turned = halves.argsort(), dict(variables)
    for name, tensor in variables.items():
        if _COLUMNS.search(name):
            turned[name] = tensor[:, pairs]
        elif _ROWS.search(name):
            turned[name] = tensor[pairs]
    return turned


@torch.no_grad()
def fill(model: Transformer, variables: Variables) -> None:
    """Copies the variables into a model that was built as `configuration` read them; a bias that is missing is zero.

    Raises ValueError when another is missing, one has a wrong shape, or one means what our model cannot do.
    """
    parameters = model.state_dict()
    expected = names(model.config)
    for name, parts in expected.items():
        targets = [parameters[part] for part in parts]
        found = variables.get(name)
        if found is None and not name.endswith("/bias"):
            raise ValueError(f"{name} is missing")
        shape = [sum(len(target) for target in targets), *targets[0].shape[1:]]
        if found is None:
            found = torch.zeros(shape)
        if _one_sided(name):
            found = found[: shape[0]]
        if list(found.shape) != shape:
            raise ValueError(f"{name} has the shape {list(found.shape)}, and {shape} is needed")
        for target, part in zip(targets, found.split([len(target) for target in targets]), strict=True):
            target.copy_(part)
    _check_understood(variables, model.config, expected)


WITHOUT_EFFECT = {"alignment_heads", "alignment_layer", "alibi_use_positive_positions", "embeddings_merge"}
ELSEWHERE = {"multi_query_attention", "start_from_zero_embedding", "encodings"}
"""Scalars that change no score, and what is understood where it is read."""


def _check_understood(variables: Variables, config: EncoderDecoder, expected: Collection[str]) -> None:
    read_as = settings(config)
    for name, found in variables.items():
        if name in expected or name.rpartition("/")[2] in WITHOUT_EFFECT | ELSEWHERE:
            continue
        if name not in read_as:
            raise ValueError(f"{name} has no place in our model")
        if not torch.isclose(found.double(), read_as[name].double(), rtol=1e-3):
            raise ValueError(f"{name} is {found.item():g}, and our model knows {read_as[name].item():g} only")
