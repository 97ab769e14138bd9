"""Depthwise convolution of any kernel on Armv7E-M: two taps and 4 channels at a time."""

from __future__ import annotations

import numpy as np

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import DepthwiseConv2D
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedKernel
from tinycompress.kernels.conv2d_dsp import packed_params, rounding_of
from tinycompress.kernels.conv2d_window import Window
from tinycompress.kernels.depthwise_dsp import lane_pair, requantization_of
from tinycompress.kernels.packing import folded_bias, has_plain_weights
from tinycompress.kernels.requantize_dsp import form_instructions

MAX_TAPS = 50
"""Their places are on the stack, 4 bytes each."""


def _pairs(op: DepthwiseConv2D, graph: Graph) -> int:
    height, width, _ = graph.tensors[op.weights].shape
    return -(-height * width // 2)


def _supports(op: DepthwiseConv2D, graph: Graph) -> bool:
    """One output a channel, at least 4 channels, at most 50 taps, an exact requantization."""
    return (
        op.multiplier == 1
        and graph.tensors[op.output].shape[2] >= 4
        and 2 * _pairs(op, graph) <= MAX_TAPS
        and has_plain_weights(op, graph)
        and requantization_of(op, graph, rounding_of(graph)) is not None
    )


def _pack(op: DepthwiseConv2D, graph: Graph, rounding: Rounding) -> PackedKernel:
    requantization = requantization_of(op, graph, rounding)
    if requantization is None:
        raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
    height, width, channels = graph.tensors[op.weights].shape
    pairs = _pairs(op, graph)
    taps = np.zeros((2 * pairs, channels), np.int64)
    taps[: height * width] = graph.tensors[op.weights].constant.reshape(-1, channels)
    taps *= requantization.weight_scale
    words = lane_pair(taps[0::2], taps[1::2])
    bias = folded_bias(op, graph).astype(np.int64) * requantization.weight_scale
    constants = np.stack([requantization.multiplier, requantization.addend], axis=1)
    firsts = [min(c, channels - 4) for c in range(0, channels, 4)]
    blocks = [
        np.concatenate([bias[c : c + 4], words[:, c : c + 4].ravel(), constants[c : c + 4].ravel()]) for c in firsts
    ]
    window = Window(width, height, False, gemm.Depth(pairs, 1))
    stream = gemm.to_words(np.concatenate(blocks))
    return packed_params(op, graph, window, requantization, stream, "4 channels a block, as 16-bit lanes of two taps")


def _instructions(op: DepthwiseConv2D, graph: Graph) -> int:
    height, width, channels = graph.tensors[op.output].shape
    requantization = requantization_of(op, graph, rounding_of(graph))
    outputs = 4 * (4 + (form_instructions(requantization.form) if requantization else 4))
    pairs = _pairs(op, graph)
    return height * width * (16 * pairs + -(-channels // 4) * (17 * pairs + 25 + outputs))


def _code(op: DepthwiseConv2D, graph: Graph) -> Code:
    return Code(500, (("taps_sums", 78),))


DEPTHWISE_TAPS = (
    KernelVariant(
        name="depthwise_taps_s8_dsp",
        header="tc_depthwise_taps_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=_supports,
        scratch_bytes=lambda op, graph, rows: -(-graph.tensors[op.output].shape[2] // 8) * 8,
        code=_code,
        instructions=_instructions,
        needs_zero_row=True,
    ),
)
