"""The float meaning of every operator, in numpy: calibration, float accuracy, and the definition of the torch executor.

Computes in float32 (accumulations in float32 BLAS, means in float64), so results agree with PyTorch and ONNX Runtime to
rounding, not bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinycompress.execute import movement
from tinycompress.execute import windows as win
from tinycompress.execute.batching import Result, align, run_graph
from tinycompress.execute.functions import apply
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import dequantize_values
from tinycompress.ir.graph import Graph
from tinycompress.ir.tensor import Array, DType, Tensor

Tensors = Mapping[str, Tensor]
Function = Callable[[Any, list[Array], Tensors], list[Array]]


def run(
    graph: Graph,
    inputs: Mapping[str, Array],
    state: Mapping[str, Array] | None = None,
    *,
    keep_tensors: bool = True,
) -> Result:
    """Executes a float graph on float32 `inputs` by tensor name: one sample, or a batch with one leading axis.

    Quantized constants are dequantized on the way, so a partly quantized graph runs too. `keep_tensors` False keeps
    only outputs and state. Raises ModelError TC-M401 for inputs that don't fit.
    """
    return run_graph(
        graph, inputs, state, keep_tensors, lambda op, operands: execute(op, operands, graph.tensors), constant
    )


def execute(op: o.Op, inputs: Sequence[Array], tensors: Tensors) -> list[Array]:
    """One operator on batched float activations (constant operands without a batch axis): its outputs, batched."""
    return FLOAT_REFERENCE[type(op)](op, list(inputs), tensors)


def constant(tensor: Tensor) -> Array:
    """A constant's real values as float32: dequantized where it carries quantization parameters."""
    if tensor.dtype is not DType.FLOAT32 and tensor.qparams is not None:
        return dequantize_values(tensor.constant, tensor.qparams)
    return tensor.constant.astype(np.float32, copy=False)


def activate(x: Array, activation: o.Activation) -> Array:
    """min(max(x, low), high) with whichever bounds there are."""
    if activation.is_none:
        return x
    return np.clip(x, activation.low, activation.high)


def _biased(op: Any, sums: Array, tensors: Tensors) -> list[Array]:
    if op.bias is not None:
        sums = sums + constant(tensors[op.bias])
    return [activate(sums, op.activation)]


def _conv2d(op: o.Conv2D, inputs: list[Array], tensors: Tensors) -> list[Array]:
    weights = constant(tensors[op.weights])
    return _biased(op, win.convolve(inputs[0], weights, op.stride, op.dilation, op.padding, op.groups), tensors)


def _depthwise(op: o.DepthwiseConv2D, inputs: list[Array], tensors: Tensors) -> list[Array]:
    weights = constant(tensors[op.weights])
    sums = win.convolve_depthwise(inputs[0], weights, op.multiplier, op.stride, op.dilation, op.padding)
    return _biased(op, sums, tensors)


def _transpose_conv(op: o.TransposeConv2D, inputs: list[Array], tensors: Tensors) -> list[Array]:
    shape = tensors[op.output].shape
    weights = constant(tensors[op.weights])
    sums = win.convolve_transposed(inputs[0], weights, op.stride, op.padding, (shape[0], shape[1]))
    return _biased(op, sums, tensors)


def _fully_connected(op: o.FullyConnected, inputs: list[Array], tensors: Tensors) -> list[Array]:
    return _biased(op, inputs[0] @ constant(tensors[op.weights]).T, tensors)


def _binary(function: Callable[[Array, Array], Array]) -> Function:
    def execute_binary(op: Any, inputs: list[Array], tensors: Tensors) -> list[Array]:
        rank = len(tensors[op.output].shape)
        a, b = (align(v, rank, tensors[n].is_constant) for n, v in zip(op.inputs, inputs, strict=True))
        return [activate(function(a, b), getattr(op, "activation", o.NO_ACTIVATION))]

    return execute_binary


def _average_pool(op: o.AveragePool2D, inputs: list[Array], tensors: Tensors) -> list[Array]:
    del tensors
    total, count = win.window_sum(inputs[0], op.kernel, op.stride, op.padding)
    return [activate((total / count).astype(np.float32), op.activation)]


def _max_pool(op: o.MaxPool2D, inputs: list[Array], tensors: Tensors) -> list[Array]:
    del tensors
    largest = win.window_maximum(inputs[0], op.kernel, op.stride, op.padding, -np.inf)
    return [activate(largest, op.activation)]


def _mean(op: o.Mean, inputs: list[Array], tensors: Tensors) -> list[Array]:
    del tensors
    axes = tuple(axis + 1 for axis in op.axes)
    return [inputs[0].mean(axis=axes, keepdims=op.keepdims, dtype=np.float64).astype(np.float32)]


def _pad(op: o.Pad, inputs: list[Array], tensors: Tensors) -> list[Array]:
    del tensors
    return [movement.pad(op, inputs[0], op.value)]


def _concat(op: o.Concat, inputs: list[Array], tensors: Tensors) -> list[Array]:
    return [movement.join(op, inputs, [tensors[name].is_constant for name in op.inputs])]


def _moved(move: Callable[[Any, Array], Array]) -> Function:
    return lambda op, inputs, tensors: [move(op, inputs[0])]


def _softmax(op: o.Softmax, inputs: list[Array], tensors: Tensors) -> list[Array]:
    del tensors
    scaled = inputs[0] * np.float32(op.beta)
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return [exponentials / exponentials.sum(axis=-1, keepdims=True)]


def _log_softmax(op: o.LogSoftmax, inputs: list[Array], tensors: Tensors) -> list[Array]:
    del op, tensors
    shifted = inputs[0] - inputs[0].max(axis=-1, keepdims=True)
    return [shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))]


def _clamp(op: o.Clamp, inputs: list[Array], tensors: Tensors) -> list[Array]:
    del tensors
    return [activate(inputs[0], op.activation)]


def _prelu(op: o.PReLU, inputs: list[Array], tensors: Tensors) -> list[Array]:
    slopes = align(constant(tensors[op.alpha]), len(tensors[op.output].shape), is_constant=True)
    return [np.where(inputs[0] >= 0, inputs[0], inputs[0] * slopes)]


def _table(op: o.Table, inputs: list[Array], tensors: Tensors) -> list[Array]:
    del tensors
    return [apply(op.function, inputs[0], op.alpha)]


def _batch_norm(op: o.BatchNorm, inputs: list[Array], tensors: Tensors) -> list[Array]:
    gamma, beta, mean, variance = (constant(tensors[n]) for n in (op.gamma, op.beta, op.mean, op.variance))
    factor = gamma / np.sqrt(variance + np.float32(op.epsilon))
    return [(inputs[0] - mean) * factor + beta]


def _layer_norm(op: o.LayerNorm, inputs: list[Array], tensors: Tensors) -> list[Array]:
    x = inputs[0].astype(np.float64)
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + op.epsilon)
    normalised = (centred / deviation).astype(np.float32)
    return [normalised * constant(tensors[op.gamma]) + constant(tensors[op.beta])]


def _matmul(op: o.MatMul, inputs: list[Array], tensors: Tensors) -> list[Array]:
    del tensors
    return [inputs[0] @ (inputs[1].swapaxes(-1, -2) if op.is_transposed else inputs[1])]


def _identity(op: o.Op, inputs: list[Array], tensors: Tensors) -> list[Array]:
    del op, tensors
    return [inputs[0]]


def _axis_positions(size: int, output: int, align_corners: bool, half_pixel_centers: bool) -> Array:
    """Real-valued input position of every output position along one resized axis."""
    places = np.arange(output, dtype=np.float64)
    if align_corners and output > 1:
        return places * (size - 1) / (output - 1)
    if half_pixel_centers:
        return (places + 0.5) * size / output - 0.5
    return places * size / output


def _resize_bilinear(op: o.ResizeBilinear, inputs: list[Array], tensors: Tensors) -> list[Array]:
    del tensors
    x = inputs[0]
    for axis in (1, 2):
        size = x.shape[axis]
        places = _axis_positions(size, op.size[axis - 1], op.align_corners, op.half_pixel_centers)
        places = np.clip(places, 0, size - 1)
        low = np.floor(places).astype(np.intp)
        weight = (places - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(4)])
        high = np.minimum(low + 1, size - 1)
        x = np.take(x, low, axis=axis) * (1 - weight) + np.take(x, high, axis=axis) * weight
    return [x]


def _svdf(op: o.SVDF, inputs: list[Array], tensors: Tensors) -> list[Array]:
    newest = inputs[0] @ constant(tensors[op.feature_weights]).T
    memory = np.concatenate([inputs[1][:, :, 1:], newest[:, :, np.newaxis]], axis=2)
    filtered = (memory * constant(tensors[op.time_weights])).sum(axis=2)
    sums = filtered.reshape(filtered.shape[0], -1, op.rank).sum(axis=2)
    return [*_biased(op, sums, tensors), memory]


def lstm_steps(op: o.LSTM, inputs: Sequence[Array], tensors: Tensors) -> tuple[Array, Array]:
    """Hidden and cell states after every step, `[n, t, units]` each, in the order in which the steps are taken."""
    x, hidden, cell = inputs
    kernels, recurrent = constant(tensors[op.input_weights]), constant(tensors[op.recurrent_weights])
    units = recurrent.shape[-1]
    fed = x.reshape(x.shape[0], -1, x.shape[-1]) @ kernels.reshape(4 * units, -1).T
    if op.bias is not None:
        fed = fed + constant(tensors[op.bias]).reshape(-1)
    kept = recurrent.reshape(4 * units, units).T
    made = []
    for t in range(fed.shape[1])[:: -1 if op.is_reversed else 1]:
        gates = (fed[:, t] + hidden @ kept).reshape(-1, 4, units)
        enter, forget, leave = (apply(o.Function.SIGMOID, gates[:, i]) for i in (0, 1, 3))
        cell = forget * cell + enter * np.tanh(gates[:, 2])
        if op.cell_clip > 0:
            cell = np.clip(cell, -op.cell_clip, op.cell_clip)
        hidden = leave * np.tanh(cell)
        made.append((hidden, cell))
    return np.stack([h for h, _ in made], axis=1), np.stack([c for _, c in made], axis=1)


def _lstm(op: o.LSTM, inputs: list[Array], tensors: Tensors) -> list[Array]:
    hidden, cells = lstm_steps(op, inputs, tensors)
    y = hidden[:, ::-1] if op.is_reversed else hidden
    return [y.reshape(*inputs[0].shape[:-1], -1), hidden[:, -1], cells[:, -1]]


def _embedding(op: o.Embedding, inputs: list[Array], tensors: Tensors) -> list[Array]:
    return [movement.look_up(inputs[0], constant(tensors[op.table]))]


FLOAT_REFERENCE: dict[type[o.Op], Function] = {
    o.Conv2D: _conv2d,
    o.DepthwiseConv2D: _depthwise,
    o.TransposeConv2D: _transpose_conv,
    o.FullyConnected: _fully_connected,
    o.MatMul: _matmul,
    o.Add: _binary(np.add),
    o.Sub: _binary(np.subtract),
    o.Mul: _binary(np.multiply),
    o.Maximum: _binary(np.maximum),
    o.Minimum: _binary(np.minimum),
    o.AveragePool2D: _average_pool,
    o.MaxPool2D: _max_pool,
    o.Mean: _mean,
    o.Pad: _pad,
    o.Concat: _concat,
    o.Reshape: _moved(movement.reshape),
    o.Transpose: _moved(movement.transpose),
    o.Slice: _moved(movement.cut),
    o.Softmax: _softmax,
    o.LogSoftmax: _log_softmax,
    o.Clamp: _clamp,
    o.PReLU: _prelu,
    o.Table: _table,
    o.BatchNorm: _batch_norm,
    o.LayerNorm: _layer_norm,
    o.Dropout: _identity,
    o.Quantize: _identity,
    o.Dequantize: _identity,
    o.ResizeNearest: _moved(movement.resize_nearest),
    o.ResizeBilinear: _resize_bilinear,
    o.SVDF: _svdf,
    o.LSTM: _lstm,
    o.Embedding: _embedding,
}
"""The float meaning of every operator."""
