"""Depthwise convolution of int16 activations on Armv7E-M: 2 channels of 2 pixels at a time, of any window."""

from __future__ import annotations

import math

import numpy as np

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import DepthwiseConv2D
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedKernel
from tinycompress.kernels.conv2d_dsp import rounding_of
from tinycompress.kernels.conv2d_window import rows_at_once
from tinycompress.kernels.depthwise_dsp import lane_pair
from tinycompress.kernels.gemm_dsp import Depth, to_words
from tinycompress.kernels.int16 import supports_windowed
from tinycompress.kernels.int16_dsp import FORM_SUMS, Sums, pack_sums, sums_of

MAX_TAPS = 50
"""Their places are on the stack, 4 bytes each."""

_MAX_STEPS = 9
"""Taps of a round; a 3x3 kernel's are one."""


def _taps(op: DepthwiseConv2D, graph: Graph) -> int:
    height, width, _ = graph.tensors[op.weights].shape
    return height * width


def _supports(op: DepthwiseConv2D, graph: Graph) -> bool:
    """What the portable kernel takes, with one output a channel, at least 2 channels and at most 50 taps."""
    has_channels = graph.tensors[op.output].shape[2] >= 2
    return op.multiplier == 1 and has_channels and _taps(op, graph) <= MAX_TAPS and supports_windowed(op, graph)


def _depth_for(taps: int) -> Depth:
    """Rounds over at least `taps` taps: as few padded ones as possible, then as few rounds."""
    options = (Depth(steps, -(-taps // steps)) for steps in range(1, _MAX_STEPS + 1))
    return min(options, key=lambda d: 8 * d.groups + 2 * d.chunks)


def _sums(op: DepthwiseConv2D, graph: Graph, rounding: Rounding) -> Sums:
    """One segment, whatever the weights: 50 taps of −128 fit."""
    weights = graph.tensors[op.weights].constant
    return sums_of(op, graph, rounding, weights.reshape(-1, weights.shape[2]).T, 1, _depth_for)


def _pack(op: DepthwiseConv2D, graph: Graph, rounding: Rounding) -> PackedKernel:
    weights, sums = graph.tensors[op.weights].constant, _sums(op, graph, rounding)
    channels = weights.shape[2]
    taps = np.zeros((sums.groups, channels), np.int64)
    taps[: _taps(op, graph)] = weights.reshape(-1, channels)
    blocks = []
    for c in (min(c, channels - 2) for c in range(0, channels, 2)):
        blocks += [sums.bias[c : c + 2], lane_pair(taps[:, c], taps[:, c + 1]), sums.multiplier[c : c + 2]]
    stream = to_words(np.concatenate(blocks))
    return pack_sums(op, graph, rounding, sums, stream, "as 16-bit lanes, 2 channels a block")


def _beside(op: DepthwiseConv2D, graph: Graph) -> int:
    """Pairs of output pixels beside each other whose 3x3 windows lie within the image."""
    x, y = graph.tensors[op.inputs[0]].shape, graph.tensors[op.output].shape
    if graph.tensors[op.weights].shape[:2] != (3, 3) or op.dilation[1] > 1 or op.stride[1] > 2:
        return 0
    inside = [0, 0]
    for axis in (0, 1):
        starts = (i * op.stride[axis] - op.padding[axis] for i in range(y[axis]))
        inside[axis] = sum(start >= 0 and start + 2 * op.dilation[axis] < x[axis] for start in starts)
    return inside[0] * (inside[1] // 2)


def _instructions(op: DepthwiseConv2D, graph: Graph) -> int:
    """Cores as counted; where taps lie, and what becomes of wider sums, fitted."""
    height, width, channels = graph.tensors[op.output].shape
    sums = _sums(op, graph, rounding_of(graph))
    beside = _beside(op, graph) if sums.form != FORM_SUMS else 0
    output = 180 if sums.form == FORM_SUMS else 22 + 24 * sums.is_clamped
    pairs, blocks = math.ceil(height * width / 2) - beside, math.ceil(channels / 2)
    anywhere = 60 + 14 * sums.groups + blocks * (output + 8 * sums.groups + 2 * sums.depth.chunks)
    return pairs * anywhere + beside * (70 + blocks * (output + 56 + 3 * op.stride[1]))


def _code(op: DepthwiseConv2D, graph: Graph) -> Code:
    sums, is_3x3 = _sums(op, graph, rounding_of(graph)), _beside(op, graph) > 0
    shared = ((f"depthwise16_{sums.form}_{sums.depth.steps}", 90 + 32 * sums.depth.steps),)
    return Code(600, (*shared, *(((f"depthwise16_beside_{sums.form}_{op.stride[1]}", 310),) if is_3x3 else ())))


DEPTHWISE = (
    KernelVariant(
        name="depthwise_s16_dsp",
        header="tc_depthwise_s16_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=_supports,
        scratch_bytes=lambda op, graph, rows: math.ceil(graph.tensors[op.output].shape[2] / 4) * 8,
        rows_at_once=rows_at_once,
        code=_code,
        instructions=_instructions,
    ),
)
