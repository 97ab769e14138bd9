"""ResizeNearest and ResizeBilinear: packing and predicates."""

from __future__ import annotations

import numpy as np

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import ResizeBilinear, ResizeNearest
from tinycompress.ir.quant_params import BilinearTap, bilinear_taps, nearest_indices, same_quantization
from tinycompress.ir.tensor import DType
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.packing import are_activations, estimate, is_int8, no_taps

LARGEST = 2**15
"""Extents below this fit the arrays' 16-bit elements."""


def _is_small(op: ResizeNearest | ResizeBilinear, graph: Graph) -> bool:
    return max(*graph.tensors[op.inputs[0]].shape[:2], *op.size) < LARGEST


def supports_nearest(op: ResizeNearest, graph: Graph) -> bool:
    """Any integer type; input and output of one scale."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    is_integer = x.dtype in (DType.INT8, DType.INT16, DType.INT32) and x.dtype is y.dtype
    return is_integer and are_activations(op, graph) and _is_small(op, graph)


def pack_nearest(op: ResizeNearest, graph: Graph, rounding: Rounding) -> PackedKernel:
    """The input row and column of each output row and column."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    rows, columns = (
        np.array(nearest_indices(x.shape[i], op.size[i], op.align_corners, op.half_pixel_centers), np.uint16)
        for i in range(2)
    )
    return PackedKernel(
        "tc_resize_nearest_params",
        (("output_width", y.shape[1]), ("pixel_bytes", y.shape[2] * y.dtype.itemsize)),
        (
            PackedArray("rows", rows, "input row of each output row", 2),
            PackedArray("columns", columns, "input column of each output column", 2),
        ),
    )


def _taps(op: ResizeBilinear, graph: Graph) -> list[tuple[BilinearTap, ...]]:
    shape = graph.tensors[op.inputs[0]].shape
    return [bilinear_taps(shape[i], op.size[i], op.align_corners, op.half_pixel_centers) for i in range(2)]


def supports_bilinear(op: ResizeBilinear, graph: Graph) -> bool:
    """int8, input and output of one scale, and taps that stay inside the image."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    if not (is_int8(op, graph) and are_activations(op, graph) and same_quantization(x, y) and _is_small(op, graph)):
        return False
    return all(tap.low < size for size, taps in zip(x.shape[:2], _taps(op, graph), strict=True) for tap in taps)


def pack_bilinear(op: ResizeBilinear, graph: Graph, rounding: Rounding) -> PackedKernel:
    """The two rows and columns each output mixes, and their weights."""
    y = graph.tensors[op.output]
    arrays: list[PackedArray] = []
    for axis, taps in zip(("rows", "columns"), _taps(op, graph), strict=True):
        low, high = (np.array([getattr(t, end) for t in taps], np.uint16) for end in ("low", "high"))
        weight = np.array([t.weight for t in taps], np.int16)
        arrays += [
            PackedArray(f"{axis}_low", low, f"first of the two input {axis} that each output mixes", 2),
            PackedArray(f"{axis}_high", high, f"second of the two input {axis}", 2),
            PackedArray(f"{axis}_weight", weight, "weight of the second, in 1/1024", 2),
        ]
    return PackedKernel(
        "tc_resize_bilinear_s8_params", (("output_width", y.shape[1]), ("channels", y.shape[2])), tuple(arrays)
    )


RESIZE_NEAREST = (
    KernelVariant(
        name="resize_nearest",
        header="tc_resize.h",
        tier="portable",
        pack=pack_nearest,
        supports=supports_nearest,
        instructions=estimate(2, 0, no_taps),
        whole_input=True,
    ),
)
RESIZE_BILINEAR = (
    KernelVariant(
        name="resize_bilinear_s8",
        header="tc_resize.h",
        tier="portable",
        pack=pack_bilinear,
        supports=supports_bilinear,
        instructions=estimate(25, 0, no_taps),
        whole_input=True,
    ),
)
