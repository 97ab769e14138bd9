"""TransposeConv2D, portable: packing and predicate."""

from __future__ import annotations

import numpy as np

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import TransposeConv2D
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.packing import (
    Scalars,
    bias_array,
    bias_values,
    describe,
    estimate,
    has_plain_weights,
    output_range,
    requantization,
)


def taps(op: TransposeConv2D, graph: Graph) -> int:
    """Multiply-accumulates of one output, rounded up to whole taps per stride."""
    _, height, width, channels = graph.tensors[op.weights].shape
    return -(-height // op.stride[0]) * -(-width // op.stride[1]) * channels


def geometry(op: TransposeConv2D, graph: Graph) -> Scalars:
    """Extents, strides, padding, zero points and the output's range: the members that every variant begins with."""
    x, y, weights = (graph.tensors[n] for n in (op.inputs[0], op.output, op.weights))
    return (
        ("input_height", x.shape[0]),
        ("input_width", x.shape[1]),
        ("input_channels", x.shape[2]),
        ("output_width", y.shape[1]),
        ("output_channels", y.shape[2]),
        ("kernel_height", weights.shape[1]),
        ("kernel_width", weights.shape[2]),
        ("stride_height", op.stride[0]),
        ("stride_width", op.stride[1]),
        ("pad_top", op.padding[0]),
        ("pad_left", op.padding[1]),
        ("input_zero_point", x.quantization.tensor_zero_point),
        *output_range(op.activation, y),
    )


def pack(op: TransposeConv2D, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Weights as they are (OHWI); the bias as it is, since border outputs have fewer taps."""
    weights = graph.tensors[op.weights]
    step, multiplier, shift = requantization(op, graph, rounding)
    bias = bias_values(op, graph, weights.shape[0]).astype(np.int32)
    return PackedKernel(
        "tc_transpose_conv2d_s8_params",
        (
            *geometry(op, graph),
            ("requant_step", step),
        ),
        (
            PackedArray("weights", weights.constant, describe(weights, "weights", "OHWI")),
            bias_array(bias, op, graph, "as in the model"),
            multiplier,
            shift,
        ),
    )


TRANSPOSE_CONV2D = (
    KernelVariant(
        name="transpose_conv2d_s8",
        header="tc_transpose_conv2d.h",
        tier="portable",
        pack=pack,
        supports=has_plain_weights,
        instructions=estimate(160, 5.0, taps),
        whole_input=True,
    ),
)
