"""ONNX nodes whose operands are all constants, computed on import: shape arithmetic and weights in disguise.

Results are checked for size before they are made, so that a small file cannot ask for a large tensor.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.frontends import limits
from tinycompress.frontends.onnx_call import reshape_target
from tinycompress.frontends.onnx_file import OnnxNode
from tinycompress.ir.tensor import Array

Folder = Callable[[OnnxNode, Sequence[Array]], Array]

_CASTS: dict[int, Any] = {
    1: np.float32, 2: np.uint8, 3: np.int8, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16,
    11: np.float64,
}  # fmt: skip


def fold(node: OnnxNode, operands: Sequence[Array]) -> Array | None:
    """The node's value, None when it is not one that is folded. Operators with several outputs are not."""
    folder = FOLDERS.get(node.kind)
    if folder is None or len(node.outputs) != 1:
        return None
    return np.asarray(folder(node, operands))


def _bounded(shape: Sequence[int]) -> tuple[int, ...]:
    limits.check_computed(shape, "constant")
    return limits.check_shape(shape, "constant")


def _elementwise(function: Callable[..., Any]) -> Folder:
    def folder(node: OnnxNode, operands: Sequence[Array]) -> Array:
        shape = np.broadcast_shapes(*(a.shape for a in operands))
        if 0 not in shape:
            _bounded(shape)
        with np.errstate(all="ignore"):
            return np.asarray(function(*operands))

    return folder


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind in "iu":
        if np.any(b == 0):
            raise ModelError("TC-M306", "divides a constant by zero")
        return np.trunc(a / b).astype(a.dtype)
    return np.asarray(a / b)


def _axes(node: OnnxNode, operands: Sequence[Array]) -> list[int] | None:
    if len(operands) > 1:
        return [int(v) for v in operands[1].reshape(-1)]
    axes = node.get("axes")
    return None if axes is None else [int(v) for v in axes]


def _squeeze(node: OnnxNode, operands: Sequence[Array]) -> Array:
    axes = _axes(node, operands)
    return np.squeeze(operands[0], None if axes is None else tuple(axes))


def _unsqueeze(node: OnnxNode, operands: Sequence[Array]) -> Array:
    axes = _axes(node, operands) or []
    limits.check_count("dimensions", operands[0].ndim + len(axes), limits.MAX_RANK, node.label())
    return np.expand_dims(operands[0], tuple(axes))


def _constant(node: OnnxNode, operands: Sequence[Array]) -> Array:
    for name, dtype in (
        ("value", None),
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        found = node.get(name)
        if found is not None:
            return np.asarray(found, dtype=dtype)
    raise ModelError("TC-M305", "holds a constant of a type that is not supported", where=node.label())


def _constant_of_shape(node: OnnxNode, operands: Sequence[Array]) -> Array:
    shape = _bounded([int(v) for v in operands[0].reshape(-1)])
    fill = node.get("value")
    return np.full(shape, 0.0 if fill is None else fill.reshape(-1)[0], np.float32 if fill is None else fill.dtype)


def _expand(node: OnnxNode, operands: Sequence[Array]) -> Array:
    shape = _bounded(np.broadcast_shapes(operands[0].shape, tuple(int(v) for v in operands[1].reshape(-1))))
    return np.broadcast_to(operands[0], shape)


def _range(node: OnnxNode, operands: Sequence[Array]) -> Array:
    start, limit, delta = (float(a.reshape(())) for a in operands)
    if delta == 0 or not all(map(math.isfinite, (start, limit, delta))) or abs(limit - start) / abs(delta) > 1 << 20:
        raise ModelError("TC-M604", "spans a range that is too long", where=node.label())
    count = max(0, math.ceil((limit - start) / delta))
    values: Array = (start + delta * np.arange(count)).astype(operands[0].dtype)
    return values


def _gather(node: OnnxNode, operands: Sequence[Array]) -> Array:
    data, indices = operands
    axis = int(node.get("axis", 0))
    _bounded([*(s for i, s in enumerate(data.shape) if i != axis % max(data.ndim, 1)), *indices.shape])
    return np.take(data, indices, axis=axis)


def _slice(node: OnnxNode, operands: Sequence[Array]) -> Array:
    data = operands[0]
    if len(operands) == 1:
        starts, ends, axes, steps = node.get("starts"), node.get("ends"), node.get("axes"), None
    else:
        starts, ends, axes, steps = ([int(v) for v in a.reshape(-1)] for a in _padded(operands, data.ndim))
    cuts: list[slice] = [slice(None)] * data.ndim
    for i, axis in enumerate(axes if axes is not None else range(len(starts))):
        cuts[axis] = slice(starts[i], ends[i], 1 if steps is None else steps[i])
    return data[tuple(cuts)]


def _padded(operands: Sequence[Array], rank: int) -> list[Array]:
    count = operands[1].size
    axes = operands[3] if len(operands) > 3 else np.arange(count)
    steps = operands[4] if len(operands) > 4 else np.ones(count, dtype=np.int64)
    return [operands[1], operands[2], axes, steps]


def _clip(node: OnnxNode, operands: Sequence[Array]) -> Array:
    low, high = (operands[i] if i < len(operands) else None for i in (1, 2))
    low, high = node.get("min", low), node.get("max", high)
    return operands[0] if low is None and high is None else np.clip(operands[0], low, high)


def _concat(node: OnnxNode, operands: Sequence[Array]) -> Array:
    limits.check_computed((sum(a.size for a in operands),), node.label())
    return np.concatenate(operands, axis=int(node.get("axis", 0)))


def _reshape(node: OnnxNode, operands: Sequence[Array]) -> Array:
    wanted = [int(v) for v in operands[1].reshape(-1)]
    return operands[0].reshape(reshape_target(operands[0].shape, wanted, bool(node.get("allowzero", 0))))


def _cast(node: OnnxNode, operands: Sequence[Array]) -> Array:
    target = _CASTS.get(int(node.get("to", 0)))
    if target is None:
        raise ModelError("TC-M305", f"casts to element type {node.get('to')}", where=node.label())
    with np.errstate(all="ignore"):
        return operands[0].astype(target)


def _reduce(function: Callable[..., Any]) -> Folder:
    def folder(node: OnnxNode, operands: Sequence[Array]) -> Array:
        axes = _axes(node, operands)
        return np.asarray(
            function(operands[0], axis=None if axes is None else tuple(axes), keepdims=bool(node.get("keepdims", 1)))
        )

    return folder


FOLDERS: dict[str, Folder] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Identity": lambda node, operands: operands[0],
    "Shape": lambda node, operands: np.asarray(operands[0].shape, dtype=np.int64)[
        slice(node.get("start"), node.get("end"))
    ],
    "Size": lambda node, operands: np.asarray(operands[0].size, dtype=np.int64),
    "Reshape": _reshape,
    "Flatten": lambda node, operands: operands[0].reshape(math.prod(operands[0].shape[: int(node.get("axis", 1))]), -1),
    "Transpose": lambda node, operands: np.transpose(operands[0], node.get("perm")),
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Expand": _expand,
    "Range": _range,
    "Cast": _cast,
    "CastLike": lambda node, operands: operands[0].astype(operands[1].dtype),
    "Mod": _elementwise(lambda a, b: np.fmod(a, b) if a.dtype.kind == "f" else np.mod(a, np.where(b == 0, 1, b))),
    "Add": _elementwise(np.add),
    "Sub": _elementwise(np.subtract),
    "Mul": _elementwise(np.multiply),
    "Div": _elementwise(_divide),
    "Neg": _elementwise(np.negative),
    "Sqrt": _elementwise(np.sqrt),
    "Reciprocal": _elementwise(np.reciprocal),
    "Floor": _elementwise(np.floor),
    "Ceil": _elementwise(np.ceil),
    "Equal": _elementwise(np.equal),
    "Where": _elementwise(np.where),
    "Clip": _clip,
    "Max": _elementwise(lambda *operands: functools.reduce(np.maximum, operands)),
    "Min": _elementwise(lambda *operands: functools.reduce(np.minimum, operands)),
    "Abs": _elementwise(np.absolute),
    "Pow": _elementwise(np.power),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
}
"""What can be computed on import."""
