"""QuantGraph → int8 `.tflite`, which TFLM, LiteRT and vendor tools run. TFLM computes the same bytes as our reference.

What TFLite has no operator for (a table of a function it does not know, a clamp to odd bounds, asymmetric padding of
an average pool) is refused by name. Explicit padding that is neither SAME nor VALID becomes a PAD operator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tflite

from tinycompress.errors import UnsupportedOpError
from tinycompress.execute.tflite_tables import TABLES
from tinycompress.export.tflite_builder import TfliteBuilder, activation_code, impossible, padding_code
from tinycompress.export.tflite_layers import conv2d, fully_connected, lstm, svdf, transpose_conv
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import integer_range
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.quant_params import pad_value
from tinycompress.ir.tensor import DType

CLAMPS = {
    o.RELU: "RELU",
    o.RELU6: "RELU6",
}

UNARY = {
    o.Function.SIGMOID: "LOGISTIC",
    o.Function.TANH: "TANH",
    o.Function.HARD_SWISH: "HARD_SWISH",
    o.Function.LEAKY_RELU: "LEAKY_RELU",
    o.Function.ELU: "ELU",
    o.Function.ABS: "ABS",
}


def export_tflite(graph: QuantGraph) -> bytes:
    """The graph as the bytes of a TFLite file, batch 1, names of inputs and outputs kept.

    Raises UnsupportedOpError TC-M207 naming every operator that has no TFLite form.
    """
    exporter = TfliteBuilder(graph)
    problems = []
    for op in graph.ops:
        exporters = EXPORTERS.get(type(op))
        try:
            if exporters is None:
                raise impossible("no TFLite operator")
            exporters(exporter, op)
        except UnsupportedOpError as problem:
            problems.append(f"{op.name} ({op.kind}): {problem.what}")
    if problems:
        raise UnsupportedOpError(
            "TC-M207",
            f"{len(problems)} operators have no TFLite form: {'; '.join(problems)}",
            where=graph.name,
            fix="export QDQ ONNX instead, or deploy with the generated C",
        )
    return exporter.file()


def _binary(kind: str, options_type: str) -> Callable[[TfliteBuilder, Any], None]:
    def emit(e: TfliteBuilder, op: Any) -> None:
        inputs = [e.activation(n) for n in op.inputs]
        fused: dict[str, Any] = {"FusedActivationFunction": activation_code(op)} if hasattr(op, "activation") else {}
        e.emit(kind, inputs, [e.activation(op.output)], options_type, **fused)

    return emit


def _matmul(e: TfliteBuilder, op: o.MatMul) -> None:
    inputs = [e.activation(n) for n in op.inputs]
    e.emit("BATCH_MATMUL", inputs, [e.activation(op.output)], "BatchMatMulOptions", AdjY=op.is_transposed)


def _pool(kind: str) -> Callable[[TfliteBuilder, Any], None]:
    def emit(e: TfliteBuilder, op: Any) -> None:
        code = padding_code(e, op, op.kernel)
        x = e.activation(op.inputs[0])
        if code is None:
            if kind == "AVERAGE_POOL_2D":
                raise impossible(f"padding {list(op.padding)} is neither SAME nor VALID")
            x = e.padded(op, op.padding, integer_range(e[op.inputs[0]].dtype)[0])
        e.emit(
            kind,
            [x],
            [e.activation(op.output)],
            "Pool2DOptions",
            Padding=tflite.Padding.VALID if code is None else code,
            StrideH=op.stride[0],
            StrideW=op.stride[1],
            FilterHeight=op.kernel[0],
            FilterWidth=op.kernel[1],
            FusedActivationFunction=activation_code(op),
        )

    return emit


def _mean(e: TfliteBuilder, op: o.Mean) -> None:
    inputs = [e.activation(op.inputs[0]), e.integers(op, "axes", [a + 1 for a in op.axes])]
    e.emit("MEAN", inputs, [e.activation(op.output)], "ReducerOptions", KeepDims=op.keepdims)


def _pad(e: TfliteBuilder, op: o.Pad) -> None:
    y = e[op.output]
    inputs = [e.activation(op.inputs[0]), e.integers(op, "paddings", [(0, 0), *op.amounts])]
    value = pad_value(op, y)
    if value == y.quantization.tensor_zero_point:
        e.emit("PAD", inputs, [e.activation(op.output)], "PadOptions")
        return
    inputs.append(e.constant(f"{op.name}_fill", np.asarray([value], y.dtype.numpy), y.qparams))
    e.emit("PADV2", inputs, [e.activation(op.output)], "PadV2Options")


def _concat(e: TfliteBuilder, op: o.Concat) -> None:
    inputs = [e.rescaled(op, i) for i in range(len(op.inputs))]
    e.emit("CONCATENATION", inputs, [e.activation(op.output)], "ConcatenationOptions", Axis=op.axis + 1)


def _reshape(e: TfliteBuilder, op: o.Reshape) -> None:
    shape = (1, *op.shape)
    inputs = [e.activation(op.inputs[0]), e.integers(op, "shape", shape)]
    e.emit("RESHAPE", inputs, [e.activation(op.output)], "ReshapeOptions", NewShape=shape)


def _transpose(e: TfliteBuilder, op: o.Transpose) -> None:
    perm = e.integers(op, "perm", [0, *(p + 1 for p in op.perm)])
    e.emit("TRANSPOSE", [e.activation(op.inputs[0]), perm], [e.activation(op.output)], "TransposeOptions")


def _slice(e: TfliteBuilder, op: o.Slice) -> None:
    begin = e.integers(op, "begin", (0, *op.begin))
    end = e.integers(op, "end", (1, *op.end))
    strides = e.integers(op, "strides", (1, *op.strides))
    inputs = [e.activation(op.inputs[0]), begin, end, strides]
    e.emit("STRIDED_SLICE", inputs, [e.activation(op.output)], "StridedSliceOptions")


def _softmax(e: TfliteBuilder, op: o.Softmax) -> None:
    e.emit("SOFTMAX", [e.activation(op.inputs[0])], [e.activation(op.output)], "SoftmaxOptions", Beta=op.beta)


def _log_softmax(e: TfliteBuilder, op: o.LogSoftmax) -> None:
    e.emit("LOG_SOFTMAX", [e.activation(op.inputs[0])], [e.activation(op.output)], "LogSoftmaxOptions")


def _clamp(e: TfliteBuilder, op: o.Clamp) -> None:
    if op.activation not in CLAMPS:
        raise impossible(f"no clamp to {op.activation}")
    e.emit(CLAMPS[op.activation], [e.rescaled(op, 0)], [e.activation(op.output)])


def _prelu(e: TfliteBuilder, op: o.PReLU) -> None:
    alpha = e[op.alpha]
    rank = len(e[op.inputs[0]].shape)
    data = alpha.constant.reshape((1,) * (rank - len(alpha.shape)) + alpha.shape)
    index = e.constant(op.alpha, data, alpha.qparams)
    e.emit("PRELU", [e.activation(op.inputs[0]), index], [e.activation(op.output)])


def _table(e: TfliteBuilder, op: o.Table) -> None:
    kind = UNARY.get(op.function)
    if e[op.inputs[0]].dtype is DType.INT16 and kind in ("LOGISTIC", "TANH"):
        e.emit(kind, [e.activation(op.inputs[0])], [e.activation(op.output)])
        return
    x, y = e[op.inputs[0]].quantization, e[op.output].quantization
    if kind is None or op.table is None:
        raise impossible(f"no int8 operator for {op.function.value}")
    different = int(np.count_nonzero(TABLES[op.function](x, y, op.alpha) != e[op.table].constant))
    if different:
        raise impossible(f"TFLM's {kind} differs from the table in {different} entries")
    options: dict[str, Any] = {"Alpha": op.alpha} if kind == "LEAKY_RELU" else {}
    options_type = {"LEAKY_RELU": "LeakyReluOptions", "HARD_SWISH": "HardSwishOptions", "ABS": "AbsOptions"}.get(
        kind, ""
    )
    e.emit(kind, [e.activation(op.inputs[0])], [e.activation(op.output)], options_type, **options)


def _quantize(e: TfliteBuilder, op: o.Quantize) -> None:
    e.emit("QUANTIZE", [e.activation(op.inputs[0])], [e.activation(op.output)], "QuantizeOptions")


def _resize(kind: str, options_type: str) -> Callable[[TfliteBuilder, Any], None]:
    def emit(e: TfliteBuilder, op: Any) -> None:
        inputs = [e.activation(op.inputs[0]), e.integers(op, "size", op.size)]
        flags = {"AlignCorners": op.align_corners, "HalfPixelCenters": op.half_pixel_centers}
        e.emit(kind, inputs, [e.activation(op.output)], options_type, **flags)

    return emit


def _embedding(e: TfliteBuilder, op: o.Embedding) -> None:
    table = e[op.table]
    inputs = [e.constant(op.table, table.constant, table.qparams), e.activation(op.inputs[0])]
    e.emit("GATHER", inputs, [e.activation(op.output)], "GatherOptions")


EXPORTERS: dict[type[o.Op], Callable[[TfliteBuilder, Any], None]] = {
    o.Conv2D: conv2d,
    o.DepthwiseConv2D: conv2d,
    o.TransposeConv2D: transpose_conv,
    o.FullyConnected: fully_connected,
    o.MatMul: _matmul,
    o.Add: _binary("ADD", "AddOptions"),
    o.Sub: _binary("SUB", "SubOptions"),
    o.Mul: _binary("MUL", "MulOptions"),
    o.Maximum: _binary("MAXIMUM", "MaximumMinimumOptions"),
    o.Minimum: _binary("MINIMUM", "MaximumMinimumOptions"),
    o.AveragePool2D: _pool("AVERAGE_POOL_2D"),
    o.MaxPool2D: _pool("MAX_POOL_2D"),
    o.Mean: _mean,
    o.Pad: _pad,
    o.Concat: _concat,
    o.Reshape: _reshape,
    o.Transpose: _transpose,
    o.Slice: _slice,
    o.Softmax: _softmax,
    o.LogSoftmax: _log_softmax,
    o.Clamp: _clamp,
    o.PReLU: _prelu,
    o.Table: _table,
    o.Quantize: _quantize,
    o.ResizeNearest: _resize("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    o.ResizeBilinear: _resize("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    o.SVDF: svdf,
    o.LSTM: lstm,
    o.Embedding: _embedding,
}
"""How each operator is written."""
