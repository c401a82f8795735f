"""The functions of kernels.c on tensors, and what they are told of a network.

Tensors are contiguous, fp32 or int64, and on the CPU. Whoever calls knows that there is a `library`.
Shapes: R rows, I inputs, O outputs, N outputs filled up to whole blocks, V vocabulary, B sentences, C candidates,
T tokens of all sentences, D width, C size of a head.
"""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, addressof, c_float, c_int32, c_void_p
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from kakehashi.native.library import library

LANES = 16  # widths are multiples of it
_BLOCK = 32  # outputs that are computed together
_LARGEST = 127
Activation = Literal["relu", "swish"]
_ACTIVATIONS: dict[Activation, int] = {"relu": 1, "swish": 2}


def _kernels() -> ctypes.CDLL:
    loaded = library()
    assert loaded is not None, "ask whether there is a library first"
    return loaded


class _Linear(Structure):
    _fields_ = (*((name, c_void_p) for name in ("weight", "scale", "bias")), ("inputs", c_int32), ("outputs", c_int32))


class _Norm(Structure):
    _fields_ = (("gain", c_void_p), ("bias", c_void_p), ("epsilon", c_float))


class _Layer(Structure):
    _fields_ = (
        *((name, _Linear) for name in ("own", "mix", "query", "read", "inner", "outer")),
        ("norms", _Norm * 3),
        ("activation", c_int32),
    )


class _Stack(Structure):
    _fields_ = (
        ("layers", POINTER(_Layer)),
        ("last", _Norm),
        *((name, c_int32) for name in ("depth", "width", "heads", "inner", "post")),
    )


class Linear:
    """x W^T + b in int8: each row of x and of W divided by its own scale (its largest number / 127) and rounded."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        self.outputs, self.inputs = weight_OI.shape
        codes_OI, scale_O1 = rounded(weight_OI.detach().float())
        missing = -self.outputs % _BLOCK
        codes_NI = pad(codes_OI + 128, (0, 0, 0, missing)).to(torch.uint8)
        self.weight = codes_NI.unflatten(0, (-1, _BLOCK)).unflatten(2, (-1, 4)).transpose(1, 2).contiguous()
        self.scale_N = pad(scale_O1[:, 0], (0, missing))
        bias = scale_O1.new_zeros(self.outputs) if bias_O is None else bias_O.detach().float()
        self.bias_N = pad(bias, (0, missing))
        pointers = (tensor.data_ptr() for tensor in (self.weight, self.scale_N, self.bias_N))
        self.struct = _Linear(*pointers, self.inputs, self.outputs)

    def __call__(self, x: Tensor) -> Tensor:
        x_RI = x.reshape(-1, self.inputs).float().contiguous()
        y_RO = x_RI.new_empty(len(x_RI), self.outputs)
        _kernels().linear(addressof(self.struct), x_RI.data_ptr(), len(x_RI), y_RO.data_ptr())
        return y_RO.view(*x.shape[:-1], self.outputs)


def rounded(x_RI: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers from -127 to 127, as floats [R, I], and the scale of each row [R, 1]."""
    scale_R1 = (x_RI.abs().amax(1, keepdim=True) / _LARGEST).clamp_(min=torch.finfo(torch.float32).tiny)
    return (x_RI * (1 / scale_R1)).round_(), scale_R1


@dataclass(frozen=True)
class Layer:
    """`own`: query, key and value in one; `query` and `read`: of attention to the source, where there is any."""

    own: Linear
    mix: Linear
    inner: Linear
    outer: Linear
    norms: Sequence[nn.LayerNorm]
    activation: Activation
    query: Linear | None = None
    read: Linear | None = None

    def struct(self) -> _Layer:
        linears = (self.own, self.mix, self.query, self.read, self.inner, self.outer)
        norms = [_norm(norm) for norm in self.norms]
        return _Layer(
            *(_Linear() if each is None else each.struct for each in linears),
            (_Norm * 3)(*norms),
            _ACTIVATIONS[self.activation],
        )


def _norm(norm: nn.LayerNorm) -> _Norm:
    assert norm.weight.dtype == norm.bias.dtype == torch.float32
    return _Norm(norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps)


class Stack:
    """Layers, pre-norm with a norm behind them (`last`), or post-norm without."""

    def __init__(self, layers: Sequence[Layer], last: nn.LayerNorm | None, heads: int) -> None:
        self.depth, self.width = len(layers), layers[0].own.inputs
        self._kept = layers, last  # what the pointers point to
        structs = (_Layer * self.depth)(*(layer.struct() for layer in layers))
        widest = max(layer.inner.outputs for layer in layers)
        norm = _Norm() if last is None else _norm(last)
        self._struct = _Stack(structs, norm, self.depth, self.width, heads, widest, last is None)
        self._at = addressof(self._struct)

    def encode(self, x_TD: Tensor, starts: Tensor, turns: Tensor | None) -> None:
        """Embedded tokens become states; sentence n has those from starts[n] to starts[n + 1].

        turns [T, 2, C / 2]: cosines and sines by which rotary positions turn queries and keys; None: they do not.
        """
        _kernels().encode(self._at, x_TD.data_ptr(), len(starts) - 1, starts.data_ptr(), _pointer(turns))

    def step(
        self,
        x_RD: Tensor,
        held: Tensor,
        places_RK: Tensor,
        lengths_R: Tensor,
        memory: Tensor,
        starts: Tensor,
        sentences: Tensor,
        longest: int,
        aligned: tuple[int, Tensor] | None,
        turns: Tensor | None,
    ) -> None:
        """The next embedded token of each row becomes its hidden state.

        held [.., depth, 2, D]: keys and values of tokens; of row r those at places[r, : lengths[r] + 1] (int32), where
        the last are still to be written. memory [.., depth, 2, D]: those of the source's tokens; the row reads sentence
        sentences[r // (R / len(sentences))], of which none has more than `longest`. aligned: a layer, and the tensor
        [R, longest] to which its weights are added, the mean of its heads. turns [R, 2, C / 2]: as in `encode`.
        """
        layer, weights = aligned or (0, None)
        _kernels().step(
            self._at,
            x_RD.data_ptr(),
            len(x_RD),
            held.data_ptr(),
            places_RK.data_ptr(),
            places_RK.stride(0),
            lengths_R.data_ptr(),
            memory.data_ptr(),
            starts.data_ptr(),
            sentences.data_ptr(),
            len(x_RD) // len(sentences),
            longest,
            layer,
            _pointer(weights),
            _pointer(turns),
        )


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def log_sum_exp(x_RV: Tensor) -> Tensor:
    """[R]; not finite where a number is NaN or +infinity."""
    rows, size = x_RV.shape
    found_R = x_RV.new_empty(rows)
    _kernels().log_sum_exp(x_RV.data_ptr(), rows, size, found_R.data_ptr())
    return found_R


def best(
    scores_RV: Tensor, normalizers_R: Tensor, totals_R: Tensor, sentences: int, count: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The `count` likeliest continuations of each sentence, sorted: parents, tokens, log-probabilities, totals, each
    [B, C]. Where there are fewer, the totals are -infinity."""
    rows, size = scores_RV.shape
    parents_BC, tokens_BC = (scores_RV.new_empty(sentences, count, dtype=torch.long) for _ in range(2))
    likely_BC, totals_BC = (scores_RV.new_empty(sentences, count) for _ in range(2))
    read = [tensor.float().contiguous() for tensor in (scores_RV, normalizers_R, totals_R)]
    given = (tensor.data_ptr() for tensor in read)
    found = (tensor.data_ptr() for tensor in (totals_BC, likely_BC, parents_BC, tokens_BC))
    _kernels().best(*given, sentences, rows // sentences, size, count, *found)
    return parents_BC, tokens_BC, likely_BC, totals_BC
