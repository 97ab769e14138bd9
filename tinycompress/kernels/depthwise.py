"""DepthwiseConv2D, portable: packing and predicate."""

from __future__ import annotations

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import DepthwiseConv2D
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel, fixed_code
from tinycompress.kernels.packing import (
    bias_array,
    describe,
    estimate,
    folded_bias,
    has_plain_weights,
    output_range,
    requantization,
)


def taps(op: DepthwiseConv2D, graph: Graph) -> int:
    """Multiply-accumulates of one output."""
    height, width, _ = graph.tensors[op.weights].shape
    return height * width


def pack(op: DepthwiseConv2D, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Weights as they are, (kernel height, kernel width, output channel); input zero point folded into the bias."""
    x, y, weights = graph.tensors[op.inputs[0]], graph.tensors[op.output], graph.tensors[op.weights]
    step, multiplier, shift = requantization(op, graph, rounding)
    return PackedKernel(
        "tc_depthwise_s8_params",
        (
            ("input_width", x.shape[1]),
            ("input_channels", x.shape[2]),
            ("output_width", y.shape[1]),
            ("multiplier_count", op.multiplier),
            ("kernel_height", weights.shape[0]),
            ("kernel_width", weights.shape[1]),
            ("stride_height", op.stride[0]),
            ("stride_width", op.stride[1]),
            ("dilation_height", op.dilation[0]),
            ("dilation_width", op.dilation[1]),
            ("pad_left", op.padding[1]),
            ("input_zero_point", x.quantization.tensor_zero_point),
            *output_range(op.activation, y),
            ("requant_step", step),
        ),
        (
            PackedArray("weights", weights.constant, describe(weights, "weights", "HWO")),
            bias_array(folded_bias(op, graph), op, graph),
            multiplier,
            shift,
        ),
    )


DEPTHWISE = (
    KernelVariant(
        name="depthwise_s8",
        header="tc_depthwise.h",
        tier="portable",
        pack=pack,
        supports=has_plain_weights,
        code=fixed_code(90, ("depthwise_s8", 1908)),
        instructions=estimate(60, 12.0, taps),
        needs_zero_row=True,
    ),
)
