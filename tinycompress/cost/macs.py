"""Multiply-accumulates per operator: convolutions, matrix products and recurrences count, everything else is 0.

The convention of MLPerf Tiny and METHODS B1.1 rule 3 without its terms for Add and pooling; biases are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tinycompress.cost.scalar import Scalar
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph

Shapes = Mapping[str, tuple[Scalar, ...]]
"""Shapes of activations and constants by tensor name; dimensions are ints or soft channel counts."""


def _product(*factors: Scalar) -> Scalar:
    result: Scalar = 1
    for factor in factors:
        result = result * factor
    return result


def _conv2d(op: o.Conv2D, shapes: Shapes) -> Scalar:
    height, width, _ = shapes[op.output]
    return _product(height, width, *shapes[op.weights])


def _depthwise(op: o.DepthwiseConv2D, shapes: Shapes) -> Scalar:
    height, width, _ = shapes[op.output]
    return _product(height, width, *shapes[op.weights])


def _transpose_conv(op: o.TransposeConv2D, shapes: Shapes) -> Scalar:
    height, width, _ = shapes[op.inputs[0]]
    return _product(height, width, *shapes[op.weights])


def _fully_connected(op: o.FullyConnected, shapes: Shapes) -> Scalar:
    return _product(*shapes[op.output][:-1], *shapes[op.weights])


def _matmul(op: o.MatMul, shapes: Shapes) -> Scalar:
    return _product(*shapes[op.output], shapes[op.inputs[0]][-1])


def _svdf(op: o.SVDF, shapes: Shapes) -> Scalar:
    return _product(*shapes[op.feature_weights]) + _product(*shapes[op.time_weights])


def _lstm(op: o.LSTM, shapes: Shapes) -> Scalar:
    steps = _product(*shapes[op.outputs[0]][:-1])
    return steps * (_product(*shapes[op.input_weights]) + _product(*shapes[op.recurrent_weights]))


def _none(op: o.Op, shapes: Shapes) -> Scalar:
    return 0


MACS: dict[type[o.Op], Callable[[Any, Shapes], Scalar]] = {
    **dict.fromkeys(o.ALL_OPS, _none),
    o.Conv2D: _conv2d,
    o.DepthwiseConv2D: _depthwise,
    o.TransposeConv2D: _transpose_conv,
    o.FullyConnected: _fully_connected,
    o.MatMul: _matmul,
    o.SVDF: _svdf,
    o.LSTM: _lstm,
}


def op_macs(op: o.Op, shapes: Shapes) -> Scalar:
    """Multiply-accumulates of one operator, from its activations' and weights' shapes."""
    return MACS[type(op)](op, shapes)


def graph_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors of a graph, for `op_macs`."""
    return {name: tensor.shape for name, tensor in graph.tensors.items()}


def macs(graph: Graph) -> int:
    """Multiply-accumulates of one inference. ResNet-8 of MLPerf Tiny has 12,501,632."""
    shapes = graph_shapes(graph)
    return int(sum(op_macs(op, shapes) for op in graph.ops))
