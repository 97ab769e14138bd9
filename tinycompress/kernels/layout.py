"""Reshape, Transpose, Slice, Pad, Embedding: packing and predicates. Elements of any integer type only move."""

from __future__ import annotations

import numpy as np

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Embedding, Op, Pad, Reshape, Slice, Transpose
from tinycompress.ir.quant_params import pad_value
from tinycompress.ir.shapes import row_elements
from tinycompress.ir.tensor import DType
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.packing import are_activations, as_rows, describe, estimate, no_taps, strides_of

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


def _pack_strided(
    op: Op, graph: Graph, params: str, steps: tuple[tuple[int, int], ...], first_element: int
) -> PackedKernel:
    """Params of a strided copy; `steps` are (rows, elements) through the input per step along each output axis."""
    y = graph.tensors[op.outputs[0]]
    shape = as_rows(y.shape, len(y.shape), 1)
    facts = as_rows(steps, len(y.shape), (0, 0))
    missing = MAX_AXES - len(shape)
    shape = (shape[0], *(1,) * missing, *shape[1:])
    facts = (facts[0], *((0, 0),) * missing, *facts[1:])
    return PackedKernel(
        params,
        (
            ("shape", shape),
            ("row_step", tuple(f[0] for f in facts)),
            ("element_step", tuple(f[1] for f in facts)),
            ("first_element", first_element),
            ("element_bytes", y.dtype.itemsize),
        ),
    )


def pack_transpose(op: Transpose, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Output axis i steps through the input as its axis perm[i] does."""
    steps = strides_of(graph.tensors[op.inputs[0]].shape)
    return _pack_strided(op, graph, "tc_transpose_params", tuple(steps[axis] for axis in op.perm), 0)


def pack_slice(op: Slice, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Strides multiply the input's steps; begins within the row add up to the first element."""
    steps = strides_of(graph.tensors[op.inputs[0]].shape)
    strided = tuple((rows * s, elements * s) for (rows, elements), s in zip(steps, op.strides, strict=True))
    first = sum(begin * elements for begin, (_, elements) in zip(op.begin, steps, strict=True))
    return _pack_strided(op, graph, "tc_slice_params", strided, first)


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


def pack_pad(op: Pad, graph: Graph, rounding: Rounding) -> PackedKernel:
    """The row's two axes, and the value in the output's quantization."""
    axes = _pad_axes(op, graph)
    if axes is None:
        raise ValueError(f"{op.name}: padding within a row takes more than two axes")
    y = graph.tensors[op.output]
    (width_before, input_width, output_width), (before, input_inner, output_inner) = axes
    return PackedKernel(
        "tc_pad_params",
        (
            ("width_before", width_before),
            ("input_width", input_width),
            ("output_width", output_width),
            ("before", before),
            ("input_inner", input_inner),
            ("output_inner", output_inner),
            ("element_bytes", y.dtype.itemsize),
            ("value", pad_value(op, y)),
        ),
    )


RESHAPE = (
    KernelVariant(
        name="reshape",
        header="tc_layout.h",
        tier="portable",
        pack=pack_reshape,
        supports=supports_reshape,
        instructions=estimate(2.5, 0, no_taps),
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
        instructions=estimate(9, 0, no_taps),
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
        instructions=estimate(9, 0, no_taps),
    ),
)
PAD = (
    KernelVariant(
        name="pad",
        header="tc_layout.h",
        tier="portable",
        pack=pack_pad,
        supports=supports_pad,
        instructions=estimate(6, 0, no_taps),
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
