"""FullyConnected on Armv7E-M: 4 outputs x 8 inputs at a time, weights as 16-bit lanes or two outputs to a lane."""

from __future__ import annotations

import numpy as np

from tinycompress.ir.fixedpoint import convolution_multipliers
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import FullyConnected
from tinycompress.ir.shapes import row_elements
from tinycompress.ir.tensor import Array
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.code_dsp import fully_connected_code
from tinycompress.kernels.conv2d_dsp import clamp_of, rounding_of
from tinycompress.kernels.packing import describe, folded_bias, has_plain_weights, output_range
from tinycompress.kernels.requantize_dsp import (
    Channels,
    Requantization,
    choose_requantization,
    form_instructions,
    ties_form,
)

MAX_UNROLL = 16
_PACKED_SUM_LIMIT = 1 << 23


def depth_for(inputs: int) -> tuple[int, int]:
    """(groups of 8 inputs per round, rounds): as few padded groups as possible, then as few rounds."""
    groups = -(-inputs // 8)
    return min(((u, -(-groups // u)) for u in range(1, MAX_UNROLL + 1)), key=lambda d: d[1] * (21 * d[0] + 3))


def _channels(op: FullyConnected, graph: Graph, rounding: Rounding) -> Channels:
    x, weights, y = graph.tensors[op.inputs[0]], graph.tensors[op.weights], graph.tensors[op.output]
    multipliers = convolution_multipliers(x, weights, y, weights.shape[0], rounding)
    return gemm.channels_of(weights.constant, folded_bias(op, graph), *multipliers)


def _wide_form(op: FullyConnected, graph: Graph, rounding: Rounding) -> Requantization | None:
    return choose_requantization(_channels(op, graph, rounding), clamp_of(op, graph.tensors[op.output]), rounding)


def _supports_wide(op: FullyConnected, graph: Graph) -> bool:
    return has_plain_weights(op, graph) and _wide_form(op, graph, rounding_of(graph)) is not None


def _paired(values: Array, fill: int = 0) -> Array:
    """Per-output values padded to a multiple of 4 outputs."""
    padding = [(0, -len(values) % 4), *[(0, 0)] * (values.ndim - 1)]
    return np.pad(values.astype(np.int64), padding, constant_values=fill)


def _supports_packed(op: FullyConnected, graph: Graph) -> bool:
    """Sums of the upper output stay below 2^23, lanes 256·a + b within 16 bits."""
    if not has_plain_weights(op, graph) or rounding_of(graph) is not Rounding.DOUBLE:
        return False
    channels = _channels(op, graph, Rounding.DOUBLE)
    weights = _paired(graph.tensors[op.weights].constant)
    lanes = 256 * weights[0::2] + weights[1::2]
    return bool(
        ties_form(channels) is not None
        and (channels.multiplier != 0).all()
        and (lanes >= -32768).all()
        and (channels.high < _PACKED_SUM_LIMIT - 1).all()
        and (channels.low > -_PACKED_SUM_LIMIT + 1).all()
    )


def _pack(op: FullyConnected, graph: Graph, rounding: Rounding, is_packed: bool) -> PackedKernel:
    x, weights = graph.tensors[op.inputs[0]], graph.tensors[op.weights]
    channels = _channels(op, graph, rounding)
    requantization = ties_form(channels) if is_packed else _wide_form(op, graph, rounding)
    if requantization is None:
        raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
    outputs, inputs = weights.shape
    unroll, rounds = depth_for(inputs)
    scaled = weights.constant.astype(np.int64) * requantization.weight_scale[:, None]
    values = _paired(np.pad(scaled, ((0, 0), (0, 8 * unroll * rounds - inputs))))
    bias = _paired(folded_bias(op, graph) * requantization.weight_scale)
    if is_packed:
        words = gemm.lane_words(256 * values[0::2] + values[1::2])
        body: Array = words.reshape(len(values) // 4, 2, -1).swapaxes(1, 2)
        bias[0::2] = 256 * bias[0::2] + bias[1::2]
    else:
        body = gemm.lane_words(values).reshape(len(values) // 4, 4, -1, 4).swapaxes(1, 2)
    quads = (-1, 4)
    constants = [_paired(requantization.multiplier).reshape(quads), _paired(requantization.addend).reshape(quads)]
    parts = [bias.reshape(quads), body.reshape(len(values) // 4, -1), *constants]
    layout = "two outputs to a 16-bit lane" if is_packed else "as 16-bit lanes"
    return PackedKernel(
        "tc_fully_connected_s8_dsp_params",
        (
            ("vectors", row_elements(x.shape) // inputs),
            ("inputs", inputs),
            ("outputs", outputs),
            *output_range(op.activation, graph.tensors[op.output]),
            ("form", requantization.form),
            ("unroll", unroll),
            ("rounds", rounds),
        ),
        (
            PackedArray(
                "stream",
                gemm.to_words(np.concatenate(parts, axis=1)).ravel(),
                describe(weights, "weights, bias, multipliers", layout),
            ),
        ),
    )


def _pack_wide(op: FullyConnected, graph: Graph, rounding: Rounding) -> PackedKernel:
    return _pack(op, graph, rounding, is_packed=False)


def _pack_packed(op: FullyConnected, graph: Graph, rounding: Rounding) -> PackedKernel:
    return _pack(op, graph, rounding, is_packed=True)


def _scratch(op: FullyConnected, graph: Graph, rows: int) -> int:
    unroll, rounds = depth_for(graph.tensors[op.weights].shape[1])
    return 16 * unroll * rounds + 8


def _count(op: FullyConnected, graph: Graph, group: int, block: int) -> int:
    outputs, inputs = graph.tensors[op.weights].shape
    unroll, rounds = depth_for(inputs)
    vectors = graph.tensors[op.inputs[0]].elements // inputs
    core = -(-outputs // 4) * (rounds * (group * unroll + 3) + block)
    return vectors * (core + 5 * unroll * rounds * 2 + 60)


def _wide_instructions(op: FullyConnected, graph: Graph) -> int:
    form = _wide_form(op, graph, rounding_of(graph))
    per_output = form_instructions(form.form) if form else 4
    return _count(op, graph, 21, 11 + 4 * per_output + (4 if per_output > 2 else 0))


def _packed_instructions(op: FullyConnected, graph: Graph) -> int:
    return _count(op, graph, 27, 35)


def _wide_code(op: FullyConnected, graph: Graph) -> Code:
    form = _wide_form(op, graph, rounding_of(graph))
    return fully_connected_code(form.form if form else 0, depth_for(graph.tensors[op.weights].shape[1])[0], False)


def _packed_code(op: FullyConnected, graph: Graph) -> Code:
    return fully_connected_code(0, depth_for(graph.tensors[op.weights].shape[1])[0], True)


FULLY_CONNECTED = (
    KernelVariant(
        name="fully_connected_s8_dsp",
        header="tc_fully_connected_dsp.h",
        tier="dsp",
        pack=_pack_wide,
        supports=_supports_wide,
        scratch_bytes=_scratch,
        code=_wide_code,
        instructions=_wide_instructions,
    ),
    KernelVariant(
        name="fully_connected_packed_s8_dsp",
        header="tc_fully_connected_dsp.h",
        tier="dsp",
        pack=_pack_packed,
        supports=_supports_packed,
        scratch_bytes=_scratch,
        code=_packed_code,
        instructions=_packed_instructions,
    ),
)
