"""The oracle: int8 inference in numpy, bit-exact with TFLM's reference kernels, one function per operator.

Everything the tool generates is compared with this, byte for byte, on every tensor. Multipliers and tables come from
`ir.fixedpoint` and `ir.quant_params`, as they do for the C kernels. Sums of products run in BLAS on floats wherever all
partial sums are exactly representable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinycompress.errors import UnsupportedOpError
from tinycompress.execute import movement
from tinycompress.execute import windows as win
from tinycompress.execute.batching import Result, align, run_graph
from tinycompress.execute.reference_norm import layer_norm
from tinycompress.execute.reference_recurrent import lstm, svdf
from tinycompress.execute.reference_softmax import log_softmax, softmax
from tinycompress.execute.reference_steps import (
    Context,
    Function,
    by_value,
    centred,
    finish,
    in_slices,
    require_int8,
    require_layer,
    rescaled,
)
from tinycompress.ir import ops as o
from tinycompress.ir import quant_params as qp
from tinycompress.ir.fixed_functions import FUNCTIONS_16
from tinycompress.ir.fixedpoint import (
    activation_range,
    convolution_multipliers,
    integer_range,
    requantize,
    requantize_wide,
)
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.tensor import Array, DType, Tensor


def run(
    graph: QuantGraph,
    inputs: Mapping[str, Array],
    state: Mapping[str, Array] | None = None,
    *,
    keep_tensors: bool = True,
) -> Result:
    """Executes `graph` on integer `inputs` (by tensor name), one sample `[h,w,c]` or a batch `[n,h,w,c]` of them.

    `keep_tensors` False keeps only outputs and state and frees the rest as it goes. Batch entries don't influence each
    other. Raises ModelError TC-M401 for inputs that don't fit, UnsupportedOpError TC-M402 for an operator without
    integer meaning.
    """
    context = Context(graph.tensors, graph.rounding)
    return run_graph(
        graph, inputs, state, keep_tensors, lambda op, operands: execute(op, operands, context), lambda t: t.constant
    )


def execute(op: o.Op, inputs: Sequence[Array], context: Context) -> list[Array]:
    """One operator on batched activations (constant operands without a batch axis): its outputs, batched."""
    function = REFERENCE.get(type(op))
    if function is None:
        raise UnsupportedOpError("TC-M402", f"{op.kind} has no integer meaning", where=op.name)
    return function(op, list(inputs), context)


def _weights(op: Any, context: Context, per_output: tuple[int, ...]) -> Array:
    """Centred weights in the narrowest float dtype in which every partial sum of centred inputs is exact.

    `per_output` are the axes that one output sums over.
    """
    tensor = context[op.weights]
    weights = tensor.constant.astype(np.int64)
    if any(tensor.quantization.zero_point):
        weights = weights - tensor.quantization.tensor_zero_point
    reach = 255 if context[op.inputs[0]].dtype is DType.INT8 else 32768
    largest = int(np.abs(weights).sum(axis=per_output).max(initial=0)) * reach
    return weights.astype(np.float32 if largest < 2**24 else np.float64)


def _output(
    op: Any, sums: Array, context: Context, multipliers: tuple[tuple[int, ...], tuple[int, ...]]
) -> list[Array]:
    """Bias, requantization per output channel (last axis) and activation.

    Sums of int16 layers have 64 bits and their own rounding, unless their bias is int32.
    """
    y = context[op.output]
    is_wide = y.dtype is DType.INT16 and qp.has_wide_sums(op, context.tensors)
    bias = context[op.bias].constant.astype(np.int64) if op.bias is not None else np.int64(0)
    multiplier, shift = (np.asarray(v, dtype=np.int64) for v in multipliers)

    def requantized(part: Array) -> Array:
        if is_wide:
            return finish(requantize_wide(part.astype(np.int64) + bias, multiplier, shift), y, op.activation)
        # A bias near its limits may push the 32-bit accumulator over: it wraps, as it does in C.
        accumulators = (part.astype(np.int64) + bias).astype(np.int32)
        return finish(requantize(accumulators, multiplier, shift, context.rounding), y, op.activation)

    return [in_slices(requantized, sums, y.dtype.numpy)]


# Convolutions and fully connected


def _conv2d(op: o.Conv2D, inputs: list[Array], context: Context) -> list[Array]:
    require_layer(op, context)
    x, weights = context[op.inputs[0]], _weights(op, context, (1, 2, 3))
    sums = win.convolve(
        centred(inputs[0], x, weights.dtype.type), weights, op.stride, op.dilation, op.padding, op.groups
    )
    multipliers = convolution_multipliers(x, context[op.weights], context[op.output], sums.shape[-1], context.rounding)
    return _output(op, sums, context, multipliers)


def _depthwise(op: o.DepthwiseConv2D, inputs: list[Array], context: Context) -> list[Array]:
    require_layer(op, context)
    x, weights = context[op.inputs[0]], _weights(op, context, (0, 1))
    values = centred(inputs[0], x, weights.dtype.type)
    sums = win.convolve_depthwise(values, weights, op.multiplier, op.stride, op.dilation, op.padding)
    multipliers = convolution_multipliers(x, context[op.weights], context[op.output], sums.shape[-1], context.rounding)
    return _output(op, sums, context, multipliers)


def _transpose_conv(op: o.TransposeConv2D, inputs: list[Array], context: Context) -> list[Array]:
    require_int8(op, (op.inputs[0], *op.outputs), context)
    x, weights = context[op.inputs[0]], _weights(op, context, (1, 2, 3))
    y = context[op.output]
    values = centred(inputs[0], x, weights.dtype.type)
    sums = win.convolve_transposed(values, weights, op.stride, op.padding, (y.shape[0], y.shape[1]))
    multipliers = convolution_multipliers(x, context[op.weights], y, sums.shape[-1], context.rounding)
    return _output(op, sums, context, multipliers)


def _fully_connected(op: o.FullyConnected, inputs: list[Array], context: Context) -> list[Array]:
    require_layer(op, context)
    x, weights = context[op.inputs[0]], _weights(op, context, (1,))
    sums = centred(inputs[0], x, weights.dtype.type) @ weights.T
    multipliers = convolution_multipliers(x, context[op.weights], context[op.output], sums.shape[-1], context.rounding)
    return _output(op, sums, context, multipliers)


# Element-wise


def _operands(op: o.Op, inputs: list[Array], context: Context) -> tuple[Array, Array]:
    rank = len(context[op.output].shape)
    a, b = (align(v, rank, context[n].is_constant) for n, v in zip(op.inputs, inputs, strict=True))
    return a, b


def _add(op: o.Add | o.Sub, inputs: list[Array], context: Context) -> list[Array]:
    require_layer(op, context)
    a, b = _operands(op, inputs, context)
    ta, tb, y = context[op.inputs[0]], context[op.inputs[1]], context[op.output]
    p, rounding = qp.add_params(ta, tb, y, context.rounding), context.rounding
    unit = 1 << p.left_shift
    sign = -1 if isinstance(op, o.Sub) else 1

    def scaled(values: Array, tensor: Tensor, multiplier: int, shift: int) -> Array:
        def rescale(q: Array) -> Array:
            return requantize(centred(q, tensor, np.int64) * unit, multiplier, shift, rounding)

        return by_value(rescale, values) if tensor.dtype is DType.INT8 else rescale(values)

    left, right = scaled(a, ta, p.a_multiplier, p.a_shift), scaled(b, tb, p.b_multiplier, p.b_shift)

    def requantized(total: Array) -> Array:
        return finish(requantize(total, p.output_multiplier, p.output_shift, rounding), y, op.activation)

    return [in_slices(requantized, left + sign * right, y.dtype.numpy)]


def _mul(op: o.Mul, inputs: list[Array], context: Context) -> list[Array]:
    require_layer(op, context)
    a, b = _operands(op, inputs, context)
    ta, tb, y = context[op.inputs[0]], context[op.inputs[1]], context[op.output]
    multiplier, shift = qp.mul_multiplier(ta, tb, y, context.rounding)
    product = centred(a, ta, np.int64) * centred(b, tb, np.int64)
    return [finish(requantize(product, multiplier, shift, context.rounding), y, op.activation)]


def _matmul(op: o.MatMul, inputs: list[Array], context: Context) -> list[Array]:
    require_int8(op, (*op.inputs, *op.outputs), context)
    first, second, y = (context[n] for n in (*op.inputs, op.output))
    a, b = (centred(v, t, np.float64) for v, t in zip(inputs, (first, second), strict=True))
    sums = (a @ (b.swapaxes(-1, -2) if op.is_transposed else b)).astype(np.int64).astype(np.int32)
    multiplier, shift = qp.mul_multiplier(first, second, y, context.rounding)
    return [in_slices(lambda s: finish(requantize(s, multiplier, shift, context.rounding), y), sums, np.int8)]


def _maximum(op: o.Maximum, inputs: list[Array], context: Context) -> list[Array]:
    return [np.maximum(*_operands(op, inputs, context))]


def _minimum(op: o.Minimum, inputs: list[Array], context: Context) -> list[Array]:
    return [np.minimum(*_operands(op, inputs, context))]


def _clamp(op: o.Clamp, inputs: list[Array], context: Context) -> list[Array]:
    x, y = context[op.inputs[0]], context[op.output]
    low, high = activation_range(op.activation, y)
    return [np.clip(rescaled(inputs[0], x, y, context.rounding), low, high)]


def _prelu(op: o.PReLU, inputs: list[Array], context: Context) -> list[Array]:
    require_int8(op, (op.inputs[0], *op.outputs), context)
    x, alpha, y = context[op.inputs[0]], context[op.alpha], context[op.output]
    (m1, s1), (m2, s2) = qp.prelu_multipliers(x, alpha, y, context.rounding)
    values = centred(inputs[0], x, np.int64)
    slopes = align(centred(alpha.constant, alpha, np.int64), len(y.shape), is_constant=True)
    kept = requantize(values, m1, s1, context.rounding)
    sloped = requantize(values * slopes, m2, s2, context.rounding)
    return [finish(np.where(values >= 0, kept, sloped), y)]


def _table(op: o.Table, inputs: list[Array], context: Context) -> list[Array]:
    require_layer(op, context)
    x = context[op.inputs[0]]
    if x.dtype is DType.INT16 and op.function in FUNCTIONS_16:
        multiplier, shift = qp.sigmoid_16_scaling(x, op.function)
        scaled = (inputs[0].astype(np.int64) * multiplier + ((1 << shift) >> 1)) >> shift
        return [FUNCTIONS_16[op.function](scaled).astype(np.int16)]
    if op.table is None or x.dtype is DType.INT16:
        raise UnsupportedOpError("TC-M402", f"Table {op.function.value} has no integer table", where=op.name)
    return [context[op.table].constant[inputs[0].astype(np.intp) + 128]]


def _quantize(op: o.Quantize, inputs: list[Array], context: Context) -> list[Array]:
    return [rescaled(inputs[0], context[op.inputs[0]], context[op.output], context.rounding)]


# Pools and reductions


def _average_pool(op: o.AveragePool2D, inputs: list[Array], context: Context) -> list[Array]:
    total, count = win.window_sum(inputs[0].astype(np.int32), op.kernel, op.stride, op.padding)
    total = total.astype(np.int64)
    magnitude = (np.abs(total) + count // 2) // count
    low, high = activation_range(op.activation, context[op.output])
    return [np.clip(np.where(total > 0, magnitude, -magnitude), low, high).astype(inputs[0].dtype)]


def _max_pool(op: o.MaxPool2D, inputs: list[Array], context: Context) -> list[Array]:
    x = inputs[0]
    lowest = integer_range(context[op.inputs[0]].dtype)[0]
    low, high = activation_range(op.activation, context[op.output])
    return [np.clip(win.window_maximum(x, op.kernel, op.stride, op.padding, lowest), low, high)]


def _mean(op: o.Mean, inputs: list[Array], context: Context) -> list[Array]:
    x, y = context[op.inputs[0]], context[op.output]
    count = int(np.prod([x.shape[axis] for axis in op.axes]))
    p = qp.mean_params(x, y, count, context.rounding)
    axes = tuple(axis + 1 for axis in op.axes)
    total = inputs[0].astype(np.int64).sum(axis=axes, keepdims=op.keepdims)
    values = total - count * x.quantization.tensor_zero_point
    return [finish(requantize(values, p.multiplier, p.shift, context.rounding), y)]


# Data movement


def _pad(op: o.Pad, inputs: list[Array], context: Context) -> list[Array]:
    return [movement.pad(op, inputs[0], qp.pad_value(op, context[op.output]))]


def _concat(op: o.Concat, inputs: list[Array], context: Context) -> list[Array]:
    y, rounding = context[op.output], context.rounding
    parts = [rescaled(value, context[name], y, rounding) for name, value in zip(op.inputs, inputs, strict=True)]
    return [movement.join(op, parts, [context[name].is_constant for name in op.inputs])]


def _moved(move: Callable[[Any, Array], Array]) -> Function:
    return lambda op, inputs, context: [move(op, inputs[0])]


def _embedding(op: o.Embedding, inputs: list[Array], context: Context) -> list[Array]:
    return [movement.look_up(inputs[0], context[op.table].constant)]


def _resize_bilinear(op: o.ResizeBilinear, inputs: list[Array], context: Context) -> list[Array]:
    x = inputs[0].astype(np.int64)
    one = 1 << qp.RESIZE_FRACTION_BITS
    for axis in (1, 2):
        taps = qp.bilinear_taps(x.shape[axis], op.size[axis - 1], op.align_corners, op.half_pixel_centers)
        weight = np.array([t.weight for t in taps]).reshape([-1 if i == axis else 1 for i in range(4)])
        low, high = (np.take(x, [getattr(t, end) for t in taps], axis=axis) for end in ("low", "high"))
        x = low * (one - weight) + high * weight
    magnitude = (np.abs(x) + (1 << 19)) >> (2 * qp.RESIZE_FRACTION_BITS)
    return [np.where(x > 0, magnitude, -magnitude).astype(context[op.output].dtype.numpy)]


REFERENCE: dict[type[o.Op], Function] = {
    o.Conv2D: _conv2d,
    o.DepthwiseConv2D: _depthwise,
    o.TransposeConv2D: _transpose_conv,
    o.FullyConnected: _fully_connected,
    o.MatMul: _matmul,
    o.Add: _add,
    o.Sub: _add,
    o.Mul: _mul,
    o.Maximum: _maximum,
    o.Minimum: _minimum,
    o.AveragePool2D: _average_pool,
    o.MaxPool2D: _max_pool,
    o.Mean: _mean,
    o.Pad: _pad,
    o.Concat: _concat,
    o.Reshape: _moved(movement.reshape),
    o.Transpose: _moved(movement.transpose),
    o.Slice: _moved(movement.cut),
    o.Softmax: softmax,
    o.LogSoftmax: log_softmax,
    o.LayerNorm: layer_norm,
    o.Clamp: _clamp,
    o.PReLU: _prelu,
    o.Table: _table,
    o.Quantize: _quantize,
    o.ResizeNearest: _moved(movement.resize_nearest),
    o.ResizeBilinear: _resize_bilinear,
    o.SVDF: svdf,
    o.LSTM: lstm,
    o.Embedding: _embedding,
}
"""The integer meaning of every operator; float-only operators (BatchNorm, Dropout, Dequantize) have none."""
