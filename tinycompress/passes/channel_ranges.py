"""Exact bounds of every channel of an integer graph, over all inputs: interval arithmetic on the kernels' own integers.

A channel whose bounds meet holds one value at every position for every input. Convolutions are bounded tap by tap, and
a tap that can fall into padding may also contribute nothing; everything monotonic is run by the reference at the
corners. An operator that is not understood gives its output's full range.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.execute.reference import execute
from tinycompress.execute.reference_steps import Context
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import activation_range, convolution_multipliers, integer_range, requantize
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.shapes import window_output
from tinycompress.ir.tensor import Tensor

Int64 = NDArray[np.int64]
Bools = NDArray[np.bool_]
_INT32 = 2**31

_MONOTONIC = (
    o.AveragePool2D, o.MaxPool2D, o.Mean, o.Pad, o.Clamp, o.Quantize, o.Add, o.Sub, o.Mul, o.Maximum, o.Minimum,
    o.Concat, o.Reshape, o.ResizeNearest, o.Slice,
)  # fmt: skip
"""Operators whose output bounds are reached at corners of the inputs' bounds, operand by operand."""


@dataclass(frozen=True)
class Bounds:
    """Smallest and largest integer of each channel (last axis) of a tensor."""

    low: Int64
    high: Int64

    @property
    def is_constant(self) -> Bools:
        same: Bools = self.low == self.high
        return same


def channel_bounds(graph: QuantGraph) -> dict[str, Bounds]:
    """Bounds of every activation by tensor name. Sound: no input of the graph gives a value outside them."""
    bounds: dict[str, Bounds] = {}
    for op in graph.ops:
        for name in op.inputs:
            if name not in bounds and not graph.tensors[name].is_constant:
                bounds[name] = _full(graph.tensors[name])
        for name, found in zip(op.outputs, _outputs(op, graph, bounds), strict=True):
            bounds[name] = found
    return bounds


def _full(tensor: Tensor) -> Bounds:
    low, high = integer_range(tensor.dtype)
    channels = tensor.shape[-1] if tensor.shape else 1
    return Bounds(np.full(channels, low, np.int64), np.full(channels, high, np.int64))


def _outputs(op: o.Op, graph: QuantGraph, bounds: dict[str, Bounds]) -> list[Bounds]:
    if isinstance(op, (o.Conv2D, o.DepthwiseConv2D, o.FullyConnected)):
        return [_linear(op, graph, bounds[op.inputs[0]])]
    if isinstance(op, o.Table) and op.table is not None:
        return [_table(graph.tensors[op.table].constant, bounds[op.inputs[0]])]
    if isinstance(op, _MONOTONIC):
        return [_corners(op, graph, bounds)]
    return [_full(graph.tensors[name]) for name in op.outputs]


def padded_taps(op: Any, shape: tuple[int, ...], kernel: tuple[int, int]) -> Bools:
    """`(kh, kw)`: True where some output position finds the tap outside the image."""
    top, left, bottom, right = op.padding

    def outside(size: int, k: int, stride: int, dilation: int, before: int, after: int) -> Bools:
        out = window_output(size, k, stride, dilation, before, after)
        first = np.arange(k) * dilation - before
        last = first + (out - 1) * stride
        result: Bools = (first < 0) | (last >= size)
        return result

    rows = outside(shape[0], kernel[0], op.stride[0], op.dilation[0], top, bottom)
    columns = outside(shape[1], kernel[1], op.stride[1], op.dilation[1], left, right)
    joined: Bools = rows[:, None] | columns[None, :]
    return joined


def dense_weights(op: Any, graph: QuantGraph) -> tuple[Int64, Bools]:
    """Weights less their zero point as `(out, taps, in)` of one group, and which taps can be padding.

    Depthwise weights have one input channel per output.
    """
    tensor = graph.tensors[op.weights]
    weights = tensor.constant.astype(np.int64)
    zero = np.asarray(tensor.quantization.zero_point, dtype=np.int64)
    if isinstance(op, o.DepthwiseConv2D):
        kh, kw, out = weights.shape
        flat = np.moveaxis(weights - zero, 2, 0).reshape(out, kh * kw, 1)
        return flat, padded_taps(op, graph.tensors[op.inputs[0]].shape, (kh, kw)).reshape(-1)
    weights = weights - (zero.reshape(-1, *[1] * (weights.ndim - 1)) if zero.size > 1 else zero)
    if isinstance(op, o.FullyConnected):
        return weights[:, None, :], np.zeros(1, dtype=np.bool_)
    out, kh, kw, per_group = weights.shape
    taps = padded_taps(op, graph.tensors[op.inputs[0]].shape, (kh, kw)).reshape(-1)
    return weights.reshape(out, kh * kw, per_group), taps


def input_channels(op: Any, graph: QuantGraph) -> NDArray[np.intp]:
    """`(out, inputs per output)`: which input channels each output channel reads."""
    out = graph.tensors[op.output].shape[-1]
    channels = graph.tensors[op.inputs[0]].shape[-1]
    if isinstance(op, o.DepthwiseConv2D):
        return (np.arange(out) // op.multiplier)[:, None]
    groups = op.groups if isinstance(op, o.Conv2D) else 1
    per_group = channels // groups
    group = np.arange(out) // (out // groups)
    return group[:, None] * per_group + np.arange(per_group)[None, :]


def _linear(op: Any, graph: QuantGraph, x: Bounds) -> Bounds:
    weights, taps = dense_weights(op, graph)
    tensor, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    zero = tensor.quantization.tensor_zero_point
    reads = input_channels(op, graph)
    at_low = weights * (x.low - zero)[reads][:, None, :]
    at_high = weights * (x.high - zero)[reads][:, None, :]
    low, high = np.minimum(at_low, at_high), np.maximum(at_low, at_high)
    low[:, taps] = np.minimum(low[:, taps], 0)
    high[:, taps] = np.maximum(high[:, taps], 0)
    bias = graph.tensors[op.bias].constant.astype(np.int64) if op.bias else np.int64(0)
    sums = np.stack([low.sum(axis=(1, 2)) + bias, high.sum(axis=(1, 2)) + bias])
    multiplier, shift = (
        np.asarray(v, dtype=np.int64)
        for v in convolution_multipliers(tensor, graph.tensors[op.weights], y, y.shape[-1], graph.rounding)
    )
    lowest, highest = activation_range(op.activation, y)
    requantized = requantize(sums, multiplier, shift, graph.rounding) + y.quantization.tensor_zero_point
    clamped = np.clip(requantized, lowest, highest)
    # An accumulator (or its left shift) that may leave 32 bits wraps, and then nothing is known but the clamp.
    wraps = (np.abs(sums).max(axis=0) << np.maximum(shift, 0)) >= _INT32
    return Bounds(np.where(wraps, lowest, clamped[0]), np.where(wraps, highest, clamped[1]))


def _table(table: NDArray[Any], x: Bounds) -> Bounds:
    values = table.astype(np.int64)
    lows = [values[a + 128 : b + 129].min() for a, b in zip(x.low, x.high, strict=True)]
    highs = [values[a + 128 : b + 129].max() for a, b in zip(x.low, x.high, strict=True)]
    return Bounds(np.asarray(lows, dtype=np.int64), np.asarray(highs, dtype=np.int64))


def _corners(op: o.Op, graph: QuantGraph, bounds: dict[str, Bounds]) -> Bounds:
    """Runs the operator on images that hold each channel's lower or upper bound.

    Operands of element-wise operators take their ends in every combination; those of a Concat don't meet.
    """

    def operand(name: str, end: int) -> NDArray[Any]:
        tensor = graph.tensors[name]
        if tensor.is_constant:
            return tensor.constant
        values = (bounds[name].low, bounds[name].high)[end].astype(tensor.dtype.numpy)
        return np.broadcast_to(values, (1, *tensor.shape))

    count = len(op.inputs)
    ends = [(0,) * count, (1,) * count] if isinstance(op, o.Concat) else list(itertools.product((0, 1), repeat=count))
    context = Context(graph.tensors, graph.rounding)
    results = [execute(op, [operand(n, e) for n, e in zip(op.inputs, c, strict=True)], context)[0] for c in ends]
    flat = np.concatenate([r.astype(np.int64).reshape(-1, r.shape[-1]) for r in results])
    return Bounds(flat.min(axis=0), flat.max(axis=0))
