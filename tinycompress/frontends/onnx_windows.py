"""ONNX operators with windows and weights, as calls of the channels-first builder."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.onnx_call import Call, Handler, Result, pair, refused
from tinycompress.frontends.onnx_composed import MAX_PIECES, picked
from tinycompress.frontends.values import Value
from tinycompress.ir import ops as o
from tinycompress.ir.onnx_resize import RULES, TRANSFORMS, onnx_nearest_indices
from tinycompress.ir.quant_params import nearest_indices
from tinycompress.ir.shapes import same_padding
from tinycompress.ir.tensor import Array

FLAT = (0, 0, 0, 0)


def spatial(value: Value) -> o.Pair:
    """(h, w) of an image value; a series is one wide."""
    if len(value.shape) not in (2, 3):
        raise refused(f"an input of shape {[1, *value.shape]} is neither an image nor a series")
    return (value.shape[1], value.shape[2] if len(value.shape) == 3 else 1)


def explicit_padding(call: Call, size: o.Pair, kernel: o.Pair, stride: o.Pair, dilation: o.Pair) -> o.Padding:
    """`auto_pad` or `pads` as (top, left, bottom, right)."""
    rank = len(call.value().shape)
    mode = call.node.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        (top, bottom), (left, right) = (same_padding(size[i], kernel[i], stride[i], dilation[i]) for i in (0, 1))
        return (top, left, bottom, right) if mode == "SAME_UPPER" else (bottom, right, top, left)
    if mode == "VALID":
        return FLAT
    if mode != "NOTSET":
        raise refused(f"auto_pad {mode!r} is unknown")
    pads = call.node.get("pads") or [0] * (2 * (rank - 1))
    if len(pads) != 2 * (rank - 1) or any(not 0 <= p <= 4096 for p in pads):
        raise refused(f"pads {pads} are not supported", "use paddings that are not negative")
    before, after = pads[: rank - 1], pads[rank - 1 :]
    if rank == 2:
        return (before[0], 0, after[0], 0)
    return (before[0], before[1], after[0], after[1])


def _positive(what: str, values: o.Pair) -> o.Pair:
    if min(values) < 1:
        raise ModelError("TC-M306", f"{what} {list(values)} is not positive")
    return values


def _convolution(b: ChannelsFirstBuilder, call: Call) -> Result:
    x, weights = call.value(), call.weights()
    rank = len(x.shape)
    size = spatial(x)
    groups = int(call.node.get("group", 1))
    if weights.ndim != rank + 1 or groups < 1 or weights.shape[1] * groups != x.shape[0] or weights.shape[0] % groups:
        raise ModelError("TC-M306", f"weights {list(weights.shape)} with {groups} groups do not fit {[1, *x.shape]}")
    stride = _positive("stride", pair(call.node.get("strides"), rank))
    dilation = _positive("dilation", pair(call.node.get("dilations"), rank))
    kernel = (weights.shape[2], weights.shape[3] if rank == 3 else 1)
    padding = explicit_padding(call, size, kernel, stride, dilation)
    bias = call.real(2)
    return b.convolution(x, weights, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _transposed(b: ChannelsFirstBuilder, call: Call) -> Result:
    x, weights = call.value(), call.weights()
    rank = len(x.shape)
    size = spatial(x)
    groups = int(call.node.get("group", 1))
    if set(call.node.get("dilations") or [1]) != {1}:
        raise refused("transposed convolution with dilation", "use dilation 1")
    if weights.ndim != rank + 1 or weights.shape[0] != x.shape[0]:
        raise ModelError("TC-M306", f"weights {list(weights.shape)} do not fit {[1, *x.shape]}")
    if rank == 2:
        weights = weights[:, :, :, None]
    kernel = (weights.shape[2], weights.shape[3])
    stride = _positive("stride", pair(call.node.get("strides"), rank))
    extra = pair(call.node.get("output_padding"), rank, default=0)
    mode = call.node.get("auto_pad", "NOTSET")
    wanted = call.node.get("output_shape")
    if wanted is not None or mode in ("SAME_UPPER", "SAME_LOWER"):
        out = pair(wanted[-(rank - 1) :], rank) if wanted is not None else (size[0] * stride[0], size[1] * stride[1])
        totals = [stride[i] * (size[i] - 1) + extra[i] + kernel[i] - out[i] for i in (0, 1)]
        # Rows and columns beyond what the convolution reaches hold the bias alone, as output_padding's do.
        beyond = [max(0, -t) for t in totals]
        if beyond[0] >= stride[0] or beyond[1] >= stride[1]:
            raise refused(
                f"output_shape {list(out)} is larger than the convolution makes", "use a smaller output_shape"
            )
        extra = (extra[0] + beyond[0], extra[1] + beyond[1])
        totals = [max(0, t) for t in totals]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        # For transposed convolutions SAME_UPPER puts the odd cut at the end, everything else at the beginning.
        first, last = (small, large) if mode == "SAME_UPPER" else (large, small)
        padding = (first[0], first[1], last[0], last[1])
    else:
        padding = explicit_padding(call, size, kernel, stride, (1, 1))
    bias = call.real(2)
    if groups < 1 or x.shape[0] % groups or groups > MAX_PIECES:
        raise refused(
            f"transposed convolution with {groups} groups", f"use a divisor of the channels up to {MAX_PIECES}"
        )
    size_in, size_out = x.shape[0] // groups, weights.shape[1]
    parts = [
        b.transpose_convolution(
            b.slice(x, 0, i * size_in, (i + 1) * size_in, 1),
            weights[i * size_in : (i + 1) * size_in],
            None if bias is None else bias[i * size_out : (i + 1) * size_out],
            stride=stride,
            padding=padding,
            output_padding=extra,
        )
        for i in range(groups)
    ]
    return parts[0] if groups == 1 else b.concat(parts, 0)


def _gemm(b: ChannelsFirstBuilder, call: Call) -> Result:
    x, weights = call.value(), call.weights()
    if call.node.get("transA", 0):
        raise refused("Gemm with a transposed activation")
    if weights.ndim != 2 or len(x.shape) not in (1, 2):
        raise ModelError("TC-M306", f"weights {list(weights.shape)} do not fit {[1, *x.shape]}")
    weights = (weights if call.node.get("transB", 0) else weights.T) * np.float32(call.node.get("alpha", 1.0))
    return b.linear(x, _fitting(weights, x), _bias(call, weights.shape[0]))


def _bias(call: Call, outputs: int) -> Array | None:
    bias = call.real(2)
    if bias is None:
        return None
    if bias.ndim > 2 or bias.shape[-1:] not in ((outputs,), (1,), ()) or bias.size not in (1, outputs):
        raise ModelError("TC-M306", f"bias {list(bias.shape)} does not fit {outputs} outputs")
    return np.broadcast_to(bias.reshape(-1) * np.float32(call.node.get("beta", 1.0)), (outputs,))


def _fitting(weights: Array, x: Value) -> Array:
    if not x.shape or weights.shape[1] != x.shape[-1]:
        raise ModelError("TC-M306", f"weights for {weights.shape[1]} features do not fit {[1, *x.shape]}")
    return weights


def _matmul(b: ChannelsFirstBuilder, call: Call) -> Result:
    if not isinstance(call.operand(0), Value):
        return _matmul_from_left(b, call)
    if isinstance(call.operand(1), Value):
        return b.matmul(call.value(), call.value(1))
    x, weights = call.value(), call.weights()
    if weights.ndim > 2 and math.prod(weights.shape[:-2]) == 1 and weights.ndim <= len(x.shape) + 1:
        weights = weights.reshape(weights.shape[-2:])
    if weights.ndim != 2:
        raise refused(f"a product with a constant of shape {list(weights.shape)}", "use weights of shape [in, out]")
    return b.linear(x, _fitting(weights.T, x), None)


def _matmul_from_left(b: ChannelsFirstBuilder, call: Call) -> Result:
    """A constant times an activation: the transposed product, transposed."""
    weights, x = call.weights(0), call.value(1)
    rank = len(x.shape)
    if rank < 2 or weights.ndim < 2 or math.prod(weights.shape[:-2]) != 1 or weights.ndim > rank + 1:
        raise refused(
            f"a constant of shape {list(weights.shape)} times {[1, *x.shape]}", "use weights of shape [out, in]"
        )
    turned = (*range(rank - 2), rank - 1, rank - 2)
    moved = b.transpose(x, turned)
    return b.transpose(b.linear(moved, _fitting(weights.reshape(weights.shape[-2:]), moved), None), turned)


def _batch_norm(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    if call.node.get("training_mode", 0) or call.node.get("spatial", 1) != 1 or len(call.node.outputs) > 1:
        raise refused("batch norm that trains, or that is not per channel", "export the model in evaluation mode")
    gamma, beta, mean, variance = (call.weights(i) for i in (1, 2, 3, 4))
    if any(a.shape != (x.shape[0],) for a in (gamma, beta, mean, variance)):
        raise ModelError("TC-M306", f"statistics do not fit {x.shape[0]} channels")
    return b.batch_norm(x, gamma, beta, mean, variance, float(call.node.get("epsilon", 1e-5)))


def _window(call: Call) -> tuple[o.Pair, o.Pair, o.Padding, o.Padding]:
    """(kernel, stride, padding, overhang that `ceil_mode`'s last windows add at the bottom and right)."""
    x = call.value()
    rank, size = len(x.shape), spatial(x)
    if set(call.node.get("dilations") or [1]) != {1}:
        raise refused("dilated pooling", "use dilation 1")
    kernel = _positive("kernel", pair(call.node.get("kernel_shape"), rank))
    stride = _positive("stride", pair(call.node.get("strides"), rank))
    padding = explicit_padding(call, size, kernel, stride, (1, 1))
    over = [0, 0]
    if call.node.get("ceil_mode", 0):
        for i in (0, 1):
            padded = size[i] + padding[i] + padding[i + 2]
            out = -(-(padded - kernel[i]) // stride[i]) + 1
            if (out - 1) * stride[i] >= size[i] + padding[i]:
                # A window that would start beyond the input and its leading padding is left out.
                out -= 1
            over[i] = max(0, (out - 1) * stride[i] + kernel[i] - padded)
    return kernel, stride, padding, (0, 0, over[0], over[1])


def _average_pool(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    kernel, stride, padding, over = _window(call)
    if call.node.get("count_include_pad", 0) and padding != FLAT:
        top, left, bottom, right = padding
        x = b.pad(x, [(0, 0), (top, bottom), (left, right)][: len(x.shape)], 0.0)
        padding = FLAT
    return b.pool(o.AveragePool2D, x, kernel, stride, _sum(padding, over))


def _max_pool(b: ChannelsFirstBuilder, call: Call) -> Result:
    if len(call.node.outputs) > 1:
        raise refused("max pooling that also returns indices", "use only the pooled output")
    kernel, stride, padding, over = _window(call)
    return b.pool(o.MaxPool2D, call.value(), kernel, stride, _sum(padding, over))


def _sum(a: o.Padding, b: o.Padding) -> o.Padding:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])


def _global_pool(kind: type[o.Op]) -> Handler:
    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        size = spatial(call.value())
        return b.pool(kind, call.value(), size, size, FLAT)

    return handler


def _resize(b: ChannelsFirstBuilder, call: Call) -> Result:
    """Resize (10 and later) and Upsample (7, 9), over the spatial axes of an image or a series (one wide)."""
    x = call.value()
    if len(x.shape) == 2:
        resized = _resize_image(b, call, b.reshape(x, (*x.shape, 1)))
        return b.reshape(resized, resized.shape[:2])
    return _resize_image(b, call, x)


def _resize_image(b: ChannelsFirstBuilder, call: Call, x: Value) -> Value:
    if len(x.shape) != 3:
        raise refused(f"resizing a value of shape {[1, *x.shape]}", "resize images [1, c, h, w]")
    if call.node.get("antialias", 0) or call.node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise refused("antialiased or aspect-keeping resizing")
    size = _target_size(call, x)
    old_style = call.node.kind == "Upsample" or call.opset < 11
    mode = call.node.get("mode", "nearest")
    transform = "asymmetric" if old_style else call.node.get("coordinate_transformation_mode", "half_pixel")
    if mode == "nearest":
        rule = "floor" if old_style else call.node.get("nearest_mode", "round_prefer_floor")
        return _resize_nearest(b, x, size, transform, rule)
    if mode != "linear" or transform not in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        raise refused(f"resizing with mode {mode!r} and {transform!r} coordinates", "use nearest or linear")
    if transform == "pytorch_half_pixel" and 1 in size:
        raise refused("pytorch_half_pixel coordinates to a size of 1")
    return b.resize(
        o.ResizeBilinear, x, size, align_corners=transform == "align_corners", half_pixel="half_pixel" in transform
    )


def _target_size(call: Call, x: Value) -> o.Pair:
    sizes = call.data(3) if call.opset >= 11 and call.node.kind == "Resize" else None
    if sizes is not None and sizes.size:
        wanted = [int(v) for v in sizes.reshape(-1)]
        axes = call.node.get("axes")
        if axes is not None:
            wanted = _on_axes(wanted, axes, [1, *x.shape])
        if len(call.value().shape) == 2 and len(wanted) == 3:
            wanted = [*wanted, 1]
        if len(wanted) != 4 or wanted[:2] != [1, x.shape[0]] or min(wanted) < 1:
            raise refused(f"resizing {[1, *x.shape]} to {wanted}", "resize height and width only")
        return _checked_size(wanted[2], wanted[3])
    position = 2 if call.opset >= 11 and call.node.kind == "Resize" else 1
    found = call.data(position)
    scales = list(call.node.get("scales", [])) if found is None else [float(v) for v in found.reshape(-1)]
    if call.node.get("axes") is not None:
        scales = _on_axes(scales, call.node.get("axes"), [1.0] * 4)
    if len(call.value().shape) == 2 and len(scales) == 3:
        scales = [*scales, 1.0]
    if len(scales) != 4 or scales[:2] != [1.0, 1.0] or not all(0 < s < 4096 for s in scales):
        raise refused(f"resizing by {scales}", "scale height and width only")
    exact = [x.shape[1] * scales[2], x.shape[2] * scales[3]]
    if any(abs(e - round(e)) > 1e-6 or round(e) < 1 for e in exact):
        raise refused(f"resizing {list(x.shape[1:])} by {scales[2:]} to a size that is not whole", "give sizes")
    return _checked_size(round(exact[0]), round(exact[1]))


def _checked_size(height: int, width: int) -> o.Pair:
    if max(height, width) > 4096:
        raise refused(f"resizing to {[height, width]}", "sizes up to 4096 are supported")
    return height, width


def _on_axes(values: list[Any], axes: list[int], base: list[Any]) -> list[Any]:
    if len(values) != len(axes) or any(not -4 <= a < 4 for a in axes):
        raise ModelError("TC-M306", f"axes {axes} do not fit {values}")
    for axis, value in zip(axes, values, strict=True):
        base[axis] = value
    return base


def _resize_nearest(b: ChannelsFirstBuilder, x: Value, size: o.Pair, transform: str, rule: str) -> Value:
    """Chooses the flags whose index rule copies the same pixels as ONNX's transform and rounding."""
    if transform not in TRANSFORMS or rule not in RULES:
        raise refused(f"nearest resizing with {transform!r} coordinates and {rule!r}")
    wanted = [onnx_nearest_indices(x.shape[1 + i], size[i], transform, rule) for i in (0, 1)]
    for corners, half in ((False, False), (False, True), (True, False), (True, True)):
        if [nearest_indices(x.shape[1 + i], size[i], corners, half) for i in (0, 1)] == wanted:
            return b.resize(o.ResizeNearest, x, size, align_corners=corners, half_pixel=half)
    for axis, indices in enumerate(wanted):
        x = picked(b, x, 1 + axis, indices)
    return x


WINDOW_HANDLERS: dict[str, Handler] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "AveragePool": _average_pool,
    "MaxPool": _max_pool,
    "GlobalAveragePool": _global_pool(o.AveragePool2D),
    "GlobalMaxPool": _global_pool(o.MaxPool2D),
    "Resize": _resize,
    "Upsample": _resize,
}
