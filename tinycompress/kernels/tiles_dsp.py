"""What the exact Winograd convolutions have in common: scaling, proof and packing (codegen/kernels/tc_tiles_dsp.h).

A' ((G g G') · (B d B')) A with integer-scaled G is 9·2^k times the convolution, k by the place in the tile.
Requantization takes that value as it is: multiplier Q·8/9·2^(−d), shift `shift` + k. The rounded multiplier is proved
at every threshold of every channel and k; layers where a proof fails use another kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinycompress.ir.fixedpoint import requantize
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Conv2D
from tinycompress.ir.tensor import Array
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.conv2d_dsp import channels_of_layer, clamp_of, rounding_of
from tinycompress.kernels.packing import describe, folded_bias, has_plain_weights, output_range
from tinycompress.kernels.requantize_dsp import Channels, Clamp, Int64, thresholds

SHIFTS = range(6, 13)
_BIAS_SCALE = 36
"""What the bias is multiplied by at position (1, 1), from where A spreads it over the tile as 9·2^k."""
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


def scaling_for(channels: Channels, clamp: Clamp, rounding: Rounding, powers: range) -> Scaling | None:
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
    r = ((z * scaling.multiplier[:, None]) >> 32) + scaling.addends[k - 2][:, None]
    r -= np.where(z < 0, scaling.mask[:, None] << (k - 2), 0)
    y: Int64 = np.clip(r >> (scaling.shift + k), clamp.low, clamp.high)
    return y


@dataclass(frozen=True)
class Cost:
    """Instructions, fitted on counted layers.

    Two tiles' input transform: `tile`, and `group` per 4 channels. A pair of output channels: `pair`, `products`
    positions counted over all phases, and `output` (with `sign` where negative ties are told apart) per channel.
    """

    tile: int
    group: int
    pair: int
    products: int
    output: int
    sign: int


@dataclass(frozen=True)
class Tiling:
    """One exact Winograd convolution with a 3x3 kernel, as its header in codegen/kernels describes it.

    powers        the k of Z = 9·2^k·y, from 2 on
    transformed   OHWI weights as one array `(outputs, K)` per position, in the order of the stream
    centre        index of the position (1, 1), whose initial sum takes the bias
    scratch       (bytes per input channel, bytes besides)
    code          machine code for (input channels, shift, is_signed)
    """

    name: str
    stride: int
    max_channels: int
    powers: range
    lift: int
    transformed: Callable[[Array], Sequence[Array]]
    centre: int
    scratch: tuple[int, int]
    cost: Cost
    code: Callable[[int, int, bool], Code]

    def scaling(self, op: Conv2D, graph: Graph, rounding: Rounding) -> Scaling | None:
        """The layer's exact scaling, None where it has none."""
        clamp = clamp_of(op, graph.tensors[op.output])
        return scaling_for(channels_of_layer(op, graph, rounding), clamp, rounding, self.powers)

    def supports(self, op: Conv2D, graph: Graph) -> bool:
        """3x3 layers of this stride with even channels and rows of two tiles, whose scaling can be proved."""
        outputs, *kernel, inputs = graph.tensors[op.weights].shape
        return (
            tuple(kernel) == (3, 3)
            and op.stride == (self.stride, self.stride)
            and op.dilation == (1, 1)
            and op.groups == 1
            and inputs % 4 == 0
            and inputs <= self.max_channels
            and outputs % 2 == 0
            and graph.tensors[op.output].shape[1] >= 8
            and has_plain_weights(op, graph)
            and self.scaling(op, graph, rounding_of(graph)) is not None
        )

    def pack(self, op: Conv2D, graph: Graph, rounding: Rounding) -> PackedKernel:
        """Per pair of output channels all positions, then constants."""
        x, weights, y = graph.tensors[op.inputs[0]], graph.tensors[op.weights], graph.tensors[op.output]
        scaling = self.scaling(op, graph, rounding)
        if scaling is None:
            raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
        positions = self.transformed(weights.constant)
        # The transform reads x + 128: the folded bias is for x.
        sums = weights.constant.astype(np.int64).sum(axis=(1, 2, 3))
        initial = [-self.lift * u[:, np.arange(u.shape[1]) % 4 < 2].sum(axis=1) for u in positions]
        initial[self.centre] += _BIAS_SCALE * (folded_bias(op, graph).astype(np.int64) - 128 * sums)
        parts = [_position_words(u, start) for u, start in zip(positions, initial, strict=True)]
        columns = [scaling.multiplier, *scaling.addends[::-1], scaling.mask, 0 * scaling.mask]
        constants = np.stack(columns, axis=1).reshape(len(parts[0]), -1)
        stream = gemm.to_words(np.concatenate([*parts, constants], axis=1)).ravel()
        layout = f"transformed to {len(positions)} positions, as 16-bit lanes"
        return PackedKernel(
            "tc_conv2d_tiles_s8_dsp_params",
            (
                ("input_width", x.shape[1]),
                ("input_channels", weights.shape[3]),
                ("output_width", y.shape[1]),
                ("output_channels", weights.shape[0]),
                ("pad_left", op.padding[1]),
                ("input_zero_point", x.quantization.tensor_zero_point),
                *output_range(op.activation, y),
                ("shift", scaling.shift),
                ("is_signed", int(scaling.is_signed)),
            ),
            (PackedArray("stream", stream, describe(weights, "weights, bias, multipliers", layout)),),
        )

    def instructions(self, op: Conv2D, graph: Graph) -> int:
        """Input transforms of all pairs of tiles, then sums and output transforms of all pairs of channels."""
        height, width, outputs = graph.tensors[op.output].shape
        inputs = graph.tensors[op.weights].shape[3]
        clamp = clamp_of(op, graph.tensors[op.output])
        is_signed = rounding_of(graph) is Rounding.DOUBLE and clamp.low < clamp.zero_point
        transform = inputs // 4 * self.cost.group + self.cost.tile
        pair = self.cost.pair + 2.5 * self.cost.products * inputs + 2 * (self.cost.output + self.cost.sign * is_signed)
        return round(-(-height // 4) * -(-width // 8) * (transform + outputs // 2 * pair))

    def layer_code(self, op: Conv2D, graph: Graph) -> Code:
        """The layer's own function and the cores of its channels and shift."""
        scaling = self.scaling(op, graph, rounding_of(graph))
        shift, is_signed = (scaling.shift, scaling.is_signed) if scaling else (0, False)
        return self.code(graph.tensors[op.weights].shape[3], shift, is_signed)

    def variant(self) -> KernelVariant:
        """The catalogue's entry."""
        per_channel, besides = self.scratch
        return KernelVariant(
            name=f"conv2d_{self.name}_s8_dsp",
            header=f"tc_{self.name}_dsp.h",
            tier="dsp",
            pack=self.pack,
            supports=self.supports,
            scratch_bytes=lambda op, graph, rows: per_channel * graph.tensors[op.weights].shape[3] + besides,
            rows_per_step=lambda op, graph: 4,
            code=self.layer_code,
            instructions=self.instructions,
            needs_zero_row=True,
        )


def _position_words(u: Array, initial: Array) -> Array:
    """One position's part of the stream, `(pairs, words)`: initial sums, then weights in the core's order."""
    pairs = len(u) // 2
    starts = np.repeat(initial.reshape(pairs, 2), 2, axis=1)
    words = gemm.lane_words(u).reshape(pairs, 2, -1, 2).swapaxes(1, 2).reshape(pairs, -1)
    return np.concatenate([starts, words], axis=1)
