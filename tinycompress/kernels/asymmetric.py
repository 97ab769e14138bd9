"""Conv2D, DepthwiseConv2D and FullyConnected whose weights have a zero point: packing and predicate."""

from __future__ import annotations

import numpy as np

from tinycompress.ir.fixedpoint import convolution_multipliers
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.tensor import DType
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.packing import (
    INT32_MAX,
    are_activations,
    bias_array,
    bias_values,
    describe,
    is_int8,
    output_range,
)
from tinycompress.kernels.windowed import Windowed, as_convolution


def supports(op: Windowed, graph: Graph) -> bool:
    """int8 activations and weights with one scale and a zero point that is not 0; sums that fit int32 in any order."""
    weights = graph.tensors[op.weights]
    if weights.dtype is not DType.INT8 or not is_int8(op, graph) or not are_activations(op, graph):
        return False
    if not weights.quantization.is_per_tensor or not weights.quantization.tensor_zero_point:
        return False
    zero_point = abs(weights.quantization.tensor_zero_point)
    taps = np.abs(as_convolution(op, graph).weights.astype(np.int64)).reshape(graph.tensors[op.output].shape[-1], -1)
    reach = np.abs(bias_values(op, graph, len(taps))) + 2 * 128 * (taps.sum(axis=1) + zero_point * taps.shape[1])
    return bool((reach <= INT32_MAX).all())


def pack(op: Windowed, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Weights as they are in the order OHWI; the input's zero point folded into the bias."""
    x, y, weights = graph.tensors[op.inputs[0]], graph.tensors[op.output], graph.tensors[op.weights]
    window, channels = as_convolution(op, graph), y.shape[-1]
    zero_point = weights.quantization.tensor_zero_point
    sums = (window.weights.astype(np.int64) - zero_point).reshape(channels, -1).sum(axis=1)
    bias = bias_values(op, graph, channels) - x.quantization.tensor_zero_point * sums
    multipliers, shifts = convolution_multipliers(x, weights, y, 1, rounding)
    return PackedKernel(
        "tc_asymmetric_params",
        (
            *window.scalars,
            ("input_zero_point", x.quantization.tensor_zero_point),
            ("weights_zero_point", zero_point),
            ("multiplier", multipliers[0]),
            ("shift", shifts[0]),
            *output_range(op.activation, y),
        ),
        (
            PackedArray("weights", window.weights, describe(weights, "weights, packed OHWI", "of the model")),
            bias_array(bias.astype(np.int32), op, graph),
        ),
    )


def _instructions(op: Windowed, graph: Graph) -> int:
    """Each kernel position costs besides its taps; all of it once more per group, for the sum of the window."""
    y, window = graph.tensors[op.output], as_convolution(op, graph)
    outputs, kh, kw, channels = window.weights.shape
    per_output = 60 + kh * kw * (30 + 5 * channels)
    per_group = kh * kw * (30 + 3 * channels)
    return int(y.elements * (per_output + per_group * window.groups / outputs))


def _variant(name: str, *, needs_zero_row: bool) -> KernelVariant:
    return KernelVariant(
        name=name,
        header="tc_asymmetric.h",
        tier="portable",
        pack=pack,
        supports=supports,
        instructions=_instructions,
        needs_zero_row=needs_zero_row,
    )


CONV2D = (_variant("conv2d_s8_asymmetric", needs_zero_row=True),)
DEPTHWISE = (_variant("depthwise_s8_asymmetric", needs_zero_row=True),)
FULLY_CONNECTED = (_variant("fully_connected_s8_asymmetric", needs_zero_row=False),)
