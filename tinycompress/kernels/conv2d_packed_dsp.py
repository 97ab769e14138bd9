"""Conv2D on Armv7E-M with weights kept as bytes: strips of pixels, each pair of channels widened once per strip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Conv2D
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedKernel
from tinycompress.kernels.code_dsp import conv2d_packed_code
from tinycompress.kernels.conv2d_dsp import (
    channels_of_layer,
    clamp_of,
    gather_instructions,
    packed_params,
    rounding_of,
)
from tinycompress.kernels.conv2d_window import weight_rows, window_of
from tinycompress.kernels.packing import folded_bias, has_plain_weights
from tinycompress.kernels.requantize_dsp import FORM_RELU, Requantization, form_instructions, ties_form

STRIP_PIXELS = 32
STRIP_BYTES = 4096


def strip_pixels(groups: int) -> int:
    """Pixels gathered at once, as `tc_strip_pixels`."""
    return min(STRIP_PIXELS, max(2, STRIP_BYTES // (8 * groups) // 2 * 2))


def _form(op: Conv2D, graph: Graph) -> Requantization | None:
    """Form 0 or 1: the weights stay bytes, so no power of two can be in them. Double rounding only."""
    if rounding_of(graph) is not Rounding.DOUBLE:
        return None
    ties = ties_form(channels_of_layer(op, graph, Rounding.DOUBLE))
    clamp = clamp_of(op, graph.tensors[op.output])
    if ties is None or not ties.weight_scale.all():
        return None
    return replace(ties, form=FORM_RELU) if clamp.low >= clamp.zero_point else ties


def _supports(op: Conv2D, graph: Graph) -> bool:
    return op.groups == 1 and has_plain_weights(op, graph) and _form(op, graph) is not None


def _strip(op: Conv2D, graph: Graph) -> tuple[int, int]:
    """(rows, columns) of a strip."""
    width = graph.tensors[op.output].shape[1]
    pixels = strip_pixels(window_of(graph.tensors[op.weights]).depth.groups)
    columns = min(pixels, width + width % 2)
    return pixels // columns, columns


def _rows_per_step(op: Conv2D, graph: Graph) -> int:
    return _strip(op, graph)[0]


def _scratch(op: Conv2D, graph: Graph, rows: int) -> int:
    window = window_of(graph.tensors[op.weights])
    groups = window.depth.groups
    return -(-(8 * groups * strip_pixels(groups) + 16 * groups + 32 + 4 + window.staging_bytes) // 8) * 8


def _instructions(op: Conv2D, graph: Graph) -> int:
    height, width, outputs = graph.tensors[op.output].shape
    depth = window_of(graph.tensors[op.weights]).depth
    form = _form(op, graph)
    rows, columns = _strip(op, graph)
    strips = -(-height // rows) * -(-width // columns)
    block = 12 + 4 * (form_instructions(form.form) if form else 4) + 10 * depth.groups
    block += 3 * depth.chunks if depth.chunks > 1 else 0
    pairs = strips * -(-min(rows * width, height * width) // 2) if rows > 1 else height * -(-width // 2)
    widen = 9 * depth.groups + 100
    return gather_instructions(op, graph) + -(-outputs // 2) * (pairs * block + strips * widen) + pairs * 40


def _pack(op: Conv2D, graph: Graph, rounding: Rounding) -> PackedKernel:
    weights = graph.tensors[op.weights]
    form = _form(op, graph)
    if form is None:
        raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
    window = window_of(weights)
    rows = weight_rows(weights, window)
    outputs, k = rows.shape
    pairs, groups = -(-outputs // 2), window.depth.groups
    values = np.zeros((2 * pairs, 4 * groups), np.int8)
    values[:outputs, :k] = rows
    columns = np.zeros((2 * pairs, 3), np.int64)
    columns[:outputs] = np.stack([folded_bias(op, graph), form.multiplier, form.addend], axis=1)
    bytes_ = values.reshape(pairs, 2, groups, 4).swapaxes(1, 2).reshape(pairs, -1)
    body = np.ascontiguousarray(bytes_).view(np.int32)
    bias = gemm.to_words(np.repeat(columns[:, 0].reshape(pairs, 2), 2, axis=1))
    constants = gemm.to_words(columns[:, 1:].reshape(pairs, 4))
    stream = np.concatenate([bias, body, constants], axis=1).ravel()
    layout = "as bytes, 2 outputs a block"
    return packed_params(op, graph, window, form, stream, layout)


def _code(op: Conv2D, graph: Graph) -> Code:
    form, weights = _form(op, graph), graph.tensors[op.weights]
    return conv2d_packed_code(window_of(weights), form.form if form else 0, (weights.shape[1], weights.shape[2]))


CONV2D_PACKED = (
    KernelVariant(
        name="conv2d_packed_s8_dsp",
        header="tc_conv2d_packed_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=_supports,
        scratch_bytes=_scratch,
        rows_per_step=_rows_per_step,
        code=_code,
        instructions=_instructions,
        needs_zero_row=True,
    ),
)
