"""From a float graph and the quantization recorded beside it to a QuantGraph.

Steps: fuse what stands between two quantized tensors (bias, clamp), spread parameters over operators that only move
values, cut what stays float at the edges, then turn each operator's constants into integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.frontends.cut import cut_float_edges
from tinycompress.frontends.onnx_call import ConstantQuantization
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import quantize_values
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.tensor import Array, DType, QParams, Tensor
from tinycompress.ir.verify import to_quant_graph, verify
from tinycompress.quantize.constants import (
    WEIGHTED,
    WeightedOp,
    function_table,
    output_axis,
    quantize_bias,
    quantize_operand,
)

MOVING = (o.Reshape, o.Transpose, o.Slice, o.MaxPool2D, o.ResizeNearest, o.Pad, o.Clamp)
"""Operators whose result has the parameters of their input when the file gives none, and the other way round."""

ONE_SCALE = (
    o.Reshape, o.Transpose, o.Slice, o.MaxPool2D, o.AveragePool2D, o.ResizeNearest, o.ResizeBilinear, o.Pad,
)  # fmt: skip
"""Operators whose integer form needs the same parameters on both sides; another result is a rescaling behind them."""

FIXED_RESULTS = {o.Softmax: QParams.per_tensor(1 / 256, -128), o.LogSoftmax: QParams.per_tensor(16 / 256, 127)}
"""Operators whose integer form has one possible result scale."""


def integer_graph(
    graph: Graph,
    activations: Mapping[str, QParams],
    operands: Mapping[str, ConstantQuantization],
    integer_inputs: Mapping[str, str],
) -> QuantGraph:
    """The integer graph; UnsupportedOpError TC-M305 names every operator whose constants or results have no scale."""
    fused = _fused(verify(graph), activations)
    known = _spread(fused, dict(activations))
    typed = _typed(fused, known, integer_inputs)
    return to_quant_graph(_Integers(cut_float_edges(typed), operands).graph())


# Fusing


def _fused(graph: Graph, activations: Mapping[str, QParams]) -> Graph:
    """Bias additions and clamps join the operator before them where the value between has no parameters.

    One pass in execution order; a joined operator stays where the first one stood.
    """
    ops: list[o.Op] = []
    makers: dict[str, int] = {}
    tensors = dict(graph.tensors)
    kept = {*activations, *graph.outputs}
    for op in graph.ops:
        x = _activation_operand(op, graph)
        at = makers.get(x)
        merged = None
        if at is not None and x not in kept and len(graph.consumers(x)) == 1:
            merged = _merged(tensors, ops[at], op)
        if merged is None or at is None:
            at = len(ops)
            ops.append(op)
        else:
            ops[at] = replace(merged, source=(*ops[at].source, *op.source))
        makers.update(dict.fromkeys(op.outputs, at))
    return graph.with_ops(ops, tensors)


def _activation_operand(op: o.Op, graph: Graph) -> str:
    """The first operand that is no constant (an Add's bias may stand on either side)."""
    return next((n for n in op.inputs if not graph.tensors[n].is_constant), "")


def _merged(tensors: dict[str, Tensor], producer: o.Op, op: o.Op) -> o.Op | None:
    """The producer with `op` inside it, None when they don't join; a new bias goes into `tensors`."""
    activation = getattr(producer, "activation", None)
    if not isinstance(activation, o.Activation) or not activation.is_none or isinstance(producer, o.Clamp):
        return None
    if isinstance(op, o.Clamp):
        return replace(producer, outputs=op.outputs, activation=op.activation)  # type: ignore[call-arg]
    if isinstance(op, o.Add) and isinstance(producer, WEIGHTED):
        return _with_bias(tensors, producer, op)
    return None


def _with_bias(tensors: dict[str, Tensor], producer: WeightedOp, op: o.Add) -> o.Op | None:
    name = next((n for n in op.inputs if tensors[n].is_constant), None)
    if name is None:
        return None
    addend = tensors[name].constant
    channels = tensors[producer.weights].shape[output_axis(producer)]
    if addend.size not in (1, channels) or addend.shape[-1] != addend.size:
        return None
    total = np.broadcast_to(addend.reshape(-1), (channels,)).astype(np.float32)
    if producer.bias is not None:
        total = (tensors[producer.bias].constant + total).astype(np.float32)
    tensors[name] = replace(tensors[name], data=np.ascontiguousarray(total), shape=(channels,))
    return replace(producer, outputs=op.outputs, bias=name, activation=op.activation)


# Parameters


def _spread(graph: Graph, known: dict[str, QParams]) -> dict[str, QParams]:
    """Parameters of moved values, forward along the schedule, then backward."""
    for op in graph.ops:
        if isinstance(op, MOVING) and op.inputs[0] in known:
            known.setdefault(op.output, known[op.inputs[0]])
    for op in reversed(graph.ops):
        if isinstance(op, MOVING) and not isinstance(op, o.Clamp) and op.output in known:
            known.setdefault(op.inputs[0], known[op.output])
    return known


def _typed(graph: Graph, known: Mapping[str, QParams], integer_inputs: Mapping[str, str]) -> Graph:
    tensors = {
        name: replace(t, dtype=DType.INT8, qparams=known[name]) if name in known and not t.is_constant else t
        for name, t in graph.tensors.items()
    }
    inputs = tuple(replace(i, source_dtype=integer_inputs.get(i.tensor, i.source_dtype)) for i in graph.inputs)
    notes = [f"input {i.tensor} is quantized by the caller" for i in inputs if i.source_dtype == "float32"]
    return replace(graph, tensors=tensors, inputs=inputs, notes=(*graph.notes, *notes))


# Integer constants


class _Integers:
    """Rewrites operators one by one; `operands` says how the constants that the file quantizes were quantized."""

    def __init__(self, graph: Graph, operands: Mapping[str, ConstantQuantization]) -> None:
        self._source = graph
        self._operands = operands
        self._tensors = dict(graph.tensors)
        self._ops: list[o.Op] = []
        self._missing: list[str] = []
        self._notes: list[str] = []

    def graph(self) -> Graph:
        """The graph with integer constants."""
        for op in self._source.ops:
            self._convert(op)
        if self._missing:
            raise UnsupportedOpError(
                "TC-M305",
                f"{len(self._missing)} constants are not quantized as int8 kernels need: {'; '.join(self._missing)}",
                where=self._source.name,
                fix="quantize weights symmetrically (zero point 0), per tensor or per output channel",
            )
        noted = replace(self._source, notes=(*self._source.notes, *self._notes))
        return noted.with_ops(self._ops, self._tensors)

    def _is_float(self, op: o.Op) -> bool:
        names = [n for n in (*op.inputs, *op.outputs) if not self._tensors[n].is_constant]
        return any(self._tensors[n].dtype is DType.FLOAT32 for n in names)

    def _convert(self, op: o.Op) -> None:
        if self._is_float(op):
            self._ops.append(op)
            return
        for name in op.inputs:
            if self._tensors[name].is_constant and self._tensors[name].dtype is DType.FLOAT32:
                self._tensors[name] = self._operand(self._tensors[name])
        if isinstance(op, WEIGHTED):
            op = self._weights(op)
        elif isinstance(op, o.PReLU):
            self._tensors[op.alpha] = self._operand(self._tensors[op.alpha])
        elif isinstance(op, o.Table):
            x, y = (self._tensors[n].quantization for n in (op.inputs[0], op.output))
            table = function_table(op, x, y, f"{op.name}_table")
            self._tensors[table.name] = table
            op = replace(op, table=table.name)
        elif isinstance(op, (o.Maximum, o.Minimum)):
            op = self._with_inputs_of_result(op)
        self._append(op)

    def _append(self, op: o.Op) -> None:
        """The operator, with a rescaling behind it when its integer form cannot have the result's parameters."""
        wanted = self._tensors[op.outputs[0]].quantization
        if isinstance(op, o.AveragePool2D) and self._tensors[op.inputs[0]].quantization != wanted:
            op = self._as_mean(op)
        fixed = FIXED_RESULTS.get(type(op))
        if isinstance(op, ONE_SCALE):
            fixed = self._tensors[op.inputs[0]].quantization
        if fixed is None or fixed == wanted:
            self._ops.append(op)
            return
        raw = self._new(f"{op.output}_raw", op.output, fixed)
        self._ops.append(replace(op, outputs=(raw,)))
        self._ops.append(o.Quantize(name=f"{op.name}_rescale", inputs=(raw,), outputs=op.outputs, source=op.source))

    def _as_mean(self, op: o.AveragePool2D) -> o.Op:
        """A global pool as a Mean, which rescales before it rounds; other pools stay."""
        shape = self._tensors[op.inputs[0]].shape
        if op.kernel != shape[:2] or any(op.padding) or not op.activation.is_none:
            return op
        return o.Mean(name=op.name, inputs=op.inputs, outputs=op.outputs, source=op.source, axes=(0, 1), keepdims=True)

    def _with_inputs_of_result(self, op: o.Op) -> o.Op:
        wanted = self._tensors[op.output].quantization
        names = []
        for position, name in enumerate(op.inputs):
            if self._tensors[name].quantization != wanted:
                rescaled = self._new(f"{op.name}_in{position}", name, wanted)
                self._ops.append(o.Quantize(name=f"{op.name}_rescale{position}", inputs=(name,), outputs=(rescaled,)))
                name = rescaled
            names.append(name)
        return replace(op, inputs=tuple(names))

    def _new(self, name: str, like: str, qparams: QParams) -> str:
        self._tensors[name] = replace(self._tensors[like], name=name, qparams=qparams)
        return name

    def _operand(self, tensor: Tensor) -> Tensor:
        found = self._operands.get(tensor.name)
        if found is None or found.scale.size != 1:
            return quantize_operand(tensor)
        return quantize_operand(tensor, QParams.per_tensor(float(found.scale[0]), int(found.zero_point[0])))

    def _weights(self, op: WeightedOp) -> o.Op:
        """The operator with int8 weights and an int32 bias in `_tensors`."""
        weights = self._tensors[op.weights]
        found = self._operands.get(op.weights)
        axis = output_axis(op)
        if weights.dtype is not DType.FLOAT32:
            raise ModelError("TC-M305", "weights shared between operators are not supported", where=op.name)
        if found is None:
            self._missing.append(f"{op.name}: weights are float")
            return op
        if found.scale.size not in (1, weights.shape[axis]):
            self._missing.append(f"{op.name}: weights have {found.scale.size} scales")
            return op
        scales = tuple(float(s) for s in found.scale)
        qparams = QParams(scales, (0,) * len(scales), axis if len(scales) > 1 else None)
        if op.bias is not None:
            scale = self._tensors[op.inputs[0]].quantization.tensor_scale
            self._tensors[op.bias] = quantize_bias(self._tensors[op.bias], scale, qparams)
        centred = quantize_values(weights.constant, qparams, DType.INT16)
        if np.any(found.zero_point):
            return self._halved(op, centred, qparams)
        self._tensors[op.weights] = integer_constant(weights, centred, qparams)
        return op

    def _halved(self, op: WeightedOp, centred: Array, qparams: QParams) -> o.Op:
        """Weights with a zero point reach beyond int8 once it is subtracted: w = a + b with both in int8.

        The operator then reads its input twice, joined along the channels: exact, at twice the weights.
        """
        if not isinstance(op, o.FullyConnected) and not (isinstance(op, o.Conv2D) and op.groups == 1):
            self._missing.append(f"{op.name}: weights have a zero point")
            return op
        x = self._tensors[op.inputs[0]]
        first = np.clip(centred, -128, 127)
        doubled = np.concatenate([first, centred - first], axis=-1)
        self._tensors[op.weights] = integer_constant(self._tensors[op.weights], doubled, qparams)
        joined = replace(x, name=f"{op.name}_twice", shape=(*x.shape[:-1], 2 * x.shape[-1]), source="")
        self._tensors[joined.name] = joined
        inputs = (x.name, x.name)
        axis = len(x.shape) - 1
        self._ops.append(o.Concat(name=f"{op.name}_join", inputs=inputs, outputs=(joined.name,), axis=axis))
        self._notes.append(f"{op.name}: weights with a zero point take twice their size; quantize them symmetrically")
        return replace(op, inputs=(joined.name,))


def integer_constant(like: Tensor, values: Array, qparams: QParams) -> Tensor:
    """`like` as int8 with the given values, which must fit."""
    return Tensor(like.name, values.shape, DType.INT8, qparams, values.astype(np.int8), like.source)
