"""One converter per TFLite operator: from the file's records to IR operators, in the CONVERTERS table.

Source of the meanings: TensorFlow Lite's operator documentation and TFLM's reference kernels. Options that an
operator's IR form cannot express raise UnsupportedOpError TC-M204; `tflite_model` collects all of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tflite

from tinycompress.execute.tflite_tables import TABLES
from tinycompress.frontends.tflite_checks import (
    check_arity,
    fused_activation,
    image_shape,
    is_integer,
    required_options,
)
from tinycompress.frontends.tflite_composed import COMPOSED_CONVERTERS
from tinycompress.frontends.tflite_file import FileOperator
from tinycompress.frontends.tflite_graph import Converter, GraphBuilder
from tinycompress.frontends.tflite_layers import LAYER_CONVERTERS
from tinycompress.frontends.tflite_movement import MOVEMENT_CONVERTERS
from tinycompress.frontends.tflite_recurrent import RECURRENT_CONVERTERS
from tinycompress.frontends.tflite_tensors import unsupported
from tinycompress.ir import ops as o
from tinycompress.ir.fixed_functions import FUNCTIONS_16
from tinycompress.ir.tensor import DType


def _elementwise(cls: type[o.Op], options_class: Any) -> Converter:
    def convert(g: GraphBuilder, op: FileOperator) -> None:
        check_arity(op, (2,))
        is_integer(g, op, *op.inputs, op.outputs[0], wide=True)
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


def _matmul(g: GraphBuilder, op: FileOperator) -> None:
    """BATCH_MATMUL of two activations; adjoints and leading axes become those of [g, m, k] and [g, n, k]."""
    check_arity(op, (2,))
    options = required_options(op, tflite.BatchMatMulOptions)
    is_integer(g, op, *op.inputs, op.outputs[0])
    names, shapes = [g.activation(i) for i in op.inputs], [g.shape(i) for i in op.inputs]
    if any(len(shape) < 2 for shape in shapes) or math.prod(shapes[0][:-2]) != math.prod(shapes[1][:-2]):
        raise unsupported(op, f"multiplies {list(shapes[0])} by {list(shapes[1])}, whose leading axes differ")
    groups = math.prod(shapes[0][:-2])
    views = [
        g.reshaped(op, name, (groups, *shape[-2:]), f"matrices{i}")
        for i, (name, shape) in enumerate(zip(names, shapes, strict=True))
    ]
    if options.AdjX():
        turned = g.intermediate(op, views[0], (groups, shapes[0][-1], shapes[0][-2]))
        g.add(op, o.Transpose, (views[0],), (turned,), "turned", perm=(0, 2, 1))
        views[0] = turned
    rows = shapes[0][-1] if options.AdjX() else shapes[0][-2]
    columns = shapes[1][-2] if options.AdjY() else shapes[1][-1]
    g.set_shape(op.outputs[0], (*g.full_shape(op.inputs[0])[:-2], rows, columns))
    y = g.output(op)
    made = g.intermediate(op, y, (groups, rows, columns))
    g.add(op, o.MatMul, tuple(views), (made,), "product", is_transposed=options.AdjY())
    g.add(op, o.Reshape, (made,), (y,), shape=g.shape(op.outputs[0]))


def _mean(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (2,))
    is_integer(g, op, op.inputs[0], op.outputs[0], wide=True)
    options = op.read_options(tflite.ReducerOptions)
    axes = sorted({g.axis(op, op.inputs[0], a) for a in g.integers(op, op.inputs[1])})
    keepdims = bool(options.KeepDims()) if options is not None else False
    x, y = g.activation(op.inputs[0]), g.output(op)
    if len(axes) == len(g.tensors[x].shape) and not keepdims:
        # A scalar: the file has it as [1], which is a vector here.
        found = g.intermediate(op, y, (1,) * len(axes))
        g.add(op, o.Mean, (x,), (found,), axes=tuple(axes), keepdims=True)
        g.add(op, o.Reshape, (found,), (y,), "shape", shape=g.shape(op.outputs[0]))
        return
    g.add(op, o.Mean, (x,), (y,), axes=tuple(axes), keepdims=keepdims)


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
        (DType.INT16, DType.INT16),
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
        is_integer(g, op, op.inputs[0], op.outputs[0], wide=True)
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
        integer = is_integer(g, op, op.inputs[0], op.outputs[0], wide=True)
        options = op.read_options(tflite.LeakyReluOptions) if function is o.Function.LEAKY_RELU else None
        alpha = float(options.Alpha()) if options is not None else (1.0 if function is o.Function.ELU else 0.0)
        x, y = g.activation(op.inputs[0]), g.output(op)
        table = None
        if integer and g.tensors[x].dtype is DType.INT16:
            if function not in FUNCTIONS_16:
                raise unsupported(op, "has no int16 form here", "quantize activations to int8")
        elif integer:
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
        _, _, channels = image_shape(g, op, op.inputs[0])
        if g.is_constant(op.inputs[1]):
            g.set_shape(op.outputs[0], (1, *g.integers(op, op.inputs[1]), channels))
        height, width, _ = image_shape(g, op, op.outputs[0])
        if cls is o.ResizeBilinear:
            g.note_unsigned_ties(op)
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


def _gelu(g: GraphBuilder, op: FileOperator) -> None:
    options = op.read_options(tflite.GeluOptions)
    is_approximate = options is not None and options.Approximate()
    _unary(o.Function.GELU_TANH if is_approximate else o.Function.GELU)(g, op)


CONVERTERS: dict[str, Converter] = {
    **LAYER_CONVERTERS,
    **MOVEMENT_CONVERTERS,
    **COMPOSED_CONVERTERS,
    **RECURRENT_CONVERTERS,
    "ADD": _elementwise(o.Add, tflite.AddOptions),
    "SUB": _elementwise(o.Sub, tflite.SubOptions),
    "MUL": _elementwise(o.Mul, tflite.MulOptions),
    "MAXIMUM": _extremum(o.Maximum),
    "MINIMUM": _extremum(o.Minimum),
    "BATCH_MATMUL": _matmul,
    "MEAN": _mean,
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
    "GELU": _gelu,
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
