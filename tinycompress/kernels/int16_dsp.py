"""Sums of int16 activations and int8 weights on Armv7E-M: the bits they need, their requantization, the streams.

SMLAD adds two products modulo 2^32. So where the sum of an output's products and its bias never leaves 32 bits,
whatever the input, one accumulator is exact; `fits` decides it here, per output channel and from the weights
themselves, for every kernel. Where it does not hold the window is cut into segments for which it does, and their sums
are added as 64 bits. Layers with an int32 bias wrap at 32 bits anyway: they need neither.

A 64-bit sum is requantized by a multiplier Q of 16 bits, y = floor((x·Q + 2^(t−1)) / 2^t) with t = 15 − shift. Where x
fits 32 bits and 16 ≤ t ≤ 32 that is floor(x·M / 2^32 + 1/2) with M = Q·2^(32−t), one SMMULR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.ir.fixedpoint import activation_range, convolution_multipliers, reduced_multiplier
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.quant_params import has_wide_sums
from tinycompress.ir.tensor import Array
from tinycompress.kernels.catalogue import PackedArray, PackedKernel
from tinycompress.kernels.gemm_dsp import Depth, to_words
from tinycompress.kernels.int16 import pack_windowed
from tinycompress.kernels.packing import bias_values, describe
from tinycompress.kernels.windowed import Windowed

FORM_SIGNED = 0
FORM_RELU = 1
FORM_SUMS = 2

_LIMIT = 2**31
_SHIFTS = range(-17, 0)
"""Shifts that SMMULR takes: 16 ≤ 15 − shift ≤ 32."""


@dataclass(frozen=True)
class Sums:
    """How a layer's sums are made: in `segments` of 32 bits each, walked as `depth` says, requantized as `form` says.

    `bias` and `multiplier` are what the stream carries per output channel: zeros with FORM_SUMS. `is_clamped`: outputs
    are narrowed afterwards, by an activation that the form doesn't make.
    """

    form: int
    is_clamped: bool
    segments: int
    depth: Depth
    bias: NDArray[np.int64]
    multiplier: NDArray[np.int64]

    @property
    def groups(self) -> int:
        """Groups of values that the core takes for each output, padding included."""
        return self.segments * self.depth.groups


def fits(rows: Array, bias: Any = 0) -> bool:
    """Whether Σ w·x + bias stays within 32 bits for each row of weights `(outputs, …, K)` and every int16 input."""
    weights = rows.astype(np.int64)
    positive, negative = (np.where(s * weights > 0, s * weights, 0).sum(axis=-1) for s in (1, -1))
    high = 32767 * positive + 32768 * negative + bias
    low = -32768 * positive - 32767 * negative + bias
    return bool((high < _LIMIT).all() and (low >= -_LIMIT).all())


def sums_of(
    op: Windowed, graph: Graph, rounding: Rounding, rows: Array, group: int, depth_for: Callable[[int], Depth]
) -> Sums:
    """The cheapest exact way for weights `(outputs, K)` in the order in which they are summed.

    `group` values are taken at a time; `depth_for` is the core's walk over at least so many groups.
    """
    x, weights, y = graph.tensors[op.inputs[0]], graph.tensors[op.weights], graph.tensors[op.output]
    bias, zeros = bias_values(op, graph, len(rows)), np.zeros(len(rows), np.int64)
    groups = -(-rows.shape[1] // group)
    if not has_wide_sums(op, graph.tensors):
        return Sums(FORM_SUMS, False, 1, depth_for(groups), zeros, zeros)
    multipliers, shifts = (np.array(v) for v in convolution_multipliers(x, weights, y, len(rows), rounding))
    is_scaled = (multipliers == 0) | np.isin(shifts, _SHIFTS)
    if is_scaled.all() and fits(rows, bias):
        multiplier = reduced_multiplier(multipliers) << np.where(multipliers == 0, 0, shifts + 17)
        low, high = activation_range(op.activation, y)
        form = FORM_RELU if low == 0 else FORM_SIGNED
        is_clamped = low not in (-32768, 0) or high < 32767
        return Sums(form, is_clamped, 1, depth_for(groups), bias, multiplier)
    depths = {n: depth_for(-(-groups // n)) for n in range(1, groups + 1)}
    segments = next(n for n, depth in depths.items() if fits(segmented(rows, n, depth.groups * group)))
    return Sums(FORM_SUMS, False, segments, depths[segments], zeros, zeros)


def segmented(rows: Array, segments: int, length: int) -> Array:
    """`(outputs, K)` as `(outputs, segments, length)`, padded with zeros."""
    padded = np.pad(rows, ((0, 0), (0, segments * length - rows.shape[1])))
    return padded.reshape(len(rows), segments, length)


def stream_of(sums: Sums, rows: Array, group: int, outputs: int, *, is_lanes: bool) -> NDArray[np.int32]:
    """The stream as int32 words, for cores of `outputs` channels that take `group` values of each at a time.

    Of each block of channels and each segment: 4 biases, the weights of group after group, a multiplier for each
    channel.
    """
    blocks, groups = -(-len(rows) // outputs), sums.depth.groups

    def of_blocks(values: Array) -> Array:
        padded = np.pad(values, ((0, outputs * blocks - len(values)), *[(0, 0)] * (values.ndim - 1)))
        return padded.reshape(blocks, outputs, *values.shape[1:])

    values = segmented(rows, sums.segments, groups * group).reshape(len(rows), sums.segments, groups, -1, 4)
    words = values.astype(np.int16) if is_lanes else values[..., [0, 2, 1, 3]].astype(np.int8)
    body = of_blocks(np.ascontiguousarray(words).view(np.int32).reshape(len(rows), sums.segments, groups, -1))
    body = np.moveaxis(body, 1, 3).reshape(blocks, sums.segments, -1)

    def each(values: NDArray[np.int64], repeat: int) -> Array:
        return np.repeat(to_words(np.repeat(of_blocks(values), repeat, axis=1))[:, None], sums.segments, axis=1)

    return np.concatenate([each(sums.bias, 4 // outputs), body, each(sums.multiplier, 1)], axis=2).ravel()


def pack_sums(
    op: Windowed,
    graph: Graph,
    rounding: Rounding,
    sums: Sums,
    stream: NDArray[np.int32],
    layout: str,
    *,
    is_dense: bool = False,
) -> PackedKernel:
    """The parameters: those of the portable kernel, how sums are made, and `stream` in place of its weights."""
    portable = pack_windowed(op, graph, rounding)
    name = describe(graph.tensors[op.weights], "weights, bias, multipliers", layout)
    constants = tuple(a for a in portable.arrays if a.field != "weights") if sums.form == FORM_SUMS else ()
    return PackedKernel(
        "tc_windowed_s16_dsp_params",
        (
            *portable.scalars,
            ("form", sums.form),
            ("steps", sums.depth.steps),
            ("chunks", sums.depth.chunks),
            ("segments", sums.segments),
            ("is_dense", int(is_dense)),
        ),
        (PackedArray("stream", stream, name), *constants),
    )


def layout_of(is_lanes: bool, outputs: int) -> str:
    """How a stream holds its weights, for its comment."""
    return f"as {'16-bit lanes' if is_lanes else 'bytes'}, {outputs} outputs a block"
