"""Concat within rows and along rows, with and without rescaling: packing and predicates."""

from __future__ import annotations

import math

import numpy as np

from tinycompress.ir.fixedpoint import requantize
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Concat
from tinycompress.ir.quant_params import rescale_multiplier, same_quantization
from tinycompress.ir.shapes import row_count, row_elements
from tinycompress.ir.tensor import Array, DType
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel, fixed_code
from tinycompress.kernels.conv2d_window import rows_at_once
from tinycompress.kernels.packing import (
    are_activations,
    copy_instructions,
    estimate,
    is_all,
    is_int8,
    no_taps,
    tensors_of,
)


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
        (("inputs", len(op.inputs)), ("blocks", blocks), ("block_bytes", int(sizes.sum()))),
        (PackedArray("bytes", sizes.astype(np.int32), "bytes of one block of each input"),),
    )


def pack_copy_rows(op: Concat, graph: Graph, rounding: Rounding) -> PackedKernel:
    """The row length."""
    y = graph.tensors[op.output]
    return PackedKernel("tc_concat_rows_params", (("row_bytes", row_elements(y.shape) * y.dtype.itemsize),))


def _tables(op: Concat, graph: Graph, rounding: Rounding) -> tuple[list[int], Array]:
    """(number of each input's table, or -1 where it has the output's scale; the tables [n][256] by unsigned byte)."""
    *inputs, y = tensors_of(op, graph)
    values = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64)
    numbers: list[int] = []
    tables: dict[tuple[float, int], Array] = {}
    for x in inputs:
        if same_quantization(x, y):
            numbers.append(-1)
            continue
        key = (x.quantization.tensor_scale, x.quantization.tensor_zero_point)
        rescaled = requantize(values - key[1], *rescale_multiplier(x, y, rounding), rounding)
        tables.setdefault(key, np.clip(rescaled + y.quantization.tensor_zero_point, -128, 127).astype(np.int8))
        numbers.append(list(tables).index(key))
    return numbers, np.concatenate([*tables.values(), np.zeros(0, np.int8)])


def pack_rescale(op: Concat, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Block lengths (or row counts) and the tables that rescale."""
    *inputs, y = tensors_of(op, graph)
    if _is_along_rows(op, graph):
        params, meaning = "tc_concat_rows_s8_params", "rows of each input"
        blocks, lengths, elements = 1, [row_count(x.shape) for x in inputs], row_elements(y.shape)
    else:
        params, meaning = "tc_concat_s8_params", "elements of one block of each input"
        blocks, lengths = _blocks(op, graph)
        elements = sum(lengths)
    numbers, tables = _tables(op, graph, rounding)
    return PackedKernel(
        params,
        (("inputs", len(inputs)), ("blocks", blocks), ("block_elements", elements)),
        (
            PackedArray("lengths", np.array(lengths, np.int32), meaning),
            PackedArray("table", np.array(numbers, np.int32), "number of each input's table, -1 for none"),
            PackedArray("tables", tables, "inputs' values in the output's scale, by unsigned byte", 1),
        ),
    )


_ROW_INSTRUCTIONS = 25
_COPY_CODE = ("copy_runs", 138)


def _copy_estimate(op: Concat, graph: Graph) -> int:
    y = graph.tensors[op.output]
    blocks, lengths = _blocks(op, graph)
    copies = sum(12 + 0.35 * y.dtype.itemsize * n for n in lengths)
    return round(row_count(y.shape) * (_ROW_INSTRUCTIONS * len(lengths) + blocks * copies))


def _copy_rows_estimate(op: Concat, graph: Graph) -> int:
    y = graph.tensors[op.output]
    rows = row_count(y.shape)
    return round(rows * _ROW_INSTRUCTIONS + copy_instructions(row_elements(y.shape) * y.dtype.itemsize, rows))


CONCAT = (
    KernelVariant(
        name="concat",
        header="tc_concat.h",
        tier="portable",
        pack=pack_copy,
        supports=supports_copy,
        rows_at_once=rows_at_once,
        code=fixed_code(150, _COPY_CODE),
        instructions=_copy_estimate,
    ),
    KernelVariant(
        name="concat_rows",
        header="tc_concat.h",
        tier="portable",
        pack=pack_copy_rows,
        supports=supports_copy_rows,
        code=fixed_code(120, _COPY_CODE),
        instructions=_copy_rows_estimate,
        whole_input=True,
    ),
    KernelVariant(
        name="concat_s8",
        header="tc_concat.h",
        tier="portable",
        pack=pack_rescale,
        supports=supports_rescale,
        rows_at_once=rows_at_once,
        code=fixed_code(400, _COPY_CODE),
        instructions=estimate(6, 0, no_taps),
    ),
    KernelVariant(
        name="concat_rows_s8",
        header="tc_concat.h",
        tier="portable",
        pack=pack_rescale,
        supports=supports_rescale_rows,
        code=fixed_code(300, _COPY_CODE),
        instructions=estimate(5, 0, no_taps),
        whole_input=True,
    ),
)
