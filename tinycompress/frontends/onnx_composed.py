"""ONNX operators that are several of ours: each computes exactly what the specification says of the one node."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.onnx_call import Call, Handler, Result, full_shape, refused
from tinycompress.frontends.values import Value
from tinycompress.ir import ops as o
from tinycompress.ir.ops import Activation, Function

MAX_PIECES = 64
"""Slices that one node may become."""


MAX_INDICES = 1 << 16
"""Elements of an axis that one node may name."""


def number(value: float) -> np.ndarray:
    """A constant operand of one element."""
    return np.float32(value).reshape(1)


def picked(b: ChannelsFirstBuilder, x: Value, axis: int, indices: Sequence[int]) -> Value:
    """`x` at `indices` of one axis: consecutive ones are sliced together, and the slices joined."""
    size = x.shape[axis]
    if len(indices) > MAX_INDICES:
        raise refused(f"takes {len(indices)} elements one by one", "index with slices")
    if not indices or not 0 <= min(indices) <= max(indices) < size:
        raise refused(f"takes elements {list(indices)[:8]} of {size}", "index within the axis")
    starts = [0, *(i for i in range(1, len(indices)) if indices[i] != indices[i - 1] + 1)]
    if len(starts) > MAX_PIECES:
        raise refused(f"takes elements in {len(starts)} pieces", f"{MAX_PIECES} slices are the limit")
    ends = [*starts[1:], len(indices)]
    parts = [b.slice(x, axis, indices[s], indices[e - 1] + 1, 1) for s, e in zip(starts, ends, strict=True)]
    return parts[0] if len(parts) == 1 else b.concat(parts, axis)


def _gather(b: ChannelsFirstBuilder, call: Call) -> Result:
    """Gather of constant indices along one axis."""
    x = call.value()
    axis = call.axis(int(call.node.get("axis", 0)), len(x.shape))
    indices = call.constant(1)
    if indices.ndim > 1:
        raise refused("gathers by a table of indices", "index with slices")
    size = x.shape[axis]
    part = picked(b, x, axis, [int(v) + size if v < 0 else int(v) for v in indices.reshape(-1)])
    return b.reshape(part, x.shape[:axis] + x.shape[axis + 1 :]) if indices.ndim == 0 else part


# Reductions


def _reduced_axes(call: Call, x: Value) -> list[int]:
    axes = call.integers(1, "axes")
    if not axes:
        raise refused("a reduction over every axis, the batch included", "name the axes")
    return sorted({call.axis(a, len(x.shape)) for a in axes})


def _maximum(b: ChannelsFirstBuilder, call: Call, x: Value) -> Value:
    """The largest element over axes: a pool over them, the other axes seen as channels."""
    axes = _reduced_axes(call, x)
    kept = [i for i in range(len(x.shape)) if i not in axes]
    count = math.prod(x.shape[i] for i in axes)
    moved = x if kept + axes == list(range(len(x.shape))) else b.transpose(x, (*kept, *axes))
    seen = b.reshape(moved, (math.prod(x.shape[i] for i in kept), count, 1))
    pooled = b.pool(o.MaxPool2D, seen, (count, 1), (count, 1), (0, 0, 0, 0))
    shape = [1 if i in axes else s for i, s in enumerate(x.shape)]
    if not call.node.get("keepdims", 1):
        shape = [s for i, s in enumerate(x.shape) if i not in axes]
    return b.reshape(pooled, tuple(shape))


def _reduce_max(b: ChannelsFirstBuilder, call: Call) -> Result:
    return _maximum(b, call, call.value())


def _reduce_min(b: ChannelsFirstBuilder, call: Call) -> Result:
    negative = b.unary(o.Table, call.value(), function=Function.NEG)
    return b.unary(o.Table, _maximum(b, call, negative), function=Function.NEG)


def _sum_of(before: Function, after: Function | None = None) -> Handler:
    """A sum over axes of a function, as their mean times their number."""

    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        x = call.value()
        axes = _reduced_axes(call, x)
        terms = b.unary(o.Table, x, function=before)
        mean = b.mean(terms, axes, bool(call.node.get("keepdims", 1)))
        total = b.binary(o.Mul, mean, number(math.prod(x.shape[a] for a in axes)))
        return total if after is None else b.unary(o.Table, total, function=after)

    return handler


# Movement


def _tile(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    repeats = call.integers(1) or []
    if len(repeats) != len(x.shape) + 1 or min(repeats) < 1:
        raise ModelError("TC-M306", f"repeats {repeats} do not fit {list(full_shape(x))}")
    if repeats[0] != 1:
        call.axis(0, len(x.shape))
    return _repeated(b, x, repeats[1:])


def _repeated(b: ChannelsFirstBuilder, x: Value, repeats: Sequence[int]) -> Value:
    for axis, count in enumerate(repeats):
        if count > MAX_PIECES:
            raise refused(f"repeats a value {count} times", f"{MAX_PIECES} times are the limit")
        if count > 1:
            x = b.concat([x] * count, axis)
    return x


def _expand(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    wanted = np.broadcast_shapes(full_shape(x), tuple(call.integers(1) or ()))
    if wanted[0] != 1:
        call.axis(0, len(x.shape))
    x = b.reshape(x, (1,) * (len(wanted) - 1 - len(x.shape)) + x.shape)
    return _repeated(b, x, [w // s for w, s in zip(wanted[1:], x.shape, strict=True)])


def _space_to_depth(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    r = int(call.node.get("blocksize", 0))
    if len(x.shape) != 3 or r < 1 or x.shape[1] % r or x.shape[2] % r:
        raise ModelError("TC-M306", f"block size {r} does not fit {list(full_shape(x))}")
    c, h, w = x.shape
    split = b.transpose(b.reshape(x, (c, h // r, r, w // r, r)), (2, 4, 0, 1, 3))
    return b.reshape(split, (c * r * r, h // r, w // r))


def mirrored(b: ChannelsFirstBuilder, x: Value, amounts: Sequence[tuple[int, int]], mode: str) -> Value:
    """Padding with the value's own elements: `edge`, `reflect` or `wrap`, (before, after) per axis."""
    if mode not in ("edge", "reflect", "wrap") or any(min(pair) < 0 for pair in amounts):
        raise refused(f"{mode} padding by {[list(pair) for pair in amounts]}", "pad with a constant")
    for axis, pair in enumerate(amounts):
        if any(pair):
            places = np.pad(np.arange(x.shape[axis]), pair, mode=mode)  # type: ignore[call-overload]
            x = picked(b, x, axis, [int(i) for i in places])
    return x


# Element-wise


def _scaled_elu(
    factor: Callable[[Call], float], inner: Callable[[Call], float], alpha: Callable[[Call], float]
) -> Handler:
    """factor · ELU(inner · x) with ELU's `alpha`."""

    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        x = call.value()
        if inner(call) != 1.0:
            x = b.binary(o.Mul, x, number(inner(call)))
        x = b.unary(o.Table, x, function=Function.ELU, alpha=alpha(call))
        return x if factor(call) == 1.0 else b.binary(o.Mul, x, number(factor(call)))

    return handler


def _celu_alpha(call: Call) -> float:
    alpha = float(call.node.get("alpha", 1.0))
    if not alpha > 0:
        raise refused(f"an alpha of {alpha}", "use a positive alpha")
    return alpha


def _mean_of_values(b: ChannelsFirstBuilder, call: Call) -> Result:
    total = call.value()
    for position in range(1, len(call.operands)):
        total = b.binary(o.Add, total, call.value(position))
    return b.binary(o.Mul, total, number(1 / len(call.operands)))


def prelu_in_pieces(b: ChannelsFirstBuilder, x: Value, alpha: np.ndarray) -> Value:
    """max(x, 0) + alpha · min(x, 0), for slopes that are not one per channel."""
    above = b.unary(o.Clamp, x, activation=Activation(0.0, None))
    below = b.unary(o.Clamp, x, activation=Activation(None, 0.0))
    return b.binary(o.Add, above, b.binary(o.Mul, below, alpha))


COMPOSED_HANDLERS: dict[str, Handler] = {
    "Gather": _gather,
    "ReduceMax": _reduce_max,
    "ReduceMin": _reduce_min,
    "ReduceL1": _sum_of(Function.ABS),
    "ReduceL2": _sum_of(Function.SQUARE, Function.SQRT),
    "ReduceSumSquare": _sum_of(Function.SQUARE),
    "Tile": _tile,
    "Expand": _expand,
    "SpaceToDepth": _space_to_depth,
    "Selu": _scaled_elu(
        lambda call: float(call.node.get("gamma", 1.0507009873554805)),
        lambda call: 1.0,
        lambda call: float(call.node.get("alpha", 1.6732632423543772)),
    ),
    "Celu": _scaled_elu(_celu_alpha, lambda call: 1 / _celu_alpha(call), lambda call: 1.0),
    "Mean": _mean_of_values,
}
"""Nodes that become several operators."""
