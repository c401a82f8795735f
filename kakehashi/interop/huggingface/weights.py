"""Tensors by their names here and there.

Notable: sines and cosines take turns in our positions, and lie in two halves in theirs. Both are the same numbers, so
that one order of the model's width becomes the other: the rows or columns of every tensor that touch the width are
permuted, which changes nothing but the order of sums. Shapes: D width.
"""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kakehashi.errors import UserError
from kakehashi.nn.positions import sinusoids

FILE, OLD_FILE = "model.safetensors", "pytorch_model.bin"
BIAS = "final_logits_bias"

# Ours to theirs, of a layer and of a stack.
_LAYER = {
    "mixer": "self_attn",
    "cross": "encoder_attn",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "output": "out_proj",
    "mixer_residual.norm": "self_attn_layer_norm",
    "cross_residual.norm": "encoder_attn_layer_norm",
    "feedforward_residual.norm": "final_layer_norm",
    "feedforward.inner": "fc1",
    "feedforward.outer": "fc2",
    "norm": "layer_norm",
}
_TABLES = {
    "source_embedding.table.weight": "model.encoder.embed_tokens.weight",
    "target_embedding.table.weight": "model.decoder.embed_tokens.weight",
    "projection.weight": "lm_head.weight",
    "projection.bias": BIAS,
}
_SHARED = "model.shared.weight"
_IGNORED = re.compile(r"model\.(encoder|decoder)\.embed_positions\.weight")  # computed, but in some old files

# Which axis of ours is the width; of what is not here none is.
_COLUMNS = re.compile(r"(table|projection|query|key|value|inner)\.weight$")
_ROWS = re.compile(r"(output|outer|norm)\.(weight|bias)$")


def read(path: Path) -> dict[str, Tensor]:
    """All tensors of a directory in fp32. Raises UserError when there are none, or the file is damaged."""
    if (path / FILE).exists():
        try:
            found = load_file(path / FILE)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path / FILE} cannot be read: {error}") from error
    elif (path / OLD_FILE).exists():
        warnings.warn(f"{path / OLD_FILE} is a pickle: only its tensors are read, no code of it is run", stacklevel=2)
        try:
            found = torch.load(path / OLD_FILE, map_location="cpu", weights_only=True)
        except Exception as error:  # of many kinds, pickle's own among them
            raise UserError(f"{path / OLD_FILE} cannot be read: {error}") from error
    else:
        raise UserError(f"{path} has neither {FILE} nor {OLD_FILE}")
    return {name: tensor.float() for name, tensor in found.items() if not _IGNORED.fullmatch(name)}


def biased(tensors: Mapping[str, Tensor]) -> bool:
    """Whether logits have a bias other than zero."""
    return BIAS in tensors and bool(tensors[BIAS].any())


def fill(network: nn.Module, tensors: Mapping[str, Tensor], tie: str, path: Path) -> None:
    """Raises UserError that names every tensor that is missing, too many, or of another shape."""
    ours, named = network.state_dict(), _names(network)
    shared = tensors.get(_SHARED)
    loaded, wrong = dict[str, Tensor](), list[str]()
    for name, other in named.items():
        given = tensors.get(other, shared if other in _sharing(tie) else None)
        if other == BIAS and given is not None:
            given = given.reshape(-1)
        if given is None:
            wrong.append(f"{other} is missing")
        elif given.shape != ours[name].shape:
            wrong.append(f"{other} has shape {list(given.shape)}, config.json says {list(ours[name].shape)}")
        else:
            loaded[name] = _turned(name, given, to_ours=True)
    known = {*named.values(), *_TABLES.values(), _SHARED}
    wrong += [f"{name} is unexpected" for name in sorted(tensors.keys() - known)]
    if wrong:
        raise UserError(f"{path}: the weights do not fit config.json:\n  " + "\n  ".join(wrong))
    network.load_state_dict(loaded, strict=False)  # not strict: the other names of tied tensors are not among them


def write(network: nn.Module, tie: str, positions: int, path: Path) -> None:
    """`model.safetensors`; what is tied once, under the name that the library reads first. `positions`: rows of the
    sinusoids, where the library wants them stored; else 0."""
    ours = network.state_dict()
    stored = {other: _turned(name, ours[name].float().cpu(), to_ours=False) for name, other in _names(network).items()}
    if tie == "all":
        stored[_SHARED] = stored.pop(_TABLES["source_embedding.table.weight"])
    bias = stored.get(BIAS, torch.zeros(len(ours["projection.weight"])))
    whole = {**stored, BIAS: bias[None]}
    if positions:
        table = sinusoids(torch.arange(positions)[None], ours["projection.weight"].shape[1])[0]
        table = table[:, _order(table.shape[1], to_ours=False)]
        whole |= {f"model.{stack}.embed_positions.weight": table.clone() for stack in ("encoder", "decoder")}
    save_file({name: each.contiguous() for name, each in whole.items()}, path / FILE, metadata={"format": "pt"})


def _sharing(tie: str) -> set[str]:
    """The tables that may be `model.shared` instead of having a name of their own."""
    inputs = {_TABLES["source_embedding.table.weight"], _TABLES["target_embedding.table.weight"]}
    return {*inputs, _TABLES["projection.weight"]} if tie == "all" else inputs


def _names(network: nn.Module) -> dict[str, str]:
    """Theirs of each of ours; what is tied once, under the first of our names."""
    first: dict[int, str] = {}
    for name, tensor in network.state_dict().items():
        first.setdefault(tensor.data_ptr(), name)
    return {name: _TABLES.get(name) or _name(name) for name in first.values()}


def _name(ours: str) -> str:
    """encoder.layers.0.mixer.query.weight -> model.encoder.layers.0.self_attn.q_proj.weight."""
    stack, rest = ours.split(".", 1)
    place, kind = rest.rsplit(".", 1)
    prefix = re.match(r"(layers\.\d+\.)?", place)
    assert prefix is not None
    part = place[prefix.end() :]
    theirs = _LAYER.get(part) or ".".join(_LAYER[each] for each in part.split("."))
    return f"model.{stack}.{prefix[0]}{theirs}.{kind}"


def _turned(ours: str, tensor: Tensor, *, to_ours: bool) -> Tensor:
    """A tensor with its width in the other order."""
    if _COLUMNS.search(ours):
        return tensor[:, _order(tensor.shape[1], to_ours)]
    if _ROWS.search(ours):
        return tensor[_order(tensor.shape[0], to_ours)]
    return tensor


def _order(width: int, to_ours: bool) -> Tensor:
    """Where each place of one order is found in the other: halves to pairs, or back."""
    places = torch.arange(width)
    return (places.view(2, -1) if to_ours else places.view(-1, 2)).T.flatten()
