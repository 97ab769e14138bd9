"""ONNX operators as calls of the channels-first builder: one function each, in the HANDLERS table by operator type.

A handler gets the builder and a `Call` and returns the result, or a list for operators with several. Opsets differ in
where an argument lives (attribute or operand); handlers look in both. Source of the meanings: the ONNX operator
specification, opsets 7 to 25.
"""

from __future__ import annotations

import math

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.onnx_call import Call, Handler, Result, full_shape, refused, reshape_target
from tinycompress.frontends.onnx_composed import COMPOSED_HANDLERS, mirrored, picked, prelu_in_pieces
from tinycompress.frontends.onnx_recurrent import RECURRENT_HANDLERS
from tinycompress.frontends.onnx_windows import WINDOW_HANDLERS
from tinycompress.frontends.values import Value
from tinycompress.ir import ops as o
from tinycompress.ir.ops import Activation, Function

TORCH_HARD_SIGMOID = (1.0 / 6.0, 0.5)


# Element-wise


def _clamp_to(bounds: Activation) -> Handler:
    return lambda b, call: b.unary(o.Clamp, call.value(), activation=bounds)


def _clip(b: ChannelsFirstBuilder, call: Call) -> Result:
    low = call.scalar(1) if call.has(1) else call.node.get("min")
    high = call.scalar(2) if call.has(2) else call.node.get("max")
    # Exporters write the float limits for "no bound".
    low = None if low is None or low <= -3.4e38 else float(low)
    high = None if high is None or high >= 3.4e38 else float(high)
    if low is not None and high is not None and not low <= high:
        raise refused(f"clips to the empty range [{low}, {high}]")
    if low is None and high is None:
        return call.value()
    return b.unary(o.Clamp, call.value(), activation=Activation(low, high))


def _table(function: Function, attribute: str = "", default: float = 0.0) -> Handler:
    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        alpha = float(call.node.get(attribute, default)) if attribute else default
        return b.unary(o.Table, call.value(), function=function, alpha=alpha)

    return handler


def _hard_sigmoid(b: ChannelsFirstBuilder, call: Call) -> Result:
    """max(0, min(1, alpha·x + beta)); with a beta of 1/2 it is one function, others are spelled out."""
    alpha, beta = float(call.node.get("alpha", 0.2)), float(call.node.get("beta", 0.5))
    if np.allclose((alpha, beta), TORCH_HARD_SIGMOID, atol=1e-6):
        return b.unary(o.Table, call.value(), function=Function.HARD_SIGMOID)
    if beta == 0.5 and alpha > 0:
        return b.unary(o.Table, call.value(), function=Function.HARD_SIGMOID, alpha=alpha)
    scaled = b.binary(o.Mul, call.value(), np.float32(alpha).reshape(1))
    shifted = b.binary(o.Add, scaled, np.float32(beta).reshape(1))
    return b.unary(o.Clamp, shifted, activation=Activation(0.0, 1.0))


def _gelu(b: ChannelsFirstBuilder, call: Call) -> Result:
    function = Function.GELU_TANH if call.node.get("approximate", "none") == "tanh" else Function.GELU
    return b.unary(o.Table, call.value(), function=function)


def _swish(b: ChannelsFirstBuilder, call: Call) -> Result:
    if float(call.node.get("alpha", 1.0)) != 1.0:
        raise refused(f"Swish with alpha {call.node.get('alpha')}", "use alpha 1")
    return b.unary(o.Table, call.value(), function=Function.SILU)


def _power(b: ChannelsFirstBuilder, call: Call) -> Result:
    if call.has(1) and call.scalar(1) == 4.0:
        return b.unary(o.Table, b.unary(o.Table, call.value(), function=Function.SQUARE), function=Function.SQUARE)
    functions = {2.0: Function.SQUARE, 0.5: Function.SQRT, -0.5: Function.RSQRT}
    x, exponent = call.value(), call.scalar(1)
    if exponent == 1.0:
        return x
    if exponent == 3.0:
        return b.binary(o.Mul, b.unary(o.Table, x, function=Function.SQUARE), x)
    if exponent not in functions:
        raise refused(f"power {exponent}", "use 1, 2, 3, 4, 0.5 or -0.5, or write it as multiplications")
    return b.unary(o.Table, x, function=functions[exponent])


def _prelu(b: ChannelsFirstBuilder, call: Call) -> Result:
    x, alpha = call.value(), call.weights()
    # Slopes are broadcast from the last axis on: one per channel has 1 everywhere behind the channels.
    aligned = alpha.reshape((1,) * (len(x.shape) + 1 - alpha.ndim) + alpha.shape)
    if alpha.size == 1 or aligned.shape == (1, x.shape[0], *(1 for _ in x.shape[1:])):
        return b.prelu(x, alpha)
    return prelu_in_pieces(b, x, alpha)


def _binary(kind: type[o.Op]) -> Handler:
    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        result = call.operand(0)
        if len(call.operands) < 2 and kind in (o.Maximum, o.Minimum, o.Add) and isinstance(result, Value):
            return result
        for position in range(1, len(call.operands)):
            first = result if isinstance(result, Value) else result.astype(np.float32)
            second = call.operand(position)
            second = second if isinstance(second, Value) else second.astype(np.float32)
            if isinstance(first, Value) or isinstance(second, Value):
                result = b.binary(kind, *(_squeezed(v) for v in (first, second)))
            else:
                raise refused("joins constants before an activation", "put the activation first")
        return result

    return handler


def _squeezed(operand: Value | np.ndarray) -> Value | np.ndarray:
    """A constant of one element may have any rank."""
    if isinstance(operand, Value) or operand.size != 1:
        return operand
    return operand.reshape(1)


def _divide(b: ChannelsFirstBuilder, call: Call) -> Result:
    divisor = call.weights()
    if not np.all(divisor):
        raise refused("division by zero")
    return b.binary(o.Mul, call.value(), _squeezed(np.float32(1.0) / divisor))


def _softmax(kind: type[o.Op]) -> Handler:
    """Before opset 13 the tensor is seen as a matrix from `axis` on, which is the same over a last axis."""

    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        x = call.value()
        axis = call.axis(int(call.node.get("axis", -1 if call.opset >= 13 else 1)), len(x.shape))
        if call.opset < 13 and axis != len(x.shape) - 1:
            flat = b.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
            return b.reshape(b.softmax(kind, flat, 1), x.shape)
        return b.softmax(kind, x, axis)

    return handler


def _layer_norm(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    axis = call.axis(int(call.node.get("axis", -1)), len(x.shape))
    shape = x.shape[axis:]
    gamma = np.broadcast_to(call.weights(1), shape)
    beta = call.real(2)
    epsilon = float(call.node.get("epsilon", 1e-5))
    return b.layer_norm(x, gamma, None if beta is None else np.broadcast_to(beta, shape), epsilon)


def _dropout(b: ChannelsFirstBuilder, call: Call) -> Result:
    if len(call.node.outputs) > 1 or (call.has(2) and call.scalar(2)):
        raise refused("dropout that stays active at inference", "export the model in evaluation mode")
    rate = call.scalar(1) if call.has(1) else float(call.node.get("ratio", 0.5))
    return b.unary(o.Dropout, call.value(), rate=rate)


def _identity(b: ChannelsFirstBuilder, call: Call) -> Result:
    return call.operand(0)


def _cast(b: ChannelsFirstBuilder, call: Call) -> Result:
    if call.node.get("to") not in (1, 10, 11):
        raise refused("casts an activation to integers", "keep activations in float")
    return call.value()


def _cast_like(b: ChannelsFirstBuilder, call: Call) -> Result:
    kind = call.operand(1)
    if not isinstance(kind, Value) and kind.dtype.kind != "f":
        raise refused("casts an activation to integers", "keep activations in float")
    return call.operand(0)


# Views and movement


def _shape(b: ChannelsFirstBuilder, call: Call) -> Result:
    full = np.asarray(full_shape(call.value()), dtype=np.int64)
    return full[slice(call.node.get("start"), call.node.get("end"))]


def _reshape(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    wanted = call.integers(1, "shape") or []
    return call.reshaped(b, x, reshape_target(full_shape(x), wanted, bool(call.node.get("allowzero", 0))))


def _flatten(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    shape = full_shape(x)
    axis = int(call.node.get("axis", 1))
    axis += len(shape) if axis < 0 else 0
    return call.reshaped(b, x, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _squeeze(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    shape = full_shape(x)
    axes = call.integers(1, "axes")
    if axes is None:
        axes = [i for i, s in enumerate(shape) if s == 1 and i > 0]
    dropped = {a % len(shape) for a in axes}
    if any(shape[a] != 1 for a in dropped):
        raise ModelError("TC-M306", f"cannot squeeze axes {axes} of {list(shape)}")
    return call.reshaped(b, x, [s for i, s in enumerate(shape) if i not in dropped])


def _unsqueeze(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    axes = call.integers(1, "axes") or []
    rank = len(x.shape) + 1 + len(axes)
    inserted = {a % rank for a in axes}
    if len(inserted) != len(axes) or rank > 6:
        raise ModelError("TC-M306", f"cannot insert axes {axes} into {list(full_shape(x))}")
    rest = iter(full_shape(x))
    return call.reshaped(b, x, [1 if i in inserted else next(rest) for i in range(rank)])


def _transpose(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    rank = len(x.shape) + 1
    perm = call.node.get("perm") or list(range(rank))[::-1]
    if sorted(perm) != list(range(rank)):
        raise ModelError("TC-M306", f"permutation {perm} does not fit a rank of {rank}")
    if perm[0] != 0:
        call.axis(0, len(x.shape))
    return b.transpose(x, tuple(p - 1 for p in perm[1:]))


def _concat(b: ChannelsFirstBuilder, call: Call) -> Result:
    values = [call.value(i) for i in range(len(call.operands))]
    axis = call.axis(int(call.node.get("axis", 1)), len(values[0].shape))
    if any(len(v.shape) != len(values[0].shape) for v in values):
        raise ModelError("TC-M306", f"cannot join {[list(full_shape(v)) for v in values]}")
    return values[0] if len(values) == 1 else b.concat(values, axis)


def _split(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    axis = call.axis(int(call.node.get("axis", 0)), len(x.shape))
    count = len(call.node.outputs)
    sizes = call.integers(1, "split")
    if sizes is None:
        step = -(-x.shape[axis] // count)
        sizes = [min(step, x.shape[axis] - step * i) for i in range(count)]
    if len(sizes) != count or sum(sizes) != x.shape[axis] or min(sizes) < 1:
        raise ModelError("TC-M306", f"parts {sizes} do not make {x.shape[axis]}")
    ends = [int(e) for e in np.cumsum(sizes)]
    return [b.slice(x, axis, end - size, end, 1) for size, end in zip(sizes, ends, strict=True)]


def _slice(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    rank = len(x.shape)
    starts, ends = call.integers(1, "starts") or [], call.integers(2, "ends") or []
    axes = call.integers(3, "axes") or list(range(len(starts)))
    steps = call.integers(4) or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ModelError("TC-M306", "its starts, ends, axes and steps differ in number")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise ModelError("TC-M306", "slices with step 0")
        if axis % (rank + 1) == 0 and start in (0, -1) and (end >= 1) and step == 1:
            continue
        at = call.axis(axis, rank)
        size = x.shape[at]
        if step < 0:
            x = picked(b, x, at, range(size)[start:end:step])
            continue
        begin, stop = (min(max(v + size if v < 0 else v, 0), size) for v in (start, end))
        if stop <= begin:
            raise refused("slices nothing")
        x = b.slice(x, at, begin, stop, step)
    return x


def _pad(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    rank = len(x.shape) + 1
    mode = call.node.get("mode", "constant")
    amounts = call.integers(1, "pads") or []
    axes = call.integers(3)
    if axes is not None and len(amounts) == 2 * len(axes):
        spread = [0] * (2 * rank)
        for i, axis in enumerate(axes):
            spread[axis % rank], spread[axis % rank + rank] = amounts[i], amounts[i + len(axes)]
        amounts = spread
    if len(amounts) != 2 * rank or any(abs(a) > 4096 for a in amounts):
        raise ModelError("TC-M306", f"pads {amounts} do not fit a rank of {rank}")
    if amounts[0] or amounts[rank]:
        call.axis(0, rank - 1)
    if mode != "constant":
        return mirrored(b, x, [(amounts[i], amounts[i + rank]) for i in range(1, rank)], mode)
    fill = call.scalar(2) if call.has(2) else call.node.get("value", 0.0)
    return b.pad(x, [(amounts[i], amounts[i + rank]) for i in range(1, rank)], float(fill or 0.0))


def _mean(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    axes = call.integers(1, "axes")
    if not axes:
        raise refused("a mean over every axis, the batch included", "name the axes")
    return b.mean(x, sorted({call.axis(a, len(x.shape)) for a in axes}), bool(call.node.get("keepdims", 1)))


def _sum(b: ChannelsFirstBuilder, call: Call) -> Result:
    """A sum over axes: their mean times their number."""
    x = call.value()
    axes = call.integers(1, "axes")
    if not axes and call.node.get("noop_with_empty_axes", 0):
        return x
    mean = _mean(b, call)
    assert isinstance(mean, Value)
    count = math.prod(x.shape[a] for a in {call.axis(a, len(x.shape)) for a in axes or ()})
    return b.binary(o.Mul, mean, np.float32(count).reshape(1))


def _depth_to_space(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    r = int(call.node.get("blocksize", 0))
    if len(x.shape) != 3 or r < 1 or x.shape[0] % (r * r):
        raise ModelError("TC-M306", f"block size {r} does not fit {list(full_shape(x))}")
    c, h, w = x.shape
    out = c // (r * r)
    if call.node.get("mode", "DCR") == "DCR":
        split = b.transpose(b.reshape(x, (r, r, out, h, w)), (2, 3, 0, 4, 1))
    else:
        split = b.transpose(b.reshape(x, (out, r, r, h, w)), (0, 3, 1, 4, 2))
    return b.reshape(split, (out, h * r, w * r))


HANDLERS: dict[str, Handler] = {
    **WINDOW_HANDLERS,
    **RECURRENT_HANDLERS,
    "Relu": _clamp_to(o.RELU),
    "Clip": _clip,
    "Sigmoid": _table(Function.SIGMOID),
    "Tanh": _table(Function.TANH),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _table(Function.HARD_SWISH),
    "Swish": _swish,
    "Gelu": _gelu,
    "LeakyRelu": _table(Function.LEAKY_RELU, "alpha", 0.01),
    "Elu": _table(Function.ELU, "alpha", 1.0),
    "Softplus": _table(Function.SOFTPLUS),
    "Mish": _table(Function.MISH),
    "Exp": _table(Function.EXP),
    "Log": _table(Function.LOG),
    "Sqrt": _table(Function.SQRT),
    "Abs": _table(Function.ABS),
    "Neg": _table(Function.NEG),
    "Pow": _power,
    "PRelu": _prelu,
    "Add": _binary(o.Add),
    "Sum": _binary(o.Add),
    "Sub": _binary(o.Sub),
    "Mul": _binary(o.Mul),
    "Max": _binary(o.Maximum),
    "Min": _binary(o.Minimum),
    "Div": _divide,
    "Softmax": _softmax(o.Softmax),
    "LogSoftmax": _softmax(o.LogSoftmax),
    "LayerNormalization": _layer_norm,
    "Dropout": _dropout,
    "Identity": _identity,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Shape": _shape,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    **COMPOSED_HANDLERS,
    "Pad": _pad,
    "ReduceMean": _mean,
    "ReduceSum": _sum,
    "DepthToSpace": _depth_to_space,
}
"""What each operator of a file becomes; anything else is refused by name."""

ADVICE: dict[str, str] = {
    "Erf": "only GELU is known: x / 2 * (1 + Erf(x / sqrt(2))), every constant a scalar",
    "GRU": "use an LSTM, or convolutions over time",
    "RNN": "use an LSTM, or convolutions over time",
    "InstanceNormalization": "use BatchNorm, whose statistics are fixed at inference",
    "GroupNormalization": "use BatchNorm, whose statistics are fixed at inference",
    "ArgMax": "only a final one is known, which is left to the caller: return the values it chooses from",
    "ConvInteger": "quantize statically (QDQ or QOperator), not dynamically",
    "MatMulInteger": "quantize statically (QDQ or QOperator), not dynamically",
    "DynamicQuantizeLinear": "quantize statically (QDQ or QOperator), not dynamically",
}
"""What to do instead, by operator type."""
