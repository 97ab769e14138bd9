"""Conv2D on Armv7E-M: two pixels gathered into 16-bit lanes, then the matrix core over all output channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycompress.ir.fixedpoint import activation_range, convolution_multipliers
from tinycompress.ir.graph import Graph, QuantGraph, Rounding
from tinycompress.ir.ops import Conv2D, DepthwiseConv2D, FullyConnected
from tinycompress.ir.tensor import Array, Tensor
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.packing import Scalars, describe, folded_bias, has_plain_weights, output_range
from tinycompress.kernels.requantize_dsp import Channels, Clamp, Requantization, choose_requantization

MAX_ROWS_AT_ONCE = 16
"""Output rows of a call in whole layers: more cost stack (two pointers a row) and save next to nothing."""


@dataclass(frozen=True)
class Window:
    """How a convolution's window is gathered: `rows` runs of `run` values, and the core's walk over them.

    Runs are padded to 4 values each; where that saves groups of 4 (`is_dense`), what they have over whole groups is
    joined at the end instead.
    """

    run: int
    rows: int
    is_dense: bool
    depth: gemm.Depth

    @property
    def staging_bytes(self) -> int:
        """Bytes of one row of the window and of what the rows have over whole groups, each padded to 4."""
        joined = self.rows * (self.run % 4) if self.is_dense else 0
        return -(-self.run // 4) * 4 + -(-joined // 4) * 4


def window_of(weights: Tensor) -> Window:
    """The window of OHWI weights."""
    _, height, width, channels = weights.shape
    run = width * channels
    padded, joined = height * -(-run // 4), height * (run // 4) + -(-height * (run % 4) // 4)
    return Window(run, height, joined < padded, gemm.depth_for(min(joined, padded)))


def weight_rows(weights: Tensor, window: Window) -> Array:
    """OHWI weights as `(outputs, K)` in the order in which the window is gathered."""
    rows = weights.constant.reshape(weights.shape[0], window.rows, window.run)
    if not window.is_dense:
        return np.pad(rows, ((0, 0), (0, 0), (0, -window.run % 4))).reshape(len(rows), -1)
    whole = window.run - window.run % 4
    return np.concatenate(
        [rows[:, :, :whole].reshape(len(rows), -1), rows[:, :, whole:].reshape(len(rows), -1)], axis=1
    )


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


def has_group_rows(op: Conv2D, graph: Graph) -> bool:
    """True where each row of a window is one group of 4 values, so that output rows share what is widened."""
    window = window_of(graph.tensors[op.weights])
    return window.run == 4 and window.rows > op.stride[0] and op.dilation[0] == 1


def rows_per_step(op: Any, graph: Graph) -> int:
    """Two rows when the output's width is odd, so that every pair of pixels is full."""
    return 1 + graph.tensors[op.output].shape[1] % 2


def rows_at_once(op: Any, graph: Graph) -> int:
    """Rows of a call in whole layers, as many as are worth their pointers on the stack."""
    return MAX_ROWS_AT_ONCE


def padded_columns(op: Conv2D, graph: Graph) -> int:
    """Output columns whose window is gathered tap by tap: it leaves the row, or is dilated."""
    width, outputs = graph.tensors[op.inputs[0]].shape[1], graph.tensors[op.output].shape[1]
    reach = graph.tensors[op.weights].shape[2]
    if op.dilation[1] > 1:
        return outputs
    starts = (x * op.stride[1] - op.padding[1] for x in range(outputs))
    return sum(start < 0 or start + reach > width for start in starts)


def instructions(op: Conv2D, graph: Graph) -> int:
    """Core exactly as counted, and the gather."""
    height, width, outputs = graph.tensors[op.output].shape
    window = window_of(graph.tensors[op.weights])
    requantization = requantization_of(op, graph, rounding_of(graph))
    block = gemm.block_instructions(requantization.form if requantization else 0, window.depth)
    return gather_instructions(op, graph) + -(-height * width // 2) * (-(-outputs // 2) * block + 40)


def gather_instructions(op: Conv2D, graph: Graph) -> int:
    """Widening every output pixel's window once, as fitted on counted layers: 5 a byte where taps leave the row."""
    height, width, _ = graph.tensors[op.output].shape
    window = window_of(graph.tensors[op.weights])
    gather = 4 * window.depth.groups + 5 * window.rows + 12
    padded = 5 * padded_columns(op, graph) * height * window.rows * window.run
    return padded + height * width * gather


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
    kernel: str, op: Conv2D, graph: Graph, window: Window, requantization: Requantization, stream: Array, layout: str
) -> PackedKernel:
    """The params of `kernel`, which all matrix-core convolutions have in common, with their stream."""
    weights = graph.tensors[op.weights]
    return PackedKernel(
        f"tc_{kernel}_params",
        (
            *window_scalars(op, graph, (weights.shape[1], weights.shape[2])),
            ("form", requantization.form),
            ("steps", window.depth.steps),
            ("chunks", window.depth.chunks),
            ("is_dense", int(window.is_dense)),
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
    return packed_params("conv2d_s8_dsp", op, graph, window, requantization, stream, "as 16-bit lanes")


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
        instructions=instructions,
        needs_zero_row=True,
    ),
)
