"""Reshape, Transpose, Slice, Pad, Embedding: packing and predicates. Elements of any integer type only move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Embedding, Op, Pad, Reshape, Slice, Transpose
from tinycompress.ir.quant_params import pad_value
from tinycompress.ir.shapes import row_count, row_elements
from tinycompress.ir.tensor import DType
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel, fixed_code
from tinycompress.kernels.conv2d_window import rows_at_once
from tinycompress.kernels.packing import (
    are_activations,
    as_rows,
    copy_instructions,
    describe,
    estimate,
    no_taps,
    strides_of,
)

ELEMENTS = (DType.INT8, DType.INT16, DType.INT32)
MAX_AXES = 4


def _moves(op: Op, graph: Graph) -> bool:
    """True for one activation of an integer type, whose type the output shares."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    return x.dtype in ELEMENTS and x.dtype is y.dtype and are_activations(op, graph)


def supports_reshape(op: Reshape, graph: Graph) -> bool:
    """Any integer type."""
    return _moves(op, graph)


def pack_reshape(op: Reshape, graph: Graph, rounding: Rounding) -> PackedKernel:
    """The two row lengths."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    return PackedKernel(
        "tc_reshape_params",
        (
            ("input_row_bytes", row_elements(x.shape) * x.dtype.itemsize),
            ("output_row_bytes", row_elements(y.shape) * y.dtype.itemsize),
        ),
    )


def supports_transpose(op: Transpose, graph: Graph) -> bool:
    """Any integer type, at most four axes."""
    return _moves(op, graph) and len(op.perm) <= MAX_AXES


def supports_slice(op: Slice, graph: Graph) -> bool:
    """Any integer type, at most four axes."""
    return _moves(op, graph) and len(op.begin) <= MAX_AXES


@dataclass(frozen=True)
class _Axis:
    """An output axis: its extent, and the rows and elements through the input per step along it."""

    extent: int
    rows: int
    elements: int


_UNIT = _Axis(1, 0, 0)


@dataclass(frozen=True)
class Runs:
    """A strided copy: the output's row axis, the axes within a row in runs, and the elements of a run: they follow each
    other in the input, too."""

    row: _Axis
    inner: tuple[_Axis, ...]
    elements: int
    first_element: int


def _runs(graph: Graph, op: Op, steps: tuple[tuple[int, int], ...], first_element: int) -> Runs:
    """`steps` are (rows, elements) through the input per step along each output axis."""
    shape = graph.tensors[op.outputs[0]].shape
    axes = [_Axis(extent, *step) for extent, step in zip(shape, steps, strict=True)]
    row, *inner = as_rows(axes, len(shape), _UNIT)
    run = 1
    while inner and (inner[-1].extent == 1 or (inner[-1].rows, inner[-1].elements) == (0, run)):
        run *= inner.pop().extent
    return Runs(row, tuple(inner), run, first_element)


def _transpose_runs(op: Transpose, graph: Graph) -> Runs:
    """Output axis i steps through the input as its axis perm[i] does."""
    steps = strides_of(graph.tensors[op.inputs[0]].shape)
    return _runs(graph, op, tuple(steps[axis] for axis in op.perm), 0)


def _slice_runs(op: Slice, graph: Graph) -> Runs:
    """Strides multiply the input's steps; begins within the row add up to the first element."""
    steps = strides_of(graph.tensors[op.inputs[0]].shape)
    strided = tuple((rows * s, elements * s) for (rows, elements), s in zip(steps, op.strides, strict=True))
    first = sum(begin * elements for begin, (_, elements) in zip(op.begin, steps, strict=True))
    return _runs(graph, op, strided, first)


def _pack_runs(op: Op, graph: Graph, params: str, runs: Runs) -> PackedKernel:
    size = graph.tensors[op.outputs[0]].dtype.itemsize
    axes = (runs.row, *(_UNIT,) * (MAX_AXES - 1 - len(runs.inner)), *runs.inner)
    return PackedKernel(
        params,
        (
            ("shape", tuple(a.extent for a in axes)),
            ("row_step", tuple(a.rows for a in axes)),
            ("byte_step", tuple(a.elements * size for a in axes)),
            ("first_byte", runs.first_element * size),
            ("run_bytes", runs.elements * size),
        ),
    )


def pack_transpose(op: Transpose, graph: Graph, rounding: Rounding) -> PackedKernel:
    """The longest runs that keep their order."""
    return _pack_runs(op, graph, "tc_transpose_params", _transpose_runs(op, graph))


def pack_slice(op: Slice, graph: Graph, rounding: Rounding) -> PackedKernel:
    """The longest runs that are kept whole."""
    return _pack_runs(op, graph, "tc_slice_params", _slice_runs(op, graph))


def _pad_axes(op: Pad, graph: Graph) -> list[tuple[int, int, int]] | None:
    """(before, input extent, output extent) of two row axes, unpadded neighbours merged; None when it takes more."""
    shape = graph.tensors[op.inputs[0]].shape
    first = 1 if len(shape) >= 2 else 0
    merged: list[tuple[int, int, int]] = []
    for extent, (before, after) in zip(shape[first:], op.amounts[first:], strict=True):
        axis = (before, extent, before + extent + after)
        if merged and before == after == 0:
            merged[-1] = (merged[-1][0] * extent, merged[-1][1] * extent, merged[-1][2] * extent)
        else:
            merged.append(axis)
    while len(merged) < 2:
        merged.append((0, 1, 1))
    return merged if len(merged) == 2 else None


def supports_pad(op: Pad, graph: Graph) -> bool:
    """Any quantized integer type; padding on at most two groups of axes within a row."""
    y = graph.tensors[op.output]
    return _moves(op, graph) and y.qparams is not None and _pad_axes(op, graph) is not None


@dataclass(frozen=True)
class Padding:
    """Elements of padding before, between and behind the runs of an output row, and the runs."""

    before: int
    between: int
    behind: int
    run: int
    runs: int


def _padding(op: Pad, graph: Graph) -> Padding:
    axes = _pad_axes(op, graph)
    if axes is None:
        raise ValueError(f"{op.name}: padding within a row takes more than two axes")
    (width_before, width, output_width), (before, inner, output_inner) = axes
    left, right = width_before * output_inner, (output_width - width_before - width) * output_inner
    if inner == output_inner:
        return Padding(left, 0, right, width * inner, 1)
    behind = output_inner - before - inner
    return Padding(left + before, before + behind, right + behind, inner, width)


def pack_pad(op: Pad, graph: Graph, rounding: Rounding) -> PackedKernel:
    """The runs of a row in bytes, and the value in the output's quantization."""
    padding, y = _padding(op, graph), graph.tensors[op.output]
    size = y.dtype.itemsize
    value = np.full(4 // size, pad_value(op, y), y.dtype.numpy)
    return PackedKernel(
        "tc_pad_params",
        (
            ("before_bytes", padding.before * size),
            ("between_bytes", padding.between * size),
            ("behind_bytes", padding.behind * size),
            ("run_bytes", padding.run * size),
            ("runs", padding.runs),
            ("word", int(value.view(np.int32)[0])),
        ),
    )


_ROW_INSTRUCTIONS = 25
_COPY_CODE = ("copy_runs", 138)


def _strided_instructions(runs: Runs, graph: Graph, op: Op) -> int:
    y = graph.tensors[op.outputs[0]]
    copies = copy_instructions(runs.elements * y.dtype.itemsize, y.elements // max(runs.elements, 1))
    return round(row_count(y.shape) * _ROW_INSTRUCTIONS + copies)


def _transpose_instructions(op: Transpose, graph: Graph) -> int:
    return _strided_instructions(_transpose_runs(op, graph), graph, op)


def _slice_instructions(op: Slice, graph: Graph) -> int:
    return _strided_instructions(_slice_runs(op, graph), graph, op)


def _pad_instructions(op: Pad, graph: Graph) -> int:
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    padding, size = _padding(op, graph), y.dtype.itemsize
    filled = 0.6 * size * (y.elements - x.elements)
    copies = copy_instructions(padding.run * size, x.elements // max(padding.run, 1))
    return round(row_count(y.shape) * _ROW_INSTRUCTIONS + filled + copies)


RESHAPE = (
    KernelVariant(
        name="reshape",
        header="tc_layout.h",
        tier="portable",
        pack=pack_reshape,
        supports=supports_reshape,
        code=fixed_code(120, _COPY_CODE),
        instructions=estimate(0.6, 0, no_taps),
        whole_input=True,
    ),
)
TRANSPOSE = (
    KernelVariant(
        name="transpose",
        header="tc_layout.h",
        tier="portable",
        pack=pack_transpose,
        supports=supports_transpose,
        code=fixed_code(200, _COPY_CODE),
        instructions=_transpose_instructions,
        whole_input=True,
    ),
)
SLICE = (
    KernelVariant(
        name="slice",
        header="tc_layout.h",
        tier="portable",
        pack=pack_slice,
        supports=supports_slice,
        rows_at_once=rows_at_once,
        code=fixed_code(160, _COPY_CODE),
        instructions=_slice_instructions,
    ),
)
PAD = (
    KernelVariant(
        name="pad",
        header="tc_layout.h",
        tier="portable",
        pack=pack_pad,
        supports=supports_pad,
        rows_at_once=rows_at_once,
        code=fixed_code(220, _COPY_CODE),
        instructions=_pad_instructions,
    ),
)


def supports_embedding(op: Embedding, graph: Graph) -> bool:
    """int32 indices; a table of the output's integer type and quantization."""
    x, y, table = graph.tensors[op.inputs[0]], graph.tensors[op.output], graph.tensors[op.table]
    moves = x.dtype is DType.INT32 and y.dtype in ELEMENTS and table.dtype is y.dtype and table.qparams == y.qparams
    return moves and are_activations(op, graph)


def pack_embedding(op: Embedding, graph: Graph, rounding: Rounding) -> PackedKernel:
    """The table as it is, as bytes."""
    table = graph.tensors[op.table]
    entries, channels = table.shape
    data = np.ascontiguousarray(table.constant).view(np.int8).reshape(entries, -1)
    return PackedKernel(
        "tc_embedding_params",
        (("entries", entries), ("entry_bytes", channels * table.dtype.itemsize)),
        (PackedArray("table", data, describe(table, "table", "entry, channel"), 1),),
    )


EMBEDDING = (
    KernelVariant(
        name="embedding",
        header="tc_layout.h",
        tier="portable",
        pack=pack_embedding,
        supports=supports_embedding,
        instructions=estimate(2, 0, no_taps),
        whole_input=True,
    ),
)
