"""Which input rows an output row is computed from, for operators that work row by row along the first axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.shapes import row_count, window_rows

WindowFacts = tuple[int, int, int]
"""(stride, offset, reach) along rows."""


def _reach(kernel: int, dilation: int) -> int:
    return (kernel - 1) * dilation + 1


def _conv2d(op: o.Conv2D, graph: Graph) -> WindowFacts:
    return op.stride[0], -op.padding[0], _reach(graph.tensors[op.weights].shape[1], op.dilation[0])


def _depthwise(op: o.DepthwiseConv2D, graph: Graph) -> WindowFacts:
    return op.stride[0], -op.padding[0], _reach(graph.tensors[op.weights].shape[0], op.dilation[0])


def _pool(op: o.AveragePool2D | o.MaxPool2D, graph: Graph) -> WindowFacts:
    return op.stride[0], -op.padding[0], op.kernel[0]


def _same_row(op: o.Op, graph: Graph) -> WindowFacts:
    return 1, 0, 1


def _pad(op: o.Pad, graph: Graph) -> WindowFacts:
    return 1, -op.amounts[0][0] if len(op.amounts) > 1 else 0, 1


def _slice(op: o.Slice, graph: Graph) -> WindowFacts:
    return (op.strides[0], op.begin[0], 1) if len(op.begin) > 1 else (1, 0, 1)


ROW_WINDOWS: dict[type[o.Op], Callable[[Any, Graph], WindowFacts]] = {
    o.Conv2D: _conv2d,
    o.DepthwiseConv2D: _depthwise,
    o.AveragePool2D: _pool,
    o.MaxPool2D: _pool,
    o.Pad: _pad,
    o.Slice: _slice,
    **dict.fromkeys(
        (
            o.FullyConnected,
            o.MatMul,
            o.Add,
            o.Sub,
            o.Mul,
            o.Maximum,
            o.Minimum,
            o.Concat,
            o.Softmax,
            o.LogSoftmax,
            o.LayerNorm,
            o.Clamp,
            o.PReLU,
            o.Table,
            o.Quantize,
        ),
        _same_row,
    ),
}
"""Operators whose output rows come from a sliding window of input rows; the others need their whole input."""


def reads_padding(op: o.Op, graph: Graph) -> bool:
    """True when some output row of a sliding window reaches above the first or below the last input row."""
    if type(op) not in ROW_WINDOWS:
        return False
    stride, offset, reach = ROW_WINDOWS[type(op)](op, graph)
    rows = row_count(graph.tensors[op.outputs[0]].shape)
    height = row_count(graph.tensors[op.inputs[0]].shape)
    return offset < 0 or window_rows(rows - 1, 1, reach, stride, 1, -offset)[1] > height
