"""Mean over a whole image on Armv7E-M: 4 channels of a pixel at a time."""

from __future__ import annotations

from tinycompress.ir.graph import Graph
from tinycompress.ir.ops import Mean
from tinycompress.kernels import running_mean
from tinycompress.kernels.catalogue import KernelVariant, fixed_code

MAX_WIDTH = 255
"""Sums of that many int8 values fit a 16-bit lane."""


def _supports(op: Mean, graph: Graph) -> bool:
    shape = graph.tensors[op.inputs[0]].shape
    return running_mean.supports_mean(op, graph) and shape[2] >= 4 and shape[1] <= MAX_WIDTH


def _instructions(op: Mean, graph: Graph) -> int:
    height, width, channels = graph.tensors[op.inputs[0]].shape
    calls = -(-height // (MAX_WIDTH // width))
    return round(-(-channels // 4) * (height * (3.8 * width + 3) + 16 * calls + 60))


MEAN = (
    KernelVariant(
        name="mean_s8_dsp",
        header="tc_mean_dsp.h",
        tier="dsp",
        pack=running_mean.pack,
        supports=_supports,
        code=fixed_code(500),
        instructions=_instructions,
        whole_input=True,
    ),
)
