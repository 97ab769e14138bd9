"""Converters of TFLite operators that are written with several of the network's own, value for value.

Reductions to a maximum are pools, repetitions are joins, blocks move by a transpose. Each reshapes to the fewest axes
that matter, so that images and sequences of any rank do. Quantized forms need equal parameters on both sides.
"""

from __future__ import annotations

import math

import numpy as np
import tflite

from tinycompress.errors import ModelError
from tinycompress.frontends.tflite_checks import MAX_WINDOW, check_arity, image_shape, is_integer, required_options
from tinycompress.frontends.tflite_file import FileOperator
from tinycompress.frontends.tflite_graph import Converter, GraphBuilder
from tinycompress.frontends.tflite_tensors import unsupported
from tinycompress.ir import ops as o

MAX_COPIES = 64
"""Most copies that a TILE may make along one axis."""


def _refuse_rescaling(g: GraphBuilder, op: FileOperator) -> None:
    if g.is_quantized_apart(op.inputs[0], op.outputs[0]):
        raise unsupported(op, "its output has another type or scale than its input")


def _reduce_max(g: GraphBuilder, op: FileOperator) -> None:
    """REDUCE_MAX over each run of neighbouring axes: a pool over the middle of (before, run, after)."""
    check_arity(op, (2,))
    is_integer(g, op, op.inputs[0], op.outputs[0], wide=True)
    _refuse_rescaling(g, op)
    options = op.read_options(tflite.ReducerOptions)
    keepdims = bool(options.KeepDims()) if options is not None else False
    full = g.full_shape(op.inputs[0])
    named = {a % len(full) for a in g.integers(op, op.inputs[1]) if -len(full) <= a < len(full)}
    axes = {g.axis(op, op.inputs[0], a) for a in g.integers(op, op.inputs[1])}
    kept = [(1 if i in named else d) for i, d in enumerate(full) if keepdims or i not in named]
    g.set_shape(op.outputs[0], tuple(kept))
    x, y = g.activation(op.inputs[0]), g.output(op)
    sizes = list(g.shape(op.inputs[0]))
    last = len(sizes) - 1
    while last >= 0:
        first = last
        while first > 0 and (first in axes) and (first - 1 in axes):
            first -= 1
        run = math.prod(sizes[first : last + 1])
        if last in axes and run > 1:
            if run > MAX_WINDOW:
                raise unsupported(op, f"reduces {run} values, more than {MAX_WINDOW}")
            before, after = math.prod(sizes[:first]), math.prod(sizes[last + 1 :])
            x = g.reshaped(op, x, (before, run, after), f"around{first}")
            pooled = g.intermediate(op, y, (before, 1, after))
            g.add(op, o.MaxPool2D, (x,), (pooled,), f"axis{first}", kernel=(1, run), stride=(1, 1))
            x = pooled
            sizes[first : last + 1] = [1] * (last + 1 - first)
        last = first - 1
    g.add(op, o.Reshape, (x,), (y,), shape=g.shape(op.outputs[0]))


def _tile(g: GraphBuilder, op: FileOperator) -> None:
    """TILE: along each repeated axis, from the last, blocks of what follows it are joined with themselves."""
    check_arity(op, (2,))
    is_integer(g, op, op.inputs[0], op.outputs[0], wide=True)
    _refuse_rescaling(g, op)
    full, repeats = g.full_shape(op.inputs[0]), g.integers(op, op.inputs[1])
    if len(repeats) != len(full) or any(not 1 <= r <= MAX_COPIES for r in repeats):
        raise unsupported(op, f"repeats {repeats} of {list(full)} are not within 1..{MAX_COPIES} for each axis")
    g.set_shape(op.outputs[0], tuple(d * r for d, r in zip(full, repeats, strict=True)))
    x, y, sizes = g.activation(op.inputs[0]), g.output(op), list(full)
    for axis in reversed(range(len(full))):
        count = repeats[axis]
        if count == 1:
            continue
        before, block = math.prod(sizes[:axis]), math.prod(sizes[axis:])
        x = g.reshaped(op, x, (before, block), f"blocks{axis}")
        joined = g.intermediate(op, y, (before, block * count))
        g.add(op, o.Concat, (x,) * count, (joined,), f"axis{axis}", axis=1)
        x, sizes[axis] = joined, sizes[axis] * count
    g.add(op, o.Reshape, (x,), (y,), shape=g.shape(op.outputs[0]))


def _blocks(g: GraphBuilder, op: FileOperator, size: int, is_to_space: bool) -> None:
    """DEPTH_TO_SPACE and its inverse: rows of blocks and columns of blocks change places."""
    check_arity(op, (1,))
    is_integer(g, op, op.inputs[0], op.outputs[0])
    _refuse_rescaling(g, op)
    h, w, c = image_shape(g, op, op.inputs[0])
    if size < 1 or (c % (size * size) if is_to_space else h % size or w % size):
        raise ModelError("TC-M206", f"blocks of {size} do not fit {[h, w, c]}", where=op.label())
    if is_to_space:
        apart, shape = (h, w, size, c // size), (1, h * size, w * size, c // size**2)
    else:
        apart, shape = (h // size, size, w // size, size * c), (1, h // size, w // size, c * size**2)
    g.set_shape(op.outputs[0], shape)
    x, y = g.activation(op.inputs[0]), g.output(op)
    moved = g.intermediate(op, y, (apart[0], apart[2], apart[1], apart[3]))
    g.add(op, o.Transpose, (g.reshaped(op, x, apart, "blocks"),), (moved,), "order", perm=(0, 2, 1, 3))
    g.add(op, o.Reshape, (moved,), (y,), shape=g.shape(op.outputs[0]))


def _depth_to_space(g: GraphBuilder, op: FileOperator) -> None:
    _blocks(g, op, required_options(op, tflite.DepthToSpaceOptions).BlockSize(), True)


def _space_to_depth(g: GraphBuilder, op: FileOperator) -> None:
    _blocks(g, op, required_options(op, tflite.SpaceToDepthOptions).BlockSize(), False)


def _only_float(g: GraphBuilder, op: FileOperator) -> None:
    if is_integer(g, op, *op.inputs, *op.outputs):
        raise unsupported(op, "has no int8 form here", "use a float model and quantize it")


def _add_n(g: GraphBuilder, op: FileOperator) -> None:
    """ADD_N of floats: a chain of additions."""
    if len(op.inputs) < 2 or len(op.outputs) != 1:
        raise ModelError("TC-M206", f"has {len(op.inputs)} inputs and {len(op.outputs)} outputs", where=op.label())
    _only_float(g, op)
    total = g.operand(op, op.inputs[0])
    for number, index in enumerate(op.inputs[1:-1]):
        following = g.intermediate(op, total, g.shape(op.inputs[0]))
        g.add(op, o.Add, (total, g.operand(op, index)), (following,), f"sum{number}")
        total = following
    g.add(op, o.Add, (total, g.operand(op, op.inputs[-1])), (g.output(op),))


def _squared_difference(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (2,))
    _only_float(g, op)
    a, b = (g.operand(op, i) for i in op.inputs)
    shape = np.broadcast_shapes(g.tensors[a].shape, g.tensors[b].shape)
    difference = g.intermediate(op, a, shape)
    g.add(op, o.Sub, (a, b), (difference,), "difference")
    g.add(op, o.Mul, (difference, difference), (g.output(op),))


COMPOSED_CONVERTERS: dict[str, Converter] = {
    "REDUCE_MAX": _reduce_max,
    "TILE": _tile,
    "DEPTH_TO_SPACE": _depth_to_space,
    "SPACE_TO_DEPTH": _space_to_depth,
    "ADD_N": _add_n,
    "SQUARED_DIFFERENCE": _squared_difference,
}
