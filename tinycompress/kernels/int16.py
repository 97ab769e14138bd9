"""Operators of symmetric int16 activations (weights stay int8), portable: packing and predicates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import integer_range
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.quant_params import (
    TABLE_STEPS,
    add_params,
    has_wide_sums,
    mul_multiplier,
    sigmoid_16_scaling,
    softmax_16_scaling,
    softmax_16_tables,
)
from tinycompress.ir.shapes import row_elements
from tinycompress.ir.tensor import DType, Tensor
from tinycompress.kernels import mean, pool
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.elementwise import Operands, broadcast, operands_of
from tinycompress.kernels.packing import (
    INT32_MAX,
    Scalars,
    are_activations,
    bias_array,
    bias_values,
    describe,
    estimate,
    no_taps,
    output_range,
    requantization,
    tensors_of,
)
from tinycompress.kernels.windowed import Windowed, as_convolution

MAX_CLASSES = 65535
MAX_SHIFT = 7
"""Largest shift of a 64-bit sum's requantization."""

Binary = o.Add | o.Sub | o.Mul
Predicate = Callable[[Any, Graph], bool]
Packer = Callable[[Any, Graph, Rounding], PackedKernel]


def _is_symmetric(tensor: Tensor) -> bool:
    return tensor.dtype is DType.INT16 and tensor.qparams is not None and not any(tensor.qparams.zero_point)


def _are_wide(op: o.Op, graph: Graph) -> bool:
    """Every input and output is int16 with zero point 0."""
    return all(_is_symmetric(t) for t in tensors_of(op, graph))


def supports_windowed(op: Windowed, graph: Graph) -> bool:
    """Symmetric int8 weights, a bias that fits int32, shifts that the 16-bit multiplier takes."""
    weights = graph.tensors[op.weights]
    if weights.dtype is not DType.INT8 or any(weights.quantization.zero_point):
        return False
    if not _are_wide(op, graph) or not are_activations(op, graph):
        return False
    bias = bias_values(op, graph, graph.tensors[op.output].shape[-1])
    shifts = requantization(op, graph, Rounding.DOUBLE)[2].data
    return bool((np.abs(bias) <= INT32_MAX).all()) and int(shifts.max()) <= MAX_SHIFT


def pack_windowed(op: Windowed, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Weights as they are in the order OHWI; the type of the bias says how its sums are requantized."""
    y, weights = graph.tensors[op.output], graph.tensors[op.weights]
    window = as_convolution(op, graph)
    step, multiplier, shift = requantization(op, graph, rounding)
    _, *limits = output_range(op.activation, y)
    bias = bias_values(op, graph, y.shape[-1]).astype(np.int32)
    return PackedKernel(
        "tc_windowed_s16_params",
        (*window.scalars, ("is_wide", int(has_wide_sums(op, graph.tensors))), *limits, ("requant_step", step)),
        (
            PackedArray("weights", window.weights, describe(weights, "weights, packed OHWI", "of the model")),
            bias_array(bias, op, graph, "as in the model"),
            multiplier,
            shift,
        ),
    )


def _windowed_instructions(op: Windowed, graph: Graph) -> int:
    _, kh, kw, channels = as_convolution(op, graph).weights.shape
    return int(graph.tensors[op.output].elements * (90 + kh * kw * (35 + 9 * channels)))


def _windowed(name: str) -> tuple[KernelVariant, ...]:
    return (
        KernelVariant(
            name=name,
            header="tc_windowed_s16.h",
            tier="portable",
            pack=pack_windowed,
            supports=supports_windowed,
            instructions=_windowed_instructions,
        ),
    )


def supports_binary(op: Binary, graph: Graph) -> bool:
    """Symmetric int16, at most one constant of one row, and broadcasting that two axes within a row can say."""
    operands: Operands = operands_of(op, graph)
    if not _are_wide(op, graph) or len(operands.constants) > 1 or not operands.has_constant_row:
        return False
    return operands.are_rows and operands.row_axes is not None


def pack_binary(op: Binary, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Sums have a multiplier for each operand; a product has that of its output only."""
    operands = operands_of(op, graph)
    (a, b), y = operands.pair, operands.output
    scaling: Scalars = (("a_multiplier", 0), ("a_shift", 0), ("b_multiplier", 0), ("b_shift", 0))
    multiplier, shift = mul_multiplier(a, b, y, rounding)
    if not isinstance(op, o.Mul):
        p = add_params(a, b, y, rounding)
        scaling = (
            ("a_multiplier", p.a_multiplier), ("a_shift", p.a_shift),
            ("b_multiplier", p.b_multiplier), ("b_shift", p.b_shift),
        )  # fmt: skip
        multiplier, shift = p.output_multiplier, p.output_shift
    _, *limits = output_range(op.activation, y)
    constants = [operands.pair[i] for i in operands.constants]
    return PackedKernel(
        "tc_elementwise_s16_params",
        (
            ("shape", broadcast(operands)),
            *scaling,
            ("output_multiplier", multiplier),
            ("output_shift", shift),
            *limits,
        ),
        tuple(PackedArray("constant", t.constant, describe(t, "constant operand", "HWC")) for t in constants),
    )


def _binary(name: str, per_output: float) -> tuple[KernelVariant, ...]:
    return (
        KernelVariant(
            name=name,
            header="tc_elementwise_s16.h",
            tier="portable",
            pack=pack_binary,
            supports=supports_binary,
            in_place=(0, 1),
            instructions=estimate(per_output, 0, no_taps),
        ),
    )


def supports_max(op: pool.Pool | o.Mean, graph: Graph) -> bool:
    """Symmetric int16 input and output."""
    return _are_wide(op, graph) and are_activations(op, graph)


def supports_average(op: pool.Pool, graph: Graph) -> bool:
    """As for the maximum; a window has a tap that is no padding, and fewer than overflow a sum."""
    return supports_max(op, graph) and pool.has_valid_taps(op, graph) and pool.taps(op, graph) < 2**15


def supports_mean(op: o.Mean, graph: Graph) -> bool:
    """Symmetric int16, an input of at most three axes, and sums that fit int32."""
    rank = len(graph.tensors[op.inputs[0]].shape)
    return supports_max(op, graph) and rank <= 3 and mean.averaged(op, graph) < 2**15


def pack_pool(op: pool.Pool, graph: Graph, rounding: Rounding) -> PackedKernel:
    """As for int8."""
    return replace(pool.pack(op, graph, rounding), params_type="tc_pool_s16_params")


def pack_mean(op: o.Mean, graph: Graph, rounding: Rounding) -> PackedKernel:
    """As for int8, without zero points."""
    packed = mean.pack(op, graph, rounding)
    scalars = tuple(s for s in packed.scalars if s[0] not in ("input_sum", "output_zero_point"))
    return PackedKernel("tc_mean_s16_params", scalars)


def supports_softmax(op: o.Softmax, graph: Graph) -> bool:
    """Symmetric int16 to int16 of scale 1/32768."""
    y = graph.tensors[op.output]
    fits = graph.tensors[op.inputs[0]].shape[-1:] <= (MAX_CLASSES,)
    return _are_wide(op, graph) and are_activations(op, graph) and fits and _is_unit(y)


def _is_unit(y: Tensor) -> bool:
    """Q0.15, within what a file's scale may be off by."""
    return math.isclose(y.quantization.tensor_scale, 2.0**-15, rel_tol=1e-3)


def pack_softmax(op: o.Softmax, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Shape, input scaling and the two tables."""
    x = graph.tensors[op.inputs[0]]
    multiplier, shift = softmax_16_scaling(x, op.beta, rounding)
    exp, reciprocal = (np.array(t, np.int16) for t in softmax_16_tables())
    return PackedKernel(
        "tc_softmax_s16_params",
        (
            ("vectors", row_elements(x.shape) // x.shape[-1]),
            ("classes", x.shape[-1]),
            ("input_multiplier", multiplier),
            ("input_shift", shift),
        ),
        (
            PackedArray("exp", exp, f"exp(x) from -10 to 0 in {TABLE_STEPS} steps, Q0.15"),
            PackedArray("reciprocal", reciprocal, f"1 / (1 + x) from 0 to 1 in {TABLE_STEPS} steps, Q0.15"),
        ),
    )


def _supports_function(function: o.Function) -> Predicate:
    def supports(op: o.Table, graph: Graph) -> bool:
        """That function of symmetric int16, its output of scale 1/32768."""
        is_it = op.function is function and _are_wide(op, graph) and are_activations(op, graph)
        if not is_it or not _is_unit(graph.tensors[op.output]):
            return False
        multiplier, _ = sigmoid_16_scaling(graph.tensors[op.inputs[0]], function)
        return 1 <= multiplier <= 2 * integer_range(DType.INT16)[1]

    return supports


def _function(function: o.Function, name: str) -> KernelVariant:
    def pack(op: o.Table, graph: Graph, rounding: Rounding) -> PackedKernel:
        multiplier, shift = sigmoid_16_scaling(graph.tensors[op.inputs[0]], op.function)
        elements = row_elements(graph.tensors[op.output].shape)
        return PackedKernel(f"tc_{name}_params", (("elements", elements), ("multiplier", multiplier), ("shift", shift)))

    return KernelVariant(
        name=name,
        header="tc_sigmoid.h",
        tier="portable",
        pack=pack,
        supports=_supports_function(function),
        in_place=(0,),
        instructions=estimate(40, 0, no_taps),
    )


def _variant(
    name: str, header: str, pack: Packer, supports: Predicate, instructions: Callable[[Any, Graph], int], **more: Any
) -> tuple[KernelVariant, ...]:
    return (
        KernelVariant(
            name=name, header=header, tier="portable", pack=pack, supports=supports, instructions=instructions, **more
        ),
    )


CONV2D = _windowed("conv2d_s16")
DEPTHWISE = _windowed("depthwise_s16")
FULLY_CONNECTED = _windowed("fully_connected_s16")
ADD = _binary("add_s16", 70)
SUB = _binary("sub_s16", 70)
MUL = _binary("mul_s16", 45)
AVERAGE_POOL = _variant("average_pool_s16", "tc_pool_s16.h", pack_pool, supports_average, estimate(60, 12, pool.taps))
MAX_POOL = _variant("max_pool_s16", "tc_pool_s16.h", pack_pool, supports_max, estimate(45, 14, pool.taps))
MEAN = _variant(
    "mean_s16", "tc_mean_s16.h", pack_mean, supports_mean, estimate(150, 9, mean.averaged), whole_input=True
)
SOFTMAX = _variant(
    "softmax_s16", "tc_softmax_s16.h", pack_softmax, supports_softmax, estimate(75, 0, no_taps), in_place=(0,)
)
TABLE = (_function(o.Function.SIGMOID, "sigmoid_s16"), _function(o.Function.TANH, "tanh_s16"))
