"""MatMul and LayerNorm on Armv7E-M: a second operand is packed for the matrix core while the layer runs."""

from __future__ import annotations

import numpy as np

from tinycompress.ir import quant_params as qp
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import LayerNorm, MatMul
from tinycompress.kernels import attention
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels.attention import terms
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedKernel, fixed_code
from tinycompress.kernels.code_dsp import matrix_cores
from tinycompress.kernels.conv2d_dsp import rounding_of
from tinycompress.kernels.requantize_dsp import Channels, Clamp, Requantization, choose_requantization

_LARGEST = 255
"""Of an int8 value less its zero point."""


def _depth(op: MatMul, graph: Graph) -> gemm.Depth:
    return gemm.depth_for(-(-terms(op, graph) // 4))


def _columns(op: MatMul, graph: Graph) -> int:
    """Columns of the stream: an even number."""
    return -(-graph.tensors[op.output].shape[2] // 2) * 2


def _requantization(op: MatMul, graph: Graph, rounding: Rounding) -> Requantization | None:
    """The exact form for any values of both operands, None when there is none."""
    a, b, y = (graph.tensors[n] for n in (*op.inputs, op.output))
    multiplier, shift = qp.mul_multiplier(a, b, y, rounding)
    reach = np.array([_LARGEST * _LARGEST * terms(op, graph)], np.int64)
    channels = Channels(
        multiplier=np.array([multiplier], np.int64),
        shift=np.array([shift], np.int64),
        low=-reach,
        high=reach,
        largest_weight=np.array([_LARGEST], np.int64),
    )
    return choose_requantization(channels, Clamp(y.quantization.tensor_zero_point, -128, 127), rounding)


def _supports(op: MatMul, graph: Graph) -> bool:
    """As the portable kernel, where the requantization has an exact form."""
    if not attention.supports(op, graph):
        return False
    found = _requantization(op, graph, rounding_of(graph))
    return found is not None and int(found.weight_scale[0]) > 0


def _pack(op: MatMul, graph: Graph, rounding: Rounding) -> PackedKernel:
    found = _requantization(op, graph, rounding)
    if found is None:
        raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
    a, b, y = (graph.tensors[n] for n in (*op.inputs, op.output))
    multiplier, addend = (int(v) for v in gemm.to_words(np.array([found.multiplier[0], found.addend[0]])))
    depth = _depth(op, graph)
    return PackedKernel(
        "tc_matmul_s8_dsp_params",
        (
            ("rows", y.shape[1]),
            ("terms", terms(op, graph)),
            ("columns", y.shape[2]),
            ("is_transposed", int(op.is_transposed)),
            ("first_zero_point", a.quantization.tensor_zero_point),
            ("second_zero_point", b.quantization.tensor_zero_point),
            ("output_zero_point", y.quantization.tensor_zero_point),
            ("form", found.form),
            ("weight_shift", int(found.weight_scale[0]).bit_length() - 1),
            ("multiplier", multiplier),
            ("addend", addend),
            ("steps", depth.steps),
            ("chunks", depth.chunks),
        ),
    )


def _scratch(op: MatMul, graph: Graph, rows: int) -> int:
    """Lanes of two rows, the stream, and two rows of the output where its columns are odd."""
    steps, columns = _depth(op, graph).groups, _columns(op, graph)
    staged = 2 * columns if graph.tensors[op.output].shape[2] % 2 else 0
    return -(-(16 * steps + columns * (16 + 8 * steps) + staged) // 8) * 8


def _instructions(op: MatMul, graph: Graph) -> int:
    """Core exactly as counted; the packing and the lanes of rows, fitted."""
    groups, rows, columns = graph.tensors[op.output].shape
    found, depth, even = _requantization(op, graph, rounding_of(graph)), _depth(op, graph), _columns(op, graph)
    core = gemm.core_instructions(found.form if found else 0, depth, even)
    packed = even * (25 + depth.groups * (11 if op.is_transposed else 22))
    staged = 2 * (10 + 0.7 * columns) if columns % 2 else 0
    return round(groups * (packed + -(-rows // 2) * (core + 2 * (12 + 4 * depth.groups) + staged)))


def _code(op: MatMul, graph: Graph) -> Code:
    found = _requantization(op, graph, rounding_of(graph))
    return Code(600, matrix_cores(found.form if found else 0, _depth(op, graph), _columns(op, graph)))


MATMUL = (
    KernelVariant(
        name="matmul_s8_dsp",
        header="tc_matmul_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=_supports,
        scratch_bytes=_scratch,
        code=_code,
        instructions=_instructions,
    ),
)


def _supports_norm(op: LayerNorm, graph: Graph) -> bool:
    """As the portable kernel, with double rounding and right shifts of 2 to 30."""
    rounding = rounding_of(graph)
    if rounding is not Rounding.DOUBLE or not attention.supports_norm(op, graph):
        return False
    p = qp.layer_norm_params(op, graph.tensors, rounding)
    return p.multiplier > 0 and -30 <= p.shift <= -2


LAYER_NORM = (
    KernelVariant(
        name="layer_norm_s8_dsp",
        header="tc_layer_norm_dsp.h",
        tier="dsp",
        pack=attention.pack_norm,
        supports=_supports_norm,
        in_place=(0,),
        code=fixed_code(600),
        instructions=attention.norm_instructions(23, 750),
    ),
)
