"""Which kernel a layer gets when nothing constrains it: one rule for the planner and for the cost model."""

from __future__ import annotations

from tinycompress.ir.graph import Graph
from tinycompress.ir.ops import Op
from tinycompress.ir.shapes import row_count, row_elements
from tinycompress.kernels.catalogue import KernelTable, KernelVariant, candidates


def rows_are_aligned(op: Op, graph: Graph, alignment: int) -> bool:
    """True when every row of the op's activations starts at a multiple of `alignment` in word-aligned tensors."""
    for name in (*op.inputs, *op.outputs):
        tensor = graph.tensors[name]
        if tensor.is_constant or row_count(tensor.shape) == 1:
            continue
        if row_elements(tensor.shape) * tensor.dtype.itemsize % alignment:
            return False
    return True


def usable(op: Op, graph: Graph, table: KernelTable, *, has_dsp: bool) -> tuple[KernelVariant, ...]:
    """Exact variants whose row alignment the op's shapes keep; cheapest by estimated instructions first.

    The catalogue's order (preferred first) decides where a variant gives no estimate.
    """
    found = tuple(
        v
        for v in candidates(op, graph, table, has_dsp=has_dsp)
        if v.row_alignment == 1 or rows_are_aligned(op, graph, v.row_alignment)
    )
    counts = [v.instructions(op, graph) if v.instructions is not None else None for v in found]
    if any(c is None for c in counts):
        return found
    return tuple(v for _, v in sorted(zip(counts, found, strict=True), key=lambda pair: pair[0] or 0))


def rows_of_call(kernel: KernelVariant, op: Op, graph: Graph, *, at_once: bool, most: int | None = None) -> int:
    """Output rows that one call makes, at most `most`: `at_once` where the layer runs as a whole, not streamed."""
    rows = row_count(graph.tensors[op.outputs[0]].shape)
    if kernel.whole_input:
        return rows
    wanted = kernel.rows_at_once if at_once and kernel.rows_at_once is not None else kernel.rows_per_step
    return max(1, min(rows, most or rows, wanted(op, graph)))
