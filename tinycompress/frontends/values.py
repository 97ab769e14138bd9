"""Values of a channels-first source (PyTorch, ONNX) in a channels-last graph: names, element order, views.

A `Value` stands for a source tensor without its batch axis: which IR tensor holds it, its source shape, and the
layout that relates the two. Reshapes and transposes of the source cost nothing; an operator that needs another element
order gets it from `arrange`, which emits Reshape and Transpose only where orders really differ. Axes are batch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycompress.errors import UnsupportedOpError
from tinycompress.frontends.layout import (
    IMAGE_ORDERS,
    Layout,
    Order,
    Shape,
    layout_of,
    order_of,
    permuted,
    plain_layout,
    rearrangement,
)
from tinycompress.frontends.names import NameScope, safe_name, source_name
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput, Preprocess
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import Array, DType, Tensor

_LAYOUT_LETTERS = {1: "C", 2: "CT", 3: "CHW"}
_PLAIN_LETTERS = {1: "C", 2: "TC", 3: "HWC"}


@dataclass(frozen=True)
class Value:
    """A source tensor: the IR `tensor` that holds it, its batch-free source `shape`, and their relation.

    A `batch` of 0 is in front of `shape` and not in it; else `shape` holds all axes of the source, the batch of 1 at
    `batch`, or merged with others (None), see `batch_axis`.
    """

    tensor: str
    shape: Shape
    layout: Layout
    batch: int | None = 0


def refuse(why: str, fix: str) -> UnsupportedOpError:
    """The error for an operator that cannot be expressed; the front end adds the node's name and collects them."""
    return UnsupportedOpError("TC-M101", why, fix=fix)


def ir_shape(shape: Shape, order: Order) -> Shape:
    """Shape of the IR tensor that holds `shape` in `order`; a series in time-major order is `[t,1,c]`."""
    if len(shape) == 2 and order == (1, 0):
        return (shape[1], 1, shape[0])
    return tuple(shape[a] for a in order)


def ir_axis(order: Order, axis: int) -> int:
    """The IR axis that holds a source axis (the inserted width of `[t,1,c]` counts)."""
    if order == (1, 0):
        return 2 if axis == 0 else 0
    return order.index(axis)


def source_letters(order: Order) -> str:
    """The source's axis order, e.g. ``CHW``, of a value whose IR tensor holds its axes in `order`; empty when equal."""
    letters = _PLAIN_LETTERS.get(len(order), "")
    if not letters or order == tuple(range(len(order))):
        return ""
    return "".join(letters[order.index(axis)] for axis in range(len(order)))


class ValueBuilder:
    """Accumulates tensors and operators; `graph()` ends it. Call `at` before each source node."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[o.Op] = []
        self.inputs: list[GraphInput] = []
        self._node = "op"
        self._source: tuple[str, ...] = ()
        self._names = NameScope()

    # -- names and emission --------------------------------------------------------------------------------------------

    def at(self, node: str, source: str = "") -> None:
        """The following operators come from this source node; `source` is the name users know it by."""
        self._node = safe_name(node, "op")
        self._source = (source_name(source or node),)

    def constant(self, name: str, data: Array, source: str = "") -> str:
        """Adds a float32 constant and returns its name."""
        name = self._names.unique(name)
        values = np.ascontiguousarray(data, dtype=np.float32)
        self.tensors[name] = Tensor(name, tuple(values.shape), DType.FLOAT32, data=values, source=source)
        return name

    def emit(self, kind: type[o.Op], inputs: Sequence[str], *, suffix: str = "", **fields: Any) -> str:
        """Adds an operator with one output; returns the output's name. Shapes are inferred and so checked."""
        (name,) = self.emit_several(kind, inputs, (suffix,), **fields)
        return name

    def emit_several(
        self, kind: type[o.Op], inputs: Sequence[str], suffixes: Sequence[str], **fields: Any
    ) -> tuple[str, ...]:
        """Adds an operator with an output for each suffix; returns their names. It is named as the first output."""
        if kind is not o.Embedding and any(self.tensors[n].dtype is not DType.FLOAT32 for n in inputs):
            raise refuse("computes with an input of integers", "integers may only be the indices of an embedding")
        names = tuple(self._names.unique(self._node + suffix) for suffix in suffixes)
        op = kind(name=names[0], inputs=tuple(inputs), outputs=names, source=self._source, **fields)
        for name, shape in zip(names, infer(op, self.tensors), strict=True):
            self.tensors[name] = Tensor(name, shape, DType.FLOAT32, source=self._source[0])
        self.ops.append(op)
        return names

    def _parameter(self, suffix: str, data: Array) -> str:
        return self.constant(f"{self._node}.{suffix}", data, f"{self._source[0]}.{suffix}")

    def input(
        self,
        name: str,
        shape: Shape,
        *,
        is_plain: bool = False,
        preprocess: Preprocess | None = None,
        dtype: DType = DType.FLOAT32,
    ) -> Value:
        """A graph input of batch-free source `shape`, stored channels-last unless it `is_plain` already."""
        rank = len(shape)
        order = tuple(range(rank)) if is_plain or rank not in IMAGE_ORDERS else IMAGE_ORDERS[rank]
        letters = (_PLAIN_LETTERS if is_plain else _LAYOUT_LETTERS).get(rank, "")
        tensor = self._names.unique(safe_name(name, "input"))
        self.tensors[tensor] = Tensor(tensor, ir_shape(shape, order), dtype, source=source_name(name))
        self.inputs.append(GraphInput(tensor, letters, dtype.value, preprocess or Preprocess()))
        return Value(tensor, shape, layout_of(shape, order))

    def graph(self, outputs: Sequence[Value]) -> Graph:
        """The finished graph; outputs keep channels-last order where they have it, else the source's order."""
        self.at("output")
        names, layouts = [], []
        for value in outputs:
            order = self.order(value) if len(value.shape) <= 3 else tuple(range(len(value.shape)))
            names.append(self.arrange(value, order).tensor)
            layouts.append(source_letters(order))
        known = tuple(layouts) if any(layouts) else ()
        graph = Graph(self.name, tuple(self.inputs), tuple(names), self.tensors, tuple(self.ops), output_layouts=known)
        return graph.with_ops(graph.ops)

    # -- element order -------------------------------------------------------------------------------------------------

    def order(self, value: Value) -> Order:
        """The order of axes the value has, or the one to give it: channels-last for images, plain otherwise."""
        found = order_of(value.layout, value.shape)
        if found is not None:
            return found
        return IMAGE_ORDERS[3] if len(value.shape) == 3 else tuple(range(len(value.shape)))

    def arrange(self, value: Value, order: Order) -> Value:
        """The value in an IR tensor that holds its source axes in `order`."""
        wanted = layout_of(value.shape, order)
        shape = ir_shape(value.shape, order)
        if value.layout != wanted:
            value = self._transpose(value, wanted)
        return Value(self._reshape(value.tensor, shape), value.shape, wanted)

    def _reshape(self, tensor: str, shape: Shape) -> str:
        if self.tensors[tensor].shape == shape:
            return tensor
        return self.emit(o.Reshape, [tensor], suffix="_reshape", shape=shape)

    def _transpose(self, value: Value, wanted: Layout) -> Value:
        step = rearrangement(value.layout, wanted)
        if step is None:
            step = rearrangement(value.layout, tuple(sorted(value.layout, key=lambda p: -p[1])))
            assert step is not None
            plain = plain_layout(value.shape)
            return self._transpose(self._moved(value, step, plain), wanted)
        return self._moved(value, step, wanted)

    def _moved(self, value: Value, step: tuple[Shape, Order], layout: Layout) -> Value:
        sizes, perm = step
        if perm == tuple(range(len(perm))):
            return Value(value.tensor, value.shape, layout)
        tensor = self.emit(o.Transpose, [self._reshape(value.tensor, sizes)], suffix="_transpose", perm=perm)
        return Value(tensor, value.shape, layout)

    def image(self, value: Value) -> Value:
        """The value as `[h,w,c]` (rank 3, `CHW`) or `[t,1,c]` (rank 2, `CT`)."""
        if len(value.shape) not in (2, 3):
            raise refuse(
                f"needs a batch, a channel and one or two spatial axes, not shape {[1, *value.shape]}",
                "give the input its batch and channel axes, e.g. 1,3,32,32",
            )
        return self.arrange(value, IMAGE_ORDERS[len(value.shape)])

    def _image_value(self, tensor: str, rank: int) -> Value:
        h, w, c = self.tensors[tensor].shape
        shape = (c, h, w) if rank == 3 else (c, h)
        return Value(tensor, shape, layout_of(shape, IMAGE_ORDERS[rank]))

    # -- views ---------------------------------------------------------------------------------------------------------

    def reshape(self, value: Value, shape: Shape) -> Value:
        """The source tensor seen in another shape: no operator."""
        return Value(value.tensor, shape, value.layout)

    def transpose(self, value: Value, perm: Order) -> Value:
        """The source tensor with its axes permuted: no operator unless a run of elements crosses axes unevenly."""
        layout = permuted(value.layout, value.shape, perm)
        if layout is None:
            value = self.arrange(value, tuple(range(len(value.shape))))
            layout = permuted(value.layout, value.shape, perm)
            assert layout is not None
        return Value(value.tensor, tuple(value.shape[p] for p in perm), layout)
