"""Depthwise 3x3 on Armv7E-M: two output rows at once, 16-bit lanes of vertically adjacent rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinycompress.ir.fixedpoint import convolution_multipliers
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import DepthwiseConv2D
from tinycompress.ir.tensor import Array
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.code_dsp import depthwise_code, depthwise_stride2_code
from tinycompress.kernels.conv2d_dsp import clamp_of, rounding_of
from tinycompress.kernels.conv2d_window import rows_at_once
from tinycompress.kernels.packing import describe, folded_bias, has_plain_weights, output_range
from tinycompress.kernels.requantize_dsp import Requantization, choose_requantization, form_instructions

MAX_UNROLLED_PAIRS = 6
MAX_UNROLLED_COLUMNS = 12


def requantization_of(op: DepthwiseConv2D, graph: Graph, rounding: Rounding) -> Requantization | None:
    """The exact requantization form of the layer's channels, None when there is none."""
    x, weights, y = graph.tensors[op.inputs[0]], graph.tensors[op.weights], graph.tensors[op.output]
    taps = weights.constant.reshape(-1, weights.shape[2]).T
    multipliers = convolution_multipliers(x, weights, y, len(taps), rounding)
    channels = gemm.channels_of(taps, folded_bias(op, graph), *multipliers)
    return choose_requantization(channels, clamp_of(op, y), rounding)


def unrolled(count: int, limit: int) -> tuple[int, int]:
    """(length of a round, rounds) whose product is `count`: the longest straight-line code within `limit`."""
    length = max((n for n in range(1, limit + 1) if count % n == 0), default=1)
    return (0, 1) if count == 0 else (length, count // length)


def _supports(op: DepthwiseConv2D, graph: Graph, stride: int) -> bool:
    x, weights = graph.tensors[op.inputs[0]], graph.tensors[op.weights]
    return (
        weights.shape[:2] == (3, 3)
        and op.multiplier == 1
        and op.dilation == (1, 1)
        and op.stride == (stride, stride)
        and x.shape[2] >= 4
        and op.padding[1] <= 2
        and has_plain_weights(op, graph)
        and requantization_of(op, graph, rounding_of(graph)) is not None
    )


def _packed_taps(op: DepthwiseConv2D, graph: Graph, requantization: Requantization) -> tuple[Array, Array]:
    """Kernel taps `(channels, 3, 3)` scaled for the form, and the columns (bias, multiplier, addend)."""
    weights = graph.tensors[op.weights].constant.astype(np.int64)
    taps = np.moveaxis(weights, 2, 0) * requantization.weight_scale[:, None, None]
    bias = folded_bias(op, graph).astype(np.int64) * requantization.weight_scale
    return taps, np.stack([bias, requantization.multiplier, requantization.addend], axis=1)


def lane_pair(low: Array, high: Array) -> Array:
    """Words with the given 16-bit lanes."""
    words: Array = (low & 0xFFFF) | (high & 0xFFFF) << 16
    return words


def _two_rows(op: Any, graph: Graph) -> int:
    return 2


def _run(op: DepthwiseConv2D, graph: Graph) -> tuple[int, int]:
    """(column pairs, or columns with stride 2, of a round; rounds)."""
    width = graph.tensors[op.output].shape[1]
    return unrolled(width // 2, MAX_UNROLLED_PAIRS) if op.stride[0] == 1 else unrolled(width, MAX_UNROLLED_COLUMNS)


def _pack(op: DepthwiseConv2D, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Per channel two lane pairs of each kernel column, with stride 2 also those of rows 2 and 0, then constants."""
    x, weights, y = graph.tensors[op.inputs[0]], graph.tensors[op.weights], graph.tensors[op.output]
    requantization = requantization_of(op, graph, rounding)
    if requantization is None:
        raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
    taps, constants = _packed_taps(op, graph, requantization)
    words = [lane_pair(taps[:, 0], taps[:, 1]), lane_pair(taps[:, 1], taps[:, 2])]
    if op.stride[0] == 2:
        words += [lane_pair(taps[:, row, 0:1], taps[:, row, 1:2]) for row in (2, 0)]
    run, rounds = _run(op, graph)
    stream = gemm.to_words(np.concatenate([*words, constants], axis=1)).ravel()
    comment = describe(weights, "weights, bias, multipliers", "as 16-bit lanes of two rows")
    return PackedKernel(
        "tc_depthwise3x3_s8_dsp_params",
        (
            ("input_width", x.shape[1]),
            ("channels", x.shape[2]),
            ("output_width", y.shape[1]),
            ("pad_left", op.padding[1]),
            ("input_zero_point", x.quantization.tensor_zero_point),
            *output_range(op.activation, y),
            ("form", requantization.form),
            ("run", run),
            ("rounds", rounds),
        ),
        (PackedArray("stream", stream, comment),),
    )


def _instructions_stride2(op: DepthwiseConv2D, graph: Graph) -> int:
    height, width, channels = graph.tensors[op.output].shape
    requantization = requantization_of(op, graph, rounding_of(graph))
    extra = 2 * (form_instructions(requantization.form) - 2) if requantization else 4
    rounds = _run(op, graph)[1]
    row = width * (25 + extra) + (3 * rounds + 3 if rounds > 1 else 0)
    return -(-height // 2) * (channels * (row + 13) + -(-channels // 4) * (52 * width + 60) + 250)


def _instructions(op: DepthwiseConv2D, graph: Graph) -> int:
    height, width, channels = graph.tensors[op.output].shape
    columns = min(graph.tensors[op.inputs[0]].shape[1], width + 2)
    requantization = requantization_of(op, graph, rounding_of(graph))
    extra = form_instructions(requantization.form) - 2 if requantization else 2
    pairs, rounds = _run(op, graph)
    loop = 12 + (3 * rounds + 3 if rounds > 1 else 0)
    two = pairs * rounds * (45 + 4 * extra) + width % 2 * (25 + 2 * extra) + loop
    one = pairs * rounds * (26 + 2 * extra) + width % 2 * (18 + 2 * extra) + loop
    groups, calls = -(-channels // 4), -(-height // rows_at_once(op, graph))
    slides = -(-height // 2) - calls
    gathers = groups * (calls * (20 * columns + 60) + slides * (13 * columns + 45))
    return channels * (height // 2 * two + height % 2 * one) + gathers


def _form(op: DepthwiseConv2D, graph: Graph) -> int:
    requantization = requantization_of(op, graph, rounding_of(graph))
    return requantization.form if requantization else 0


def _code(op: DepthwiseConv2D, graph: Graph) -> Code:
    return depthwise_code(op, graph, _form(op, graph), *_run(op, graph))


def _code_stride2(op: DepthwiseConv2D, graph: Graph) -> Code:
    return depthwise_stride2_code(_form(op, graph), *_run(op, graph))


DEPTHWISE = (
    KernelVariant(
        name="depthwise3x3_s8_dsp",
        header="tc_depthwise_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=lambda op, graph: _supports(op, graph, 1),
        scratch_bytes=lambda op, graph, rows: 32 * (graph.tensors[op.output].shape[1] + 2),
        rows_per_step=_two_rows,
        rows_at_once=rows_at_once,
        code=_code,
        instructions=_instructions,
        needs_zero_row=True,
    ),
    KernelVariant(
        name="depthwise3x3_stride2_s8_dsp",
        header="tc_depthwise_stride2_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=lambda op, graph: _supports(op, graph, 2),
        scratch_bytes=lambda op, graph, rows: 96 * (graph.tensors[op.output].shape[1] + 1),
        rows_per_step=_two_rows,
        code=_code_stride2,
        instructions=_instructions_stride2,
        needs_zero_row=True,
    ),
)
