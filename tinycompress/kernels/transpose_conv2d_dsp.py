"""TransposeConv2D on Armv7E-M: a convolution for each phase of the strides, by the matrix core."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from tinycompress.ir.fixedpoint import activation_range, convolution_multipliers
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Pair, TransposeConv2D
from tinycompress.ir.tensor import Array
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.code_dsp import matrix_cores
from tinycompress.kernels.conv2d_dsp import rounding_of
from tinycompress.kernels.packing import bias_values, describe, has_plain_weights
from tinycompress.kernels.requantize_dsp import (
    Channels,
    Clamp,
    Requantization,
    choose_requantization,
    form_instructions,
)
from tinycompress.kernels.transpose_conv2d import geometry


@dataclass(frozen=True)
class Phases:
    """Taps of every phase by row phase and column phase; all are whole units of `unit_taps` taps, and the core walks
    `depth` for a unit. A phase without taps has a unit of zero weights."""

    heights: tuple[int, ...]
    widths: tuple[int, ...]
    unit_taps: int
    depth: gemm.Depth

    def units(self, phase: Pair) -> int:
        """Units of the phase (row phase, column phase)."""
        return max(1, self.heights[phase[0]] * self.widths[phase[1]] // self.unit_taps)

    def depth_of(self, phase: Pair) -> gemm.Depth:
        """The core's walk over the phase."""
        return gemm.Depth(self.depth.steps, self.depth.chunks * self.units(phase))

    @property
    def all(self) -> tuple[Pair, ...]:
        """Every phase, in the order of the stream."""
        return tuple((row, column) for row in range(len(self.heights)) for column in range(len(self.widths)))


def phases_of(op: TransposeConv2D, graph: Graph) -> Phases:
    """The phases of the layer."""
    _, height, width, channels = graph.tensors[op.weights].shape
    heights, widths = (
        tuple(len(range(phase, size, stride)) for phase in range(stride))
        for size, stride in zip((height, width), op.stride, strict=True)
    )
    unit = math.gcd(*(h * w for h in heights for w in widths))
    return Phases(heights, widths, unit, gemm.depth_for(unit * -(-channels // 4)))


def _phase_weights(op: TransposeConv2D, graph: Graph, phase: Pair) -> Array:
    """(outputs, taps, channels) of a phase: column after column, each from its first tap down."""
    weights = graph.tensors[op.weights].constant
    taken = weights[:, phase[0] :: op.stride[0], phase[1] :: op.stride[1]].swapaxes(1, 2)
    outputs, columns, rows, channels = taken.shape
    return taken.reshape(outputs, columns * rows, channels)


def _folded_bias(op: TransposeConv2D, graph: Graph, weights: Array) -> Array:
    """Bias less input zero point times the sum of a phase's weights (taps beside the input read the zero point)."""
    zero_point = graph.tensors[op.inputs[0]].quantization.tensor_zero_point
    folded: Array = bias_values(op, graph, len(weights)) - zero_point * weights.astype(np.int64).sum(axis=(1, 2))
    return folded


def _requantization(op: TransposeConv2D, graph: Graph, rounding: Rounding) -> Requantization | None:
    """Of phase after phase, all outputs of each."""
    x, weights, y = graph.tensors[op.inputs[0]], graph.tensors[op.weights], graph.tensors[op.output]
    outputs = len(weights.constant)
    multipliers, shifts = convolution_multipliers(x, weights, y, outputs, rounding)
    parts = []
    for phase in phases_of(op, graph).all:
        taken = _phase_weights(op, graph, phase)
        parts.append(
            gemm.channels_of(taken.reshape(outputs, taken[0].size), _folded_bias(op, graph, taken), multipliers, shifts)
        )
    clamp = Clamp(y.quantization.tensor_zero_point, *activation_range(op.activation, y))
    channels = Channels(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Channels)))
    return choose_requantization(channels, clamp, rounding)


def _supports(op: TransposeConv2D, graph: Graph) -> bool:
    return has_plain_weights(op, graph) and _requantization(op, graph, rounding_of(graph)) is not None


def _rows(op: TransposeConv2D, graph: Graph, phases: Phases, phase: Pair) -> Array:
    """Weights of a phase as `(outputs, K)`: taps padded to 4 channels, units to the core's walk."""
    taken = _phase_weights(op, graph, phase)
    outputs, taps, channels = taken.shape
    padded = np.pad(taken, ((0, 0), (0, phases.units(phase) * phases.unit_taps - taps), (0, -channels % 4)))
    units = padded.reshape(outputs, phases.units(phase), phases.unit_taps * padded.shape[2])
    walked = np.pad(units, ((0, 0), (0, 0), (0, 4 * phases.depth.groups - units.shape[2])))
    return walked.reshape(outputs, 4 * phases.depth_of(phase).groups)


def _pack(op: TransposeConv2D, graph: Graph, rounding: Rounding) -> PackedKernel:
    requantization = _requantization(op, graph, rounding)
    if requantization is None:
        raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
    weights = graph.tensors[op.weights]
    phases, outputs = phases_of(op, graph), weights.shape[0]
    streams = []
    for i, phase in enumerate(phases.all):
        bias = _folded_bias(op, graph, _phase_weights(op, graph, phase))
        own = slice(i * outputs, (i + 1) * outputs)
        scale, multiplier, addend = requantization.weight_scale, requantization.multiplier, requantization.addend
        part = Requantization(requantization.form, scale[own], multiplier[own], addend[own])
        streams.append(gemm.pack_stream(_rows(op, graph, phases, phase), bias, part, phases.depth_of(phase)))
    offsets = np.cumsum([0, *(len(s) for s in streams[:-1])]).astype(np.int32)
    return PackedKernel(
        "tc_transpose_conv2d_s8_dsp_params",
        (
            *geometry(op, graph),
            ("form", requantization.form),
            ("unit_taps", phases.unit_taps),
            ("steps", phases.depth.steps),
            ("rounds", phases.depth.chunks),
        ),
        (
            PackedArray("stream", np.concatenate(streams), describe(weights, "weights, bias, multipliers", "by phase")),
            PackedArray("offsets", offsets, "words of the stream before each phase"),
        ),
    )


def _scratch(op: TransposeConv2D, graph: Graph, rows: int) -> int:
    phases, channels = phases_of(op, graph), graph.tensors[op.inputs[0]].shape[2]
    groups = max(phases.depth_of(phase).groups for phase in phases.all)
    return -(-(16 * groups + 4 + -(-channels // 4) * 4) // 8) * 8


def _instructions(op: TransposeConv2D, graph: Graph) -> int:
    """Core as counted, the gather fitted: every row gathers the window of each pair of input columns once."""
    height, width, outputs = graph.tensors[op.output].shape
    phases, requantization = phases_of(op, graph), _requantization(op, graph, rounding_of(graph))
    groups = -(-graph.tensors[op.inputs[0]].shape[2] // 4)
    block = 10 + 4 * (form_instructions(requantization.form) if requantization else 4)
    total = 0.0
    for row, taps in enumerate(phases.heights):
        rows = len(range((row - op.padding[0]) % op.stride[0], height, op.stride[0]))
        pairs = -(-width // (2 * op.stride[1]))
        cores = 0
        for column in range(op.stride[1]):
            depth = phases.depth_of((row, column))
            cores += 55 + 25 * (outputs % 2) + -(-outputs // 2) * (block + depth.chunks * (10 * depth.steps + 3))
        total += rows * pairs * (cores + taps * phases.widths[0] * (40 + 8 * groups))
    return round(total)


def _code(op: TransposeConv2D, graph: Graph) -> Code:
    requantization = _requantization(op, graph, rounding_of(graph))
    depth = phases_of(op, graph).depth
    return Code(700, matrix_cores(requantization.form if requantization else 0, gemm.Depth(depth.steps, 2), 2))


TRANSPOSE_CONV2D = (
    KernelVariant(
        name="transpose_conv2d_s8_dsp",
        header="tc_transpose_conv2d_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=_supports,
        scratch_bytes=_scratch,
        code=_code,
        instructions=_instructions,
        whole_input=True,
    ),
)
