"""Conv2D 3x3 with stride 2 by Winograd's F(4x4, 2x2) over the image's four phases (codegen/kernels/tc_polyphase_dsp.h).

Along an axis even inputs meet taps 0 and 2, odd inputs tap 1; both parts share one output transform. The result is
36·y = 9·2^2·y everywhere, scaled and proved as in `winograd_dsp`.
"""

from __future__ import annotations

import numpy as np

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Conv2D
from tinycompress.ir.tensor import Array
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.code_dsp import polyphase_code
from tinycompress.kernels.conv2d_dsp import channels_of_layer, clamp_of, rounding_of
from tinycompress.kernels.packing import describe, folded_bias, has_plain_weights, output_range
from tinycompress.kernels.winograd_dsp import Scaling, scaling_for

G = np.array([(3, 0), (-3, -3), (-1, 1), (1, 2), (0, 6)])
"""Weight transform of two taps, rows scaled to integers."""

POSITIONS = (
    *((i, j) for j in range(4) for i in range(4)),
    *((4, j) for j in range(4)),
    *((i, 4) for i in range(4)),
    (4, 4),
)
"""(row, column) of the tile in the order in which the kernel computes them."""

LIFT = 5120
POWERS = range(2, 3)
MAX_CHANNELS = 32
_EVEN, _ODD = (0, 2), (1,)
_BIAS_POSITION = POSITIONS.index((1, 1))
_BIAS_SCALE = 36


def _scaling(op: Conv2D, graph: Graph, rounding: Rounding) -> Scaling | None:
    clamp = clamp_of(op, graph.tensors[op.output])
    return scaling_for(channels_of_layer(op, graph, rounding), clamp, rounding, POWERS)


def _supports(op: Conv2D, graph: Graph) -> bool:
    outputs, *kernel, inputs = graph.tensors[op.weights].shape
    return (
        tuple(kernel) == (3, 3)
        and op.stride == (2, 2)
        and op.dilation == (1, 1)
        and op.groups == 1
        and inputs % 4 == 0
        and inputs <= MAX_CHANNELS
        and outputs % 2 == 0
        and graph.tensors[op.output].shape[1] >= 8
        and has_plain_weights(op, graph)
        and _scaling(op, graph, rounding_of(graph)) is not None
    )


def _transformed(weights: Array) -> list[Array]:
    """Per position the weights `(outputs, phases · channels)` of the phases that reach it."""
    w = weights.astype(np.int64)
    phases = []
    for rows in (_EVEN, _ODD):
        for columns in (_EVEN, _ODD):
            taps = w[:, rows][:, :, columns]
            phases.append(np.einsum("ai,bj,oijc->oabc", G[:, : len(rows)], G[:, : len(columns)], taps))
    positions = []
    for i, j in POSITIONS:
        present = [p for p in range(4) if not (i == 4 and p >= 2) and not (j == 4 and p % 2)]
        positions.append(np.concatenate([phases[p][:, i, j] for p in present], axis=1))
    return positions


def _position_words(u: Array, initial: Array) -> Array:
    """One position's part of the stream, `(pairs, words)`: initial sums, then weights in the core's order."""
    pairs = len(u) // 2
    starts = np.repeat(initial.reshape(pairs, 2), 2, axis=1)
    words = gemm.lane_words(u).reshape(pairs, 2, -1, 2).swapaxes(1, 2).reshape(pairs, -1)
    return np.concatenate([starts, words], axis=1)


def _pack(op: Conv2D, graph: Graph, rounding: Rounding) -> PackedKernel:
    x, weights, y = graph.tensors[op.inputs[0]], graph.tensors[op.weights], graph.tensors[op.output]
    scaling = _scaling(op, graph, rounding)
    if scaling is None:
        raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
    # The transform reads x + 128: the folded bias is for x.
    sums = weights.constant.astype(np.int64).sum(axis=(1, 2, 3))
    bias = _BIAS_SCALE * (folded_bias(op, graph).astype(np.int64) - 128 * sums)
    parts = []
    for place, u in enumerate(_transformed(weights.constant)):
        initial = -LIFT * u[:, np.arange(u.shape[1]) % 4 < 2].sum(axis=1)
        parts.append(_position_words(u, initial + bias if place == _BIAS_POSITION else initial))
    constants = np.stack([scaling.multiplier, scaling.addends[0], scaling.mask, 0 * scaling.mask], axis=1)
    stream = gemm.to_words(np.concatenate([*parts, constants.reshape(len(parts[0]), 8)], axis=1)).ravel()
    comment = describe(weights, "weights, bias, multipliers", "transformed to 25 positions, as 16-bit lanes")
    return PackedKernel(
        "tc_conv2d_polyphase_s8_dsp_params",
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
        (PackedArray("stream", stream, comment),),
    )


def _instructions(op: Conv2D, graph: Graph) -> int:
    height, width, outputs = graph.tensors[op.output].shape
    inputs = graph.tensors[op.weights].shape[3]
    clamp = clamp_of(op, graph.tensors[op.output])
    is_signed = rounding_of(graph) is Rounding.DOUBLE and clamp.low < clamp.zero_point
    transform = inputs // 4 * 2900 + 600
    pair = 25 * 9 + 81 * 2.5 * inputs + 2 * (345 + 64 * is_signed) + 110
    return round(-(-height // 4) * -(-width // 8) * (transform + outputs // 2 * pair))


def _code(op: Conv2D, graph: Graph) -> Code:
    scaling = _scaling(op, graph, rounding_of(graph))
    shift, is_signed = (scaling.shift, scaling.is_signed) if scaling else (0, False)
    return polyphase_code(graph.tensors[op.weights].shape[3], shift, is_signed)


POLYPHASE = (
    KernelVariant(
        name="conv2d_polyphase_s8_dsp",
        header="tc_polyphase_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=_supports,
        scratch_bytes=lambda op, graph, rows: 324 * graph.tensors[op.weights].shape[3] + 1624,
        rows_per_step=lambda op, graph: 4,
        code=_code,
        instructions=_instructions,
        needs_zero_row=True,
    ),
)
