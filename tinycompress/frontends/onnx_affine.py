"""Batch norms and constants per channel in a quantized ONNX file: y = a·x + b per channel, exactly as integers can.

Behind a layer with weights, a is a factor of its scales and b joins its bias. Elsewhere it becomes a 1x1 depthwise
convolution whose weights are ±127 and whose scale per channel is |a| / 127: a itself is not rounded to int8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tinycompress.frontends.onnx_call import ConstantQuantization
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.tensor import Array, DType, QParams, Tensor
from tinycompress.quantize.constants import WEIGHTED, WeightedOp, output_axis

STEPS = 127
SMALLEST_SCALE = 1e-9
"""Scale of a channel whose factor is 0: what its constant is counted in."""


@dataclass(frozen=True)
class _Affine:
    """y = factor · x + offset, both of x's number of channels."""

    x: str
    factor: Array
    offset: Array


def with_affine_layers(graph: Graph, known: Mapping[str, QParams], operands: dict[str, ConstantQuantization]) -> Graph:
    """The graph with batch norms, and constants that the file left float, in layers with weights.

    `known` are the parameters that tensors have, `operands` how constants were quantized; it gains new weights.
    """
    return _Layers(graph, known, operands).graph()


class _Layers:
    def __init__(self, graph: Graph, known: Mapping[str, QParams], operands: dict[str, ConstantQuantization]) -> None:
        self._source = graph
        self._known = known
        self._operands = operands
        self._tensors = dict(graph.tensors)
        self._ops: list[o.Op] = []
        self._makers: dict[str, int] = {}
        self._layers: dict[str, int] = {}
        self._readers: dict[str, int] = dict.fromkeys(graph.outputs, 1)
        for name in (n for op in graph.ops for n in op.inputs):
            self._readers[name] = self._readers.get(name, 0) + 1
        self._inner = set(known)
        for op in reversed(graph.ops):
            if self._inner.intersection(op.outputs):
                self._inner.update(op.inputs)

    def graph(self) -> Graph:
        """The rewritten graph."""
        for op in self._source.ops:
            affine = self._affine(op)
            if affine is None:
                self._add(op)
            elif affine.x in self._layers and affine.x not in self._known and self._readers[affine.x] == 1:
                self._join(op, affine)
            elif affine.x in self._known and op.output in self._inner and self._is_needed(op):
                self._convolve(op, affine)
            else:
                self._add(op)
        return self._source.with_ops(self._ops, self._tensors)

    def _add(self, op: o.Op) -> None:
        self._makers.update(dict.fromkeys(op.outputs, len(self._ops)))
        if isinstance(op, WEIGHTED) and op.activation.is_none:
            self._layers[op.output] = len(self._ops)
        self._ops.append(op)

    def _is_needed(self, op: o.Op) -> bool:
        """Whether the operator loses more than a rounding with an int8 constant, or cannot stand alone."""
        constants = [n for n in op.inputs if self._tensors[n].is_constant]
        if any(n in self._operands for n in constants):
            return False
        return not constants or self._tensors[constants[0]].elements > 1 or op.output not in self._known

    def _affine(self, op: o.Op) -> _Affine | None:
        """What the operator does to each channel of its activation; None when that is something else."""
        if isinstance(op, o.BatchNorm):
            gamma, beta, mean, variance = (
                self._tensors[n].constant.astype(np.float64) for n in (op.gamma, op.beta, op.mean, op.variance)
            )
            factor = gamma / np.sqrt(variance + op.epsilon)
            return _Affine(op.inputs[0], factor, beta - mean * factor)
        if not isinstance(op, (o.Add, o.Sub, o.Mul)):
            return None
        constants = [n for n in op.inputs if self._tensors[n].is_constant]
        if len(constants) != 1:
            return None
        (x,) = (n for n in op.inputs if n not in constants)
        channels = self._tensors[x].shape[-1]
        data = self._tensors[constants[0]].constant.astype(np.float64)
        is_per_channel = data.size in (1, channels) and data.shape[-1] == data.size
        if not is_per_channel or self._tensors[x].shape != self._tensors[op.output].shape:
            return None
        values, ones = np.broadcast_to(data.reshape(-1), (channels,)), np.ones(channels)
        if isinstance(op, o.Mul):
            return _Affine(x, values, 0 * ones)
        if isinstance(op, o.Add):
            return _Affine(x, ones, values)
        return _Affine(x, ones, -values) if op.inputs[0] == x else _Affine(x, -ones, values)

    def _join(self, op: o.Op, affine: _Affine) -> None:
        """The layer that makes `affine.x` makes the operator's result instead."""
        at, last = self._layers[affine.x], self._makers[affine.x]
        layer = self._ops[at]
        assert isinstance(layer, WEIGHTED)
        self._ops[at] = self._scaled(layer, affine)
        self._ops[last] = replace(self._ops[last], outputs=op.outputs, source=(*self._ops[last].source, *op.source))
        self._layers[op.output], self._makers[op.output] = at, last

    def _scaled(self, layer: WeightedOp, affine: _Affine) -> WeightedOp:
        axis = output_axis(layer)
        weights = self._tensors[layer.weights]
        along = [-1 if i == axis else 1 for i in range(len(weights.shape))]
        found = self._operands.get(layer.weights)
        if np.any(affine.factor != 1.0):
            self._put(layer.weights, weights.constant * affine.factor.reshape(along))
            if found is not None and found.scale.size in (1, affine.factor.size):
                scale = found.scale * np.where(affine.factor == 0, 1.0, np.abs(affine.factor))
                self._operands[layer.weights] = ConstantQuantization(scale, np.zeros(scale.size, np.int64), axis)
        offset = affine.offset
        if layer.bias is not None:
            offset = self._tensors[layer.bias].constant * affine.factor + offset
        bias = layer.bias or self._name(f"{layer.name}.bias")
        self._put(bias, offset)
        return replace(layer, bias=bias)

    def _convolve(self, op: o.Op, affine: _Affine) -> None:
        """A depthwise convolution of one tap; vectors and matrices are seen as images around it."""
        x = self._tensors[affine.x]
        channels = x.shape[-1]
        name = affine.x
        shape = (x.elements // channels, 1, channels)
        is_image = len(x.shape) == 3
        if not is_image:
            name = self._activation(f"{op.name}_image", shape)
            self._add(o.Reshape(name=name, inputs=(x.name,), outputs=(name,), source=op.source, shape=shape))
            self._known = {**self._known, name: self._known[x.name]}
        weights, bias = self._name(f"{op.name}.factor"), self._name(f"{op.name}.offset")
        self._put(weights, affine.factor.reshape(1, 1, channels))
        self._put(bias, affine.offset)
        scale = np.maximum(np.abs(affine.factor) / STEPS, SMALLEST_SCALE)
        self._operands[weights] = ConstantQuantization(scale, np.zeros(channels, np.int64), 2)
        result = op.output if is_image else self._activation(f"{op.name}_scaled", shape)
        layer = o.DepthwiseConv2D(
            name=op.name, inputs=(name,), outputs=(result,), source=op.source, weights=weights, bias=bias
        )
        self._add(layer)
        if not is_image:
            back = self._name(f"{op.name}_vector")
            self._add(o.Reshape(name=back, inputs=(result,), outputs=op.outputs, source=op.source, shape=x.shape))
            self._layers[op.output] = self._layers[result]

    def _name(self, wanted: str) -> str:
        while wanted in self._tensors:
            wanted += "_"
        return wanted

    def _activation(self, wanted: str, shape: tuple[int, ...]) -> str:
        name = self._name(wanted)
        self._tensors[name] = Tensor(name, shape, DType.FLOAT32)
        return name

    def _put(self, name: str, data: Array) -> None:
        values = np.ascontiguousarray(data, dtype=np.float32)
        self._tensors[name] = Tensor(name, values.shape, DType.FLOAT32, data=values, source=name)
