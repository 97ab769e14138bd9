"""How operators couple channels: the rule of every operator over labels of channels.

Every index of every channel axis carries a label; operators unify the labels of channels that depend on each other
(residual additions, depthwise filters, squeeze-excite products) or carry them along (concat at an offset, flatten as
repetitions). `groups.find_groups` reads off what can only be removed together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph

Ids = NDArray[np.int64]

FILTER, INPUT, SCALE = "filter", "input", "scale"
"""Role of a constant's axis: makes the channel, reads it, or acts on it one by one (bias, batch norm, depthwise)."""


class Labels:
    """Union-find over channel labels while the operators of a graph are walked in order."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.parent: list[int] = []
        self.reason: dict[int, str] = {}
        self.tensors: dict[str, Ids] = {}
        self.slots: list[tuple[str, str, int, str, Ids]] = []

    def fresh(self, count: int) -> Ids:
        first = len(self.parent)
        self.parent.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def find(self, label: int) -> int:
        while self.parent[label] != label:
            self.parent[label] = self.parent[self.parent[label]]
            label = self.parent[label]
        return label

    def unify(self, a: Iterable[int], b: Iterable[int]) -> None:
        for x, y in zip(a, b, strict=True):
            low, high = sorted((self.find(int(x)), self.find(int(y))))
            if low == high:
                continue
            self.parent[high] = low
            if high in self.reason:
                self.reason.setdefault(low, self.reason[high])

    def freeze(self, ids: Ids, why: str) -> None:
        for label in ids:
            self.reason.setdefault(self.find(int(label)), why)

    def of(self, tensor: str) -> Ids:
        """Labels of a tensor's last axis; a constant operand gets its own on first use."""
        if tensor not in self.tensors:
            shape = self.graph.tensors[tensor].shape
            self.tensors[tensor] = self.fresh(shape[-1] if shape else 1)
        return self.tensors[tensor]

    def cut(self, op: o.Op, constant: str | None, axis: int, role: str, ids: Ids) -> None:
        if constant is None:
            return
        for _, known, known_axis, _, other in self.slots:
            if (known, known_axis) == (constant, axis):
                self.unify(other, ids)
        self.slots.append((op.name, constant, axis, role, ids))


def _filters(op: Any, labels: Labels, axis: int = 0) -> None:
    ids = labels.fresh(labels.graph.tensors[op.output].shape[-1])
    labels.tensors[op.output] = ids
    labels.cut(op, op.weights, axis, FILTER, ids)
    labels.cut(op, op.bias, 0, SCALE, ids)


def _conv2d(op: o.Conv2D, labels: Labels) -> None:
    source = labels.of(op.inputs[0])
    _filters(op, labels)
    if op.groups == 1:
        labels.cut(op, op.weights, 3, INPUT, source)
        return
    made = labels.tensors[op.output]
    for block_in, block_out in zip(np.split(source, op.groups), np.split(made, op.groups), strict=True):
        for ids in (block_in[1:], block_out):
            labels.unify(ids, [int(block_in[0])] * len(ids))


def _transpose_conv(op: o.TransposeConv2D, labels: Labels) -> None:
    source = labels.of(op.inputs[0])
    _filters(op, labels)
    labels.cut(op, op.weights, 3, INPUT, source)


def _fully_connected(op: o.FullyConnected, labels: Labels) -> None:
    source = labels.of(op.inputs[0])
    _filters(op, labels)
    labels.cut(op, op.weights, 1, INPUT, source)


def _depthwise(op: o.DepthwiseConv2D, labels: Labels) -> None:
    ids = np.repeat(labels.of(op.inputs[0]), op.multiplier)
    labels.tensors[op.output] = ids
    labels.cut(op, op.weights, 2, SCALE, ids)
    labels.cut(op, op.bias, 0, SCALE, ids)


def _elementwise(op: o.Op, labels: Labels) -> None:
    sides = [(name, labels.of(name)) for name in op.inputs]
    widest = max(sides, key=lambda side: len(side[1]))[1]
    for name, ids in sides:
        if len(ids) == len(widest):
            labels.unify(ids, widest)
            tensor = labels.graph.tensors[name]
            if tensor.is_constant and tensor.shape:
                labels.cut(op, name, len(tensor.shape) - 1, SCALE, ids)
        else:
            labels.freeze(ids, f"{op.name} spreads its one channel over {len(widest)}")
    labels.tensors[op.output] = widest


def _keep(op: o.Op, labels: Labels) -> None:
    labels.tensors[op.output] = labels.of(op.inputs[0])


def _batch_norm(op: o.BatchNorm, labels: Labels) -> None:
    _keep(op, labels)
    for name in op.constants():
        labels.cut(op, name, 0, SCALE, labels.of(op.inputs[0]))


def _prelu(op: o.PReLU, labels: Labels) -> None:
    _keep(op, labels)
    shape = labels.graph.tensors[op.alpha].shape
    ids = labels.of(op.inputs[0])
    if shape and shape[-1] == len(ids):
        labels.cut(op, op.alpha, len(shape) - 1, SCALE, ids)


def _mean(op: o.Mean, labels: Labels) -> None:
    ids = labels.of(op.inputs[0])
    rank = len(labels.graph.tensors[op.inputs[0]].shape)
    if rank - 1 in op.axes:
        labels.freeze(ids, f"{op.name} averages over channels")
        _opaque_output(op, labels)
    else:
        labels.tensors[op.output] = ids


def _pad(op: o.Pad, labels: Labels) -> None:
    before, after = op.amounts[-1]
    ids = labels.of(op.inputs[0])
    labels.tensors[op.output] = np.concatenate([labels.fresh(before), ids, labels.fresh(after)])


def _concat(op: o.Concat, labels: Labels) -> None:
    parts = [labels.of(name) for name in op.inputs]
    if op.axis == len(labels.graph.tensors[op.output].shape) - 1:
        labels.tensors[op.output] = np.concatenate(parts)
        return
    for ids in parts[1:]:
        labels.unify(ids, parts[0])
    labels.tensors[op.output] = parts[0]


def _reshape(op: o.Reshape, labels: Labels) -> None:
    source = labels.graph.tensors[op.inputs[0]].shape
    ids = labels.of(op.inputs[0])
    if not op.shape or not source:
        _opaque(op, labels)
    elif op.shape[-1] == source[-1]:
        labels.tensors[op.output] = ids
    elif op.shape[-1] % source[-1] == 0 and _ends_with_whole_axes(source, op.shape[-1]):
        labels.tensors[op.output] = np.tile(ids, op.shape[-1] // source[-1])
    else:
        _opaque(op, labels)


def _ends_with_whole_axes(shape: Sequence[int], length: int) -> bool:
    """True when `length` is the product of some last axes of `shape`, so that they merge into one."""
    product = 1
    for size in reversed(shape):
        product *= size
        if product == length:
            return True
    return False


def _transpose(op: o.Transpose, labels: Labels) -> None:
    rank = len(labels.graph.tensors[op.inputs[0]].shape)
    if op.perm[-1] == rank - 1:
        _keep(op, labels)
    else:
        _opaque(op, labels)


def _slice(op: o.Slice, labels: Labels) -> None:
    ids = labels.of(op.inputs[0])
    if op.strides[-1] != 1:
        labels.freeze(ids, f"{op.name} takes every {op.strides[-1]}th channel")
    labels.tensors[op.output] = ids[op.begin[-1] : op.end[-1] : op.strides[-1]]


def _softmax(op: o.Op, labels: Labels) -> None:
    labels.freeze(labels.of(op.inputs[0]), f"{op.name} ({op.kind}) normalises over channels")
    _keep(op, labels)


def _opaque_output(op: o.Op, labels: Labels) -> None:
    for name in op.outputs:
        labels.freeze(labels.of(name), f"{op.name} ({op.kind}) mixes channels")


def _opaque(op: o.Op, labels: Labels) -> None:
    for name in op.inputs:
        labels.freeze(labels.of(name), f"{op.name} ({op.kind}) mixes channels")
    _opaque_output(op, labels)


COUPLING: dict[type[o.Op], Callable[[Any, Labels], None]] = {
    o.Conv2D: _conv2d,
    o.DepthwiseConv2D: _depthwise,
    o.TransposeConv2D: _transpose_conv,
    o.FullyConnected: _fully_connected,
    o.Add: _elementwise,
    o.Sub: _elementwise,
    o.Mul: _elementwise,
    o.Maximum: _elementwise,
    o.Minimum: _elementwise,
    o.AveragePool2D: _keep,
    o.MaxPool2D: _keep,
    o.Mean: _mean,
    o.Pad: _pad,
    o.Concat: _concat,
    o.Reshape: _reshape,
    o.Transpose: _transpose,
    o.Slice: _slice,
    o.Softmax: _softmax,
    o.LogSoftmax: _softmax,
    o.LayerNorm: _softmax,
    o.Clamp: _keep,
    o.PReLU: _prelu,
    o.Table: _keep,
    o.BatchNorm: _batch_norm,
    o.Dropout: _keep,
    o.Quantize: _keep,
    o.Dequantize: _keep,
    o.ResizeNearest: _keep,
    o.ResizeBilinear: _keep,
    o.SVDF: _opaque,
    o.LSTM: _opaque,
    o.Embedding: _opaque,
    o.MatMul: _opaque,
}
