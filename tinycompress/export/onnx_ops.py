"""How each IR operator is written as ONNX nodes, in the EXPORTERS table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinycompress.execute.float_reference import constant as float_constant
from tinycompress.execute.functions import HARD_SIGMOID_SLOPE
from tinycompress.export.onnx_graph import Form, OnnxGraph, impossible
from tinycompress.ir import ops as o
from tinycompress.ir.onnx_resize import onnx_nearest_indices
from tinycompress.ir.quant_params import nearest_indices
from tinycompress.ir.tensor import Array, QParams

Exporter = Callable[[OnnxGraph, Any], None]

FUNCTIONS = {
    o.Function.SIGMOID: "Sigmoid",
    o.Function.TANH: "Tanh",
    o.Function.HARD_SWISH: "HardSwish",
    o.Function.EXP: "Exp",
    o.Function.LOG: "Log",
    o.Function.SQRT: "Sqrt",
    o.Function.ABS: "Abs",
    o.Function.NEG: "Neg",
    o.Function.SOFTPLUS: "Softplus",
    o.Function.MISH: "Mish",
    o.Function.GELU: "Gelu",
}
"""Functions that are one node without attributes."""

ONNX_GATES = [0, 3, 1, 2]
"""Where ONNX's gates input, output, forget, cell stand in the operator."""

POWERS = {o.Function.SQUARE: 2.0, o.Function.RSQRT: -0.5}


def _finish(g: OnnxGraph, op: Any, name: str, form: Form) -> None:
    """The fused activation, then the result is held."""
    activation = getattr(op, "activation", o.NO_ACTIVATION)
    g.hold(op.output, _clamped(g, op, name, activation), form)


def _clamped(g: OnnxGraph, op: o.Op, name: str, activation: o.Activation) -> str:
    if activation.is_none:
        return name
    if activation == o.RELU:
        return g.node("Relu", [name], f"{op.name}_relu")
    bounds = [
        "" if v is None else g.initializer(f"{op.name}_{side}", np.asarray(v, np.float32))
        for side, v in (("min", activation.low), ("max", activation.high))
    ]
    return g.node("Clip", [name, *bounds], f"{op.name}_clip")


def _weighted(g: OnnxGraph, op: Any, data: Array, axis: int) -> tuple[str, str]:
    """(weights, bias) as float tensors; weights already in ONNX order with output channels on `axis`."""
    weights = g[op.weights]
    made = g.real(op.weights, data, weights.qparams, axis)
    if op.bias is None:
        return made, ""
    bias = g[op.bias]
    if weights.qparams is None:
        return made, g.real(op.bias, bias.constant, None)
    scale = g[op.inputs[0]].quantization.tensor_scale
    scales = tuple(max(scale * s, 2.0**-126) for s in weights.quantization.scale)
    qparams = QParams(scales, (0,) * len(scales), None if len(scales) == 1 else 0, 32)
    return made, g.real(op.bias, bias.constant, qparams, 0)


def _convolution(g: OnnxGraph, op: o.Conv2D | o.DepthwiseConv2D) -> None:
    data = g[op.weights].constant
    if isinstance(op, o.DepthwiseConv2D):
        data, groups = data.transpose(2, 0, 1)[:, np.newaxis], g[op.inputs[0]].shape[2]
    else:
        data, groups = data.transpose(0, 3, 1, 2), op.groups
    weights, bias = _weighted(g, op, data, 0)
    inputs = [g.get(op.inputs[0], Form.NCHW), weights, *([bias] if bias else [])]
    made = g.node(
        "Conv",
        inputs,
        op.name,
        kernel_shape=list(data.shape[2:]),
        strides=list(op.stride),
        dilations=list(op.dilation),
        pads=list(op.padding),
        group=groups,
    )
    _finish(g, op, made, Form.NCHW)


def _transpose_convolution(g: OnnxGraph, op: o.TransposeConv2D) -> None:
    data = g[op.weights].constant.transpose(3, 0, 1, 2)
    weights, bias = _weighted(g, op, data, 1)
    inputs = [g.get(op.inputs[0], Form.NCHW), weights, *([bias] if bias else [])]
    made = g.node(
        "ConvTranspose",
        inputs,
        op.name,
        kernel_shape=list(data.shape[2:]),
        strides=list(op.stride),
        pads=list(op.padding),
        output_padding=list(op.output_padding),
    )
    _finish(g, op, made, Form.NCHW)


def _fully_connected(g: OnnxGraph, op: o.FullyConnected) -> None:
    x = op.inputs[0]
    data = g[op.weights].constant
    order = g.flat_order(x)
    if len(g[x].shape) == 1:
        form = Form.PLAIN if order is None else Form.FLAT
        weights, bias = _weighted(g, op, data if order is None else data[:, order], 0)
        inputs = [g.get(x, form), weights, *([bias] if bias else [])]
        _finish(g, op, g.node("Gemm", inputs, op.name, transB=1), Form.PLAIN)
        return
    weights, bias = _weighted(g, op, data.T, 1)
    made = g.node("MatMul", [g.get(x, Form.PLAIN), weights], f"{op.name}_product" if bias else op.name)
    _finish(g, op, g.node("Add", [made, bias], op.name) if bias else made, Form.PLAIN)


def _operand(g: OnnxGraph, name: str, form: Form, rank: int) -> str:
    """An element-wise operand in `form`, a lower rank broadcast to `rank`."""
    tensor = g[name]
    shape = (1,) * (rank - len(tensor.shape)) + tensor.shape
    if not tensor.is_constant:
        if len(tensor.shape) == rank:
            return g.get(name, form)
        plain = g.reshape(g.get(name, Form.PLAIN), (1, *shape), name)
        return g.node("Transpose", [plain], f"{name}_nchw", perm=[0, 3, 1, 2]) if form is Form.NCHW else plain
    data = tensor.constant.reshape(shape)
    if form is Form.NCHW:
        data = data.transpose(2, 0, 1)
    return g.real(name, data[np.newaxis], tensor.qparams)


def _shape_form(g: OnnxGraph, op: o.Op) -> tuple[Form, int]:
    """The form in which element-wise operators work: NCHW for images, unless everything is plain already."""
    rank = len(g[op.outputs[0]].shape)
    return (Form.NCHW if rank == 3 else Form.PLAIN), rank


def _binary(kind: str) -> Exporter:
    def export(g: OnnxGraph, op: Any) -> None:
        form, rank = _shape_form(g, op)
        made = g.node(kind, [_operand(g, n, form, rank) for n in op.inputs], op.name)
        _finish(g, op, made, form)

    return export


def _pool(kind: str) -> Exporter:
    def export(g: OnnxGraph, op: o.AveragePool2D | o.MaxPool2D) -> None:
        made = g.node(
            kind,
            [g.get(op.inputs[0], Form.NCHW)],
            op.name,
            kernel_shape=list(op.kernel),
            strides=list(op.stride),
            pads=list(op.padding),
        )
        _finish(g, op, made, Form.NCHW)

    return export


def _nchw_axis(axis: int) -> int:
    return (2, 3, 1)[axis]


def _mean(g: OnnxGraph, op: o.Mean) -> None:
    rank = len(g[op.inputs[0]].shape)
    left = rank if op.keepdims else rank - len(op.axes)
    form = Form.NCHW if rank == 3 and (op.keepdims or left <= 1) else Form.PLAIN
    axes = [_nchw_axis(a) if form is Form.NCHW else a + 1 for a in op.axes]
    source = g.initializer(f"{op.name}_axes", np.asarray(axes, np.int64))
    made = g.node("ReduceMean", [g.get(op.inputs[0], form), source], op.name, keepdims=int(op.keepdims))
    g.hold(op.output, made, form if op.keepdims else Form.PLAIN)


def _pad(g: OnnxGraph, op: o.Pad) -> None:
    form, rank = _shape_form(g, op)
    order = [2, 0, 1] if form is Form.NCHW else range(rank)
    pairs = [(0, 0), *(op.amounts[a] for a in order)]
    amounts = [p[0] for p in pairs] + [p[1] for p in pairs]
    pads = g.initializer(f"{op.name}_pads", np.asarray(amounts, np.int64))
    fill = g.initializer(f"{op.name}_value", np.asarray(op.value, np.float32))
    g.hold(op.output, g.node("Pad", [g.get(op.inputs[0], form), pads, fill], op.name), form)


def _concat(g: OnnxGraph, op: o.Concat) -> None:
    form, rank = _shape_form(g, op)
    axis = _nchw_axis(op.axis) if form is Form.NCHW else op.axis + 1
    made = g.node("Concat", [_operand(g, n, form, rank) for n in op.inputs], op.name, axis=axis)
    g.hold(op.output, made, form)


def _reshape(g: OnnxGraph, op: o.Reshape) -> None:
    x = g[op.inputs[0]]
    is_flattened = len(x.shape) == 3 and len(op.shape) == 1
    readers = g.graph.consumers(op.output)
    if is_flattened and readers and all(isinstance(r, o.FullyConnected) for r in readers):
        made = g.reshape(g.get(op.inputs[0], Form.NCHW), (1, *op.shape), op.name)
        g.hold_flat(op.output, made, x.shape)
        return
    g.hold(op.output, g.reshape(g.get(op.inputs[0], Form.PLAIN), (1, *op.shape), op.name), Form.PLAIN)


def _transpose(g: OnnxGraph, op: o.Transpose) -> None:
    perm = [0, *(p + 1 for p in op.perm)]
    g.hold(op.output, g.node("Transpose", [g.get(op.inputs[0], Form.PLAIN)], op.name, perm=perm), Form.PLAIN)


def _slice(g: OnnxGraph, op: o.Slice) -> None:
    form, rank = _shape_form(g, op)
    axes = [_nchw_axis(a) if form is Form.NCHW else a + 1 for a in range(rank)]
    named = (("starts", op.begin), ("ends", op.end), ("axes", axes), ("steps", op.strides))
    parts = [g.initializer(f"{op.name}_{role}", np.asarray(v, np.int64)) for role, v in named]
    g.hold(op.output, g.node("Slice", [g.get(op.inputs[0], form), *parts], op.name), form)


def _matmul(g: OnnxGraph, op: o.MatMul) -> None:
    a, b = (g.get(n, Form.PLAIN) for n in op.inputs)
    if op.is_transposed:
        b = g.node("Transpose", [b], f"{op.name}_transposed", perm=[0, 1, 3, 2])
    g.hold(op.output, g.node("MatMul", [a, b], op.name), Form.PLAIN)


def _layer_norm(g: OnnxGraph, op: o.LayerNorm) -> None:
    names = [g.initializer(n, float_constant(g[n])) for n in (op.gamma, op.beta)]
    inputs = [g.get(op.inputs[0], Form.PLAIN), *names]
    g.hold(op.output, g.node("LayerNormalization", inputs, op.name, axis=-1, epsilon=op.epsilon), Form.PLAIN)


def _softmax(kind: str) -> Exporter:
    def export(g: OnnxGraph, op: Any) -> None:
        form, rank = _shape_form(g, op)
        x = g.get(op.inputs[0], form)
        if getattr(op, "beta", 1.0) != 1.0:
            if g.is_quantized:
                raise impossible(f"beta {op.beta} of an integer softmax")
            x = g.node("Mul", [x, g.initializer(f"{op.name}_beta", np.asarray([op.beta], np.float32))], f"{op.name}_in")
        g.hold(op.output, g.node(kind, [x], op.name, axis=1 if form is Form.NCHW else rank), form)

    return export


def _clamp(g: OnnxGraph, op: o.Clamp) -> None:
    form, _ = _shape_form(g, op)
    g.hold(op.output, _clamped(g, op, g.get(op.inputs[0], form), op.activation), form)


def _prelu(g: OnnxGraph, op: o.PReLU) -> None:
    form, rank = _shape_form(g, op)
    alpha = g[op.alpha]
    data = alpha.constant.reshape((1,) * (rank - len(alpha.shape)) + alpha.shape)
    if form is Form.NCHW:
        data = data.transpose(2, 0, 1)
    slopes = g.real(op.alpha, data, alpha.qparams)
    g.hold(op.output, g.node("PRelu", [g.get(op.inputs[0], form), slopes], op.name), form)


def _table(g: OnnxGraph, op: o.Table) -> None:
    form, _ = _shape_form(g, op)
    x = g.get(op.inputs[0], form)
    if op.function in FUNCTIONS:
        made = g.node(FUNCTIONS[op.function], [x], op.name)
    elif op.function in POWERS:
        exponent = g.initializer(f"{op.name}_exponent", np.asarray(POWERS[op.function], np.float32))
        made = g.node("Pow", [x, exponent], op.name)
    elif op.function is o.Function.GELU_TANH:
        made = g.node("Gelu", [x], op.name, approximate="tanh")
    elif op.function is o.Function.HARD_SIGMOID:
        made = g.node("HardSigmoid", [x], op.name, alpha=op.alpha or HARD_SIGMOID_SLOPE, beta=0.5)
    elif op.function is o.Function.LEAKY_RELU:
        made = g.node("LeakyRelu", [x], op.name, alpha=op.alpha)
    elif op.function is o.Function.ELU:
        made = g.node("Elu", [x], op.name, alpha=op.alpha)
    elif op.function is o.Function.SILU:
        made = g.node("Mul", [x, g.node("Sigmoid", [x], f"{op.name}_gate")], op.name)
    else:
        raise impossible(f"no node for {op.function.value}")
    g.hold(op.output, made, form)


def _batch_norm(g: OnnxGraph, op: o.BatchNorm) -> None:
    form, rank = _shape_form(g, op)
    if rank == 2:
        raise impossible("batch norm of a sequence [t, c]")
    names = [g.real(n, g[n].constant, None) for n in (op.gamma, op.beta, op.mean, op.variance)]
    made = g.node("BatchNormalization", [g.get(op.inputs[0], form), *names], op.name, epsilon=op.epsilon)
    g.hold(op.output, made, form)


def _dropout(g: OnnxGraph, op: o.Dropout) -> None:
    form = g.native(op.inputs[0])
    if form is Form.FLAT:
        form = Form.PLAIN
    rate = g.initializer(f"{op.name}_ratio", np.asarray(op.rate, np.float32))
    g.hold(op.output, g.node("Dropout", [g.get(op.inputs[0], form), rate], op.name), form)


def _quantize(g: OnnxGraph, op: o.Quantize) -> None:
    if not g.is_quantized:
        raise impossible("a quantization inside a float graph")
    form, _ = _shape_form(g, op)
    g.hold(op.output, g.get(op.inputs[0], form), form)


def _lstm(g: OnnxGraph, op: o.LSTM) -> None:
    """A node of one direction, between transposes: in ONNX time leads and not the batch."""
    if g.is_quantized:
        raise impossible("an integer LSTM")
    if op.cell_clip > 0:
        raise impossible("a clipped cell state")
    if not g[op.inputs[1]].is_constant:
        raise impossible("states kept between inferences")
    shape, units = g[op.inputs[0]].shape, g[op.inputs[1]].elements
    source = g.get(op.inputs[0], Form.PLAIN)
    if len(shape) == 3:
        source = g.reshape(source, (1, shape[0], shape[2]), op.name)
    source = g.node("Transpose", [source], f"{op.name}_steps", perm=[1, 0, 2])
    bias = np.zeros((4, units), np.float32) if op.bias is None else g[op.bias].constant
    constants = {
        "W": g[op.input_weights].constant[ONNX_GATES].reshape(1, 4 * units, -1),
        "R": g[op.recurrent_weights].constant[ONNX_GATES].reshape(1, 4 * units, units),
        "B": np.concatenate([bias[ONNX_GATES].reshape(1, -1), np.zeros((1, 4 * units), np.float32)], axis=1),
        "initial_h": g[op.inputs[1]].constant.reshape(1, 1, units),
        "initial_c": g[op.inputs[2]].constant.reshape(1, 1, units),
    }
    w, r, b, h, c = (g.initializer(f"{op.name}_{role}", values) for role, values in constants.items())
    made = g.several(
        "LSTM",
        [source, w, r, b, "", h, c],
        [f"{op.name}_{role}" for role in ("Y", "Y_h", "Y_c")],
        hidden_size=units,
        direction="reverse" if op.is_reversed else "forward",
    )
    steps = g.reshape(made[0], (shape[0], 1, units), op.name)
    made[0] = g.node("Transpose", [steps], f"{op.name}_batch", perm=[1, 0, 2])
    for name, output in zip(made, op.outputs, strict=True):
        g.hold(output, g.reshape(name, (1, *g[output].shape), output), Form.PLAIN)


def _resize_nearest(g: OnnxGraph, op: o.ResizeNearest) -> None:
    """Finds the coordinate transform and rounding with the same index rule."""
    h, w, _ = g[op.inputs[0]].shape
    flags = (op.align_corners, op.half_pixel_centers)
    wanted = [nearest_indices(n, m, *flags) for n, m in zip((h, w), op.size, strict=True)]
    for transform in ("asymmetric", "half_pixel", "align_corners"):
        for rule in ("floor", "round_prefer_floor", "round_prefer_ceil", "ceil"):
            pairs = zip((h, w), op.size, strict=True)
            if [onnx_nearest_indices(n, m, transform, rule) for n, m in pairs] == wanted:
                _resize(g, op, mode="nearest", coordinate_transformation_mode=transform, nearest_mode=rule)
                return
    raise impossible(f"nearest resizing of {[h, w]} to {list(op.size)} with these centres")


def _resize_bilinear(g: OnnxGraph, op: o.ResizeBilinear) -> None:
    if op.align_corners and op.half_pixel_centers:
        raise impossible("aligned corners with half-pixel centres")
    transform = "align_corners" if op.align_corners else "half_pixel" if op.half_pixel_centers else "asymmetric"
    _resize(g, op, mode="linear", coordinate_transformation_mode=transform)


def _resize(g: OnnxGraph, op: Any, **attributes: str) -> None:
    channels = g[op.inputs[0]].shape[2]
    sizes = g.initializer(f"{op.name}_sizes", np.asarray([1, channels, *op.size], np.int64))
    inputs = [g.get(op.inputs[0], Form.NCHW), "", "", sizes]
    g.hold(op.output, g.node("Resize", inputs, op.name, **attributes), Form.NCHW)


EXPORTERS: dict[type[o.Op], Exporter] = {
    o.Conv2D: _convolution,
    o.DepthwiseConv2D: _convolution,
    o.TransposeConv2D: _transpose_convolution,
    o.FullyConnected: _fully_connected,
    o.MatMul: _matmul,
    o.Add: _binary("Add"),
    o.Sub: _binary("Sub"),
    o.Mul: _binary("Mul"),
    o.Maximum: _binary("Max"),
    o.Minimum: _binary("Min"),
    o.AveragePool2D: _pool("AveragePool"),
    o.MaxPool2D: _pool("MaxPool"),
    o.Mean: _mean,
    o.Pad: _pad,
    o.Concat: _concat,
    o.Reshape: _reshape,
    o.Transpose: _transpose,
    o.Slice: _slice,
    o.Softmax: _softmax("Softmax"),
    o.LogSoftmax: _softmax("LogSoftmax"),
    o.Clamp: _clamp,
    o.PReLU: _prelu,
    o.Table: _table,
    o.BatchNorm: _batch_norm,
    o.LayerNorm: _layer_norm,
    o.Dropout: _dropout,
    o.Quantize: _quantize,
    o.ResizeNearest: _resize_nearest,
    o.ResizeBilinear: _resize_bilinear,
    o.LSTM: _lstm,
}
"""How each operator is written."""
