"""FullyConnected of int16 activations on Armv7E-M: 4 outputs x 8 inputs at a time, weights of 16 bits or bytes."""

from __future__ import annotations

import math

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import FullyConnected
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedKernel
from tinycompress.kernels.conv2d_dsp import rounding_of
from tinycompress.kernels.fully_connected_dsp import depth_for
from tinycompress.kernels.gemm_dsp import Depth
from tinycompress.kernels.int16 import supports_windowed
from tinycompress.kernels.int16_dsp import FORM_SUMS, Sums, layout_of, pack_sums, stream_of, sums_of

GROUP = 8
"""Inputs that the core takes at a time."""


def _depth_for(groups: int) -> Depth:
    return Depth(*depth_for(GROUP * groups))


def _sums(op: FullyConnected, graph: Graph, rounding: Rounding) -> Sums:
    return sums_of(op, graph, rounding, graph.tensors[op.weights].constant, GROUP, _depth_for)


def _scratch(op: FullyConnected, graph: Graph, rows: int) -> int:
    """Lanes of a vector."""
    return 16 * _sums(op, graph, rounding_of(graph)).groups


def _variant(name: str, is_lanes: bool) -> KernelVariant:
    def pack(op: FullyConnected, graph: Graph, rounding: Rounding) -> PackedKernel:
        sums = _sums(op, graph, rounding)
        stream = stream_of(sums, graph.tensors[op.weights].constant, GROUP, 4, is_lanes=is_lanes)
        return pack_sums(op, graph, rounding, sums, stream, layout_of(is_lanes, 4))

    def instructions(op: FullyConnected, graph: Graph) -> int:
        """Core as counted; what becomes of wider sums, fitted."""
        outputs, inputs = graph.tensors[op.weights].shape
        sums = _sums(op, graph, rounding_of(graph))
        block = sums.segments * (22 + 3 * sums.depth.chunks) + (21 if is_lanes else 37) * sums.groups
        block += (40 * sums.segments + 160) if sums.form == FORM_SUMS else 0
        vector = 60 + 1.2 * inputs + 6 * outputs * sums.is_clamped + math.ceil(outputs / 4) * block
        return round(graph.tensors[op.inputs[0]].elements // inputs * vector)

    def code(op: FullyConnected, graph: Graph) -> Code:
        sums = _sums(op, graph, rounding_of(graph))
        steps = sums.depth.steps
        return Code(300, ((f"fc16_{is_lanes}_{sums.form}_{steps}", 90 + (82 if is_lanes else 146) * steps),))

    return KernelVariant(
        name=name,
        header="tc_fully_connected_s16_dsp.h",
        tier="dsp",
        pack=pack,
        supports=supports_windowed,
        scratch_bytes=_scratch,
        code=code,
        instructions=instructions,
    )


FULLY_CONNECTED = (_variant("fully_connected_s16_dsp", True), _variant("fully_connected_packed_s16_dsp", False))
