"""Softmax and LogSoftmax: packing and predicates."""

from __future__ import annotations

import math

import numpy as np

from tinycompress.ir.fixed_functions import softmax_exponentials
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import LogSoftmax, Op, Softmax
from tinycompress.ir.quant_params import FIXED_OUTPUTS, SOFTMAX_INTEGER_BITS, log_softmax_params, softmax_params
from tinycompress.ir.shapes import row_elements
from tinycompress.ir.tensor import DType
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel, fixed_code
from tinycompress.kernels.packing import are_activations, estimate, no_taps

MAX_CLASSES = 4095
DIFFERENCES = 256
"""Entries of a table of exponentials: differences between two int8 values."""
Output = tuple[float, int, float]
Outputs = dict[DType, Output]
"""By output type: scale, zero point, and how far from it (relatively) a model's scale may be, as TFLite accepts it."""


def _fixed(kind: type[Op]) -> Output:
    """The int8 result that the operator's definition fixes, exactly."""
    qparams = FIXED_OUTPUTS[kind]
    return qparams.tensor_scale, qparams.tensor_zero_point, 0.0


SOFTMAX_OUTPUTS: Outputs = {DType.INT8: _fixed(Softmax), DType.INT16: (1 / 65536, -32768, 1e-3)}
LOG_SOFTMAX_OUTPUTS: Outputs = {DType.INT8: _fixed(LogSoftmax)}


def _supports(op: Softmax | LogSoftmax, graph: Graph, outputs: Outputs, beta: float) -> bool:
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    if x.dtype is not DType.INT8 or y.dtype not in outputs or not are_activations(op, graph):
        return False
    scale, zero_point, tolerance = outputs[y.dtype]
    return (
        math.isclose(y.quantization.tensor_scale, scale, rel_tol=tolerance)
        and y.quantization.tensor_zero_point == zero_point
        and bool(x.shape)
        and x.shape[-1] <= MAX_CLASSES
        and beta * x.quantization.tensor_scale * 2.0 ** (31 - SOFTMAX_INTEGER_BITS) > 1
    )


def supports(op: Softmax, graph: Graph) -> bool:
    """int8 to int8 or int16 with the fixed output scale, at most 4095 classes, a scale that Q5.26 can hold."""
    return _supports(op, graph, SOFTMAX_OUTPUTS, op.beta)


def _shape_and_scaling(
    op: Softmax | LogSoftmax, graph: Graph, beta: float, rounding: Rounding
) -> tuple[tuple[str, int], ...]:
    x = graph.tensors[op.inputs[0]]
    params = softmax_params(x, beta, rounding)
    return (
        ("vectors", row_elements(x.shape) // x.shape[-1]),
        ("classes", x.shape[-1]),
        ("input_multiplier", params.multiplier),
        ("input_shift", params.left_shift),
        ("diff_min", params.diff_min),
        ("output_bytes", graph.tensors[op.output].dtype.itemsize),
    )


def pack(op: Softmax, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Shape, input scaling and the smallest difference that counts."""
    return PackedKernel("tc_softmax_s8_params", _shape_and_scaling(op, graph, op.beta, rounding))


def supports_log(op: LogSoftmax, graph: Graph) -> bool:
    """As for Softmax, with LogSoftmax's own output scale."""
    return _supports(op, graph, LOG_SOFTMAX_OUTPUTS, 1.0)


def pack_log(op: LogSoftmax, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Softmax's parameters, and the scaling back from Q5.26."""
    params = log_softmax_params(graph.tensors[op.inputs[0]], rounding)
    return PackedKernel(
        "tc_log_softmax_s8_params",
        (
            ("exp", tuple(value for _, value in _shape_and_scaling(op, graph, 1.0, rounding))),
            ("reverse_multiplier", params.reverse_multiplier),
            ("reverse_shift", params.reverse_shift),
        ),
    )


def supports_table(op: Softmax, graph: Graph) -> bool:
    """As the kernel without a table, to int8, of more values than the table has."""
    y = graph.tensors[op.output]
    return supports(op, graph) and y.dtype is DType.INT8 and y.elements >= DIFFERENCES


def pack_table(op: Softmax, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Shape, and the exponential of every difference."""
    x = graph.tensors[op.inputs[0]]
    table = softmax_exponentials(softmax_params(x, op.beta, rounding), rounding).astype(np.int32)
    return PackedKernel(
        "tc_softmax_s8_table_params",
        (("vectors", row_elements(x.shape) // x.shape[-1]), ("classes", x.shape[-1])),
        (PackedArray("exponentials", table, "exp of the differences 0 to -255: int32 [256], Q0.31"),),
    )


SOFTMAX = (
    KernelVariant(
        name="softmax_s8_table",
        header="tc_softmax_table.h",
        tier="portable",
        pack=pack_table,
        supports=supports_table,
        in_place=(0,),
        code=fixed_code(500),
        instructions=estimate(35, 0, no_taps),
    ),
    KernelVariant(
        name="softmax_s8",
        header="tc_softmax.h",
        tier="portable",
        pack=pack,
        supports=supports,
        in_place=(0,),
        code=fixed_code(700, ("softmax_exp", 444)),
        instructions=estimate(330, 0, no_taps),
    ),
)
LOG_SOFTMAX = (
    KernelVariant(
        name="log_softmax_s8",
        header="tc_softmax.h",
        tier="portable",
        pack=pack_log,
        supports=supports_log,
        in_place=(0,),
        instructions=estimate(215, 0, no_taps),
    ),
)
