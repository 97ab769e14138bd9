"""One converter per TFLite operator: from the file's records to IR operators, in the CONVERTERS table.

Source of the meanings: TensorFlow Lite's operator documentation and TFLM's reference kernels. Options that an
operator's IR form cannot express raise UnsupportedOpError TC-M204; `tflite_model` collects all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tflite

from tinycompress.errors import ModelError
from tinycompress.execute.tflite_tables import TABLES
from tinycompress.frontends.tflite_checks import (
    check_arity,
    fused_activation,
    image_shape,
    is_integer,
    required_options,
)
from tinycompress.frontends.tflite_file import FileOperator
from tinycompress.frontends.tflite_graph import Converter, GraphBuilder, unsupported
from tinycompress.frontends.tflite_layers import LAYER_CONVERTERS
from tinycompress.frontends.tflite_recurrent import RECURRENT_CONVERTERS
from tinycompress.ir import ops as o
from tinycompress.ir.tensor import DType


def _elementwise(cls: type[o.Op], options_class: Any) -> Converter:
    def convert(g: GraphBuilder, op: FileOperator) -> None:
        check_arity(op, (2,))
        is_integer(g, op, *op.inputs, op.outputs[0])
        activation = fused_activation(op, op.read_options(options_class))
        inputs = tuple(g.operand(op, i) for i in op.inputs)
        g.add(op, cls, inputs, (g.output(op),), activation=activation)

    return convert


def _extremum(cls: type[o.Op]) -> Converter:
    def convert(g: GraphBuilder, op: FileOperator) -> None:
        check_arity(op, (2,))
        is_integer(g, op, *op.inputs, op.outputs[0])
        g.add(op, cls, tuple(g.operand(op, i) for i in op.inputs), (g.output(op),))

    return convert


def _axis(op: FileOperator, axis: int, rank: int) -> int:
    """A file axis (batch included, perhaps negative) as a batch-free one; refuses the batch itself."""
    if not -rank <= axis < rank:
        raise ModelError("TC-M206", f"axis {axis} is outside a rank of {rank}", where=op.label())
    if axis % rank == 0:
        raise ModelError("TC-M203", "works across the batch axis", where=op.label(), fix="export for batch size 1")
    return axis % rank - 1


def _mean(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (2,))
    is_integer(g, op, op.inputs[0], op.outputs[0])
    options = op.read_options(tflite.ReducerOptions)
    rank = len(g.shape(op.inputs[0])) + 1
    axes = sorted({_axis(op, a, rank) for a in g.integers(op, op.inputs[1])})
    keepdims = bool(options.KeepDims()) if options is not None else False
    g.add(op, o.Mean, (g.activation(op.inputs[0]),), (g.output(op),), axes=tuple(axes), keepdims=keepdims)


def _pad(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (2, 3))
    integer = is_integer(g, op, op.inputs[0], op.outputs[0])
    rank = len(g.shape(op.inputs[0])) + 1
    amounts = g.integers(op, op.inputs[1])
    if len(amounts) != 2 * rank or any(a < 0 for a in amounts):
        raise ModelError("TC-M206", f"paddings {amounts} do not fit a rank of {rank}", where=op.label())
    if amounts[0] or amounts[1]:
        raise ModelError("TC-M203", "pads the batch axis", where=op.label())
    value = 0.0
    if len(op.inputs) == 3 and op.inputs[2] >= 0:
        constant, qparams = g.constant(op, op.inputs[2]), g.qparams(op.inputs[2])
        value = float(constant.reshape(-1)[0])
        if integer:
            if qparams is None:
                raise ModelError("TC-M205", "its padding value has no scale", where=op.label())
            value = (value - qparams.tensor_zero_point) * qparams.tensor_scale
    pairs = tuple((amounts[2 * i], amounts[2 * i + 1]) for i in range(1, rank))
    g.add(op, o.Pad, (g.activation(op.inputs[0]),), (g.output(op),), amounts=pairs, value=value)


def _concatenation(g: GraphBuilder, op: FileOperator) -> None:
    if not op.inputs or len(op.outputs) != 1:
        raise ModelError("TC-M206", f"has {len(op.inputs)} inputs and {len(op.outputs)} outputs", where=op.label())
    options = required_options(op, tflite.ConcatenationOptions)
    is_integer(g, op, *op.inputs, op.outputs[0])
    if not fused_activation(op, options).is_none:
        raise unsupported(op, "a fused activation function is not supported")
    axis = _axis(op, options.Axis(), len(g.shape(op.outputs[0])) + 1)
    g.add(op, o.Concat, tuple(g.operand(op, i) for i in op.inputs), (g.output(op),), axis=axis)


def _reshape(g: GraphBuilder, op: FileOperator) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the file declares the result's shape."""
    shape = g.shape(op.outputs[0])
    if g.is_constant(op.inputs[0]):
        raise unsupported(op, "reshapes a constant")
    g.add(op, o.Reshape, (g.activation(op.inputs[0]),), (g.output(op),), shape=shape)


def _transpose(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (2,))
    perm = g.integers(op, op.inputs[1])
    if sorted(perm) != list(range(len(g.shape(op.inputs[0])) + 1)):
        raise ModelError("TC-M206", f"permutation {perm} is not one", where=op.label())
    before, after = g.batch_axis(op.inputs[0]), g.batch_axis(op.outputs[0])
    if perm[after] != before:
        raise ModelError("TC-M203", f"permutation {perm} moves the batch axis", where=op.label())
    kept = tuple(p - (p > before) for i, p in enumerate(perm) if i != after)
    g.add(op, o.Transpose, (g.activation(op.inputs[0]),), (g.output(op),), perm=kept)


def _split(g: GraphBuilder, op: FileOperator) -> None:
    """SPLIT (axis, x) and SPLIT_V (x, sizes, axis): one Slice per output."""
    if not op.outputs or len(op.inputs) != (2 if op.kind == "SPLIT" else 3):
        raise ModelError("TC-M206", f"has {len(op.inputs)} inputs and {len(op.outputs)} outputs", where=op.label())
    axis_input, x = (op.inputs[0], op.inputs[1]) if op.kind == "SPLIT" else (op.inputs[2], op.inputs[0])
    shape = g.shape(x)
    axis = _axis(op, g.integers(op, axis_input)[0], len(shape) + 1)
    start = 0
    for position, index in enumerate(op.outputs):
        part = g.shape(index)
        if len(part) != len(shape):
            raise ModelError("TC-M206", "its outputs have another rank than its input", where=op.label())
        begin = tuple(start if i == axis else 0 for i in range(len(shape)))
        start += part[axis]
        end = tuple(start if i == axis else size for i, size in enumerate(shape))
        cut = {"begin": begin, "end": end, "strides": (1,) * len(shape)}
        g.add(op, o.Slice, (g.activation(x),), (g.output(op, position),), f"part{position}", **cut)
    if start != shape[axis]:
        raise ModelError("TC-M206", f"its parts sum to {start} of {shape[axis]}", where=op.label())


def _slice(g: GraphBuilder, op: FileOperator) -> None:
    """SLICE (x, begin, size); a size of −1 reaches to the end."""
    check_arity(op, (3,))
    shape = (1, *g.shape(op.inputs[0]))
    begin, size = g.integers(op, op.inputs[1]), g.integers(op, op.inputs[2])
    if len(begin) != len(shape) or len(size) != len(shape):
        raise ModelError("TC-M206", f"begin {begin} and size {size} do not fit {list(shape)}", where=op.label())
    end = [full if s == -1 else b + s for full, b, s in zip(shape, begin, size, strict=True)]
    _add_slice(g, op, begin, end, [1] * len(shape), shape)


def _strided_slice(g: GraphBuilder, op: FileOperator) -> None:
    """STRIDED_SLICE (x, begin, end, strides) with its masks; negative strides and new axes are refused."""
    check_arity(op, (4,))
    options = required_options(op, tflite.StridedSliceOptions)
    if options.EllipsisMask() or options.NewAxisMask():
        raise unsupported(op, "ellipsis and new axes are not supported", "index every axis explicitly")
    shape = (1, *g.shape(op.inputs[0]))
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
    _add_slice(g, op, begin, end, strides, shape)


def _clipped(value: int, size: int) -> int:
    return min(max(value + size if value < 0 else value, 0), size)


def _add_slice(
    g: GraphBuilder, op: FileOperator, begin: list[int], end: list[int], strides: list[int], shape: tuple[int, ...]
) -> None:
    if (begin[0], end[0]) != (0, 1):
        raise ModelError("TC-M203", "slices the batch axis", where=op.label())
    if any(not 0 <= b < e <= size for b, e, size in zip(begin, end, shape, strict=True)):
        raise ModelError("TC-M206", f"takes {begin}..{end} of {list(shape)}", where=op.label())
    x, y = g.activation(op.inputs[0]), g.output(op)
    kept = tuple(-(-(e - b) // s) for b, e, s in zip(begin[1:], end[1:], strides[1:], strict=True))
    out = y if kept == g.tensors[y].shape else g.intermediate(op, y, kept)
    g.add(op, o.Slice, (x,), (out,), begin=tuple(begin[1:]), end=tuple(end[1:]), strides=tuple(strides[1:]))
    if out != y:
        g.add(op, o.Reshape, (out,), (y,), "squeeze", shape=g.tensors[y].shape)


def _softmax(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (1,))
    options = op.read_options(tflite.SoftmaxOptions)
    beta = float(options.Beta()) if options is not None else 1.0
    if not np.isfinite(beta) or beta <= 0:
        raise unsupported(op, f"beta {beta} is not positive")
    kinds = g.dtype(op.inputs[0]), g.dtype(op.outputs[0])
    if kinds not in (
        (DType.FLOAT32, DType.FLOAT32),
        (DType.INT8, DType.INT8),
        (DType.INT8, DType.INT16),
    ):
        raise unsupported(op, f"{kinds[0].value} to {kinds[1].value} is not supported")
    g.add(op, o.Softmax, (g.activation(op.inputs[0]),), (g.output(op),), beta=beta)


def _log_softmax(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (1,))
    is_integer(g, op, op.inputs[0], op.outputs[0])
    g.add(op, o.LogSoftmax, (g.activation(op.inputs[0]),), (g.output(op),))


def _clamp(low: float | None, high: float | None) -> Converter:
    """RELU and its kin; quantized ones may rescale."""

    def convert(g: GraphBuilder, op: FileOperator) -> None:
        check_arity(op, (1,))
        is_integer(g, op, op.inputs[0], op.outputs[0])
        g.add(op, o.Clamp, (g.activation(op.inputs[0]),), (g.output(op),), activation=o.Activation(low, high))

    return convert


def _prelu(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (2,))
    is_integer(g, op, *op.inputs, op.outputs[0])
    alpha = g.constant(op, op.inputs[1])
    qparams = g.qparams(op.inputs[1])
    name = g.add_constant(op, op.inputs[1], "alpha", alpha, qparams)
    g.add(op, o.PReLU, (g.activation(op.inputs[0]),), (g.output(op),), alpha=name)


def _unary(function: o.Function) -> Converter:
    """A unary function: by its float definition, or by the table of what TFLM computes for each of 256 inputs."""

    def convert(g: GraphBuilder, op: FileOperator) -> None:
        check_arity(op, (1,))
        integer = is_integer(g, op, op.inputs[0], op.outputs[0])
        options = op.read_options(tflite.LeakyReluOptions) if function is o.Function.LEAKY_RELU else None
        alpha = float(options.Alpha()) if options is not None else (1.0 if function is o.Function.ELU else 0.0)
        x, y = g.activation(op.inputs[0]), g.output(op)
        table = None
        if integer:
            if function not in TABLES:
                raise unsupported(op, "has no int8 form here", "use a float model and quantize it")
            data = TABLES[function](g.tensors[x].quantization, g.tensors[y].quantization, alpha)
            table = g.add_constant(op, op.outputs[0], "table", data)
        g.add(op, o.Table, (x,), (y,), function=function, alpha=alpha, table=table)

    return convert


def _quantize(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (1,))
    x, y = op.inputs[0], op.outputs[0]
    source, target = g.dtype(x), g.dtype(y)
    if target is DType.FLOAT32 or (source, target) == (DType.INT32, DType.INT32):
        raise unsupported(op, f"{source.value} to {target.value} is not supported")
    if source is target and g.qparams(x) == g.qparams(y) and y not in g.file.outputs:
        # uint8 to int8 at an input is no more than the shift of the zero point that import does anyway.
        g.alias(y, x)
        return
    g.add(op, o.Quantize, (g.activation(x),), (g.output(op),))


def _dequantize(g: GraphBuilder, op: FileOperator) -> None:
    """Of a constant: folded into float weights. Of an activation: kept; `cut` removes those at the edges."""
    check_arity(op, (1,))
    if g.is_constant(op.inputs[0]):
        g.fold_dequantized(op)
        return
    g.add(op, o.Dequantize, (g.activation(op.inputs[0]),), (g.output(op),))


def _resize(cls: type[o.Op], options_class: Any) -> Converter:
    def convert(g: GraphBuilder, op: FileOperator) -> None:
        check_arity(op, (2,))
        options = required_options(op, options_class)
        is_integer(g, op, op.inputs[0], op.outputs[0])
        image_shape(g, op, op.inputs[0])
        height, width, _ = image_shape(g, op, op.outputs[0])
        g.add(
            op,
            cls,
            (g.activation(op.inputs[0]),),
            (g.output(op),),
            size=(height, width),
            align_corners=bool(options.AlignCorners()),
            half_pixel_centers=bool(options.HalfPixelCenters()),
        )

    return convert


CONVERTERS: dict[str, Converter] = {
    **LAYER_CONVERTERS,
    **RECURRENT_CONVERTERS,
    "ADD": _elementwise(o.Add, tflite.AddOptions),
    "SUB": _elementwise(o.Sub, tflite.SubOptions),
    "MUL": _elementwise(o.Mul, tflite.MulOptions),
    "MAXIMUM": _extremum(o.Maximum),
    "MINIMUM": _extremum(o.Minimum),
    "MEAN": _mean,
    "PAD": _pad,
    "PADV2": _pad,
    "CONCATENATION": _concatenation,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "TRANSPOSE": _transpose,
    "SPLIT": _split,
    "SPLIT_V": _split,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": _log_softmax,
    "RELU": _clamp(0.0, None),
    "RELU6": _clamp(0.0, 6.0),
    "RELU_N1_TO_1": _clamp(-1.0, 1.0),
    "RELU_0_TO_1": _clamp(0.0, 1.0),
    "PRELU": _prelu,
    "LOGISTIC": _unary(o.Function.SIGMOID),
    "TANH": _unary(o.Function.TANH),
    "HARD_SWISH": _unary(o.Function.HARD_SWISH),
    "LEAKY_RELU": _unary(o.Function.LEAKY_RELU),
    "ELU": _unary(o.Function.ELU),
    "EXP": _unary(o.Function.EXP),
    "LOG": _unary(o.Function.LOG),
    "SQRT": _unary(o.Function.SQRT),
    "RSQRT": _unary(o.Function.RSQRT),
    "SQUARE": _unary(o.Function.SQUARE),
    "ABS": _unary(o.Function.ABS),
    "NEG": _unary(o.Function.NEG),
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
    "RESIZE_NEAREST_NEIGHBOR": _resize(o.ResizeNearest, tflite.ResizeNearestNeighborOptions),
    "RESIZE_BILINEAR": _resize(o.ResizeBilinear, tflite.ResizeBilinearOptions),
}
"""What each operator of a file becomes; anything else is refused by name."""
