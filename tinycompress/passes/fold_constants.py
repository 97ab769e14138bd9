"""Element-wise and shape operators on constants only are computed now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.tensor import DType
from tinycompress.passes.editor import Editor

Values = list[NDArray[Any]]


def _clamped(values: NDArray[Any], activation: o.Activation) -> NDArray[Any]:
    if activation.is_none:
        return values
    clipped: NDArray[Any] = np.clip(values, activation.low, activation.high)
    return clipped


def _slice(op: o.Slice, x: Values) -> NDArray[Any]:
    return x[0][tuple(slice(b, e, s) for b, e, s in zip(op.begin, op.end, op.strides, strict=True))]


_FOLDS: dict[type[o.Op], Callable[[Any, Values], NDArray[Any]]] = {
    o.Add: lambda op, x: _clamped(x[0] + x[1], op.activation),
    o.Sub: lambda op, x: _clamped(x[0] - x[1], op.activation),
    o.Mul: lambda op, x: _clamped(x[0] * x[1], op.activation),
    o.Maximum: lambda op, x: np.maximum(x[0], x[1]),
    o.Minimum: lambda op, x: np.minimum(x[0], x[1]),
    o.Clamp: lambda op, x: _clamped(x[0], op.activation),
    o.Reshape: lambda op, x: x[0].reshape(op.shape),
    o.Transpose: lambda op, x: x[0].transpose(op.perm),
    o.Slice: _slice,
    o.Concat: lambda op, x: np.concatenate(x, axis=op.axis),
    o.Pad: lambda op, x: np.pad(x[0], op.amounts, constant_values=op.value),
    o.Dropout: lambda op, x: x[0],
}


def fold_constants(graph: Graph) -> Graph:
    """The float graph with every foldable operator on constants replaced by its result."""
    editor = Editor(graph)
    for op in editor.ops():
        fold = _FOLDS.get(type(op))
        inputs = [editor.tensors[name] for name in op.inputs]
        if fold is None or not all(t.is_constant and t.dtype is DType.FLOAT32 for t in inputs):
            continue
        if any(editor.is_visible(name) for name in op.outputs):
            continue
        result = np.ascontiguousarray(fold(op, [t.constant for t in inputs]), dtype=np.float32)
        editor.tensors[op.output] = editor.tensors[op.output].with_data(result)
        editor.remove(op)
    return editor.finish(graph)
