"""Concat within rows and along rows, with and without rescaling: packing and predicates."""

from __future__ import annotations

import math

import numpy as np

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Concat
from tinycompress.ir.quant_params import rescale_multiplier, same_quantization
from tinycompress.ir.shapes import row_count, row_elements
from tinycompress.ir.tensor import DType
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.packing import are_activations, estimate, is_all, is_int8, no_taps, tensors_of


def _is_along_rows(op: Concat, graph: Graph) -> bool:
    return op.axis == 0 and len(graph.tensors[op.output].shape) >= 2


def _copies(op: Concat, graph: Graph) -> bool:
    """True when every input has the output's scale, so that elements only move."""
    *inputs, y = tensors_of(op, graph)
    has_type = y.dtype in (DType.INT8, DType.INT16, DType.INT32) and is_all(y.dtype, inputs)
    return has_type and are_activations(op, graph) and all(same_quantization(x, y) for x in inputs)


def _rescales(op: Concat, graph: Graph) -> bool:
    return is_int8(op, graph) and are_activations(op, graph)


def supports_copy(op: Concat, graph: Graph) -> bool:
    """Any integer type, one scale, an axis within rows."""
    return _copies(op, graph) and not _is_along_rows(op, graph)


def supports_copy_rows(op: Concat, graph: Graph) -> bool:
    """Any integer type, one scale, along rows."""
    return _copies(op, graph) and _is_along_rows(op, graph)


def supports_rescale(op: Concat, graph: Graph) -> bool:
    """int8, an axis within rows."""
    return _rescales(op, graph) and not _is_along_rows(op, graph)


def supports_rescale_rows(op: Concat, graph: Graph) -> bool:
    """int8, along rows."""
    return _rescales(op, graph) and _is_along_rows(op, graph)


def _blocks(op: Concat, graph: Graph) -> tuple[int, list[int]]:
    """(blocks of a row, elements of each input's block) for an axis within rows."""
    shape = graph.tensors[op.output].shape
    first = 1 if len(shape) >= 2 else 0
    return math.prod(shape[first : op.axis]), [math.prod(graph.tensors[n].shape[op.axis :]) for n in op.inputs]


def pack_copy(op: Concat, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Block sizes in bytes."""
    blocks, lengths = _blocks(op, graph)
    sizes = np.array(lengths, np.int32) * graph.tensors[op.output].dtype.itemsize
    return PackedKernel(
        "tc_concat_params",
        (("inputs", len(op.inputs)), ("blocks", blocks)),
        (PackedArray("bytes", sizes.astype(np.int32), "bytes of one block of each input"),),
    )


def pack_copy_rows(op: Concat, graph: Graph, rounding: Rounding) -> PackedKernel:
    """The row length."""
    y = graph.tensors[op.output]
    return PackedKernel("tc_concat_rows_params", (("row_bytes", row_elements(y.shape) * y.dtype.itemsize),))


def pack_rescale(op: Concat, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Block lengths (or row counts) and each input's rescaling."""
    *inputs, y = tensors_of(op, graph)
    if _is_along_rows(op, graph):
        params, blocks, lengths = (
            "tc_concat_rows_s8_params",
            row_elements(y.shape),
            [row_count(x.shape) for x in inputs],
        )
        meaning = "rows of each input"
    else:
        params, (blocks, lengths) = "tc_concat_s8_params", _blocks(op, graph)
        meaning = "elements of one block of each input"
    pairs = [rescale_multiplier(x, y, rounding) for x in inputs]
    zero_points = [x.quantization.tensor_zero_point for x in inputs]
    return PackedKernel(
        params,
        (
            ("inputs", len(inputs)),
            ("blocks", blocks),
            ("output_zero_point", y.quantization.tensor_zero_point),
        ),
        (
            PackedArray("lengths", np.array(lengths, np.int32), meaning),
            PackedArray("zero_point", np.array(zero_points, np.int32), "zero point of each input"),
            PackedArray("multiplier", np.array([m for m, _ in pairs], np.int32), "Q31 multiplier of each input"),
            PackedArray("shift", np.array([s for _, s in pairs], np.int32), "shift of each input, left if positive"),
        ),
    )


CONCAT = (
    KernelVariant(
        name="concat",
        header="tc_concat.h",
        tier="portable",
        pack=pack_copy,
        supports=supports_copy,
        instructions=estimate(1.5, 0, no_taps),
    ),
    KernelVariant(
        name="concat_rows",
        header="tc_concat.h",
        tier="portable",
        pack=pack_copy_rows,
        supports=supports_copy_rows,
        instructions=estimate(2.5, 0, no_taps),
        whole_input=True,
    ),
    KernelVariant(
        name="concat_s8",
        header="tc_concat.h",
        tier="portable",
        pack=pack_rescale,
        supports=supports_rescale,
        instructions=estimate(30, 0, no_taps),
    ),
    KernelVariant(
        name="concat_rows_s8",
        header="tc_concat.h",
        tier="portable",
        pack=pack_rescale,
        supports=supports_rescale_rows,
        instructions=estimate(30, 0, no_taps),
        whole_input=True,
    ),
)
