"""Exporters of the operators with weights: convolutions, fully connected, SVDF."""

from __future__ import annotations

from typing import Any

import numpy as np
import tflite

from tinycompress.export.tflite_builder import TfliteBuilder, activation_code, impossible, padding_code
from tinycompress.export.tflite_file import TensorRecord
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import activation_range, integer_range
from tinycompress.ir.quant_params import LSTM_GATE_BITS
from tinycompress.ir.shapes import same_padding
from tinycompress.ir.tensor import Array, DType, QParams

LSTM_GATES = ("input", "forget", "cell", "output")


def _bias(e: TfliteBuilder, op: Any, channels: int, input_scale: float, weights: QParams) -> int:
    """The int32 bias with scale s_x · s_w; zeros where there is none, since some of TFLM's kernels insist on one."""
    # A product too small for float32 is written as its smallest normal number; readers derive the scale themselves.
    scales = tuple(max(input_scale * s, 2.0**-126) for s in weights.scale)
    qparams = QParams(scales, (0,) * len(scales), None if len(scales) == 1 else 0, 32)
    wide = np.int64 if e[op.inputs[0]].dtype is DType.INT16 else np.int32
    if op.bias is None:
        return e.constant(f"{op.name}_bias", np.zeros(channels, wide), qparams)
    if isinstance(op, o.DepthwiseConv2D) and e[op.bias].constant.dtype != wide:
        raise impossible("an int16 depthwise convolution has an int64 bias")
    return e.constant(op.bias, e[op.bias].constant, qparams)


def _weighted_inputs(e: TfliteBuilder, op: Any, x: int, weights: Array, qparams: QParams) -> list[int]:
    channels = e[op.output].shape[-1]
    scale = e[op.inputs[0]].quantization.tensor_scale
    return [x, e.constant(op.weights, weights, qparams), _bias(e, op, channels, scale, qparams)]


def conv2d(e: TfliteBuilder, op: o.Conv2D | o.DepthwiseConv2D) -> None:
    weights = e[op.weights]
    data, qparams = weights.constant, weights.quantization
    if isinstance(op, o.DepthwiseConv2D):
        kernel = (weights.shape[0], weights.shape[1])
        data = data[np.newaxis]
        if qparams.axis is not None:
            qparams = QParams(qparams.scale, qparams.zero_point, qparams.axis + 1)
    else:
        kernel = (weights.shape[1], weights.shape[2])
    if any(qparams.zero_point):
        raise impossible("TFLite's int8 convolutions have no zero point of the weights")
    code = padding_code(e, op, kernel, op.dilation)
    x = e.activation(op.inputs[0]) if code is not None else e.padded(op, op.padding)
    options: dict[str, Any] = {
        "Padding": tflite.Padding.VALID if code is None else code,
        "StrideH": op.stride[0],
        "StrideW": op.stride[1],
        "DilationHFactor": op.dilation[0],
        "DilationWFactor": op.dilation[1],
        "FusedActivationFunction": activation_code(op),
    }
    inputs = _weighted_inputs(e, op, x, data, qparams)
    outputs = [e.activation(op.output)]
    if isinstance(op, o.DepthwiseConv2D):
        e.emit("DEPTHWISE_CONV_2D", inputs, outputs, "DepthwiseConv2DOptions", DepthMultiplier=op.multiplier, **options)
    else:
        e.emit("CONV_2D", inputs, outputs, "Conv2DOptions", **options)


def transpose_conv(e: TfliteBuilder, op: o.TransposeConv2D) -> None:
    x, weights, y = e[op.inputs[0]], e[op.weights], e[op.output]
    before = tuple(same_padding(y.shape[i], weights.shape[1 + i], op.stride[i])[0] for i in (0, 1))
    is_scaled = all(y.shape[i] == x.shape[i] * op.stride[i] for i in (0, 1))
    if is_scaled and op.padding[:2] == before:
        code = tflite.Padding.SAME
    elif not any(op.padding) and not any(op.output_padding):
        code = tflite.Padding.VALID
    else:
        raise impossible(f"padding {list(op.padding)} is neither SAME nor VALID")
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
        FusedActivationFunction=activation_code(op),
    )


def fully_connected(e: TfliteBuilder, op: o.FullyConnected) -> None:
    weights = e[op.weights]
    inputs = _weighted_inputs(e, op, e.activation(op.inputs[0]), weights.constant, weights.quantization)
    e.emit(
        "FULLY_CONNECTED",
        inputs,
        [e.activation(op.output)],
        "FullyConnectedOptions",
        FusedActivationFunction=activation_code(op),
        KeepNumDims=len(e[op.inputs[0]].shape) > 1,
    )


def svdf(e: TfliteBuilder, op: o.SVDF) -> None:
    if activation_range(op.activation, e[op.outputs[0]]) != integer_range(e[op.outputs[0]].dtype):
        raise impossible("no fused activation in integer SVDF")
    inputs = [e.activation(op.inputs[0])]
    inputs += [e.constant(name, e[name].constant, e[name].qparams) for name in (op.feature_weights, op.time_weights)]
    state_scale = e[op.inputs[1]].quantization.tensor_scale
    inputs.append(_bias(e, op, e[op.outputs[0]].shape[-1], state_scale, e[op.time_weights].quantization))
    inputs.append(e.recurrent_state(op, 1))
    # LiteRT insists on RELU here, and neither it nor TFLM applies it to integers.
    options = {"Rank": op.rank, "FusedActivationFunction": tflite.ActivationFunctionType.RELU}
    e.emit("SVDF", inputs, [e.activation(op.outputs[0])], "SVDFOptions", **options)


def lstm(e: TfliteBuilder, op: o.LSTM) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM without peephole, projection and layer normalization."""
    if len(e[op.inputs[0]].shape) != 2:
        raise impossible(f"a sequence of shape {list(e[op.inputs[0]].shape)}")
    if op.is_reversed:
        raise impossible("an LSTM that begins at the last step")
    if op.outputs[2] in e.used:
        raise impossible("its cell state is no output")
    scale = e[op.inputs[0]].quantization.tensor_scale
    gates = {name: e[name] for name in (op.input_weights, op.recurrent_weights)}
    weights = [
        e.constant(f"{name}_{gate}", tensor.constant[i], QParams.per_tensor(tensor.quantization.scale[i], 0))
        for name, tensor in gates.items()
        for i, gate in enumerate(LSTM_GATES)
    ]
    units = e[op.outputs[1]].elements
    bias = e[op.bias].constant if op.bias is not None else np.zeros((4, units), np.int32)
    biases = [
        e.constant(f"{op.name}_bias_{gate}", bias[i], QParams.per_tensor(scale * w, 0, 32))
        for i, (gate, w) in enumerate(zip(LSTM_GATES, gates[op.input_weights].quantization.scale, strict=True))
    ]
    # LiteRT insists on these five, TFLM on their being empty; only the last one's scale is looked at.
    gate, hidden = QParams.per_tensor(2.0**-LSTM_GATE_BITS, 0, 16), e[op.outputs[1]]
    intermediates = tuple(
        e.add(TensorRecord(f"{op.name}_inside_{i}", (0,), hidden.dtype, hidden.qparams if i == 4 else gate))
        for i in range(5)
    )
    absent = [-1, -1, -1]
    states = [e.recurrent_state(op, 1), e.recurrent_state(op, 2)]
    inputs = [e.activation(op.inputs[0]), *weights, *absent, *biases, -1, -1, *states, *absent, -1]
    e.emit(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        [e.activation(op.outputs[0])],
        "UnidirectionalSequenceLSTMOptions",
        intermediates,
        FusedActivationFunction=tflite.ActivationFunctionType.TANH,
        CellClip=op.cell_clip,
    )
    if op.outputs[1] in e.used:
        _last_step(e, op)


def _last_step(e: TfliteBuilder, op: o.LSTM) -> None:
    """The hidden state behind an LSTM, which TFLite gives as the last row of the output alone."""
    steps, units = e[op.outputs[0]].shape
    bounds = {"begin": (0, steps - 1, 0), "end": (1, steps, units), "strides": (1, 1, 1)}
    inputs = [e.activation(op.outputs[0]), *(e.integers(op, role, values) for role, values in bounds.items())]
    e.emit("STRIDED_SLICE", inputs, [e.activation(op.outputs[1])], "StridedSliceOptions", ShrinkAxisMask=2)
