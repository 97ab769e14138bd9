"""Conv2D, portable: packing and predicate."""

from __future__ import annotations

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Conv2D
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


def taps(op: Conv2D, graph: Graph) -> int:
    """Multiply-accumulates of one output."""
    _, height, width, channels = graph.tensors[op.weights].shape
    return height * width * channels


def _steps(op: Conv2D, graph: Graph) -> int:
    """`taps`, and what each kernel position of a group costs besides."""
    _, height, width, channels = graph.tensors[op.weights].shape
    return height * width * (channels if op.groups == 1 else channels + 5)


def pack(op: Conv2D, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Weights as they are (OHWI), input zero point folded into the bias."""
    x, y, weights = graph.tensors[op.inputs[0]], graph.tensors[op.output], graph.tensors[op.weights]
    step, multiplier, shift = requantization(op, graph, rounding)
    return PackedKernel(
        "tc_conv2d_s8_params",
        (
            ("input_width", x.shape[1]),
            ("input_channels", x.shape[2]),
            ("output_width", y.shape[1]),
            ("output_channels", y.shape[2]),
            ("kernel_height", weights.shape[1]),
            ("kernel_width", weights.shape[2]),
            ("stride_height", op.stride[0]),
            ("stride_width", op.stride[1]),
            ("dilation_height", op.dilation[0]),
            ("dilation_width", op.dilation[1]),
            ("pad_left", op.padding[1]),
            ("groups", op.groups),
            ("input_zero_point", x.quantization.tensor_zero_point),
            *output_range(op.activation, y),
            ("requant_step", step),
        ),
        (
            PackedArray("weights", weights.constant, describe(weights, "weights", "OHWI")),
            bias_array(folded_bias(op, graph), op, graph),
            multiplier,
            shift,
        ),
    )


CONV2D = (
    KernelVariant(
        name="conv2d_s8",
        header="tc_conv2d.h",
        tier="portable",
        pack=pack,
        supports=has_plain_weights,
        code=fixed_code(70, ("conv2d_s8", 2908)),
        instructions=estimate(100, 4.0, _steps),
        needs_zero_row=True,
    ),
)
