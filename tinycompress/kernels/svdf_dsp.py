"""SVDF on Armv7E-M: 4 inputs and a word of the memory at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import SVDF
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels import svdf
from tinycompress.kernels.catalogue import KernelVariant, PackedKernel, fixed_code


def _scratch(op: SVDF, graph: Graph, rows: int) -> int:
    return 8 * -(-graph.tensors[op.feature_weights].shape[1] // 4)


def _pack(op: SVDF, graph: Graph, rounding: Rounding) -> PackedKernel:
    """As the portable kernel's, the state's zero point folded into the bias."""
    packed = svdf.pack(op, graph, rounding)
    *weights, bias = packed.arrays
    times = graph.tensors[op.time_weights].constant.astype(np.int64)
    zero_point = graph.tensors[op.inputs[1]].quantization.tensor_zero_point
    folded = bias.data - zero_point * times.reshape(len(bias.data), -1).sum(axis=1)
    comment = f"{bias.comment}, state zero point folded in"
    return replace(packed, arrays=(*weights, replace(bias, data=gemm.to_words(folded), comment=comment)))


def _instructions(op: SVDF, graph: Graph) -> int:
    filters, inputs = graph.tensors[op.feature_weights].shape
    times = graph.tensors[op.time_weights]
    return round(filters * (50 + 2 * inputs + times.shape[1] * times.dtype.itemsize) + 40 * filters // op.rank)


SVDF_S8 = (
    KernelVariant(
        name="svdf_s8_dsp",
        header="tc_svdf_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=svdf.supports,
        scratch_bytes=_scratch,
        code=fixed_code(400),
        instructions=_instructions,
        whole_input=True,
    ),
)
