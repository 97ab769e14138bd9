"""Conv2D of int16 activations on Armv7E-M: two pixels gathered, then the matrix core; weights of 16 bits or bytes."""

from __future__ import annotations

import math
from collections.abc import Callable

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Conv2D
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedKernel
from tinycompress.kernels.conv2d_dsp import rounding_of, rows_per_step
from tinycompress.kernels.conv2d_window import padded_columns, rows_at_once, weight_rows, window_of
from tinycompress.kernels.gemm_dsp import depth_for
from tinycompress.kernels.int16 import supports_windowed
from tinycompress.kernels.int16_dsp import FORM_SUMS, Sums, layout_of, pack_sums, stream_of, sums_of

GROUP = 4
"""Values that the core takes at a time."""


def _supports(op: Conv2D, graph: Graph) -> bool:
    """What the portable kernel takes, without groups."""
    return op.groups == 1 and supports_windowed(op, graph)


def _sums(op: Conv2D, graph: Graph, rounding: Rounding) -> Sums:
    weights = graph.tensors[op.weights]
    return sums_of(op, graph, rounding, weight_rows(weights, window_of(weights)), GROUP, depth_for)


def _pack(op: Conv2D, graph: Graph, rounding: Rounding, is_lanes: bool) -> PackedKernel:
    weights = graph.tensors[op.weights]
    window, sums = window_of(weights), _sums(op, graph, rounding)
    stream = stream_of(sums, weight_rows(weights, window), GROUP, 2, is_lanes=is_lanes)
    return pack_sums(op, graph, rounding, sums, stream, layout_of(is_lanes, 2), is_dense=window.is_dense)


def _scratch(op: Conv2D, graph: Graph, rows: int) -> int:
    """Lanes of two pixels and the staging of a row of the window."""
    groups = _sums(op, graph, rounding_of(graph)).groups
    return math.ceil((16 * groups + 2 * window_of(graph.tensors[op.weights]).staging_bytes) / 8) * 8


def _instructions(op: Conv2D, graph: Graph, is_lanes: bool) -> int:
    """Core as counted; the gather and what becomes of wider sums, fitted."""
    height, width, outputs = graph.tensors[op.output].shape
    window, sums = window_of(graph.tensors[op.weights]), _sums(op, graph, rounding_of(graph))
    block = sums.segments * (21 + 3 * sums.depth.chunks) + (10 if is_lanes else 14) * sums.groups
    block += (40 * sums.segments + 160) if sums.form == FORM_SUMS else 0
    gather = 24 + window.rows * 16 + 5.2 * sums.groups
    padded = padded_columns(op, graph) * height * window.rows * 30
    gather += 6 * outputs * sums.is_clamped
    return round(padded + height * width * gather + math.ceil(height * width / 2) * math.ceil(outputs / 2) * block)


def _variant(name: str, is_lanes: bool) -> KernelVariant:
    def pack(op: Conv2D, graph: Graph, rounding: Rounding) -> PackedKernel:
        return _pack(op, graph, rounding, is_lanes)

    def instructions(op: Conv2D, graph: Graph) -> int:
        return _instructions(op, graph, is_lanes)

    return KernelVariant(
        name=name,
        header="tc_conv2d_s16_dsp.h",
        tier="dsp",
        pack=pack,
        supports=_supports,
        scratch_bytes=_scratch,
        rows_per_step=rows_per_step,
        rows_at_once=rows_at_once,
        code=_code(is_lanes),
        instructions=instructions,
    )


def _code(is_lanes: bool) -> Callable[[Conv2D, Graph], Code]:
    def code(op: Conv2D, graph: Graph) -> Code:
        sums = _sums(op, graph, rounding_of(graph))
        steps = sums.depth.steps
        return Code(900, ((f"gemm16_{is_lanes}_{sums.form}_{steps}", 100 + (40 if is_lanes else 54) * steps),))

    return code


CONV2D = (_variant("conv2d_s16_dsp", True), _variant("conv2d_packed_s16_dsp", False))
