"""ATen operators as calls of the channels-first builder: one function each, in the HANDLERS table by schema name.

A handler gets the builder and a `Call` (arguments by schema name, defaults filled in; activations as `Value`, constants
as numpy arrays) and returns the result's Value, or a list for operators with several. In-place forms share the entry
of the plain form. No torch is imported here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.torch_calls import Call, Handler, Result, batch_free_axis, entries
from tinycompress.frontends.torch_movement import MOVEMENT
from tinycompress.frontends.torch_recurrent import RECURRENT
from tinycompress.frontends.values import Value, refuse
from tinycompress.ir import ops as o
from tinycompress.ir.ops import Activation, Function


def _pair(value: int | Sequence[int], rank: int) -> o.Pair:
    """A torch int-or-list over the spatial axes of a batch-free rank-2 or rank-3 value as (h, w)."""
    values = [value] if isinstance(value, int) else list(value)
    if rank == 2:
        return (int(values[0]), 1)
    return (int(values[0]), int(values[-1]))


def _convolution(b: ChannelsFirstBuilder, call: Call) -> Result:
    x, weights = call.value("input"), call.constant("weight")
    rank = len(x.shape)
    if weights.ndim != rank + 1:
        raise refuse(f"its input of shape {[1, *x.shape]} lacks an axis", "give the input batch and channel axes")
    spatial = (1, 1) if rank == 2 else (0, 0)
    dilation = _pair(call["dilation"], rank)
    padding = call["padding"]
    if isinstance(padding, str):
        kernel = (*weights.shape[2:], *spatial)[:2]
        totals = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        four = (totals[0] // 2, totals[1] // 2, totals[0] - totals[0] // 2, totals[1] - totals[1] // 2)
    else:
        top, left = _pair(padding, rank) if rank == 3 else (_pair(padding, rank)[0], 0)
        four = (top, left, top, left)
    return b.convolution(
        x,
        weights,
        call.data("bias"),
        stride=_pair(call["stride"], rank),
        padding=four,
        dilation=dilation,
        groups=int(call["groups"]),
    )


def _transpose_convolution(b: ChannelsFirstBuilder, call: Call) -> Result:
    if call["groups"] != 1 or set(call["dilation"]) != {1}:
        raise refuse("transposed convolution with groups or dilation", "use one group and dilation 1")
    top, left = _pair(call["padding"], 3)
    return b.transpose_convolution(
        call.value("input"),
        call.constant("weight"),
        call.data("bias"),
        stride=_pair(call["stride"], 3),
        padding=(top, left, top, left),
        output_padding=_pair(call["output_padding"], 3),
    )


def _linear(b: ChannelsFirstBuilder, call: Call) -> Result:
    return b.linear(call.value("input"), call.constant("weight"), call.data("bias"))


def _matmul(b: ChannelsFirstBuilder, call: Call) -> Result:
    name = "other" if "other" in call.args else "mat2"
    if isinstance(call[name], Value):
        return b.matmul(call.value(), call.value(name))
    weights = call.constant(name)
    if weights.ndim != 2:
        raise refuse(f"product with a constant of shape {list(weights.shape)}", "use nn.Linear")
    return b.linear(call.value(), weights.T, None)


def _attention(b: ChannelsFirstBuilder, call: Call) -> Result:
    """softmax(q · kᵀ · scale) · v; the scale is the softmax's beta."""
    query, key, value = (call.value(name) for name in ("query", "key", "value"))
    if call["attn_mask"] is not None or call["is_causal"] or call["dropout_p"] or call.args.get("enable_gqa"):
        raise refuse("attention with a mask, dropout or grouped queries", "leave them out: inference sees whole inputs")
    scale = call.args.get("scale")
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    rank = len(key.shape)
    scores = b.matmul(query, b.transpose(key, (*range(rank - 2), rank - 1, rank - 2)))
    return b.matmul(b.softmax(o.Softmax, scores, len(scores.shape) - 1, beta=float(scale)), value)


def _layer_norm(b: ChannelsFirstBuilder, call: Call) -> Result:
    gamma = call.data("weight")
    shape = tuple(int(s) for s in call["normalized_shape"])
    return b.layer_norm(
        call.value("input"),
        np.ones(shape, np.float32) if gamma is None else gamma,
        call.data("bias"),
        float(call["eps"]),
    )


def _addmm(b: ChannelsFirstBuilder, call: Call) -> Result:
    bias = call.constant("self") * float(call["beta"])
    weights = call.constant("mat2").T * float(call["alpha"])
    return b.linear(call.value("mat1"), weights, np.broadcast_to(bias, (weights.shape[0],)))


def _batch_norm(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value("input")
    mean, variance = call.data("running_mean"), call.data("running_var")
    if call["training"] or mean is None or variance is None:
        raise refuse("batch norm that uses the batch's statistics", "track running statistics and train before export")
    gamma, beta = call.data("weight"), call.data("bias")
    gamma = np.ones_like(mean) if gamma is None else gamma
    beta = np.zeros_like(mean) if beta is None else beta
    return b.batch_norm(x, gamma, beta, mean, variance, float(call["eps"]))


def _window(call: Call, rank: int) -> tuple[o.Pair, o.Pair, o.Pair]:
    kernel = _pair(call["kernel_size"], rank)
    stride = _pair(call["stride"], rank) if call["stride"] else kernel
    padding = _pair(call["padding"], rank) if rank == 3 else (_pair(call["padding"], rank)[0], 0)
    return kernel, stride, padding


def _overhang(call: Call, x: Value, kernel: o.Pair, stride: o.Pair, padding: o.Pair) -> o.Pair:
    """Rows and columns by which `ceil_mode`'s last window leaves the padded input; torch never counts them."""
    out = (*call.result_shapes[0][2:], 1)[:2]
    size = (*x.shape[1:], 1)[:2]
    reach = [(out[i] - 1) * stride[i] + kernel[i] - size[i] - 2 * padding[i] for i in (0, 1)]
    return max(0, reach[0]), max(0, reach[1])


def _average_pool(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    kernel, stride, padding = _window(call, len(x.shape))
    over = _overhang(call, x, kernel, stride, padding)
    divisor = call.args.get("divisor_override")
    if divisor is not None and divisor != math.prod(kernel):
        raise refuse(f"divisor_override {divisor}", "scale the result by a following multiplication instead")
    counted = call["count_include_pad"] and padding != (0, 0)
    if divisor is not None and over != (0, 0):
        raise refuse("divisor_override with ceil_mode", "leave divisor_override out")
    if counted:
        sides = [(padding[0], padding[0]), (padding[1], padding[1])]
        x = b.pad(x, [(0, 0), *sides[: len(x.shape) - 1]], 0.0)
        padding = (0, 0)
    elif divisor is not None and padding != (0, 0):
        raise refuse("divisor_override with padding", "leave divisor_override out and count the padding")
    four = (padding[0], padding[1], padding[0] + over[0], padding[1] + over[1])
    return b.pool(o.AveragePool2D, x, kernel, stride, four)


def _max_pool(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    if set(np.atleast_1d(call["dilation"])) != {1}:
        raise refuse("dilated max pooling", "use dilation 1")
    kernel, stride, padding = _window(call, len(x.shape))
    over = _overhang(call, x, kernel, stride, padding)
    four = (padding[0], padding[1], padding[0] + over[0], padding[1] + over[1])
    return b.pool(o.MaxPool2D, x, kernel, stride, four)


def _adaptive(kind: type[o.Op]) -> Handler:
    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        x = call.value()
        sizes = (*x.shape[1:], 1)[:2]
        out = (*call.result_shapes[0][2:], 1)[:2]
        if any(s % q for s, q in zip(sizes, out, strict=True)):
            raise refuse(
                f"adaptive pooling from {list(x.shape[1:])} to {list(out)} has windows of unequal size",
                "choose an output size that divides the input, or a fixed window",
            )
        kernel = (sizes[0] // out[0], sizes[1] // out[1])
        pooled = b.pool(kind, x, kernel, kernel, (0, 0, 0, 0))
        return [pooled] if kind is o.MaxPool2D else pooled

    return handler


def _pad(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    mode = call.args.get("mode", "constant")
    if mode != "constant":
        raise refuse(f"{mode} padding", "pad with a constant")
    pairs = list(zip(call["pad"][::2], call["pad"][1::2], strict=True))
    if any(any(pair) for pair in pairs[len(x.shape) :]):
        batch_free_axis(0, len(x.shape))
    amounts = [(int(p), int(q)) for p, q in pairs[: len(x.shape)]][::-1]
    fill = call.args.get("value")
    return b.pad(x, [(0, 0)] * (len(x.shape) - len(amounts)) + amounts, float(fill or 0.0))


def _resize(kind: type[o.Op], *, half_pixel: bool) -> Handler:
    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        size = call.result_shapes[0][2:]
        scales = call.args.get("scale_factors") or []
        exact = [s * q for s, q in zip(call.value("input").shape[1:], scales, strict=False)]
        if any(wanted != out for wanted, out in zip(exact, size, strict=False)):
            raise refuse(
                f"resizing by {list(scales)} ends between pixels", "give the size, or a factor that divides evenly"
            )
        corners = bool(call.args.get("align_corners", False))
        return b.resize(
            kind,
            call.value("input"),
            (int(size[0]), int(size[1])),
            align_corners=corners,
            half_pixel=half_pixel and not corners,
        )

    return handler


def _clamp(b: ChannelsFirstBuilder, call: Call) -> Result:
    low = call.args.get("min", call.args.get("min_val"))
    high = call.args.get("max", call.args.get("max_val"))
    if isinstance(low, Value) or isinstance(high, Value):
        raise refuse("clamp to a bound computed by the network", "use fixed bounds, or minimum and maximum")
    bounds = Activation(None if low is None else float(low), None if high is None else float(high))
    return b.unary(o.Clamp, call.value(), activation=bounds)


def _clamp_to(bounds: Activation) -> Handler:
    return lambda b, call: b.unary(o.Clamp, call.value(), activation=bounds)


def _table(function: Function, alpha: str | None = None, **required: float) -> Handler:
    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        for name, wanted in required.items():
            if float(call[name]) != wanted:
                raise refuse(f"{name} = {call[name]}", f"use {name} = {wanted}")
        return b.unary(o.Table, call.value(), function=function, alpha=0.0 if alpha is None else float(call[alpha]))

    return handler


def _gelu(b: ChannelsFirstBuilder, call: Call) -> Result:
    function = Function.GELU_TANH if call["approximate"] == "tanh" else Function.GELU
    return b.unary(o.Table, call.value(), function=function)


def _power(b: ChannelsFirstBuilder, call: Call) -> Result:
    functions = {2.0: Function.SQUARE, 0.5: Function.SQRT, -0.5: Function.RSQRT}
    exponent = float(call["exponent"])
    if exponent not in functions:
        raise refuse(f"power {exponent}", "use 2, 0.5 or -0.5, or write it as multiplications")
    return b.unary(o.Table, call.value(), function=functions[exponent])


def _prelu(b: ChannelsFirstBuilder, call: Call) -> Result:
    return b.prelu(call.value(), call.constant("weight"))


def _dropout(b: ChannelsFirstBuilder, call: Call) -> Result:
    if call["train"]:
        raise refuse("dropout that stays active at inference", "use nn.Dropout, or pass training=self.training")
    return b.unary(o.Dropout, call.value("input"), rate=float(call["p"]))


def _softmax(kind: type[o.Op]) -> Handler:
    return lambda b, call: b.softmax(kind, call.value(), batch_free_axis(call["dim"], len(call.value().shape)))


def _binary(kind: type[o.Op]) -> Handler:
    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        first, second = call["self"], call["other"]
        alpha = call.args.get("alpha", 1)
        if alpha != 1:
            if isinstance(second, Value):
                second = b.binary(o.Mul, second, np.asarray(alpha, dtype=np.float32))
            else:
                second = np.asarray(second, dtype=np.float32) * np.float32(alpha)
        return b.binary(kind, first, second)

    return handler


def _divide(b: ChannelsFirstBuilder, call: Call) -> Result:
    if isinstance(call["other"], Value) or call.args.get("rounding_mode"):
        raise refuse("division by a tensor the network computes, or rounded division", "multiply by a constant instead")
    return b.binary(o.Mul, call.value(), np.float32(1.0) / np.asarray(call["other"], dtype=np.float32))


def _reverse_subtract(b: ChannelsFirstBuilder, call: Call) -> Result:
    if call["alpha"] != 1:
        raise refuse(f"alpha = {call['alpha']}", "use alpha = 1")
    return b.binary(o.Sub, np.asarray(call["other"], dtype=np.float32), call.value())


def _mean(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    if not call["dim"]:
        batch_free_axis(0, len(x.shape))
    axes = [batch_free_axis(d, len(x.shape)) for d in call["dim"]]
    return b.mean(x, axes, bool(call["keepdim"]))


HANDLERS: dict[str, Handler] = {
    **entries("conv1d.default conv2d.default conv1d.padding conv2d.padding", _convolution),
    **entries("conv_transpose2d.input", _transpose_convolution),
    **entries("linear.default", _linear),
    **entries("matmul.default mm.default bmm.default", _matmul),
    **entries("scaled_dot_product_attention.default", _attention),
    **entries("layer_norm.default", _layer_norm),
    **entries("addmm.default", _addmm),
    **entries("batch_norm.default", _batch_norm),
    **entries("avg_pool1d.default avg_pool2d.default", _average_pool),
    **entries("max_pool1d.default max_pool2d.default", _max_pool),
    **entries("adaptive_avg_pool1d.default adaptive_avg_pool2d.default", _adaptive(o.AveragePool2D)),
    **entries("adaptive_max_pool1d.default adaptive_max_pool2d.default", _adaptive(o.MaxPool2D)),
    **entries("pad.default constant_pad_nd.default", _pad),
    **entries("upsample_nearest2d.vec", _resize(o.ResizeNearest, half_pixel=False)),
    **entries("upsample_bilinear2d.vec", _resize(o.ResizeBilinear, half_pixel=True)),
    **entries("relu.default", _clamp_to(o.RELU)),
    **entries("relu6.default", _clamp_to(o.RELU6)),
    **entries("hardtanh.default clamp.default clip.default clamp_min.default clamp_max.default", _clamp),
    **entries("sigmoid.default", _table(Function.SIGMOID)),
    **entries("tanh.default", _table(Function.TANH)),
    **entries("hardsigmoid.default", _table(Function.HARD_SIGMOID)),
    **entries("hardswish.default", _table(Function.HARD_SWISH)),
    **entries("silu.default", _table(Function.SILU)),
    **entries("mish.default", _table(Function.MISH)),
    **entries("leaky_relu.default", _table(Function.LEAKY_RELU, "negative_slope")),
    **entries("elu.default", _table(Function.ELU, "alpha", scale=1.0, input_scale=1.0)),
    **entries("softplus.default", _table(Function.SOFTPLUS, beta=1.0, threshold=20.0)),
    **entries("exp.default", _table(Function.EXP)),
    **entries("log.default", _table(Function.LOG)),
    **entries("sqrt.default", _table(Function.SQRT)),
    **entries("rsqrt.default", _table(Function.RSQRT)),
    **entries("square.default", _table(Function.SQUARE)),
    **entries("abs.default", _table(Function.ABS)),
    **entries("neg.default", _table(Function.NEG)),
    **entries("gelu.default", _gelu),
    **entries("pow.Tensor_Scalar", _power),
    **entries("prelu.default", _prelu),
    **entries("dropout.default feature_dropout.default", _dropout),
    **entries("softmax.int", _softmax(o.Softmax)),
    **entries("log_softmax.int", _softmax(o.LogSoftmax)),
    **entries("add.Tensor add.Scalar", _binary(o.Add)),
    **entries("sub.Tensor sub.Scalar", _binary(o.Sub)),
    **entries("mul.Tensor mul.Scalar", _binary(o.Mul)),
    **entries("div.Tensor div.Scalar", _divide),
    **entries("rsub.Scalar", _reverse_subtract),
    **entries("maximum.default max.other", _binary(o.Maximum)),
    **entries("minimum.default min.other", _binary(o.Minimum)),
    **entries("mean.dim", _mean),
    **MOVEMENT,
    **RECURRENT,
}

ADVICE: dict[str, str] = {
    **dict.fromkeys(("gru", "rnn_tanh", "rnn_relu"), "use nn.LSTM, or convolutions over time (Conv1d)"),
    **dict.fromkeys(("lstm_cell", "gru_cell"), "use nn.LSTM over the whole sequence"),
    "group_norm": "use BatchNorm, whose statistics are fixed at inference",
    "instance_norm": "use BatchNorm, whose statistics are fixed at inference",
    "argmax": "return the logits and take the argmax outside",
    "sum": "use mean and fold the factor into the next layer",
    "std": "compute it outside the network",
    "var": "compute it outside the network",
    "conv3d": "use Conv2d or Conv1d",
    "gather": "index with constants (slices, chunk, split)",
}
"""What to do instead, by operator name; others are pointed at `tinycompress ops`."""
