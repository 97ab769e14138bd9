"""Shapes of a graph whose channel counts are ints or soft numbers: the last axis follows the channels, operator by op.

Spatial extents never change under pruning, so only channel arithmetic is needed; on ints it agrees with
`ir.shapes.infer` (tested).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tinycompress.cost.scalar import Scalar, is_integral
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph

SoftShape = tuple[Scalar, ...]
ShapeMap = dict[str, SoftShape]


def product(values: SoftShape) -> Scalar:
    """Number of elements of a soft shape."""
    result: Scalar = 1
    for value in values:
        result = result * value
    return result


def divide(value: Scalar, by: int) -> Scalar:
    """value / by that stays an int when it is exact on ints."""
    return value // by if is_integral(value) and value % by == 0 else value / by


def _own(op: o.Op, graph: Graph, shapes: ShapeMap) -> Scalar:
    return graph.tensors[op.outputs[0]].shape[-1]


def _of_input(op: o.Op, graph: Graph, shapes: ShapeMap) -> Scalar:
    return shapes[op.inputs[0]][-1]


def _depthwise(op: o.DepthwiseConv2D, graph: Graph, shapes: ShapeMap) -> Scalar:
    return shapes[op.inputs[0]][-1] * op.multiplier


def _elementwise(op: o.Op, graph: Graph, shapes: ShapeMap) -> Scalar:
    """The operand that has the output's own channels; a broadcast operand has 1."""
    own = graph.tensors[op.outputs[0]].shape[-1]
    for name in op.inputs:
        if name in shapes and graph.tensors[name].shape[-1:] == (own,):
            return shapes[name][-1]
    return own


def _mean(op: o.Mean, graph: Graph, shapes: ShapeMap) -> Scalar:
    rank = len(graph.tensors[op.inputs[0]].shape)
    return _own(op, graph, shapes) if rank - 1 in op.axes else shapes[op.inputs[0]][-1]


def _concat(op: o.Concat, graph: Graph, shapes: ShapeMap) -> Scalar:
    last = [shapes[n][-1] if n in shapes else graph.tensors[n].shape[-1] for n in op.inputs]
    if op.axis != len(graph.tensors[op.output].shape) - 1:
        return last[0]
    count: Scalar = 0
    for channels in last:
        count = count + channels
    return count


def _reshape(op: o.Reshape, graph: Graph, shapes: ShapeMap) -> Scalar:
    return divide(product(shapes[op.inputs[0]]), math.prod(op.shape[:-1]))


def _pad(op: o.Pad, graph: Graph, shapes: ShapeMap) -> Scalar:
    return shapes[op.inputs[0]][-1] + sum(op.amounts[-1])


def _slice(op: o.Slice, graph: Graph, shapes: ShapeMap) -> Scalar:
    full = graph.tensors[op.inputs[0]].shape[-1]
    return shapes[op.inputs[0]][-1] if graph.tensors[op.output].shape[-1] == full else _own(op, graph, shapes)


CHANNELS: dict[type[o.Op], Callable[[Any, Graph, ShapeMap], Scalar]] = {
    **dict.fromkeys(o.ALL_OPS, _of_input),
    o.Conv2D: _own,
    o.TransposeConv2D: _own,
    o.FullyConnected: _own,
    o.SVDF: _own,
    o.LSTM: _own,
    o.Embedding: _own,
    o.MatMul: _own,
    o.DepthwiseConv2D: _depthwise,
    o.Add: _elementwise,
    o.Sub: _elementwise,
    o.Mul: _elementwise,
    o.Maximum: _elementwise,
    o.Minimum: _elementwise,
    o.Mean: _mean,
    o.Concat: _concat,
    o.Reshape: _reshape,
    o.Pad: _pad,
    o.Slice: _slice,
}
"""Channels (last axis) of an operator's first output, from its inputs' soft shapes."""


def _weight_shapes(op: o.Op, graph: Graph, shapes: ShapeMap) -> ShapeMap:
    """Soft shapes of the constants whose extents follow the channels."""
    made: Scalar = shapes[op.outputs[0]][-1]
    found: ShapeMap = {}
    if isinstance(op, o.Conv2D | o.TransposeConv2D):
        _, kh, kw, per_group = graph.tensors[op.weights].shape
        is_grouped = isinstance(op, o.Conv2D) and op.groups > 1  # whole groups come and go
        found[op.weights] = (made, kh, kw, per_group if is_grouped else shapes[op.inputs[0]][-1])
    elif isinstance(op, o.DepthwiseConv2D):
        kh, kw, _ = graph.tensors[op.weights].shape
        found[op.weights] = (kh, kw, made)
    elif isinstance(op, o.FullyConnected):
        found[op.weights] = (made, shapes[op.inputs[0]][-1])
    if isinstance(op, o.Conv2D | o.TransposeConv2D | o.DepthwiseConv2D | o.FullyConnected) and op.bias is not None:
        found[op.bias] = (made,)
    return found


def soft_shapes(graph: Graph, channels: Mapping[str, Scalar]) -> ShapeMap:
    """Shapes of all tensors when activations named in `channels` have that many channels.

    Activations not named follow their producers; name the outputs of convolutions and fully connected layers.
    """
    shapes: ShapeMap = {name: tensor.shape for name, tensor in graph.tensors.items() if not tensor.is_constant}
    constants: ShapeMap = {name: tensor.shape for name, tensor in graph.tensors.items() if tensor.is_constant}
    for name in graph.input_names:
        if name in channels:
            shapes[name] = (*shapes[name][:-1], channels[name])
    for op in graph.ops:
        output = op.outputs[0]
        if isinstance(op, o.Transpose):
            shapes[output] = tuple(shapes[op.inputs[0]][p] for p in op.perm)
        elif shapes[output]:
            made = channels[output] if output in channels else CHANNELS[type(op)](op, graph, shapes)
            shapes[output] = (*shapes[output][:-1], made)
        constants.update(_weight_shapes(op, graph, shapes))
    return {**constants, **shapes}
