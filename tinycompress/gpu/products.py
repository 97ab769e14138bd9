"""Operators that multiply weights, lowered: implicit products on tensor cores, the others a thread an output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinycompress.gpu import packing
from tinycompress.gpu.contexts import PartContext
from tinycompress.gpu.lowering import Fields, Lowering, part
from tinycompress.gpu.masks import as_rows, magnitude_mask
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import convolution_multipliers
from tinycompress.ir.tensor import Array


@dataclass(frozen=True)
class Tile:
    """A block of the product: C++ type and how many 16-row slices it covers."""

    name: str
    slices: int


VECTORS = (16, 4, 1)
"""Bytes that a thread gathers at once, where they divide the channels."""
Weighted = o.Conv2D | o.DepthwiseConv2D | o.TransposeConv2D | o.FullyConnected

TILES = (Tile("tc_tile_16x64", 1), Tile("tc_tile_64x64", 4), Tile("tc_tile_128x128", 8))


def choose_tile(rows: int) -> Tile:
    """The smallest tile that holds all output channels, else the largest."""
    return next((t for t in TILES if rows <= t.slices * packing.SLICE_ROWS), TILES[-1])


def product(op: o.Conv2D | o.FullyConnected, low: Lowering) -> list[PartContext]:
    """A fully connected layer or a convolution: on tensor cores, except in groups."""
    if isinstance(op, o.Conv2D) and op.groups > 1:
        taps = low[op.weights].constant.transpose(1, 2, 3, 0)
        return _grouped(op, low, taps, op.groups)
    weights = low[op.weights]
    matrix = as_rows(weights.constant)
    rows, depth = matrix.shape
    channels = weights.shape[-1]
    tile = choose_tile(rows)
    slices = -(-rows // (tile.slices * packing.SLICE_ROWS)) * tile.slices
    is_sparse = op.name in low.sparse
    if is_sparse:
        values, metadata = packing.sparse_words(packing.pack(matrix, magnitude_mask(matrix)), slices)
    else:
        values, metadata = packing.dense_words(matrix, slices), None
    vector = next(bytes_ for bytes_ in VECTORS if channels % bytes_ == 0)
    pattern = "2:4 values" if is_sparse else "weights"
    window = _convolution_window(op, low) if isinstance(op, o.Conv2D) else _pixel_window(op, low, depth)
    fields = [
        ("rows", rows), ("depth_steps", values.shape[1]), *window, *low.zero_points(op), *low.clamp(op),
        ("batch", "run->batch"),
        ("values", low.constant(f"{op.name}_weights", values, f"{op.name} {pattern} {list(weights.shape)}")),
    ]  # fmt: skip
    if metadata is not None:
        fields.append(("metadata", low.constant(f"{op.name}_positions", metadata, f"{op.name} 2:4 positions")))
    fields += [*_epilogue(op, low, rows, matrix), *low.in_out(op)]
    final = tuple((member, str(value)) for member, value in fields)
    launch = f"tc_gemm_launch<{tile.name}, {'true' if is_sparse else 'false'}, {vector}>(g)"
    return [PartContext("tc_gemm", "g", final, launch)]


def _convolution_window(op: o.Conv2D, low: Lowering) -> Fields:
    return [*low.tap_sources(op), ("out_height", low[op.output].shape[0]), *_taps(op, low[op.weights].shape[1:3])]


def _taps(op: o.Conv2D | o.DepthwiseConv2D, kernel: Sequence[int]) -> Fields:
    return [
        ("kernel_height", kernel[0]), ("kernel_width", kernel[1]),
        ("dilation_height", op.dilation[0]), ("dilation_width", op.dilation[1]),
    ]  # fmt: skip


def _pixel_window(op: o.FullyConnected, low: Lowering, depth: int) -> Fields:
    """Every vector of the input is a pixel of a 1x1 convolution."""
    pixels = low.elements(op.inputs[0]) // depth
    ones = ("kernel_height", "kernel_width", "stride_height", "stride_width", "dilation_height", "dilation_width")
    return [
        ("height", 1), ("width", pixels), ("channels", depth), ("out_height", 1), ("out_width", pixels),
        *((member, 1) for member in ones),
    ]  # fmt: skip


def _epilogue(op: Weighted, low: Lowering, rows: int, folded: Array | None = None) -> Fields:
    """bias, multiplier and shift per output channel; `folded` weights put the zero point's share into the bias."""
    x = low[op.inputs[0]]
    bias = low[op.bias].constant.astype(np.int64) if op.bias is not None else np.zeros(rows, dtype=np.int64)
    if folded is not None:
        bias = bias - x.quantization.tensor_zero_point * folded.astype(np.int64).sum(axis=1)
    wrapped = (bias % 2**32).astype(np.uint32).view(np.int32)
    multipliers = convolution_multipliers(x, low[op.weights], low[op.output], rows, low.graph.rounding)
    arrays = {"bias": wrapped} | {
        name: np.array(v, dtype=np.int32) for name, v in zip(("multiplier", "shift"), multipliers, strict=True)
    }
    return [(name, low.constant(f"{op.name}_{name}", data, f"{op.name} {name}")) for name, data in arrays.items()]


def depthwise(op: o.DepthwiseConv2D, low: Lowering) -> list[PartContext]:
    """A depthwise convolution: a group for every input channel."""
    return _grouped(op, low, low[op.weights].constant[:, :, None, :], low[op.inputs[0]].shape[-1])


def _grouped(op: o.Conv2D | o.DepthwiseConv2D, low: Lowering, taps: Array, groups: int) -> list[PartContext]:
    """`taps` are the weights `(kh, kw, channels of a group, filters)`."""
    kh, kw, group_channels, filters = taps.shape
    fields = [
        ("count", low.elements(op.output)), *low.tap_sources(op), ("filters", filters),
        ("group_channels", group_channels), ("group_filters", filters // groups), *_taps(op, (kh, kw)),
        *low.zero_points(op), *low.clamp(op), *_weights(op, low, taps), *_epilogue(op, low, filters), *low.in_out(op),
    ]  # fmt: skip
    return [part("tc_grouped", "layer", fields)]


def _weights(op: Weighted, low: Lowering, taps: Array) -> Fields:
    data = np.ascontiguousarray(taps)
    return [("weights", low.constant(f"{op.name}_weights", data, f"{op.name} weights {list(data.shape)}"))]


def transposed(op: o.TransposeConv2D, low: Lowering) -> list[PartContext]:
    """A transposed convolution, as a gather: a thread an output."""
    filters, kh, kw, _ = low[op.weights].shape
    taps = low[op.weights].constant.transpose(1, 2, 3, 0)
    fields = [
        ("count", low.elements(op.output)), *low.tap_sources(op), ("filters", filters),
        ("kernel_height", kh), ("kernel_width", kw), *low.zero_points(op), *low.clamp(op),
        *_weights(op, low, taps), *_epilogue(op, low, filters), *low.in_out(op),
    ]  # fmt: skip
    return [part("tc_transposed", "layer", fields)]
