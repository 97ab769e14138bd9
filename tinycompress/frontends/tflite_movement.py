"""Converters of the TFLite operators that move data: pads, joins, cuts, shapes, and lookups."""

from __future__ import annotations

import math

import tflite

from tinycompress.errors import ModelError
from tinycompress.frontends.tflite_checks import (
    check_arity,
    fused_activation,
    is_integer,
    required_options,
)
from tinycompress.frontends.tflite_file import FileOperator
from tinycompress.frontends.tflite_graph import Converter, GraphBuilder
from tinycompress.frontends.tflite_tensors import unsupported
from tinycompress.ir import ops as o
from tinycompress.ir.tensor import DType


def _pad(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (2, 3))
    integer = is_integer(g, op, op.inputs[0], op.outputs[0], wide=True)
    rank, batch = len(g.full_shape(op.inputs[0])), g.batch_axis(op.inputs[0])
    amounts = g.integers(op, op.inputs[1])
    if len(amounts) != 2 * rank or any(a < 0 for a in amounts):
        raise ModelError("TC-M206", f"paddings {amounts} do not fit a rank of {rank}", where=op.label())
    pairs = [(amounts[2 * i], amounts[2 * i + 1]) for i in range(rank)]
    if batch is not None and any(pairs.pop(batch)):
        raise ModelError("TC-M203", "pads the batch axis", where=op.label())
    value = 0.0
    if len(op.inputs) == 3 and op.inputs[2] >= 0:
        if g.dtype(op.inputs[2]) is not g.dtype(op.inputs[0]):
            raise ModelError("TC-M205", "its padding value has another type than its input", where=op.label())
        value = float(g.constant(op, op.inputs[2]).reshape(-1)[0])
        if integer:
            # A value without parameters of its own is an integer as the input's are.
            qparams = g.qparams(op.inputs[2]) or g.qparams(op.inputs[0])
            assert qparams is not None
            value = (value - qparams.tensor_zero_point) * qparams.tensor_scale
    g.add(op, o.Pad, (g.activation(op.inputs[0]),), (g.output(op),), amounts=tuple(pairs), value=value)


def _concatenation(g: GraphBuilder, op: FileOperator) -> None:
    if not op.inputs or len(op.outputs) != 1:
        raise ModelError("TC-M206", f"has {len(op.inputs)} inputs and {len(op.outputs)} outputs", where=op.label())
    options = required_options(op, tflite.ConcatenationOptions)
    is_integer(g, op, *op.inputs, op.outputs[0], wide=True)
    if not fused_activation(op, options).is_none:
        raise unsupported(op, "a fused activation function is not supported")
    axis = g.axis(op, next(i for i in op.inputs if not g.is_constant(i)), options.Axis())
    g.add(op, o.Concat, tuple(g.operand(op, i) for i in op.inputs), (g.output(op),), axis=axis)


def _reshape(g: GraphBuilder, op: FileOperator) -> None:
    """RESHAPE to its second input, else its option; a −1 is what is left of the elements."""
    if g.is_constant(op.inputs[0]):
        raise unsupported(op, "reshapes a constant")
    wanted = None
    if len(op.inputs) > 1 and op.inputs[1] >= 0:
        if not g.is_constant(op.inputs[1]):
            raise unsupported(op, "its shape is not known before the network runs", "export with a fixed input shape")
        wanted = g.integers(op, op.inputs[1])
    elif (options := op.read_options(tflite.ReshapeOptions)) is not None:
        wanted = [options.NewShape(i) for i in range(options.NewShapeLength())]
    if wanted is not None:
        rest = math.prod(g.full_shape(op.inputs[0])) // max(math.prod(d for d in wanted if d != -1), 1)
        g.set_shape(op.outputs[0], tuple(rest if d == -1 else d for d in wanted))
    _view(g, op)


def _view(g: GraphBuilder, op: FileOperator) -> None:
    """The same elements in the shape of the output."""
    y = g.output(op)
    g.add(op, o.Reshape, (g.activation(op.inputs[0]),), (y,), shape=g.shape(op.outputs[0]))


def _squeeze(g: GraphBuilder, op: FileOperator) -> None:
    """SQUEEZE of the named axes, or of all that are 1."""
    check_arity(op, (1,))
    options, shape = op.read_options(tflite.SqueezeOptions), g.full_shape(op.inputs[0])
    named = [] if options is None else [options.SqueezeDims(i) for i in range(options.SqueezeDimsLength())]
    if any(not -len(shape) <= d < len(shape) or shape[d] != 1 for d in named):
        raise ModelError("TC-M206", f"drops axes {named} of {list(shape)}", where=op.label())
    dropped = {d % len(shape) for d in named} or {i for i, d in enumerate(shape) if d == 1}
    g.set_shape(op.outputs[0], tuple(d for i, d in enumerate(shape) if i not in dropped))
    _view(g, op)


def _expand_dims(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (2,))
    shape, axis = g.full_shape(op.inputs[0]), g.integers(op, op.inputs[1])[0]
    axis += len(shape) + 1 if axis < 0 else 0
    g.set_shape(op.outputs[0], (*shape[:axis], 1, *shape[axis:]))
    _view(g, op)


def _transpose(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (2,))
    perm, shape = g.integers(op, op.inputs[1]), g.full_shape(op.inputs[0])
    if sorted(perm) != list(range(len(shape))):
        raise ModelError("TC-M206", f"permutation {perm} is not one", where=op.label())
    g.set_shape(op.outputs[0], tuple(shape[p] for p in perm))
    x, y = g.activation(op.inputs[0]), g.output(op)
    before, after = g.batch_axis(op.inputs[0]), g.batch_axis(op.outputs[0])
    if after is not None and perm[after] == before:
        kept = tuple(p - (p > before) for i, p in enumerate(perm) if i != after)
        g.add(op, o.Transpose, (x,), (y,), perm=kept)
        return
    # The batch goes elsewhere: as it is 1, only the order of the other axes counts.
    long = [i for i, d in enumerate(shape) if d > 1] or [0]
    order = tuple(long.index(p) for p in perm if p in long)
    found = g.reshaped(op, x, tuple(shape[i] for i in long), "long")
    if order != tuple(range(len(order))):
        moved = g.intermediate(op, y, tuple(shape[long[i]] for i in order))
        g.add(op, o.Transpose, (found,), (moved,), "order", perm=order)
        found = moved
    g.add(op, o.Reshape, (found,), (y,), shape=g.tensors[y].shape)


def _split(g: GraphBuilder, op: FileOperator) -> None:
    """SPLIT (axis, x) and SPLIT_V (x, sizes, axis): one Slice per output."""
    if not op.outputs or len(op.inputs) != (2 if op.kind == "SPLIT" else 3):
        raise ModelError("TC-M206", f"has {len(op.inputs)} inputs and {len(op.outputs)} outputs", where=op.label())
    axis_input, x = (op.inputs[0], op.inputs[1]) if op.kind == "SPLIT" else (op.inputs[2], op.inputs[0])
    shape = g.shape(x)
    axis = g.axis(op, x, g.integers(op, axis_input)[0])
    if op.kind == "SPLIT":
        sizes = [shape[axis] // len(op.outputs)] * len(op.outputs)
    else:
        sizes = g.integers(op, op.inputs[1])
        sizes = [shape[axis] - sum(s for s in sizes if s != -1) if s == -1 else s for s in sizes]
    if sum(sizes) != shape[axis] or len(sizes) != len(op.outputs) or min(sizes) < 1:
        raise ModelError("TC-M206", f"its parts {sizes} are not {shape[axis]} in {len(op.outputs)}", where=op.label())
    start = 0
    for position, size in enumerate(sizes):
        begin = tuple(start if i == axis else 0 for i in range(len(shape)))
        start += size
        end = tuple(start if i == axis else full for i, full in enumerate(shape))
        cut = {"begin": begin, "end": end, "strides": (1,) * len(shape)}
        g.add(op, o.Slice, (g.activation(x),), (g.output(op, position),), f"part{position}", **cut)


def _slice(g: GraphBuilder, op: FileOperator) -> None:
    """SLICE (x, begin, size); a size of −1 reaches to the end."""
    check_arity(op, (3,))
    shape = g.full_shape(op.inputs[0])
    begin, size = g.integers(op, op.inputs[1]), g.integers(op, op.inputs[2])
    if len(begin) != len(shape) or len(size) != len(shape):
        raise ModelError("TC-M206", f"begin {begin} and size {size} do not fit {list(shape)}", where=op.label())
    end = [full if s == -1 else b + s for full, b, s in zip(shape, begin, size, strict=True)]
    _add_slice(g, op, begin, end, [1] * len(shape), 0)


def _strided_slice(g: GraphBuilder, op: FileOperator) -> None:
    """STRIDED_SLICE (x, begin, end, strides) with its masks; negative strides and new axes are refused."""
    check_arity(op, (4,))
    options = required_options(op, tflite.StridedSliceOptions)
    if options.EllipsisMask() or options.NewAxisMask():
        raise unsupported(op, "ellipsis and new axes are not supported", "index every axis explicitly")
    shape = g.full_shape(op.inputs[0])
    begin, end, strides = (g.integers(op, i) for i in op.inputs[1:])
    if not len(begin) == len(end) == len(strides) <= len(shape):
        raise ModelError("TC-M206", f"begin, end and strides do not fit {list(shape)}", where=op.label())
    if any(s < 1 for s in strides):
        raise unsupported(op, f"strides {strides} are not all positive")
    missing = len(shape) - len(begin)
    begin, end, strides = begin + [0] * missing, end + list(shape[len(end) :]), strides + [1] * missing
    for i, size in enumerate(shape):
        begin[i] = 0 if options.BeginMask() >> i & 1 else _clipped(begin[i], size)
        end[i] = size if options.EndMask() >> i & 1 else _clipped(end[i], size)
        if options.ShrinkAxisMask() >> i & 1:
            end[i], strides[i] = begin[i] + 1, 1
    _add_slice(g, op, begin, end, strides, options.ShrinkAxisMask())


def _clipped(value: int, size: int) -> int:
    return min(max(value + size if value < 0 else value, 0), size)


def _add_slice(
    g: GraphBuilder, op: FileOperator, begin: list[int], end: list[int], strides: list[int], shrunk: int
) -> None:
    """Slices all axes of the full shape; those whose bit is set in `shrunk` are dropped from the result."""
    shape, batch = g.full_shape(op.inputs[0]), g.batch_axis(op.inputs[0])
    if any(not 0 <= b < e <= size for b, e, size in zip(begin, end, shape, strict=True)):
        raise ModelError("TC-M206", f"takes {begin}..{end} of {list(shape)}", where=op.label())
    sizes = [-(-(e - b) // s) for b, e, s in zip(begin, end, strides, strict=True)]
    g.set_shape(op.outputs[0], tuple(n for i, n in enumerate(sizes) if not shrunk >> i & 1))
    cut = [(b, e, s) for i, (b, e, s) in enumerate(zip(begin, end, strides, strict=True)) if i != batch]
    kept = tuple(n for i, n in enumerate(sizes) if i != batch)
    x, y = g.activation(op.inputs[0]), g.output(op)
    out = y if kept == g.tensors[y].shape else g.intermediate(op, y, kept)
    first, last, steps = zip(*cut, strict=True)
    g.add(op, o.Slice, (x,), (out,), begin=first, end=last, strides=steps)
    if out != y:
        g.add(op, o.Reshape, (out,), (y,), "shape", shape=g.tensors[y].shape)


MAX_PIECES = 64
"""Most runs of indices that a GATHER of an activation may consist of; each becomes a Slice."""


def _runs(indices: list[int]) -> list[tuple[int, int, int]]:
    """The indices as (begin, end, stride > 0) ranges in order, each as long as it can be."""
    runs: list[list[int]] = []
    for index in indices:
        last = runs[-1] if runs else None
        if last is not None and index > last[-1] and (len(last) == 1 or index - last[-1] == last[1] - last[0]):
            last.append(index)
        else:
            runs.append([index])
    return [(r[0], r[-1] + 1, r[1] - r[0] if len(r) > 1 else 1) for r in runs]


def _gather(g: GraphBuilder, op: FileOperator) -> None:
    """GATHER of an activation by constant indices (slices, joined), or of a constant table by int32 indices."""
    check_arity(op, (2,))
    options = op.read_options(tflite.GatherOptions)
    axis, batch_dims = (options.Axis(), options.BatchDims()) if options is not None else (0, 0)
    if batch_dims:
        raise unsupported(op, f"{batch_dims} batch dimensions are not supported")
    if g.is_constant(op.inputs[0]):
        _embedding(g, op, axis)
        return
    if g.is_quantized_apart(op.inputs[0], op.outputs[0]):
        raise unsupported(op, "its output has another scale than its input")
    shape, full = g.shape(op.inputs[0]), g.full_shape(op.inputs[0])
    file_axis, axis = axis, g.axis(op, op.inputs[0], axis)
    file_axis %= len(full)
    indices = g.integers(op, op.inputs[1])
    sizes = g.full_shape(op.inputs[1])
    g.set_shape(op.outputs[0], (*full[:file_axis], *sizes, *full[file_axis + 1 :]))
    if not indices or not all(0 <= i < shape[axis] for i in indices):
        raise ModelError("TC-M206", f"indices {indices[:8]} leave 0..{shape[axis] - 1}", where=op.label())
    runs = _runs(indices)
    if len(runs) > MAX_PIECES:
        raise unsupported(op, f"its indices are {len(runs)} separate runs, more than {MAX_PIECES}")
    x, y = g.activation(op.inputs[0]), g.output(op)
    parts = []
    for number, (begin, end, stride) in enumerate(runs):
        size = len(range(begin, end, stride))
        part = g.intermediate(op, y, (*shape[:axis], size, *shape[axis + 1 :]))
        starts = tuple(begin if i == axis else 0 for i in range(len(shape)))
        ends = tuple(end if i == axis else s for i, s in enumerate(shape))
        strides = tuple(stride if i == axis else 1 for i in range(len(shape)))
        g.add(op, o.Slice, (x,), (part,), f"part{number}", begin=starts, end=ends, strides=strides)
        parts.append(part)
    _join(g, op, parts, y, axis)


def _join(g: GraphBuilder, op: FileOperator, parts: list[str], y: str, axis: int) -> None:
    """Concatenates `parts` along `axis` and gives the result the shape of `y`."""
    joined = parts[0]
    if len(parts) > 1:
        sizes = [g.tensors[p].shape for p in parts]
        shape = tuple(sum(s[i] for s in sizes) if i == axis else d for i, d in enumerate(sizes[0]))
        joined = g.intermediate(op, y, shape)
        g.add(op, o.Concat, tuple(parts), (joined,), "join", axis=axis)
    g.add(op, o.Reshape, (joined,), (y,), "shape", shape=g.tensors[y].shape)


def _embedding(g: GraphBuilder, op: FileOperator, axis: int) -> None:
    """Rows of a constant `[n, …]`, by the int32 indices `[1, t]`."""
    if g.is_constant(op.inputs[1]):
        raise unsupported(op, "gathers from a constant by constants", "fold the constant into the model")
    table = g.constant(op, op.inputs[0])
    g.set_shape(op.outputs[0], (*g.full_shape(op.inputs[1]), *table.shape[1:]))
    y = g.output(op)
    if axis != 0 or table.ndim < 2 or g.dtype(op.inputs[1]) is not DType.INT32:
        raise unsupported(op, f"axis {axis} of a table {list(table.shape)} by {g.dtype(op.inputs[1]).value} indices")
    if g.tensors[y].dtype is not DType(str(table.dtype)) or g.is_quantized_apart(op.inputs[0], op.outputs[0]):
        raise unsupported(op, "its output has another type or scale than its table")
    indices = g.activation(op.inputs[1])
    count, channels = g.tensors[indices].elements, table.size // len(table)
    if g.tensors[indices].shape != (count,):
        flat = g.intermediate(op, indices, (count,))
        g.add(op, o.Reshape, (indices,), (flat,), "flatten", shape=(count,))
        indices = flat
    found = y if g.tensors[y].shape == (count, channels) else g.intermediate(op, y, (count, channels))
    rows = table.reshape(len(table), channels)
    name = g.add_constant(op, op.inputs[0], "table", rows, g.qparams(op.inputs[0]))
    g.add(op, o.Embedding, (indices,), (found,), table=name)
    if found != y:
        g.add(op, o.Reshape, (found,), (y,), "shape", shape=g.tensors[y].shape)


def _pack(g: GraphBuilder, op: FileOperator) -> None:
    """PACK: each input gets the new axis of length 1, then they are joined along it."""
    if not op.inputs or len(op.outputs) != 1:
        raise ModelError("TC-M206", f"has {len(op.inputs)} inputs and {len(op.outputs)} outputs", where=op.label())
    options = required_options(op, tflite.PackOptions)
    before = g.full_shape(op.inputs[0])
    position = options.Axis() + (len(before) + 1 if options.Axis() < 0 else 0)
    g.set_shape(op.outputs[0], (*before[:position], len(op.inputs), *before[position:]))
    y, shape = g.output(op), g.shape(op.outputs[0])
    axis = g.axis(op, op.outputs[0], options.Axis())
    if any(g.is_constant(i) or g.is_quantized_apart(i, op.outputs[0]) for i in op.inputs):
        raise unsupported(op, "packs constants or inputs of another type or scale than its output")
    one = (*shape[:axis], 1, *shape[axis + 1 :])
    parts = []
    for number, index in enumerate(op.inputs):
        parts.append(g.intermediate(op, y, one))
        g.add(op, o.Reshape, (g.activation(index),), (parts[-1],), f"axis{number}", shape=one)
    _join(g, op, parts, y, axis)


def _unpack(g: GraphBuilder, op: FileOperator) -> None:
    """UNPACK: a Slice of length 1 per output, its axis dropped."""
    check_arity(op, (1,), len(op.outputs))
    options = required_options(op, tflite.UnpackOptions)
    x, shape = g.activation(op.inputs[0]), g.shape(op.inputs[0])
    axis = g.axis(op, op.inputs[0], options.Axis())
    if len(op.outputs) != shape[axis]:
        raise ModelError("TC-M206", f"has {len(op.outputs)} outputs for {shape[axis]} slices", where=op.label())
    one = (*shape[:axis], 1, *shape[axis + 1 :])
    for position, index in enumerate(op.outputs):
        if g.is_quantized_apart(op.inputs[0], index):
            raise unsupported(op, "an output has another type or scale than its input")
        full, dropped = g.full_shape(op.inputs[0]), options.Axis()
        g.set_shape(index, tuple(d for i, d in enumerate(full) if i != dropped % len(full)))
        y = g.output(op, position)
        part = g.intermediate(op, y, one)
        begin = tuple(position if i == axis else 0 for i in range(len(shape)))
        end = tuple(position + 1 if i == axis else s for i, s in enumerate(shape))
        strides = (1,) * len(shape)
        g.add(op, o.Slice, (x,), (part,), f"part{position}", begin=begin, end=end, strides=strides)
        g.add(op, o.Reshape, (part,), (y,), f"shape{position}", shape=g.tensors[y].shape)


MOVEMENT_CONVERTERS: dict[str, Converter] = {
    "PAD": _pad,
    "PADV2": _pad,
    "CONCATENATION": _concatenation,
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand_dims,
    "TRANSPOSE": _transpose,
    "SPLIT": _split,
    "SPLIT_V": _split,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "GATHER": _gather,
    "PACK": _pack,
    "UNPACK": _unpack,
}
