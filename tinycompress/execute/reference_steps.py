"""What the integer reference's operators share: centring, requantization, clamping, and work in slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycompress.errors import UnsupportedOpError
from tinycompress.ir import ops as o
from tinycompress.ir import quant_params as qp
from tinycompress.ir.fixedpoint import activation_range, requantize
from tinycompress.ir.graph import Rounding
from tinycompress.ir.tensor import Array, DType, Tensor

SLICE_ELEMENTS = 65536
"""Elements that are requantized at once: few enough for the 64-bit intermediates to stay in cache."""


@dataclass(frozen=True)
class Context:
    """What an operator's function may look at besides its arrays: the graph's tensors and the rounding."""

    tensors: Mapping[str, Tensor]
    rounding: Rounding

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]


Function = Callable[[Any, list[Array], Context], list[Array]]


def centred(array: Array, tensor: Tensor, dtype: Any = np.int32) -> Array:
    """The values less the tensor's zero point, as `dtype`."""
    difference: Array = array.astype(dtype) - dtype(tensor.quantization.tensor_zero_point)
    return difference


def finish(values: Array, y: Tensor, activation: o.Activation = o.NO_ACTIVATION) -> Array:
    """Adds the output's zero point to requantized values and clamps to the fused activation's range."""
    low, high = activation_range(activation, y)
    clamped: Array = np.clip(values + y.quantization.tensor_zero_point, low, high).astype(y.dtype.numpy)
    return clamped


def rescaled(array: Array, x: Tensor, y: Tensor, rounding: Rounding) -> Array:
    """The values of `x` in the quantization of `y`; the array itself where both are one."""
    if x.dtype is y.dtype and qp.same_quantization(x, y):
        return array
    multiplier, shift = qp.rescale_multiplier(x, y, rounding)

    def rescale(values: Array) -> Array:
        return finish(requantize(centred(values, x, np.int64), multiplier, shift, rounding), y)

    return by_value(rescale, array) if x.dtype is DType.INT8 else rescale(array)


def by_value(function: Callable[[Array], Array], x: Array) -> Array:
    """`function` of every element of an int8 array, computed once for each of the 256 values."""
    return function(np.arange(256, dtype=np.uint8).view(np.int8))[x.view(np.uint8)]


def in_slices(function: Callable[[Array], Array], x: Array, dtype: Any) -> Array:
    """`function` over slices of `x` along its flattened leading axes that stay in cache; the last axis stays whole."""
    out = np.empty(x.shape, dtype=dtype)
    flat, flat_out = x.reshape(-1, x.shape[-1]), out.reshape(-1, x.shape[-1])
    step = max(1, SLICE_ELEMENTS // max(1, x.shape[-1]))
    for first in range(0, flat.shape[0], step):
        flat_out[first : first + step] = function(flat[first : first + step])
    return out


def require_layer(op: o.Op, context: Context) -> None:
    """UnsupportedOpError TC-M402 unless the first input and the outputs are all int8 or all int16."""
    if any(context[name].dtype is not DType.INT16 for name in (op.inputs[0], *op.outputs)):
        require_int8(op, (op.inputs[0], *op.outputs), context)


def require_int8(op: o.Op, names: tuple[str, ...], context: Context) -> None:
    """UnsupportedOpError TC-M402 unless all named tensors are int8."""
    for name in names:
        if context[name].dtype is not DType.INT8:
            found = context[name].dtype.value
            raise UnsupportedOpError("TC-M402", f"{op.kind} runs on int8, but {name!r} is {found}", where=op.name)
