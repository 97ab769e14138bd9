"""Conv2D 3x3 with stride 1 by Winograd's F(4x4, 3x3) in exact integers (codegen/kernels/tc_winograd_dsp.h).

A' ((G g G') · (B d B')) A with integer-scaled G is 9·2^k times the convolution, k by the place in the tile.
Requantization takes that value as it is: multiplier Q·8/9·2^(−d), shift `shift` + k. The rounded multiplier is proved
at every threshold of every channel and k; layers where a proof fails use another kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tinycompress.ir.fixedpoint import requantize
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Conv2D
from tinycompress.ir.tensor import Array
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.code_dsp import winograd_code
from tinycompress.kernels.conv2d_dsp import channels_of_layer, clamp_of, rounding_of
from tinycompress.kernels.packing import describe, folded_bias, has_plain_weights, output_range
from tinycompress.kernels.requantize_dsp import Channels, Clamp, Int64, thresholds

G = np.array([(6, 0, 0), (-1, -1, -1), (-1, 1, -1), (1, 2, 4), (1, -2, 4), (0, 0, 6)])
"""Weight transform, rows scaled to integers; with B and A of F(4x4, 3x3) the result carries 576 = 9·2^6 at (0, 0)."""

LIFT = 13312
POWERS = range(2, 7)
SHIFTS = range(6, 13)
MAX_CHANNELS = 64
_BIAS_SCALE = 36
_MAX_LOST_BITS = 3
_ROUNDINGS = (0, 1, -1, 2)
_LIMIT = 2**31


@dataclass(frozen=True)
class Scaling:
    """`shift` of the kernel; per channel multiplier, addends for k = 2, 3 … (rows) and sign mask (0 when unsigned)."""

    shift: int
    is_signed: bool
    multiplier: Int64
    addends: Int64
    mask: Int64


def scaling_for(channels: Channels, clamp: Clamp, rounding: Rounding, powers: range = POWERS) -> Scaling | None:
    """The exact scaling of a layer's outputs for values 9·2^k·y with every k of `powers`, or None."""
    right = -channels.shift
    shift = int(right.min()) + 2
    lost = right + 2 - shift
    reach = np.maximum(channels.high + 1, -channels.low)
    if (channels.multiplier == 0).any() or shift not in SHIFTS or (9 * 2 ** powers[-1] * reach >= _LIMIT).any():
        return None
    if lost.max() > _MAX_LOST_BITS:
        return None
    is_double = rounding is Rounding.DOUBLE
    ties = [np.int64(1) << (k + 1 - lost) if is_double else 0 * lost for k in powers]
    base = [(1 << (shift + k - 1)) + clamp.zero_point * (1 << (shift + k)) for k in powers]
    is_signed = is_double and clamp.low < clamp.zero_point
    scaling = Scaling(
        shift=shift,
        is_signed=is_signed,
        multiplier=(8 * channels.multiplier) // (9 * (np.int64(1) << lost)),
        addends=np.stack([t + b for t, b in zip(ties, base, strict=True)]),
        mask=np.int64(is_signed) * (np.int64(1) << (4 - lost)),
    )
    return _proved(scaling, channels, clamp, rounding, powers)


def _proved(scaling: Scaling, channels: Channels, clamp: Clamp, rounding: Rounding, powers: range) -> Scaling | None:
    """The scaling with each channel's multiplier rounded so that every threshold is right; None when none is."""
    at = thresholds(channels, clamp, rounding, np.arange(channels.count))
    low, high = channels.low[:, None], channels.high[:, None]
    sums = np.clip(np.concatenate([at, at - 1, low, high], axis=1), low, high)
    specified = requantize(sums, channels.multiplier[:, None], channels.shift[:, None], rounding) + clamp.zero_point
    specified = np.clip(specified, clamp.low, clamp.high)
    open_ = np.ones(channels.count, bool)
    multiplier = scaling.multiplier.copy()
    for candidate in _ROUNDINGS:
        tried = replace(scaling, multiplier=scaling.multiplier + candidate)
        right = np.array([(_computed(tried, sums, k, clamp) == specified).all(axis=1) for k in powers]).all(axis=0)
        multiplier[open_ & right] = tried.multiplier[open_ & right]
        open_ &= ~right
        if not open_.any():
            return replace(scaling, multiplier=multiplier)
    return None


def _computed(scaling: Scaling, sums: Int64, k: int, clamp: Clamp) -> Int64:
    """What the kernel makes of accumulators `(channels, n)` at a place of the tile whose power of two is k."""
    z = sums * (9 * 2**k)
    r = ((z * scaling.multiplier[:, None]) >> 32) + scaling.addends[k - POWERS[0]][:, None]
    r -= np.where(z < 0, scaling.mask[:, None] << (k - POWERS[0]), 0)
    y: Int64 = np.clip(r >> (scaling.shift + k), clamp.low, clamp.high)
    return y


def _scaling(op: Conv2D, graph: Graph, rounding: Rounding) -> Scaling | None:
    return scaling_for(channels_of_layer(op, graph, rounding), clamp_of(op, graph.tensors[op.output]), rounding)


def _supports(op: Conv2D, graph: Graph) -> bool:
    outputs, *kernel, inputs = graph.tensors[op.weights].shape
    return (
        tuple(kernel) == (3, 3)
        and op.stride == (1, 1)
        and op.dilation == (1, 1)
        and op.groups == 1
        and inputs % 4 == 0
        and inputs <= MAX_CHANNELS
        and outputs % 2 == 0
        and graph.tensors[op.output].shape[1] >= 8
        and has_plain_weights(op, graph)
        and _scaling(op, graph, rounding_of(graph)) is not None
    )


def _transformed(weights: Array) -> Array:
    """OHWI weights as `(outputs, 36, channels)`, positions column by column of the tile."""
    u = np.einsum("ai,bj,oijc->obac", G, G, weights.astype(np.int64))
    positions: Array = u.reshape(len(weights), 36, weights.shape[3])
    return positions


def _pack(op: Conv2D, graph: Graph, rounding: Rounding) -> PackedKernel:
    x, weights, y = graph.tensors[op.inputs[0]], graph.tensors[op.weights], graph.tensors[op.output]
    scaling = _scaling(op, graph, rounding)
    if scaling is None:
        raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
    outputs, inputs = weights.shape[0], weights.shape[3]
    u = _transformed(weights.constant)
    low_lanes = u[:, :, np.arange(inputs) % 4 < 2].sum(axis=2)
    initial = -LIFT * low_lanes
    # The transform reads x + 128: the folded bias is for x.
    sums = weights.constant.astype(np.int64).sum(axis=(1, 2, 3))
    initial[:, 7] += _BIAS_SCALE * (folded_bias(op, graph).astype(np.int64) - 128 * sums)
    pairs = outputs // 2
    starts = np.repeat(initial.reshape(pairs, 2, 36).swapaxes(1, 2), 2, axis=2)
    words = gemm.lane_words(u).reshape(pairs, 2, 36, inputs // 4, 2)
    body = words.transpose(0, 2, 3, 1, 4).reshape(pairs, 36, inputs)
    constants = np.zeros((outputs, 8), np.int64)
    constants[:, 0] = scaling.multiplier
    constants[:, 1:6] = scaling.addends[::-1].T
    constants[:, 6] = scaling.mask
    positions = np.concatenate([starts, body], axis=2).reshape(pairs, -1)
    stream = gemm.to_words(np.concatenate([positions, constants.reshape(pairs, 16)], axis=1)).ravel()
    comment = describe(weights, "weights, bias, multipliers", "transformed to 36 positions, as 16-bit lanes")
    return PackedKernel(
        "tc_conv2d_winograd_s8_dsp_params",
        (
            ("input_width", x.shape[1]),
            ("input_channels", inputs),
            ("output_width", y.shape[1]),
            ("output_channels", outputs),
            ("pad_left", op.padding[1]),
            ("input_zero_point", x.quantization.tensor_zero_point),
            *output_range(op.activation, y),
            ("shift", scaling.shift),
            ("is_signed", int(scaling.is_signed)),
        ),
        (PackedArray("stream", stream, comment),),
    )


def _instructions(op: Conv2D, graph: Graph) -> int:
    height, width, outputs = graph.tensors[op.output].shape
    inputs = graph.tensors[op.weights].shape[3]
    clamp = clamp_of(op, graph.tensors[op.output])
    is_signed = rounding_of(graph) is Rounding.DOUBLE and clamp.low < clamp.zero_point
    transform = inputs // 4 * 1230 + 300
    pair = 36 * (5.3 + 2.5 * inputs) + 2 * (400 + 68 * is_signed) + 50
    return round(-(-height // 4) * -(-width // 8) * (transform + outputs // 2 * pair))


def _code(op: Conv2D, graph: Graph) -> Code:
    scaling = _scaling(op, graph, rounding_of(graph))
    shift, is_signed = (scaling.shift, scaling.is_signed) if scaling else (0, False)
    return winograd_code(graph.tensors[op.weights].shape[3], shift, is_signed)


WINOGRAD = (
    KernelVariant(
        name="conv2d_winograd_s8_dsp",
        header="tc_winograd_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=_supports,
        scratch_bytes=lambda op, graph, rows: 144 * graph.tensors[op.weights].shape[3] + 1056,
        rows_per_step=lambda op, graph: 4,
        code=_code,
        instructions=_instructions,
        needs_zero_row=True,
    ),
)
