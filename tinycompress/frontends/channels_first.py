"""Builds a channels-last Graph from a channels-first source (PyTorch, ONNX), one source operator at a time.

`values.ValueBuilder` keeps track of what lies where; here is what operators make of it. A Linear or BatchNorm behind a
flattened image takes the elements as they lie and has its constants permuted instead. Axes are batch-free. Weights
arrive in the source's layout (OIHW) and are stored in the IR's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.frontends.layout import (
    IMAGE_ORDERS,
    layout_of,
    order_of,
    plain_layout,
    source_indices,
    split_at,
    to_order,
)
from tinycompress.frontends.values import Value, ValueBuilder, ir_axis, ir_shape, refuse
from tinycompress.ir import ops as o
from tinycompress.ir.tensor import Array, DType


class ChannelsFirstBuilder(ValueBuilder):
    """The operators of a channels-first source, each from the values it reads to the value it makes."""

    # -- operators with weights ----------------------------------------------------------------------------------------

    def convolution(
        self,
        value: Value,
        weights: Array,
        bias: Array | None,
        *,
        stride: o.Pair = (1, 1),
        padding: o.Padding = (0, 0, 0, 0),
        dilation: o.Pair = (1, 1),
        groups: int = 1,
    ) -> Value:
        """Convolution with OIHW (or OIK) weights; depthwise where every group has one input channel."""
        x = self.image(value)
        if weights.ndim == 3:
            weights = weights[:, :, :, None]
        channels = value.shape[0]
        b = None if bias is None else self._parameter("bias", bias)
        common: dict[str, Any] = {"bias": b, "stride": stride, "padding": padding, "dilation": dilation}
        if groups == channels and groups > 1:
            w = self._parameter("weight", weights[:, 0].transpose(1, 2, 0))
            multiplier = weights.shape[0] // channels
            y = self.emit(o.DepthwiseConv2D, [x.tensor], weights=w, multiplier=multiplier, **common)
        else:
            w = self._parameter("weight", weights.transpose(0, 2, 3, 1))
            y = self.emit(o.Conv2D, [x.tensor], weights=w, groups=groups, **common)
        return self._image_value(y, len(value.shape))

    def transpose_convolution(
        self,
        value: Value,
        weights: Array,
        bias: Array | None,
        *,
        stride: o.Pair,
        padding: o.Padding,
        output_padding: o.Pair,
    ) -> Value:
        """Transposed convolution with IOHW weights, one group, dilation 1."""
        x = self.image(value)
        w = self._parameter("weight", weights.transpose(1, 2, 3, 0))
        b = None if bias is None else self._parameter("bias", bias)
        y = self.emit(
            o.TransposeConv2D,
            [x.tensor],
            weights=w,
            bias=b,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
        )
        return self._image_value(y, len(value.shape))

    def linear(self, value: Value, weights: Array, bias: Array | None) -> Value:
        """Fully connected over the last source axis, weights `(out, in)`; their columns follow the elements' order."""
        *lead, features = value.shape
        pieces = split_at(value.layout, [features])
        inner = tuple(p for p in pieces or () if p[1] < features)
        outer = tuple((size, stride // features) for size, stride in pieces or () if stride >= features)
        if pieces is None or pieces[len(outer) :] != inner or outer != plain_layout(tuple(lead)):
            value = self.arrange(value, tuple(range(len(value.shape))))
            inner = ((features, 1),)
        x = self._reshape(value.tensor, (*lead, features))
        w = self._parameter("weight", weights[:, source_indices(inner)] if features > 1 else weights)
        b = None if bias is None else self._parameter("bias", bias)
        y = self.emit(o.FullyConnected, [x], weights=w, bias=b)
        shape = (*lead, weights.shape[0])
        return Value(y, shape, plain_layout(shape))

    def _per_channel(self, value: Value) -> tuple[Value, NDArray[np.int64] | slice]:
        """The value with its channels (first source axis) last in memory, and the channels' order there."""
        if len(value.shape) == 1:
            flat = self._reshape(value.tensor, value.shape)
            return Value(flat, value.shape, value.layout), source_indices(value.layout)
        order = IMAGE_ORDERS.get(len(value.shape), (*range(1, len(value.shape)), 0))
        return self.arrange(value, order), slice(None)

    def batch_norm(
        self, value: Value, gamma: Array, beta: Array, mean: Array, variance: Array, epsilon: float
    ) -> Value:
        """Batch normalisation of the first source axis, with running statistics."""
        x, at = self._per_channel(value)
        named = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
        constants = {name: self._parameter(name, data[at]) for name, data in named.items()}
        y = self.emit(o.BatchNorm, [x.tensor], epsilon=epsilon, **constants)
        return Value(y, value.shape, x.layout)

    def prelu(self, value: Value, alpha: Array) -> Value:
        """PReLU with one slope, or one per channel of the first source axis."""
        x, at = self._per_channel(value)
        slopes = np.broadcast_to(alpha.reshape(-1), (value.shape[0],))[at]
        y = self.emit(o.PReLU, [x.tensor], alpha=self._parameter("alpha", slopes))
        return Value(y, value.shape, x.layout)

    def lstm(
        self,
        value: Value,
        weights: Array,
        recurrent: Array,
        bias: Array | None,
        hidden: Array,
        cell: Array,
        *,
        suffix: str = "",
        is_reversed: bool = False,
    ) -> tuple[Value, Value, Value]:
        """An LSTM over a sequence `(t, c)`: (all hidden states `(t, units)`, the last, the last cell state).

        Constants as the operator's, gates in its order; `suffix` tells apart the layers of one node.
        """
        if len(value.shape) != 2:
            raise refuse(
                f"needs one sequence of features, not shape {list(value.shape)}", "give it batch, time, features"
            )
        x = self.arrange(value, (0, 1))
        states = {"initial_hidden": hidden, "initial_cell": cell}
        inputs = [x.tensor, *(self._parameter(name + suffix, data) for name, data in states.items())]
        y, kept, inner = self.emit_several(
            o.LSTM,
            inputs,
            (suffix, f"{suffix}_hidden", f"{suffix}_cell"),
            input_weights=self._parameter(f"weight_ih{suffix}", weights),
            recurrent_weights=self._parameter(f"weight_hh{suffix}", recurrent),
            bias=None if bias is None else self._parameter(f"bias{suffix}", bias),
            is_reversed=is_reversed,
        )
        shape = (value.shape[0], recurrent.shape[-1])
        last = [Value(name, shape[1:], plain_layout(shape[1:])) for name in (kept, inner)]
        return Value(y, shape, plain_layout(shape)), last[0], last[1]

    def embedding(self, indices: Value, table: Array) -> Value:
        """Rows of a table `(n, c)` at the network's own integer input `(t,)`: `(t, c)`."""
        shape = (*indices.shape, *table.shape[1:])
        if self.tensors[indices.tensor].dtype is not DType.INT32 or len(shape) != 2:
            raise refuse(
                f"looks up indices of shape {[1, *indices.shape]} that are no input of the network",
                "give it an integer input of batch and steps",
            )
        y = self.emit(o.Embedding, [indices.tensor], table=self._parameter("weight", table))
        return Value(y, shape, plain_layout(shape))

    # -- windows -------------------------------------------------------------------------------------------------------

    def pool(self, kind: type[o.Op], value: Value, kernel: o.Pair, stride: o.Pair, padding: o.Padding) -> Value:
        """`AveragePool2D` or `MaxPool2D`; padding taps are not counted."""
        x = self.image(value)
        y = self.emit(kind, [x.tensor], kernel=kernel, stride=stride, padding=padding)
        return self._image_value(y, len(value.shape))

    def pad(self, value: Value, amounts: Sequence[tuple[int, int]], fill: float) -> Value:
        """Constant padding, `(before, after)` per source axis; negative amounts cut."""
        for axis, (before, after) in enumerate(amounts):
            if before < 0 or after < 0:
                size = value.shape[axis]
                value = self.slice(value, axis, max(0, -before), size - max(0, -after), 1)
        amounts = [(max(0, b), max(0, a)) for b, a in amounts]
        if not any(b or a for b, a in amounts):
            return value
        order = self.order(value)
        x = self.arrange(value, order)
        by_ir_axis = {ir_axis(order, axis): pair for axis, pair in enumerate(amounts)}
        rank = len(self.tensors[x.tensor].shape)
        y = self.emit(o.Pad, [x.tensor], amounts=tuple(by_ir_axis.get(i, (0, 0)) for i in range(rank)), value=fill)
        shape = tuple(s + b + a for s, (b, a) in zip(value.shape, amounts, strict=True))
        return Value(y, shape, layout_of(shape, order))

    def resize(self, kind: type[o.Op], value: Value, size: o.Pair, *, align_corners: bool, half_pixel: bool) -> Value:
        """`ResizeNearest` or `ResizeBilinear` to (h, w)."""
        x = self.image(value)
        y = self.emit(kind, [x.tensor], size=size, align_corners=align_corners, half_pixel_centers=half_pixel)
        return self._image_value(y, len(value.shape))

    # -- element-wise --------------------------------------------------------------------------------------------------

    def unary(self, kind: type[o.Op], value: Value, **fields: Any) -> Value:
        """A shape-preserving operator: any element order will do."""
        return Value(self.emit(kind, [value.tensor], **fields), value.shape, value.layout)

    def binary(self, kind: type[o.Op], a: Value | Array, b: Value | Array) -> Value:
        """An element-wise operator on two values, or a value and a constant (source broadcasting, batch axis of 1)."""
        if not isinstance(a, Value) or not isinstance(b, Value):
            return self._with_constant(kind, a, b)
        if a.shape == b.shape and a.layout == b.layout:
            second = self._reshape(b.tensor, self.tensors[a.tensor].shape)
            return Value(self.emit(kind, [a.tensor, second]), a.shape, a.layout)
        rank = max(len(a.shape), len(b.shape))
        a, b = (Value(v.tensor, (1,) * (rank - len(v.shape)) + v.shape, v.layout) for v in (a, b))
        order = self.order(a if math.prod(a.shape) >= math.prod(b.shape) else b)
        a, b = self.arrange(a, order), self.arrange(b, order)
        shape = np.broadcast_shapes(a.shape, b.shape)
        return Value(self.emit(kind, [a.tensor, b.tensor]), shape, layout_of(shape, order))

    def _with_constant(self, kind: type[o.Op], a: Value | Array, b: Value | Array) -> Value:
        value, data = (a, b) if isinstance(a, Value) else (b, a)
        assert isinstance(value, Value)
        assert not isinstance(data, Value)
        data = np.asarray(data, dtype=np.float32)
        rank = max(len(value.shape), data.ndim - 1)
        if data.ndim > rank:
            if data.shape[0] != 1:
                raise refuse(
                    f"a constant of shape {list(data.shape)} varies along the batch", "use one sample's constant"
                )
            data = data[0]
        data = data.reshape((1,) * (rank - data.ndim) + data.shape)
        value = Value(value.tensor, (1,) * (rank - len(value.shape)) + value.shape, value.layout)
        shape = np.broadcast_shapes(value.shape, data.shape)
        order = order_of(value.layout, value.shape)
        if data.size == 1:
            stored, layout = data.reshape(1), value.layout
        elif order is not None or shape != value.shape:
            order = self.order(value)
            value = self.arrange(value, order)
            stored, layout = to_order(data, order), layout_of(shape, order)
            stored = stored.reshape(ir_shape(data.shape, order))
            if stored.size == stored.shape[-1]:
                stored = stored.reshape(-1)
        else:
            flat = np.broadcast_to(data, shape).reshape(-1)[source_indices(value.layout)]
            stored, layout = flat.reshape(self.tensors[value.tensor].shape), value.layout
        name = self._parameter("constant", stored)
        names = [value.tensor, name] if isinstance(a, Value) else [name, value.tensor]
        return Value(self.emit(kind, names), shape, layout)

    # -- along axes ----------------------------------------------------------------------------------------------------

    def _with_last(self, value: Value, axis: int) -> Value:
        """The value in an IR tensor whose last axis holds that source axis."""
        order = self.order(value)
        if order[-1] != axis:
            order = (*(a for a in range(len(value.shape)) if a != axis), axis)
        return self.arrange(value, order)

    def softmax(self, kind: type[o.Op], value: Value, axis: int, **fields: Any) -> Value:
        """`Softmax` or `LogSoftmax` over one source axis."""
        x = self._with_last(value, axis)
        return Value(self.emit(kind, [x.tensor], **fields), value.shape, x.layout)

    def layer_norm(self, value: Value, gamma: Array, beta: Array | None, epsilon: float) -> Value:
        """Layer normalisation over the last source axes, those that `gamma` has."""
        axes = value.shape[len(value.shape) - gamma.ndim :]
        if gamma.ndim == 0 or gamma.shape != axes:
            raise refuse(
                f"a scale of shape {list(gamma.shape)} does not fit {list(value.shape)}", "normalise whole last axes"
            )
        plain = tuple(range(len(value.shape)))
        x = self._with_last(value, plain[-1]) if gamma.ndim == 1 else self.arrange(value, plain)
        names = [
            self._parameter(name, np.ravel(data))
            for name, data in (("weight", gamma), ("bias", np.zeros_like(gamma) if beta is None else beta))
        ]
        whole = self.tensors[x.tensor].shape
        view = whole if gamma.ndim == 1 else (*value.shape[: -gamma.ndim], gamma.size)
        y = self.emit(o.LayerNorm, [self._reshape(x.tensor, view)], gamma=names[0], beta=names[1], epsilon=epsilon)
        return Value(self._reshape(y, whole), value.shape, x.layout)

    def matmul(self, a: Value, b: Value) -> Value:
        """`a @ b` of two values, matrix by matrix over equal leading axes, or all of `a` by one matrix `b`."""
        lead, other = a.shape[:-2], b.shape[:-2]
        is_one = math.prod(other) == 1
        if min(len(a.shape), len(b.shape)) < 2 or a.shape[-1] != b.shape[-2] or not (is_one or lead == other):
            raise refuse(
                f"multiplies {[1, *a.shape]} by {[1, *b.shape]}",
                "give both two axes of a matrix behind equal leading ones",
            )
        groups = math.prod(other)
        (*_, rows, terms), columns = a.shape, b.shape[-1]
        first = self.arrange(a, tuple(range(len(a.shape))))
        last = len(b.shape) - 1
        second = self.arrange(b, (*range(last - 1), last, last - 1))
        y = self.emit(
            o.MatMul,
            [
                self._reshape(first.tensor, (groups, math.prod(lead) // groups * rows, terms)),
                self._reshape(second.tensor, (groups, columns, terms)),
            ],
            is_transposed=True,
        )
        shape = (*lead, rows, columns)
        return Value(y, shape, plain_layout(shape))

    def mean(self, value: Value, axes: Sequence[int], keepdims: bool) -> Value:
        """Mean over source axes."""
        order = self.order(value)
        x = self.arrange(value, order)
        ir_axes = {ir_axis(order, a) for a in axes}
        if len(value.shape) == 2 and order == (1, 0) and not keepdims:
            ir_axes.add(1)
        y = self.emit(o.Mean, [x.tensor], axes=tuple(sorted(ir_axes)), keepdims=keepdims)
        reduced = tuple(1 if i in axes else s for i, s in enumerate(value.shape))
        layout = layout_of(reduced, order)
        shape = reduced if keepdims else tuple(s for i, s in enumerate(value.shape) if i not in axes)
        return Value(y, shape, layout)

    def slice(self, value: Value, axis: int, begin: int, end: int, step: int) -> Value:
        """`source[begin:end:step]` along one source axis, indices already within the axis."""
        if begin == 0 and end == value.shape[axis] and step == 1:
            return value
        order = self.order(value)
        x = self.arrange(value, order)
        extent = self.tensors[x.tensor].shape
        at = ir_axis(order, axis)
        y = self.emit(
            o.Slice,
            [x.tensor],
            begin=tuple(begin if i == at else 0 for i in range(len(extent))),
            end=tuple(end if i == at else s for i, s in enumerate(extent)),
            strides=tuple(step if i == at else 1 for i in range(len(extent))),
        )
        shape = tuple(max(0, -(-(end - begin) // step)) if i == axis else s for i, s in enumerate(value.shape))
        return Value(y, shape, layout_of(shape, order))

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        """Joins values along one source axis, in the element order of the largest."""
        order = self.order(max(values, key=lambda v: math.prod(v.shape)))
        arranged = [self.arrange(v, order) for v in values]
        y = self.emit(o.Concat, [v.tensor for v in arranged], axis=ir_axis(order, axis))
        shape = list(values[0].shape)
        shape[axis] = sum(v.shape[axis] for v in values)
        return Value(y, tuple(shape), layout_of(tuple(shape), order))
