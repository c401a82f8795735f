"""`model.bin` of CTranslate2: named tensors in one file, read and written without CTranslate2.

    u32 format version; string name of the network; u32 revision of its layout
    u32 number of variables; of each: string name, u8 rank, u32 every dimension, u8 type, u32 bytes, the numbers
    u32 number of aliases; of each: string alias, string name of the variable that it is

Little-endian; a string is u16 its bytes with a final NUL, then these. Weights may be stored as whole numbers
round(w * scale): int8 with one scale a row, int16 with one for all. The scales stand beside them as NAME_scale.
Version 6 is written; 4 and 5 (2021 and 2022) differ only in what was not yet in `config.json`.
"""

import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import BinaryIO, Literal

import torch
from torch import Tensor

from kakehashi.errors import UserError

Storage = Literal["float32", "float16", "int16", "int8"]
Variables = dict[str, Tensor]

_VERSIONS = 4, 5, 6
_TYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
_NARROW: dict[torch.dtype, Storage] = {
    torch.int8: "int8",
    torch.int16: "int16",
    torch.bfloat16: "float16",  # which is closer
    torch.float16: "float16",
}
_SCALE = "_scale"
_LARGEST = 2**32 - 1  # bytes of a variable


def read_variables(path: Path, network: str, revision: int) -> tuple[Variables, Storage]:
    """All variables, weights as fp32, and how these were stored. An alias is the same tensor under a further name.

    Raises UserError when the file is missing, damaged, of another version, or holds another network or later revision.
    """
    try:
        reader = _Reader(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        version = reader.number("<I")
        if version not in _VERSIONS:
            known = ", ".join(map(str, _VERSIONS))
            raise UserError(f"{path} has the format version {version}, and only {known} can be read: convert it anew")
        found, layout = reader.string(), reader.number("<I")
        if found != network or layout > revision:
            raise UserError(f"{path} holds {found} of revision {layout}, only {network} up to {revision} can be read")
        variables = dict(reader.variable() for _ in range(reader.number("<I")))
        aliases = [(reader.string(), reader.string()) for _ in range(reader.number("<I"))]
        variables |= {alias: variables[name] for alias, name in aliases}
        reader.finish()
        return _restored(variables), _storage(variables)
    except (ValueError, LookupError) as error:
        raise UserError(f"{path} is damaged: {error}") from error


class _Reader:
    """Raises ValueError where the file ends too early or too late, or what it says does not fit together."""

    def __init__(self, contents: bytes) -> None:
        self._contents, self._place = memoryview(contents), 0

    def bytes(self, count: int) -> memoryview:
        start, self._place = self._place, self._place + count
        if self._place > len(self._contents):
            raise ValueError(f"it ends at byte {len(self._contents)}, and byte {self._place} is spoken of")
        return self._contents[start : self._place]

    def number(self, format: str) -> int:
        return struct.unpack(format, self.bytes(struct.calcsize(format)))[0]

    def string(self) -> str:
        return str(self.bytes(self.number("<H")), "utf-8").removesuffix("\0")

    def variable(self) -> tuple[str, Tensor]:
        name, rank = self.string(), self.number("<B")
        shape = [self.number("<I") for _ in range(rank)]
        kind, size = self.number("<B"), self.number("<I")
        if kind >= len(_TYPES) or size != prod(shape) * _TYPES[kind].itemsize:
            raise ValueError(f"{name} of shape {shape} and type {kind} cannot have {size} bytes")
        numbers = torch.frombuffer(bytearray(self.bytes(size)), dtype=_TYPES[kind]) if size else torch.empty(0)
        return name, numbers.view(shape)

    def finish(self) -> None:
        if self._place != len(self._contents):
            raise ValueError(f"{len(self._contents) - self._place} bytes follow its end")


def _storage(variables: Variables) -> Storage:
    """The narrowest format of a weight."""
    found = {tensor.dtype for name, tensor in variables.items() if name.endswith("/weight")}
    for dtype, storage in _NARROW.items():
        if dtype in found:
            return storage
    return "float32"


def _restored(variables: Variables) -> Variables:
    """Weights as fp32, and no scales."""
    restored: Variables = {}
    for name, tensor in variables.items():
        if name.endswith(_SCALE) and name.removesuffix(_SCALE) in variables:
            continue
        if f"{name}{_SCALE}" in variables:
            scale = variables[f"{name}{_SCALE}"]
            tensor = tensor.float() / scale.reshape(-1, *[1] * (tensor.dim() - 1))
        restored[name] = tensor.float() if tensor.is_floating_point() else tensor
    return restored


def write_variables(path: Path, network: str, revision: int, variables: Mapping[str, Tensor], storage: Storage) -> None:
    """`variables`: fp32, and whole numbers; those that share their memory are stored once.

    Weights are stored as `storage` says; float16 means all that is no scalar. Raises UserError when one exceeds 4 GiB.
    """
    first: dict[tuple[int, torch.Size], str] = {}
    aliases: dict[str, str] = {}
    stored: Variables = {}
    for name, tensor in sorted(variables.items()):
        original = first.setdefault((tensor.data_ptr(), tensor.shape), name)
        if original == name:
            stored |= _stored(name, tensor, storage)
            continue
        aliases[name] = original
        if f"{original}{_SCALE}" in stored:
            aliases[f"{name}{_SCALE}"] = f"{original}{_SCALE}"
    with path.open("wb") as file:
        _numbers(file, "<I", _VERSIONS[-1])
        _string(file, network)
        _numbers(file, "<II", revision, len(stored))
        for name, tensor in sorted(stored.items()):
            _variable(file, name, tensor)
        _numbers(file, "<I", len(aliases))
        for alias, name in sorted(aliases.items()):
            _string(file, alias)
            _string(file, name)


def _stored(name: str, tensor: Tensor, storage: Storage) -> Variables:
    """A variable and the scales that restore it, as `ctranslate2.specs` chooses them."""
    if tensor.dim() == 0 or not tensor.is_floating_point():
        return {name: tensor}
    if storage == "float16":
        return {name: tensor.half()}
    if storage == "float32" or not name.endswith("/weight"):
        return {name: tensor.float()}
    if storage == "int16":
        return _rounded(name, tensor, 1024, tensor.abs().amax(), torch.int16)
    return _rounded(name, tensor, 127, tensor.abs().amax(1, keepdim=True), torch.int8)


def _rounded(name: str, tensor: Tensor, limit: int, largest: Tensor, dtype: torch.dtype) -> Variables:
    """round(w * scale), the largest being `limit`; a scale for each row, or for all."""
    scale = limit / torch.where(largest > 0, largest, limit).float()
    return {name: (tensor * scale).round().to(dtype), f"{name}{_SCALE}": scale.squeeze(-1) if scale.dim() else scale}


def _variable(file: BinaryIO, name: str, tensor: Tensor) -> None:
    numbers = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    if len(numbers) > _LARGEST:
        raise UserError(f"{name} has {len(numbers)} bytes, and CTranslate2 keeps {_LARGEST} at most: store it smaller")
    _string(file, name)
    _numbers(file, f"<B{tensor.dim()}I", tensor.dim(), *tensor.shape)
    _numbers(file, "<BI", _TYPES.index(tensor.dtype), len(numbers))
    file.write(numbers)


def _string(file: BinaryIO, text: str) -> None:
    data = text.encode() + b"\0"
    _numbers(file, "<H", len(data))
    file.write(data)


def _numbers(file: BinaryIO, format: str, *numbers: int) -> None:
    file.write(struct.pack(format, *numbers))
