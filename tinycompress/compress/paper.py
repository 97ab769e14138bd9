"""The resource model of the micro-controller pruning literature: int8 elements, batch norm folded, MACs as latency.

METHODS B1.1, from the public code of uNAS and tflite-tools. It knows no kernels, scratch or alignment, so it is for
comparing with published tables; deployments are priced by `cost`. Works on ints (exact) and torch scalars (soft) alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinycompress.compress.groups import Groups
from tinycompress.cost.order import best_order
from tinycompress.cost.scalar import Scalar, largest, total
from tinycompress.cost.working_set import Task, Workload, buffers, live_bytes
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph

FREE: tuple[type[o.Op], ...] = (o.BatchNorm, o.Clamp, o.PReLU, o.Dropout, o.Reshape, o.Table, o.Softmax, o.LogSoftmax)
"""Operators that this model folds into their producer: no bytes, no work."""
POINTWISE: tuple[type[o.Op], ...] = (o.Add, o.Sub, o.Mul, o.Maximum, o.Minimum)


@dataclass(frozen=True)
class PaperModel:
    """Peak memory, model size and MACs of one graph for any group widths.

    `count_input` adds the graph input to the peak (tflite-tools does, uNAS does not); `in_place_add` lets an Add
    overwrite an operand that dies there. The operator order is the best one at the graph's own widths.
    """

    graph: Graph
    groups: Groups
    count_input: bool = True
    in_place_add: bool = True

    def __post_init__(self) -> None:
        order = best_order(self._workload(self.groups.tensor_widths({}))).indices
        object.__setattr__(self, "_order", order)

    def evaluate(self, counts: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """`ram_bytes`, `flash_bytes` and `macs` when group g has `counts[g]` channels."""
        return self.with_steps(counts)[0]

    def with_steps(self, counts: Mapping[str, Scalar]) -> tuple[dict[str, Scalar], tuple[Scalar, ...]]:
        """`evaluate`, and the live bytes during each operator of the chosen order; the largest is `ram_bytes`."""
        widths = self.groups.tensor_widths(counts)
        work = self._workload(widths)
        order: tuple[int, ...] = self._order  # type: ignore[attr-defined]
        steps = live_bytes(buffers(work, order), len(order))
        named = {"ram_bytes": largest(steps), "flash_bytes": self._size(widths), "macs": self._macs(widths)}
        return named, steps

    def _elements(self, tensor: str, widths: Mapping[str, Scalar]) -> Scalar:
        shape = self.graph.tensors[tensor].shape
        return math.prod(shape[:-1]) * widths[tensor] if shape else 1

    def _workload(self, widths: Mapping[str, Scalar]) -> Workload:
        inputs = self.graph.input_names
        root = {name: name for name in inputs}
        tasks = []
        for op in self.graph.ops:
            if isinstance(op, FREE):
                root[op.output] = root[op.inputs[0]]
                continue
            root[op.output] = op.output
            reads = tuple(dict.fromkeys(root[n] for n in op.inputs if n in root))
            reads = reads if self.count_input else tuple(n for n in reads if n not in inputs)
            shape = self.graph.tensors[op.output].shape
            reusable = tuple(
                n for n in reads if self.in_place_add and isinstance(op, o.Add) and self.graph.tensors[n].shape == shape
            )
            tasks.append(Task(op.name, reads, (op.output,), 0, reusable))
        names = {n for n in root.values() if self.count_input or n not in inputs}
        sizes = {n: self._elements(n, widths) for n in names}
        entry = inputs if self.count_input else ()
        return Workload(tuple(tasks), sizes, entry, frozenset(root[n] for n in self.graph.outputs))

    def _size(self, widths: Mapping[str, Scalar]) -> Scalar:
        return total(self._constant_bytes(op, widths) for op in self.graph.ops)

    def _constant_bytes(self, op: Any, widths: Mapping[str, Scalar]) -> Scalar:
        if isinstance(op, o.Conv2D | o.TransposeConv2D | o.FullyConnected | o.DepthwiseConv2D):
            return self._taps(op, widths) * widths[op.output] + widths[op.output]
        return 0

    def _taps(self, op: Any, widths: Mapping[str, Scalar]) -> Scalar:
        """Multiply-accumulates of one output element."""
        shape = self.graph.tensors[op.weights].shape
        if isinstance(op, o.FullyConnected):
            return widths[op.inputs[0]]
        if isinstance(op, o.DepthwiseConv2D):
            return shape[0] * shape[1]
        if isinstance(op, o.Conv2D) and op.groups > 1:
            return shape[1] * shape[2] * shape[3]
        return shape[1] * shape[2] * widths[op.inputs[0]]

    def _macs(self, widths: Mapping[str, Scalar]) -> Scalar:
        return total(self._work(op, widths) for op in self.graph.ops)

    def _work(self, op: Any, widths: Mapping[str, Scalar]) -> Scalar:
        if isinstance(op, o.TransposeConv2D):
            shape = self.graph.tensors[op.weights].shape
            return shape[1] * shape[2] * self._elements(op.inputs[0], widths) * widths[op.output]
        if isinstance(op, o.Conv2D | o.FullyConnected | o.DepthwiseConv2D):
            return self._taps(op, widths) * self._elements(op.output, widths)
        if isinstance(op, o.AveragePool2D | o.MaxPool2D):
            return op.kernel[0] * op.kernel[1] * self._elements(op.output, widths)
        if isinstance(op, o.Mean):
            return self._elements(op.inputs[0], widths)
        if isinstance(op, POINTWISE):
            return self._elements(op.output, widths)
        return 0
