"""Estimated instructions of a layer that runs some rows at a time, from its kernel's own estimate.

A kernel's estimate counts whole tiles, pixel pairs and weight passes of a layer. The estimate of a layer of just the
rows of one call is therefore the call's, and what a kernel of many rows loses at one row needs no figure of its own.
"""

from __future__ import annotations

from dataclasses import replace

from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.ops import Op
from tinycompress.kernels.catalogue import KernelVariant
from tinycompress.plan.rows import row_windows, tensor_rows


def layer_instructions(kernel: KernelVariant, op: Op, graph: QuantGraph, rows: int) -> int:
    """Estimated instructions of the whole layer with `rows` output rows per call; 0 where the kernel gives none."""
    if kernel.instructions is None:
        return 0
    height = tensor_rows(graph.tensors[op.outputs[0]])
    if kernel.whole_input or kernel.accumulator_bytes is not None or rows >= height:
        return int(kernel.instructions(op, graph))
    full, rest = divmod(height, rows)
    work = full * _call(kernel, op, graph, rows)
    return work + _call(kernel, op, graph, rest) if rest else work


def _call(kernel: KernelVariant, op: Op, graph: QuantGraph, rows: int) -> int:
    """The estimate of the layer that has only `rows` rows of output, and the rows of input that they need."""
    tensors = dict(graph.tensors)
    for window in row_windows(op, graph, kernel):
        tensor = graph.tensors[window.tensor]
        span = window.span(0, rows, tensor_rows(tensor))
        if len(tensor.shape) > 1:
            tensors[window.tensor] = replace(tensor, shape=(span.stop - span.start, *tensor.shape[1:]))
    for name in op.outputs:
        tensors[name] = replace(graph.tensors[name], shape=(rows, *graph.tensors[name].shape[1:]))
    assert kernel.instructions is not None
    return int(kernel.instructions(op, replace(graph, tensors=tensors)))
