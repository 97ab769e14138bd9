"""Conv2D on Armv7E-M: two pixels gathered into 16-bit lanes, then the matrix core over all output channels."""

from __future__ import annotations

from typing import Any

from tinycompress.ir.fixedpoint import activation_range, convolution_multipliers
from tinycompress.ir.graph import Graph, QuantGraph, Rounding
from tinycompress.ir.ops import Conv2D, DepthwiseConv2D, FullyConnected
from tinycompress.ir.tensor import Array, Tensor
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.code_dsp import conv2d_code
from tinycompress.kernels.conv2d_window import (
    MAX_ROWS_AT_ONCE,
    Window,
    has_group_rows,
    padded_columns,
    rows_at_once,
    weight_rows,
    window_of,
)
from tinycompress.kernels.packing import Scalars, describe, folded_bias, has_plain_weights, output_range
from tinycompress.kernels.requantize_dsp import Channels, Clamp, Requantization, choose_requantization


def rounding_of(graph: Graph) -> Rounding:
    """The graph's rounding; double before quantization has fixed it."""
    return graph.rounding if isinstance(graph, QuantGraph) else Rounding.DOUBLE


def clamp_of(op: Conv2D | DepthwiseConv2D | FullyConnected, y: Tensor) -> Clamp:
    """Output zero point and activation range of a fused clamp."""
    return Clamp(y.quantization.tensor_zero_point, *activation_range(op.activation, y))


def channels_of_layer(op: Conv2D, graph: Graph, rounding: Rounding) -> Channels:
    """Multipliers, shifts and accumulator ranges of the output channels."""
    x, weights, y = graph.tensors[op.inputs[0]], graph.tensors[op.weights], graph.tensors[op.output]
    rows = weights.constant.reshape(weights.shape[0], -1)
    multipliers = convolution_multipliers(x, weights, y, len(rows), rounding)
    return gemm.channels_of(rows, folded_bias(op, graph), *multipliers)


def requantization_of(op: Conv2D, graph: Graph, rounding: Rounding) -> Requantization | None:
    """The exact requantization form of the layer's channels, None when there is none."""
    clamp = clamp_of(op, graph.tensors[op.output])
    return choose_requantization(channels_of_layer(op, graph, rounding), clamp, rounding)


def supports(op: Conv2D, graph: Graph) -> bool:
    """Ungrouped int8 convolutions whose requantization has an exact form."""
    return (
        op.groups == 1 and has_plain_weights(op, graph) and requantization_of(op, graph, rounding_of(graph)) is not None
    )


def scratch_bytes(op: Conv2D, graph: Graph, rows: int) -> int:
    """Lanes of two pixels, 4 bytes for an odd last channel, and the staging bytes of a window."""
    window = window_of(graph.tensors[op.weights])
    groups = window.depth.groups
    if has_group_rows(op, graph):
        groups = max(groups, (rows - 1) * op.stride[0] + window.rows)
    return -(-(16 * groups + 4 + window.staging_bytes) // 8) * 8


def rows_per_step(op: Any, graph: Graph) -> int:
    """Two rows when the output's width is odd, so that every pair of pixels is full."""
    return 1 + graph.tensors[op.output].shape[1] % 2


def instructions(op: Conv2D, graph: Graph) -> int:
    """Core exactly as counted, and the gather."""
    height, width, outputs = graph.tensors[op.output].shape
    window = window_of(graph.tensors[op.weights])
    requantization = requantization_of(op, graph, rounding_of(graph))
    core = gemm.core_instructions(requantization.form if requantization else 0, window.depth, outputs)
    if window.rows == 1 and graph.tensors[op.weights].shape[2] == 1 and op.stride == (1, 1):
        gather = round(height * width * (5 + 7.2 * window.depth.groups))
    elif has_group_rows(op, graph):
        calls = -(-height // MAX_ROWS_AT_ONCE)
        taken = (height - calls) * op.stride[0] + calls * window.rows
        gather = width * (12 * height + 36 * taken)
    else:
        gather = gather_instructions(op, graph)
    return gather + -(-height * width // 2) * core


def gather_instructions(op: Conv2D, graph: Graph) -> int:
    """Widening every output pixel's window once, as fitted on counted layers of both compilers."""
    height, width, _ = graph.tensors[op.output].shape
    window = window_of(graph.tensors[op.weights])
    padded = 16 * padded_columns(op, graph) * height * window.rows
    return padded + round(height * width * (8 * window.rows + 5.6 * window.depth.groups))


def groups_of(op: Conv2D | DepthwiseConv2D, graph: Graph) -> int:
    """Groups of channels that see only their own inputs."""
    return op.groups if isinstance(op, Conv2D) else graph.tensors[op.inputs[0]].shape[2]


def window_scalars(op: Conv2D | DepthwiseConv2D, graph: Graph, kernel: tuple[int, int]) -> Scalars:
    """The params members that say where a window's taps are, and the output's range."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    return (
        ("input_width", x.shape[1]),
        ("input_channels", x.shape[2]),
        ("output_width", y.shape[1]),
        ("output_channels", y.shape[2]),
        ("kernel_height", kernel[0]),
        ("kernel_width", kernel[1]),
        ("stride_height", op.stride[0]),
        ("stride_width", op.stride[1]),
        ("dilation_height", op.dilation[0]),
        ("dilation_width", op.dilation[1]),
        ("pad_left", op.padding[1]),
        ("input_zero_point", x.quantization.tensor_zero_point),
        *output_range(op.activation, y),
    )


def packed_params(
    op: Conv2D | DepthwiseConv2D,
    graph: Graph,
    window: Window,
    requantization: Requantization,
    stream: Array,
    layout: str,
) -> PackedKernel:
    """The params that all matrix-core convolutions have in common, with their stream."""
    weights = graph.tensors[op.weights]
    first = 1 if isinstance(op, Conv2D) else 0
    return PackedKernel(
        "tc_conv2d_s8_dsp_params",
        (
            *window_scalars(op, graph, (weights.shape[first], weights.shape[first + 1])),
            ("form", requantization.form),
            ("steps", window.depth.steps),
            ("chunks", window.depth.chunks),
            ("is_dense", int(window.is_dense)),
            ("groups", groups_of(op, graph)),
        ),
        (PackedArray("stream", stream, describe(weights, "weights, bias, multipliers", layout)),),
    )


def pack(op: Conv2D, graph: Graph, rounding: Rounding) -> PackedKernel:
    """One stream per layer in the order in which the core reads it."""
    weights = graph.tensors[op.weights]
    requantization = requantization_of(op, graph, rounding)
    if requantization is None:
        raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
    window = window_of(weights)
    stream = gemm.pack_stream(weight_rows(weights, window), folded_bias(op, graph), requantization, window.depth)
    return packed_params(op, graph, window, requantization, stream, "as 16-bit lanes")


def code(op: Conv2D, graph: Graph) -> Code:
    """Core, helpers, and the layer's own gather."""
    requantization = requantization_of(op, graph, rounding_of(graph))
    return conv2d_code(op, graph, window_of(graph.tensors[op.weights]), requantization.form if requantization else 0)


CONV2D = (
    KernelVariant(
        name="conv2d_s8_dsp",
        header="tc_conv2d_dsp.h",
        tier="dsp",
        pack=pack,
        supports=supports,
        scratch_bytes=scratch_bytes,
        rows_per_step=rows_per_step,
        rows_at_once=rows_at_once,
        code=code,
        instructions=instructions,
        needs_zero_row=True,
    ),
)
