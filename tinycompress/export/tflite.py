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
from tinycompress.export.tflite_file import FileRecord, OperatorRecord, TensorRecord, write
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import activation_range, integer_range
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.quant_params import pad_value
from tinycompress.ir.shapes import same_padding
from tinycompress.ir.tensor import Array, DType, QParams, Tensor

ACTIVATION_CODES = {
    o.NO_ACTIVATION: tflite.ActivationFunctionType.NONE,
    o.RELU: tflite.ActivationFunctionType.RELU,
    o.RELU6: tflite.ActivationFunctionType.RELU6,
    o.Activation(-1.0, 1.0): tflite.ActivationFunctionType.RELU_N1_TO_1,
}

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
}


def export_tflite(graph: QuantGraph) -> bytes:
    """The graph as the bytes of a TFLite file, batch 1, names of inputs and outputs kept.

    Raises UnsupportedOpError TC-M207 naming every operator that has no TFLite form.
    """
    exporter = _Exporter(graph)
    problems = []
    for op in graph.ops:
        exporters = EXPORTERS.get(type(op))
        try:
            if exporters is None:
                raise _impossible("no TFLite operator")
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


def _impossible(what: str) -> UnsupportedOpError:
    return UnsupportedOpError("TC-M207", what)


class _Exporter:
    """Collects records; IR tensors become file tensors on first use."""

    def __init__(self, graph: QuantGraph) -> None:
        self.graph = graph
        self._operators: list[OperatorRecord] = []
        self._tensors: list[TensorRecord] = []
        self._indices: dict[str, int] = {}
        for name in (*graph.input_names, *graph.outputs):
            self.activation(name)

    def file(self) -> bytes:
        """The finished file."""
        inputs = [self._indices[n] for n in self.graph.input_names]
        outputs = [self._indices[n] for n in self.graph.outputs]
        return write(FileRecord(self.graph.name, self._tensors, self._operators, inputs, outputs))

    def __getitem__(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    def activation(self, name: str) -> int:
        """Index of an activation, or of a constant operand (whose shape gets a leading one)."""
        if name not in self._indices:
            tensor = self[name]
            shape = (1, *tensor.shape)
            data = None if tensor.data is None else tensor.data.reshape(shape)
            self._indices[name] = self.add(TensorRecord(name, shape, tensor.dtype, tensor.qparams, data))
        return self._indices[name]

    def state(self, name: str) -> int:
        """Index of a state tensor, as the variable `[1, filters · memory]`."""
        tensor = self[name]
        shape = (1, tensor.elements)
        return self.add(TensorRecord(name, shape, tensor.dtype, tensor.qparams, is_variable=True))

    def constant(self, name: str, data: Array, qparams: QParams | None = None) -> int:
        """Index of a new constant."""
        return self.add(TensorRecord(name, tuple(data.shape), DType(str(data.dtype)), qparams, data))

    def integers(self, op: o.Op, role: str, values: Any) -> int:
        """Index of a new constant of int32 (axes, shapes, paddings)."""
        return self.constant(f"{op.name}_{role}", np.asarray(values, dtype=np.int32))

    def add(self, record: TensorRecord) -> int:
        """Index of a new tensor."""
        self._tensors.append(record)
        return len(self._tensors) - 1

    def emit(self, kind: str, inputs: list[int], outputs: list[int], options_type: str = "", **options: Any) -> None:
        """Appends an operator."""
        self._operators.append(OperatorRecord(kind, tuple(inputs), tuple(outputs), options_type, options))

    def rescaled(self, op: o.Op, position: int) -> int:
        """An input in the output's quantization: TFLM's concatenation and ReLU6 do not rescale, a QUANTIZE does."""
        name, y = op.inputs[position], self[op.outputs[0]]
        x = self[name]
        if x.qparams == y.qparams:
            return self.activation(name)
        made = self.add(TensorRecord(f"{op.name}_rescaled{position}", (1, *x.shape), y.dtype, y.qparams))
        self.emit("QUANTIZE", [self.activation(name)], [made], "QuantizeOptions")
        return made

    def padded(self, op: o.Op, padding: o.Padding, value: int | None = None) -> int:
        """The operator's input behind an explicit PAD (of the zero point) or PADV2 (of `value`)."""
        x = self[op.inputs[0]]
        top, left, bottom, right = padding
        h, w, c = x.shape
        shape = (1, h + top + bottom, w + left + right, c)
        made = self.add(TensorRecord(f"{op.name}_padded", shape, x.dtype, x.qparams))
        amounts = self.integers(op, "paddings", [[0, 0], [top, bottom], [left, right], [0, 0]])
        inputs = [self.activation(op.inputs[0]), amounts]
        if value is None:
            self.emit("PAD", inputs, [made], "PadOptions")
        else:
            inputs.append(self.constant(f"{op.name}_fill", np.asarray([value], np.int8), x.qparams))
            self.emit("PADV2", inputs, [made], "PadV2Options")
        return made


def _activation(op: Any) -> int:
    if op.activation not in ACTIVATION_CODES:
        raise _impossible(f"no fused {op.activation}")
    return int(ACTIVATION_CODES[op.activation])


def _padding_code(e: _Exporter, op: Any, kernel: o.Pair, dilation: o.Pair = (1, 1)) -> int | None:
    """SAME, VALID, or None when the padding is neither."""
    if not any(op.padding):
        return int(tflite.Padding.VALID)
    h, w, _ = e[op.inputs[0]].shape
    top, bottom = same_padding(h, kernel[0], op.stride[0], dilation[0])
    left, right = same_padding(w, kernel[1], op.stride[1], dilation[1])
    return int(tflite.Padding.SAME) if op.padding == (top, left, bottom, right) else None


def _bias(e: _Exporter, op: Any, channels: int, input_scale: float, weights: QParams) -> int:
    """The int32 bias with scale s_x · s_w; zeros where there is none, since some of TFLM's kernels insist on one."""
    # A product too small for float32 is written as its smallest normal number; readers derive the scale themselves.
    scales = tuple(max(input_scale * s, 2.0**-126) for s in weights.scale)
    qparams = QParams(scales, (0,) * len(scales), None if len(scales) == 1 else 0, 32)
    if op.bias is None:
        return e.constant(f"{op.name}_bias", np.zeros(channels, np.int32), qparams)
    return e.constant(op.bias, e[op.bias].constant, qparams)


def _weighted_inputs(e: _Exporter, op: Any, x: int, weights: Array, qparams: QParams) -> list[int]:
    channels = e[op.output].shape[-1]
    scale = e[op.inputs[0]].quantization.tensor_scale
    return [x, e.constant(op.weights, weights, qparams), _bias(e, op, channels, scale, qparams)]


def _conv2d(e: _Exporter, op: o.Conv2D | o.DepthwiseConv2D) -> None:
    weights = e[op.weights]
    data, qparams = weights.constant, weights.quantization
    if isinstance(op, o.DepthwiseConv2D):
        kernel = (weights.shape[0], weights.shape[1])
        data = data[np.newaxis]
        if qparams.axis is not None:
            qparams = QParams(qparams.scale, qparams.zero_point, qparams.axis + 1)
    else:
        kernel = (weights.shape[1], weights.shape[2])
    code = _padding_code(e, op, kernel, op.dilation)
    x = e.activation(op.inputs[0]) if code is not None else e.padded(op, op.padding)
    options = {
        "Padding": tflite.Padding.VALID if code is None else code,
        "StrideH": op.stride[0],
        "StrideW": op.stride[1],
        "DilationHFactor": op.dilation[0],
        "DilationWFactor": op.dilation[1],
        "FusedActivationFunction": _activation(op),
    }
    inputs = _weighted_inputs(e, op, x, data, qparams)
    outputs = [e.activation(op.output)]
    if isinstance(op, o.DepthwiseConv2D):
        e.emit("DEPTHWISE_CONV_2D", inputs, outputs, "DepthwiseConv2DOptions", DepthMultiplier=op.multiplier, **options)
    else:
        e.emit("CONV_2D", inputs, outputs, "Conv2DOptions", **options)


def _transpose_conv(e: _Exporter, op: o.TransposeConv2D) -> None:
    x, weights, y = e[op.inputs[0]], e[op.weights], e[op.output]
    before = tuple(same_padding(y.shape[i], weights.shape[1 + i], op.stride[i])[0] for i in (0, 1))
    is_scaled = all(y.shape[i] == x.shape[i] * op.stride[i] for i in (0, 1))
    if is_scaled and op.padding[:2] == before:
        code = tflite.Padding.SAME
    elif not any(op.padding) and not any(op.output_padding):
        code = tflite.Padding.VALID
    else:
        raise _impossible(f"padding {list(op.padding)} is neither SAME nor VALID")
    operand, made, bias = _weighted_inputs(e, op, e.activation(op.inputs[0]), weights.constant, weights.quantization)
    inputs = [e.integers(op, "shape", (1, *y.shape)), made, operand, bias]
    e.emit(
        "TRANSPOSE_CONV",
        inputs,
        [e.activation(op.output)],
        "TransposeConvOptions",
        Padding=code,
        StrideH=op.stride[0],
        StrideW=op.stride[1],
        FusedActivationFunction=_activation(op),
    )


def _fully_connected(e: _Exporter, op: o.FullyConnected) -> None:
    weights = e[op.weights]
    inputs = _weighted_inputs(e, op, e.activation(op.inputs[0]), weights.constant, weights.quantization)
    e.emit(
        "FULLY_CONNECTED",
        inputs,
        [e.activation(op.output)],
        "FullyConnectedOptions",
        FusedActivationFunction=_activation(op),
        KeepNumDims=len(e[op.inputs[0]].shape) > 1,
    )


def _binary(kind: str, options_type: str) -> Callable[[_Exporter, Any], None]:
    def emit(e: _Exporter, op: Any) -> None:
        inputs = [e.activation(n) for n in op.inputs]
        fused = {"FusedActivationFunction": _activation(op)} if hasattr(op, "activation") else {}
        e.emit(kind, inputs, [e.activation(op.output)], options_type, **fused)

    return emit


def _pool(kind: str) -> Callable[[_Exporter, Any], None]:
    def emit(e: _Exporter, op: Any) -> None:
        code = _padding_code(e, op, op.kernel)
        x = e.activation(op.inputs[0])
        if code is None:
            if kind == "AVERAGE_POOL_2D":
                raise _impossible(f"padding {list(op.padding)} is neither SAME nor VALID")
            x = e.padded(op, op.padding, -128)
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
            FusedActivationFunction=_activation(op),
        )

    return emit


def _mean(e: _Exporter, op: o.Mean) -> None:
    inputs = [e.activation(op.inputs[0]), e.integers(op, "axes", [a + 1 for a in op.axes])]
    e.emit("MEAN", inputs, [e.activation(op.output)], "ReducerOptions", KeepDims=op.keepdims)


def _pad(e: _Exporter, op: o.Pad) -> None:
    y = e[op.output]
    inputs = [e.activation(op.inputs[0]), e.integers(op, "paddings", [(0, 0), *op.amounts])]
    value = pad_value(op, y)
    if value == y.quantization.tensor_zero_point:
        e.emit("PAD", inputs, [e.activation(op.output)], "PadOptions")
        return
    inputs.append(e.constant(f"{op.name}_fill", np.asarray([value], np.int8), y.qparams))
    e.emit("PADV2", inputs, [e.activation(op.output)], "PadV2Options")


def _concat(e: _Exporter, op: o.Concat) -> None:
    inputs = [e.rescaled(op, i) for i in range(len(op.inputs))]
    e.emit("CONCATENATION", inputs, [e.activation(op.output)], "ConcatenationOptions", Axis=op.axis + 1)


def _reshape(e: _Exporter, op: o.Reshape) -> None:
    shape = (1, *op.shape)
    inputs = [e.activation(op.inputs[0]), e.integers(op, "shape", shape)]
    e.emit("RESHAPE", inputs, [e.activation(op.output)], "ReshapeOptions", NewShape=shape)


def _transpose(e: _Exporter, op: o.Transpose) -> None:
    perm = e.integers(op, "perm", [0, *(p + 1 for p in op.perm)])
    e.emit("TRANSPOSE", [e.activation(op.inputs[0]), perm], [e.activation(op.output)], "TransposeOptions")


def _slice(e: _Exporter, op: o.Slice) -> None:
    begin = e.integers(op, "begin", (0, *op.begin))
    end = e.integers(op, "end", (1, *op.end))
    strides = e.integers(op, "strides", (1, *op.strides))
    inputs = [e.activation(op.inputs[0]), begin, end, strides]
    e.emit("STRIDED_SLICE", inputs, [e.activation(op.output)], "StridedSliceOptions")


def _softmax(e: _Exporter, op: o.Softmax) -> None:
    e.emit("SOFTMAX", [e.activation(op.inputs[0])], [e.activation(op.output)], "SoftmaxOptions", Beta=op.beta)


def _log_softmax(e: _Exporter, op: o.LogSoftmax) -> None:
    e.emit("LOG_SOFTMAX", [e.activation(op.inputs[0])], [e.activation(op.output)], "LogSoftmaxOptions")


def _clamp(e: _Exporter, op: o.Clamp) -> None:
    if op.activation not in CLAMPS:
        raise _impossible(f"no clamp to {op.activation}")
    e.emit(CLAMPS[op.activation], [e.rescaled(op, 0)], [e.activation(op.output)])


def _prelu(e: _Exporter, op: o.PReLU) -> None:
    alpha = e[op.alpha]
    rank = len(e[op.inputs[0]].shape)
    data = alpha.constant.reshape((1,) * (rank - len(alpha.shape)) + alpha.shape)
    index = e.constant(op.alpha, data, alpha.qparams)
    e.emit("PRELU", [e.activation(op.inputs[0]), index], [e.activation(op.output)])


def _table(e: _Exporter, op: o.Table) -> None:
    kind = UNARY.get(op.function)
    x, y = e[op.inputs[0]].quantization, e[op.output].quantization
    if kind is None or op.table is None:
        raise _impossible(f"no int8 operator for {op.function.value}")
    different = int(np.count_nonzero(TABLES[op.function](x, y, op.alpha) != e[op.table].constant))
    if different:
        raise _impossible(f"TFLM's {kind} differs from the table in {different} entries")
    options = {"Alpha": op.alpha} if kind == "LEAKY_RELU" else {}
    options_type = {"LEAKY_RELU": "LeakyReluOptions", "HARD_SWISH": "HardSwishOptions"}.get(kind, "")
    e.emit(kind, [e.activation(op.inputs[0])], [e.activation(op.output)], options_type, **options)


def _quantize(e: _Exporter, op: o.Quantize) -> None:
    e.emit("QUANTIZE", [e.activation(op.inputs[0])], [e.activation(op.output)], "QuantizeOptions")


def _resize(kind: str, options_type: str) -> Callable[[_Exporter, Any], None]:
    def emit(e: _Exporter, op: Any) -> None:
        inputs = [e.activation(op.inputs[0]), e.integers(op, "size", op.size)]
        flags = {"AlignCorners": op.align_corners, "HalfPixelCenters": op.half_pixel_centers}
        e.emit(kind, inputs, [e.activation(op.output)], options_type, **flags)

    return emit


def _svdf(e: _Exporter, op: o.SVDF) -> None:
    if not any((s.read, s.write) == (op.inputs[1], op.outputs[1]) and s.initial is None for s in e.graph.states):
        raise _impossible("its state does not start at the zero point")
    if activation_range(op.activation, e[op.outputs[0]]) != integer_range(e[op.outputs[0]].dtype):
        raise _impossible("no fused activation in integer SVDF")
    inputs = [e.activation(op.inputs[0])]
    inputs += [e.constant(name, e[name].constant, e[name].qparams) for name in (op.feature_weights, op.time_weights)]
    state_scale = e[op.inputs[1]].quantization.tensor_scale
    inputs.append(_bias(e, op, e[op.outputs[0]].shape[-1], state_scale, e[op.time_weights].quantization))
    inputs.append(e.state(op.inputs[1]))
    # LiteRT insists on RELU here, and neither it nor TFLM applies it to integers.
    options = {"Rank": op.rank, "FusedActivationFunction": tflite.ActivationFunctionType.RELU}
    e.emit("SVDF", inputs, [e.activation(op.outputs[0])], "SVDFOptions", **options)


EXPORTERS: dict[type[o.Op], Callable[[_Exporter, Any], None]] = {
    o.Conv2D: _conv2d,
    o.DepthwiseConv2D: _conv2d,
    o.TransposeConv2D: _transpose_conv,
    o.FullyConnected: _fully_connected,
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
    o.SVDF: _svdf,
}
"""How each operator is written."""
