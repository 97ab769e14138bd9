"""Operators that only compute with constants and shapes, evaluated on import instead of becoming part of the network.

Converters of models with a free batch leave such chains before their reshapes (SHAPE, STRIDED_SLICE, PACK …): with a
batch of 1 all of it is known. Constants are also transposed, reshaped and cast in files, and are so here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tflite

from tinycompress.errors import ModelError
from tinycompress.frontends import limits
from tinycompress.frontends.tflite_file import ELEMENT_TYPES, FileOperator
from tinycompress.frontends.tflite_graph import GraphBuilder
from tinycompress.frontends.tflite_tensors import unsupported
from tinycompress.ir.tensor import Array

Values = list[Array]
Fold = Callable[[FileOperator, Values], Array]

_REFUSED = (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError)
"""What numpy raises on operands that do not fit together."""


def fold(g: GraphBuilder, op: FileOperator) -> bool:
    """Whether the operator was evaluated: a SHAPE, or one of FOLDS with constant inputs only and one output."""
    if len(op.outputs) != 1 or not op.inputs or any(i < 0 for i in op.inputs):
        return False
    if op.kind == "SHAPE":
        g.set_constant(op.outputs[0], np.asarray(g.full_shape(op.inputs[0]), np.int32))
        return True
    folded = FOLDS.get(op.kind)
    if folded is None or not all(g.is_constant(i) for i in op.inputs):
        return False
    values = [g.raw_constant(op, i) for i in op.inputs]
    if op.kind not in MOVING and any(g.file_tensor(i).scales for i in op.inputs):
        raise unsupported(op, "computes with quantized constants", "fold constants before the export")
    limits.check_constant_bytes(sum(v.nbytes for v in values), op.label())
    try:
        result = folded(op, values)
    except _REFUSED as error:
        raise ModelError("TC-M206", f"its constants do not fit: {error}", where=op.label()) from error
    g.set_constant(op.outputs[0], result)
    return True


def _options(op: FileOperator, cls: Any, field: str, default: Any) -> Any:
    options = op.read_options(cls)
    return default if options is None else getattr(options, field)()


def _ints(values: Array) -> list[int]:
    limits.check_count("values", values.size, 4 * limits.MAX_RANK, "a constant of integers")
    return [int(v) for v in values.reshape(-1)]


def _strided_slice(op: FileOperator, values: Values) -> Array:
    x, begin, end, strides = values[0], *(_ints(v) for v in values[1:])
    options = op.read_options(tflite.StridedSliceOptions)
    if options is None or options.EllipsisMask() or options.NewAxisMask():
        raise unsupported(op, "ellipsis and new axes are not supported", "index every axis explicitly")
    index: list[slice | int] = []
    for i, (first, last, step) in enumerate(zip(begin, end, strides, strict=True)):
        if options.ShrinkAxisMask() >> i & 1:
            index.append(first)
        else:
            is_open = (options.BeginMask() >> i & 1, options.EndMask() >> i & 1)
            index.append(slice(None if is_open[0] else first, None if is_open[1] else last, step))
    return np.asarray(x[tuple(index)])


def _slice(op: FileOperator, values: Values) -> Array:
    x, begin, size = values[0], _ints(values[1]), _ints(values[2])
    return x[tuple(slice(b, None if s == -1 else b + s) for b, s in zip(begin, size, strict=True))]


def _gather(op: FileOperator, values: Values) -> Array:
    if _options(op, tflite.GatherOptions, "BatchDims", 0):
        raise unsupported(op, "batch dimensions are not supported")
    x, indices = values
    axis = _options(op, tflite.GatherOptions, "Axis", 0)
    limits.check_computed((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), op.label())
    return np.take(x, indices, axis)


def _concatenation(op: FileOperator, values: Values) -> Array:
    return np.concatenate(values, _options(op, tflite.ConcatenationOptions, "Axis", 0))


def _pack(op: FileOperator, values: Values) -> Array:
    return np.stack(values, _options(op, tflite.PackOptions, "Axis", 0))


def _squeeze(op: FileOperator, values: Values) -> Array:
    options = op.read_options(tflite.SqueezeOptions)
    dims = [] if options is None else [options.SqueezeDims(i) for i in range(options.SqueezeDimsLength())]
    return np.squeeze(values[0], tuple(dims) or None)


def _cast(op: FileOperator, values: Values) -> Array:
    kind = _options(op, tflite.CastOptions, "OutDataType", tflite.TensorType.INT32)
    if kind not in ELEMENT_TYPES:
        raise unsupported(op, f"casts to type {kind}")
    return values[0].astype(ELEMENT_TYPES[kind])


def _reduce_prod(op: FileOperator, values: Values) -> Array:
    keepdims = bool(_options(op, tflite.ReducerOptions, "KeepDims", False))
    axes = tuple(_ints(values[1]))
    return np.asarray(np.prod(values[0], axis=axes, keepdims=keepdims, dtype=values[0].dtype))


def _range(op: FileOperator, values: Values) -> Array:
    start, stop, step = (v.reshape(-1)[0] for v in values)
    limits.check_computed((max(math.ceil((float(stop) - float(start)) / float(step)), 0),), op.label())
    return np.arange(start, stop, step).astype(values[0].dtype)


def _filled(op: FileOperator, values: Values) -> Array:
    limits.check_computed(_ints(values[0]), op.label())
    return np.full(_ints(values[0]), values[1].reshape(-1)[0])


def _broadcast_to(op: FileOperator, values: Values) -> Array:
    limits.check_computed(_ints(values[1]), op.label())
    return np.broadcast_to(values[0], _ints(values[1]))


def _tile(op: FileOperator, values: Values) -> Array:
    repeats = _ints(values[1])
    limits.check_computed([s * r for s, r in zip(values[0].shape, repeats, strict=True)], op.label())
    return np.tile(values[0], repeats)


def _arithmetic(function: Any, options_class: Any = None) -> Fold:
    def evaluate(op: FileOperator, values: Values) -> Array:
        if options_class is not None and _options(op, options_class, "FusedActivationFunction", 0):
            raise unsupported(op, "clamps a constant", "fold constants before the export")
        a, b = values
        limits.check_computed(np.broadcast_shapes(a.shape, b.shape), op.label())
        return np.asarray(function(a, b)).astype(a.dtype)

    return evaluate


MOVING: dict[str, Fold] = {
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "GATHER": _gather,
    "CONCATENATION": _concatenation,
    "PACK": _pack,
    "RESHAPE": lambda op, values: values[0].reshape(_ints(values[1])),
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": lambda op, values: np.expand_dims(values[0], _ints(values[1])[0]),
    "TRANSPOSE": lambda op, values: np.transpose(values[0], _ints(values[1])),
    "TILE": _tile,
    "BROADCAST_TO": _broadcast_to,
    "FILL": _filled,
}
"""Those that move elements: also of quantized constants, whose parameters the result has."""

FOLDS: dict[str, Fold] = {
    **MOVING,
    "CAST": _cast,
    "REDUCE_PROD": _reduce_prod,
    "RANGE": _range,
    "ADD": _arithmetic(np.add, tflite.AddOptions),
    "SUB": _arithmetic(np.subtract, tflite.SubOptions),
    "MUL": _arithmetic(np.multiply, tflite.MulOptions),
    "FLOOR_DIV": _arithmetic(np.floor_divide),
    "MAXIMUM": _arithmetic(np.maximum),
    "MINIMUM": _arithmetic(np.minimum),
}
"""How each operator is evaluated; the values are the file's, not yet in IR types."""
