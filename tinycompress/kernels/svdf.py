"""SVDF: packing and predicate."""

from __future__ import annotations

import numpy as np

from tinycompress.ir.fixedpoint import integer_range
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import SVDF
from tinycompress.ir.quant_params import svdf_multipliers
from tinycompress.ir.tensor import DType
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.packing import INT32_MAX, are_activations, describe, estimate, output_range


def taps(op: SVDF, graph: Graph) -> int:
    """Multiply-accumulates per output element: features and memory of its filters over units and state elements."""
    filters, inputs = graph.tensors[op.feature_weights].shape
    memory = graph.tensors[op.time_weights].shape[1]
    return filters * (inputs + memory) // (filters // op.rank + filters * memory)


def supports(op: SVDF, graph: Graph) -> bool:
    """int8 input, output and features; state and time weights both int8 or both int16; projections that fit int32."""
    x, state, y, kept = (graph.tensors[n] for n in (*op.inputs, *op.outputs))
    features, times = graph.tensors[op.feature_weights], graph.tensors[op.time_weights]
    types = (x.dtype, y.dtype, features.dtype) == (DType.INT8,) * 3 and state.dtype in (DType.INT8, DType.INT16)
    if not types or not state.dtype is kept.dtype is times.dtype or not are_activations(op, graph):
        return False
    symmetric = not any(features.quantization.zero_point) and not any(times.quantization.zero_point)
    if state.dtype is DType.INT16:
        symmetric = symmetric and state.quantization.tensor_zero_point == 0
    largest = 2 * 128 * int(np.abs(features.constant.astype(np.int64)).sum(axis=1).max())
    return symmetric and features.quantization.is_per_tensor and largest <= INT32_MAX


def pack(op: SVDF, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Weights as they are; the input's zero point becomes a bias of each filter's projection."""
    x, state, y = graph.tensors[op.inputs[0]], graph.tensors[op.inputs[1]], graph.tensors[op.outputs[0]]
    features, times = graph.tensors[op.feature_weights], graph.tensors[op.time_weights]
    filters, inputs = features.shape
    units = filters // op.rank
    (feature_multiplier, feature_shift), (multiplier, shift) = svdf_multipliers(x, features, state, times, y, rounding)
    projection = -x.quantization.tensor_zero_point * features.constant.astype(np.int32).sum(axis=1, dtype=np.int32)
    bias = np.zeros(units, np.int32) if op.bias is None else graph.tensors[op.bias].constant
    low, high = integer_range(state.dtype)
    return PackedKernel(
        "tc_svdf_s8_params",
        (
            ("inputs", inputs),
            ("units", units),
            ("rank", op.rank),
            ("memory", times.shape[1]),
            ("state_bytes", state.dtype.itemsize),
            ("state_zero_point", state.quantization.tensor_zero_point),
            ("state_min", low),
            ("state_max", high),
            ("feature_multiplier", feature_multiplier),
            ("feature_shift", feature_shift),
            ("output_multiplier", multiplier),
            ("output_shift", shift),
            *output_range(op.activation, y),
        ),
        (
            PackedArray("feature_weights", features.constant, describe(features, "feature weights", "OI")),
            PackedArray("feature_bias", projection.astype(np.int32), "minus input zero point times the filter's sum"),
            PackedArray("time_weights", times.constant, describe(times, "time weights", "filter, age")),
            PackedArray("bias", bias, f"bias: int32 [{units}]"),
        ),
    )


SVDF_S8 = (
    KernelVariant(
        name="svdf_s8",
        header="tc_svdf.h",
        tier="portable",
        pack=pack,
        supports=supports,
        instructions=estimate(20, 8.0, taps),
        whole_input=True,
    ),
)
