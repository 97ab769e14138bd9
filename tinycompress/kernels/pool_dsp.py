"""AveragePool2D and MaxPool2D on Armv7E-M: 4 channels of a tap at a time."""

from __future__ import annotations

from dataclasses import replace

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.kernels import pool
from tinycompress.kernels.catalogue import KernelVariant, PackedKernel, fixed_code

MAX_AVERAGED_TAPS = 255
"""Sums of that many int8 values fit a 16-bit lane."""


def _has_groups(op: pool.Pool, graph: Graph) -> bool:
    return graph.tensors[op.output].shape[2] >= 4


def _supports_average(op: pool.Pool, graph: Graph) -> bool:
    return pool.supports_average(op, graph) and _has_groups(op, graph) and pool.taps(op, graph) <= MAX_AVERAGED_TAPS


def _supports_max(op: pool.Pool, graph: Graph) -> bool:
    return pool.supports_max(op, graph) and _has_groups(op, graph)


def _pack(op: pool.Pool, graph: Graph, rounding: Rounding) -> PackedKernel:
    packed = pool.pack(op, graph, rounding)
    return replace(packed, params_type=packed.params_type.replace("_s8_", "_s8_dsp_"))


def _count(op: pool.Pool, graph: Graph, per_four: int, per_tap: float) -> int:
    height, width, channels = graph.tensors[op.output].shape
    return round(height * width * -(-channels // 4) * (per_four + per_tap * pool.taps(op, graph)))


def _average_instructions(op: pool.Pool, graph: Graph) -> int:
    return _count(op, graph, 60 + 10 * op.kernel[0], 4.5)


def _max_instructions(op: pool.Pool, graph: Graph) -> int:
    return _count(op, graph, 20 + 10 * op.kernel[0], 4.5)


AVERAGE_POOL = (
    KernelVariant(
        name="average_pool_s8_dsp",
        header="tc_pool_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=_supports_average,
        code=fixed_code(350),
        instructions=_average_instructions,
    ),
)
MAX_POOL = (
    KernelVariant(
        name="max_pool_s8_dsp",
        header="tc_pool_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=_supports_max,
        code=fixed_code(350),
        instructions=_max_instructions,
    ),
)
