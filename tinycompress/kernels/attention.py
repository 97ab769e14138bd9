"""MatMul and LayerNorm, the operators of attention: packing and predicates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinycompress.ir import quant_params as qp
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import LayerNorm, MatMul
from tinycompress.ir.shapes import row_elements
from tinycompress.ir.tensor import DType
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel, fixed_code
from tinycompress.kernels.packing import INT32_MAX, are_activations, describe, estimate, is_int8


def terms(op: MatMul, graph: Graph) -> int:
    """Products in one output."""
    return graph.tensors[op.inputs[0]].shape[2]


def supports(op: MatMul, graph: Graph) -> bool:
    """Two int8 activations whose sums fit int32."""
    return is_int8(op, graph) and are_activations(op, graph) and terms(op, graph) * 255 * 255 <= INT32_MAX


def pack(op: MatMul, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Shape, strides of the second operand, zero points and the requantization."""
    a, b = (graph.tensors[n] for n in op.inputs)
    y = graph.tensors[op.output]
    _, rows, columns = y.shape
    count = terms(op, graph)
    multiplier, shift = qp.mul_multiplier(a, b, y, rounding)
    return PackedKernel(
        "tc_matmul_s8_params",
        (
            ("rows", rows),
            ("terms", count),
            ("columns", columns),
            ("term_step", 1 if op.is_transposed else columns),
            ("column_step", count if op.is_transposed else 1),
            ("first_zero_point", a.quantization.tensor_zero_point),
            ("second_zero_point", b.quantization.tensor_zero_point),
            ("multiplier", multiplier),
            ("shift", shift),
            ("output_zero_point", y.quantization.tensor_zero_point),
        ),
    )


MATMUL = (
    KernelVariant(
        name="matmul_s8",
        header="tc_matmul.h",
        tier="portable",
        pack=pack,
        supports=supports,
        instructions=estimate(40, 6, terms),
    ),
)


def supports_norm(op: LayerNorm, graph: Graph) -> bool:
    """int8 to int8, gamma and beta of the widths that keep every sum inside int32."""
    gamma, beta = (graph.tensors[n] for n in (op.gamma, op.beta))
    return (
        is_int8(op, graph)
        and gamma.dtype is DType.INT16
        and beta.dtype is DType.INT32
        and int(np.abs(gamma.constant.astype(np.int64)).max()) < 1 << (qp.LAYER_NORM_GAMMA_BITS - 1)
        and int(np.abs(beta.constant.astype(np.int64)).max()) <= qp.LAYER_NORM_BETA_LIMIT
        and gamma.shape[0] <= qp.LAYER_NORM_CHANNELS
    )


def pack_norm(op: LayerNorm, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Shape, epsilon in the input's units, the requantization, gamma and beta."""
    x, gamma, beta, y = (graph.tensors[n] for n in (op.inputs[0], op.gamma, op.beta, op.output))
    p = qp.layer_norm_params(op, graph.tensors, rounding)
    channels = x.shape[-1]
    low, high = p.epsilon_words
    return PackedKernel(
        "tc_layer_norm_s8_params",
        (
            ("vectors", row_elements(x.shape) // channels),
            ("channels", channels),
            ("epsilon_low", low),
            ("epsilon_high", high),
            ("multiplier", p.multiplier),
            ("shift", p.shift),
            ("output_zero_point", y.quantization.tensor_zero_point),
        ),
        (
            PackedArray("gamma", gamma.constant, describe(gamma, "gamma", "C"), 2),
            PackedArray("beta", beta.constant, describe(beta, "beta", "C")),
        ),
    )


def norm_instructions(per_value: float, per_vector: float) -> Callable[[LayerNorm, Graph], int]:
    """Instructions of a LayerNorm, fitted: the root and its inverse are taken bit by bit for each vector."""

    def instructions(op: LayerNorm, graph: Graph) -> int:
        y = graph.tensors[op.output]
        return round(y.elements * per_value + y.elements // y.shape[-1] * per_vector)

    return instructions


LAYER_NORM = (
    KernelVariant(
        name="layer_norm_s8",
        header="tc_layer_norm.h",
        tier="portable",
        pack=pack_norm,
        supports=supports_norm,
        in_place=(0,),
        code=fixed_code(600),
        instructions=norm_instructions(45, 750),
    ),
)
