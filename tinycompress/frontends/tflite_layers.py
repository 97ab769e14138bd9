"""Converters of the TFLite operators with windows or weights: convolutions, pools, fully connected."""

from __future__ import annotations

import math
from typing import Any

import tflite

from tinycompress.frontends.tflite_checks import (
    check_arity,
    check_pair,
    four_paddings,
    fused_activation,
    image_shape,
    is_integer,
    required_options,
)
from tinycompress.frontends.tflite_file import FileOperator
from tinycompress.frontends.tflite_graph import Converter, GraphBuilder
from tinycompress.frontends.tflite_tensors import unsupported
from tinycompress.ir import ops as o
from tinycompress.ir.shapes import same_padding


def _windows(op: FileOperator, options: Any) -> tuple[o.Pair, o.Pair]:
    """(stride, dilation) of a convolution; a dilation of 0 in old files means 1."""
    stride = check_pair(op, "stride", options.StrideH(), options.StrideW())
    return stride, check_pair(op, "dilation", options.DilationHFactor() or 1, options.DilationWFactor() or 1)


def _conv2d(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (2, 3))
    options = required_options(op, tflite.Conv2DOptions)
    integer = is_integer(g, op, op.inputs[0], op.outputs[0], wide=True)
    h, w, c = image_shape(g, op, op.inputs[0])
    weights, qparams = g.weights(op, op.inputs[1], integer)
    if weights.ndim != 4 or c % weights.shape[3]:
        raise unsupported(op, f"weights {list(weights.shape)} do not fit {c} channels")
    stride, dilation = _windows(op, options)
    kernel = weights.shape[1], weights.shape[2]
    g.add(
        op,
        o.Conv2D,
        (g.activation(op.inputs[0]),),
        (g.output(op),),
        weights=g.add_constant(op, op.inputs[1], "weights", weights, qparams),
        bias=g.bias(op, op.inputs[2] if len(op.inputs) > 2 else -1, integer, weights.shape[0]),
        stride=stride,
        dilation=dilation,
        padding=four_paddings(op, options.Padding(), (h, w), kernel, stride, dilation),
        groups=c // weights.shape[3],
        activation=fused_activation(op, options),
    )


def _depthwise_conv2d(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (2, 3))
    options = required_options(op, tflite.DepthwiseConv2DOptions)
    integer = is_integer(g, op, op.inputs[0], op.outputs[0], wide=True)
    h, w, c = image_shape(g, op, op.inputs[0])
    if len(g.file_tensor(op.inputs[1]).shape) != 4 or g.file_tensor(op.inputs[1]).shape[0] != 1:
        raise unsupported(op, f"weights {list(g.file_tensor(op.inputs[1]).shape)} are not [1, kh, kw, channels]")
    weights, qparams = g.weights(op, op.inputs[1], integer, dropped_axes=1)
    if weights.shape[2] % c:
        raise unsupported(op, f"weights for {weights.shape[2]} channels do not fit {c} channels")
    stride, dilation = _windows(op, options)
    kernel = weights.shape[0], weights.shape[1]
    g.add(
        op,
        o.DepthwiseConv2D,
        (g.activation(op.inputs[0]),),
        (g.output(op),),
        weights=g.add_constant(op, op.inputs[1], "weights", weights, qparams),
        bias=g.bias(op, op.inputs[2] if len(op.inputs) > 2 else -1, integer, weights.shape[2]),
        multiplier=weights.shape[2] // c,
        stride=stride,
        dilation=dilation,
        padding=four_paddings(op, options.Padding(), (h, w), kernel, stride, dilation),
        activation=fused_activation(op, options),
    )


def _transpose_conv(g: GraphBuilder, op: FileOperator) -> None:
    """Inputs: output shape, weights OHWI, x, optional bias. SAME pads so that the output is in · stride."""
    check_arity(op, (3, 4))
    options = required_options(op, tflite.TransposeConvOptions)
    integer = is_integer(g, op, op.inputs[2], op.outputs[0])
    h, w, c = image_shape(g, op, op.inputs[2])
    weights, qparams = g.weights(op, op.inputs[1], integer)
    if weights.ndim != 4 or weights.shape[3] != c:
        raise unsupported(op, f"weights {list(weights.shape)} do not fit {c} channels")
    if g.is_constant(op.inputs[0]):
        g.set_shape(op.outputs[0], tuple(g.integers(op, op.inputs[0])))
    oh, ow, _ = image_shape(g, op, op.outputs[0])
    stride = check_pair(op, "stride", options.StrideH(), options.StrideW())
    sides = []
    for size, out, kernel, step in ((h, oh, weights.shape[1], stride[0]), (w, ow, weights.shape[2], stride[1])):
        # The forward convolution from `out` to `size` has this padding; what it leaves uncovered is added at the end.
        before = same_padding(out, kernel, step)[0] if options.Padding() == tflite.Padding.SAME else 0
        surplus = (size - 1) * step + kernel - before - out
        sides.append((before, max(surplus, 0), max(-surplus, 0)))
    (top, bottom, extra_h), (left, right, extra_w) = sides
    g.add(
        op,
        o.TransposeConv2D,
        (g.activation(op.inputs[2]),),
        (g.output(op),),
        weights=g.add_constant(op, op.inputs[1], "weights", weights, qparams),
        bias=g.bias(op, op.inputs[3] if len(op.inputs) > 3 else -1, integer, weights.shape[0]),
        stride=stride,
        padding=(top, left, bottom, right),
        output_padding=(extra_h, extra_w),
        activation=fused_activation(op, options),
    )


def _fully_connected(g: GraphBuilder, op: FileOperator) -> None:
    check_arity(op, (2, 3))
    options = required_options(op, tflite.FullyConnectedOptions)
    if options.WeightsFormat() != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise unsupported(op, "shuffled weights are not supported")
    integer = is_integer(g, op, op.inputs[0], op.outputs[0], wide=True)
    weights, qparams = g.weights(op, op.inputs[1], integer)
    if weights.ndim != 2:
        raise unsupported(op, f"weights {list(weights.shape)} are not [out, in]")
    x, shape = g.activation(op.inputs[0]), g.shape(op.inputs[0])
    out, features = weights.shape
    rows, rest = divmod(math.prod(shape), features)
    if rest or (options.KeepNumDims() and shape[-1] != features):
        raise unsupported(op, f"input {list(shape)} does not fit weights {list(weights.shape)}")
    # Without the option TFLite makes rows of any input; one row is the batch.
    flat = shape if options.KeepNumDims() else (rows, features)[rows == 1 :]
    if not options.KeepNumDims():
        g.set_shape(op.outputs[0], (rows, out))
    x = g.reshaped(op, x, flat)
    y = g.output(op)
    made = g.tensors[y].shape
    result = y if made in ((), (*flat[:-1], out)) else g.intermediate(op, y, (*flat[:-1], out))
    g.add(
        op,
        o.FullyConnected,
        (x,),
        (result,),
        weights=g.add_constant(op, op.inputs[1], "weights", weights, qparams),
        bias=g.bias(op, op.inputs[2] if len(op.inputs) > 2 else -1, integer, out),
        activation=fused_activation(op, options),
    )
    if result != y:
        g.add(op, o.Reshape, (result,), (y,), "shape", shape=made)


def _pool(cls: type[o.Op]) -> Converter:
    def convert(g: GraphBuilder, op: FileOperator) -> None:
        check_arity(op, (1,))
        options = required_options(op, tflite.Pool2DOptions)
        is_integer(g, op, op.inputs[0], op.outputs[0], wide=True)
        h, w, _ = image_shape(g, op, op.inputs[0])
        if cls is o.AveragePool2D:
            g.note_unsigned_ties(op)
        stride = check_pair(op, "stride", options.StrideH(), options.StrideW())
        kernel = check_pair(op, "kernel", options.FilterHeight(), options.FilterWidth())
        g.add(
            op,
            cls,
            (g.activation(op.inputs[0]),),
            (g.output(op),),
            kernel=kernel,
            stride=stride,
            padding=four_paddings(
                op, options.Padding(), (h, w), (kernel[0], kernel[1]), (stride[0], stride[1]), (1, 1)
            ),
            activation=fused_activation(op, options),
        )

    return convert


LAYER_CONVERTERS: dict[str, Converter] = {
    "CONV_2D": _conv2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv2d,
    "TRANSPOSE_CONV": _transpose_conv,
    "FULLY_CONNECTED": _fully_connected,
    "AVERAGE_POOL_2D": _pool(o.AveragePool2D),
    "MAX_POOL_2D": _pool(o.MaxPool2D),
}
