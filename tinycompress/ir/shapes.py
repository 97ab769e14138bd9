"""Shape inference: one function per operator, in the SHAPES table; and how shapes map to rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tinycompress.errors import ModelError
from tinycompress.ir import ops as o
from tinycompress.ir.tensor import Tensor

Shape = tuple[int, ...]
Tensors = Mapping[str, Tensor]
ShapeFunction = Callable[[Any, Tensors], tuple[Shape, ...]]


def row_count(shape: Shape) -> int:
    """Rows of a tensor: h of `[h,w,c]`, t of `[t,c]`, 1 of a vector or scalar."""
    return shape[0] if len(shape) >= 2 else 1


def row_elements(shape: Shape) -> int:
    """Elements of one row: w·c of `[h,w,c]`, c of `[t,c]` and `[c]`."""
    return math.prod(shape[1:]) if len(shape) >= 2 else math.prod(shape)


def window_output(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    """Output length of a sliding window: floor((size + before + after − reach) / stride) + 1."""
    return (size + before + after - ((kernel - 1) * dilation + 1)) // stride + 1


def window_rows(first: int, count: int, kernel: int, stride: int, dilation: int, before: int) -> tuple[int, int]:
    """[start, stop) of the input rows (may be < 0 or ≥ height: padding) for output rows first … first+count−1."""
    start = first * stride - before
    return start, start + (count - 1) * stride + (kernel - 1) * dilation + 1


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """(before, after) of TensorFlow's SAME padding along one axis."""
    out = -(-size // stride)
    total = max(0, (out - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def broadcast_shape(a: Shape, b: Shape, where: str) -> Shape:
    """numpy-style broadcast of two batch-free shapes; ModelError TC-M003 when they don't match."""
    rank = max(len(a), len(b))
    pa, pb = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    if any(x != y and 1 not in (x, y) for x, y in zip(pa, pb, strict=True)):
        raise ModelError("TC-M003", f"shapes {list(a)} and {list(b)} do not broadcast", where=where)
    return tuple(max(x, y) for x, y in zip(pa, pb, strict=True))


def _image(op: o.Op, tensors: Tensors) -> Shape:
    shape = tensors[op.inputs[0]].shape
    if len(shape) != 3:
        raise ModelError("TC-M002", f"{op.kind} needs an [h,w,c] input, not {list(shape)}", where=op.name)
    return shape


def _window(op: Any, h: int, w: int, kernel: o.Pair, dilation: o.Pair) -> tuple[int, int]:
    top, left, bottom, right = op.padding
    oh = window_output(h, kernel[0], op.stride[0], dilation[0], top, bottom)
    ow = window_output(w, kernel[1], op.stride[1], dilation[1], left, right)
    if oh < 1 or ow < 1:
        raise ModelError("TC-M002", f"{op.kind} window {list(kernel)} exceeds input {h}x{w}", where=op.name)
    return oh, ow


def _conv2d(op: o.Conv2D, tensors: Tensors) -> tuple[Shape, ...]:
    h, w, c = _image(op, tensors)
    out, kh, kw, per_group = tensors[op.weights].shape
    if per_group * op.groups != c or out % op.groups:
        raise ModelError(
            "TC-M002",
            f"weights {[out, kh, kw, per_group]} with {op.groups} groups do not fit {c} channels",
            where=op.name,
        )
    return ((*_window(op, h, w, (kh, kw), op.dilation), out),)


def _depthwise(op: o.DepthwiseConv2D, tensors: Tensors) -> tuple[Shape, ...]:
    h, w, c = _image(op, tensors)
    kh, kw, out = tensors[op.weights].shape
    if out != c * op.multiplier:
        raise ModelError(
            "TC-M002", f"weights for {out} channels, but {c} channels x multiplier {op.multiplier}", where=op.name
        )
    return ((*_window(op, h, w, (kh, kw), op.dilation), out),)


def _transpose_conv(op: o.TransposeConv2D, tensors: Tensors) -> tuple[Shape, ...]:
    h, w, c = _image(op, tensors)
    out, kh, kw, cin = tensors[op.weights].shape
    if cin != c:
        raise ModelError("TC-M002", f"weights for {cin} channels, input has {c}", where=op.name)
    top, left, bottom, right = op.padding
    oh = (h - 1) * op.stride[0] + kh - top - bottom + op.output_padding[0]
    ow = (w - 1) * op.stride[1] + kw - left - right + op.output_padding[1]
    return ((oh, ow, out),)


def _fully_connected(op: o.FullyConnected, tensors: Tensors) -> tuple[Shape, ...]:
    shape = tensors[op.inputs[0]].shape
    out, features = tensors[op.weights].shape
    if not shape or shape[-1] != features:
        raise ModelError("TC-M002", f"weights [{out}, {features}] do not fit input {list(shape)}", where=op.name)
    return ((*shape[:-1], out),)


def _matmul(op: o.MatMul, tensors: Tensors) -> tuple[Shape, ...]:
    a, b = (tensors[n].shape for n in op.inputs)
    if len(a) == len(b) == 3:
        terms, columns = b[1:][:: -1 if op.is_transposed else 1]
        if (a[0], a[2]) == (b[0], terms):
            return ((*a[:2], columns),)
    raise ModelError(
        "TC-M002", f"cannot multiply {list(a)} by {list(b)}{' transposed' * op.is_transposed}", where=op.name
    )


def _layer_norm(op: o.LayerNorm, tensors: Tensors) -> tuple[Shape, ...]:
    shape = tensors[op.inputs[0]].shape
    if any(tensors[name].shape != shape[-1:] for name in (op.gamma, op.beta)):
        raise ModelError("TC-M002", f"LayerNorm constants do not fit {list(shape)}", where=op.name)
    return (shape,)


def _elementwise(op: o.Op, tensors: Tensors) -> tuple[Shape, ...]:
    a, b = (tensors[n].shape for n in op.inputs)
    return (broadcast_shape(a, b, op.name),)


def _pool(op: o.AveragePool2D | o.MaxPool2D, tensors: Tensors) -> tuple[Shape, ...]:
    h, w, c = _image(op, tensors)
    return ((*_window(op, h, w, op.kernel, (1, 1)), c),)


def _mean(op: o.Mean, tensors: Tensors) -> tuple[Shape, ...]:
    shape = tensors[op.inputs[0]].shape
    if op.keepdims:
        return (tuple(1 if i in op.axes else s for i, s in enumerate(shape)),)
    return (tuple(s for i, s in enumerate(shape) if i not in op.axes),)


def _pad(op: o.Pad, tensors: Tensors) -> tuple[Shape, ...]:
    shape = tensors[op.inputs[0]].shape
    return (tuple(s + b + a for s, (b, a) in zip(shape, op.amounts, strict=True)),)


def _concat(op: o.Concat, tensors: Tensors) -> tuple[Shape, ...]:
    shapes = [tensors[n].shape for n in op.inputs]
    first = shapes[0]
    for shape in shapes[1:]:
        if len(shape) != len(first) or any(
            i != op.axis and a != b for i, (a, b) in enumerate(zip(first, shape, strict=True))
        ):
            raise ModelError("TC-M002", f"cannot join {[list(s) for s in shapes]} along axis {op.axis}", where=op.name)
    return (tuple(sum(s[i] for s in shapes) if i == op.axis else d for i, d in enumerate(first)),)


def _reshape(op: o.Reshape, tensors: Tensors) -> tuple[Shape, ...]:
    shape = tensors[op.inputs[0]].shape
    if math.prod(shape) != math.prod(op.shape):
        raise ModelError("TC-M002", f"cannot reshape {list(shape)} to {list(op.shape)}", where=op.name)
    return (op.shape,)


def _transpose(op: o.Transpose, tensors: Tensors) -> tuple[Shape, ...]:
    shape = tensors[op.inputs[0]].shape
    return (tuple(shape[p] for p in op.perm),)


def _slice(op: o.Slice, tensors: Tensors) -> tuple[Shape, ...]:
    return (tuple(max(0, -(-(e - b) // s)) for b, e, s in zip(op.begin, op.end, op.strides, strict=True)),)


def _same(op: o.Op, tensors: Tensors) -> tuple[Shape, ...]:
    return (tensors[op.inputs[0]].shape,)


def _resize(op: o.ResizeNearest | o.ResizeBilinear, tensors: Tensors) -> tuple[Shape, ...]:
    _, _, c = _image(op, tensors)
    return ((*op.size, c),)


def _svdf(op: o.SVDF, tensors: Tensors) -> tuple[Shape, ...]:
    filters = tensors[op.feature_weights].shape[0]
    return ((filters // op.rank,), tensors[op.inputs[1]].shape)


def _lstm(op: o.LSTM, tensors: Tensors) -> tuple[Shape, ...]:
    shape, weights = tensors[op.inputs[0]].shape, tensors[op.input_weights].shape
    units = weights[1] if len(weights) == 3 else 0
    is_sequence = len(shape) == 2 or (len(shape) == 3 and shape[1] == 1)
    if not is_sequence or weights != (4, units, shape[-1]) or tensors[op.recurrent_weights].shape != (4, units, units):
        raise ModelError("TC-M002", f"LSTM weights {list(weights)} do not fit a sequence {list(shape)}", where=op.name)
    if any(tensors[name].shape != (units,) for name in op.inputs[1:]):
        raise ModelError("TC-M002", f"LSTM states are not [{units}]", where=op.name)
    return ((*shape[:-1], units), (units,), (units,))


def _embedding(op: o.Embedding, tensors: Tensors) -> tuple[Shape, ...]:
    shape, table = tensors[op.inputs[0]].shape, tensors[op.table].shape
    if len(shape) != 1 or len(table) != 2:
        raise ModelError(
            "TC-M002",
            f"Embedding takes [t] indices and an [n, c] table, not {list(shape)} and {list(table)}",
            where=op.name,
        )
    return ((shape[0], table[1]),)


SHAPES: dict[type[o.Op], ShapeFunction] = {
    o.Conv2D: _conv2d,
    o.DepthwiseConv2D: _depthwise,
    o.TransposeConv2D: _transpose_conv,
    o.FullyConnected: _fully_connected,
    o.MatMul: _matmul,
    o.Add: _elementwise,
    o.Sub: _elementwise,
    o.Mul: _elementwise,
    o.Maximum: _elementwise,
    o.Minimum: _elementwise,
    o.AveragePool2D: _pool,
    o.MaxPool2D: _pool,
    o.Mean: _mean,
    o.Pad: _pad,
    o.Concat: _concat,
    o.Reshape: _reshape,
    o.Transpose: _transpose,
    o.Slice: _slice,
    o.Softmax: _same,
    o.LogSoftmax: _same,
    o.Clamp: _same,
    o.PReLU: _same,
    o.Table: _same,
    o.BatchNorm: _same,
    o.LayerNorm: _layer_norm,
    o.Dropout: _same,
    o.Quantize: _same,
    o.Dequantize: _same,
    o.ResizeNearest: _resize,
    o.ResizeBilinear: _resize,
    o.SVDF: _svdf,
    o.LSTM: _lstm,
    o.Embedding: _embedding,
}


def infer(op: o.Op, tensors: Tensors) -> tuple[Shape, ...]:
    """Shapes of the op's outputs from its inputs; ModelError TC-M002/TC-M003 with the op's name when they don't fit."""
    return SHAPES[type(op)](op, tensors)
