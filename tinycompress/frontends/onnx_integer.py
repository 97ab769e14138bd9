"""From a float graph and the quantization recorded beside it to a QuantGraph.

Steps: give every value one set of parameters, fuse what stands between two quantized tensors (batch norm, bias,
clamp), spread parameters over operators that only move values, cut what stays float at the edges, then turn each
operator's constants into integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.frontends.cut import cut_float_edges
from tinycompress.frontends.names import user_names
from tinycompress.frontends.onnx_affine import with_affine_layers
from tinycompress.frontends.onnx_call import ConstantQuantization
from tinycompress.frontends.onnx_copies import separated, spread_backward, spread_forward
from tinycompress.frontends.onnx_quantized import QuantizedNodes
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import dequantize_values, quantize_values
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.quant_params import FIXED_OUTPUTS
from tinycompress.ir.tensor import Array, DType, QParams, Tensor
from tinycompress.ir.verify import FLOAT_ONLY, to_quant_graph, verify
from tinycompress.quantize.constants import (
    BIAS_LIMIT,
    WEIGHTED,
    WeightedOp,
    function_table,
    output_axis,
    quantize_bias,
    quantize_norm,
    quantize_operand,
)

ONE_SCALE = (
    o.Reshape, o.Transpose, o.Slice, o.MaxPool2D, o.AveragePool2D, o.ResizeNearest, o.ResizeBilinear, o.Pad,
)  # fmt: skip
"""Operators whose integer form needs the same parameters on both sides; another result is a rescaling behind them."""


def integer_graph(graph: Graph, nodes: QuantizedNodes) -> QuantGraph:
    """The integer graph of what the file's nodes say of `graph`.

    UnsupportedOpError TC-M305 names every operator whose constants or results have no scale.
    """
    operands = dict(nodes.operands)
    graph = separated(verify(graph), nodes.activations, nodes.again, operands)
    graph = with_affine_layers(graph, spread_forward(graph.ops, dict(nodes.activations)), operands)
    fused = _fused(graph, nodes.activations)
    known = spread_backward(fused.ops, spread_forward(fused.ops, dict(nodes.activations)))
    typed = _typed(fused, known, nodes.integer_inputs)
    core = cut_float_edges(typed)
    _refuse_float_operators(core)
    return to_quant_graph(_Integers(core, operands).graph())


def _refuse_float_operators(graph: Graph) -> None:
    """UnsupportedOpError TC-M305 naming the operators that the file does not quantize."""

    def is_float(names: tuple[str, ...]) -> bool:
        return any(graph.tensors[n].dtype is DType.FLOAT32 and not graph.tensors[n].is_constant for n in names)

    found = [op for op in graph.ops if isinstance(op, FLOAT_ONLY) or is_float(op.outputs)]
    found = found or [op for op in graph.ops if is_float(op.inputs)]
    if not found:
        return
    names = list(dict.fromkeys(user_names(op) for op in found))
    raise UnsupportedOpError(
        "TC-M305",
        f"not quantized, between operators that are: {'; '.join(names)}",
        where=names[0],
        fix="quantize every operator (a QuantizeLinear and a DequantizeLinear behind each), "
        "or import the float model and let `tinycompress` quantize it",
    )


# Fusing


def _fused(graph: Graph, activations: Mapping[str, QParams]) -> Graph:
    """Clamps join the operator before them where the value between has no parameters.

    One pass in execution order; a joined operator stays where the first one stood.
    """
    ops: list[o.Op] = []
    makers: dict[str, int] = {}
    kept = {*activations, *graph.outputs}
    for op in graph.ops:
        x = op.inputs[0]
        at = makers.get(x)
        merged = None
        if at is not None and x not in kept and len(graph.consumers(x)) == 1:
            merged = _merged(ops[at], op)
        if merged is None or at is None:
            at = len(ops)
            ops.append(op)
        else:
            ops[at] = replace(merged, source=(*ops[at].source, *op.source))
        makers.update(dict.fromkeys(op.outputs, at))
    return graph.with_ops(ops)


def _merged(producer: o.Op, op: o.Op) -> o.Op | None:
    """The producer with the clamp `op` inside it, None when they don't join."""
    activation = getattr(producer, "activation", None)
    if not isinstance(activation, o.Activation) or not activation.is_none or isinstance(producer, o.Clamp):
        return None
    return replace(producer, outputs=op.outputs, activation=op.activation) if isinstance(op, o.Clamp) else None  # type: ignore[call-arg]


# Parameters


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
                fix="quantize weights to int8 or uint8, per tensor or per output channel",
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
        elif isinstance(op, o.LayerNorm):
            gamma, beta = (self._tensors[n] for n in (op.gamma, op.beta))
            self._tensors[op.gamma], self._tensors[op.beta] = quantize_norm(gamma, beta)
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
            op = self._as_one_rounding(op)
        fixed = FIXED_OUTPUTS.get(type(op))
        if isinstance(op, ONE_SCALE):
            fixed = self._tensors[op.inputs[0]].quantization
        if fixed is None or fixed == wanted:
            self._ops.append(op)
            return
        raw = self._new(f"{op.output}_raw", op.output, fixed)
        self._ops.append(replace(op, outputs=(raw,)))
        self._ops.append(o.Quantize(name=f"{op.name}_rescale", inputs=(raw,), outputs=op.outputs, source=op.source))

    def _as_one_rounding(self, op: o.AveragePool2D) -> o.Op:
        """A pool whose result has another scale, as an operator that rescales before it rounds.

        A global one is a Mean, any other without padding a depthwise convolution with weights of 1.
        """
        shape = self._tensors[op.inputs[0]].shape
        if any(op.padding) or not op.activation.is_none:
            return op
        if op.kernel == shape[:2]:
            return o.Mean(
                name=op.name, inputs=op.inputs, outputs=op.outputs, source=op.source, axes=(0, 1), keepdims=True
            )
        ones = np.ones((*op.kernel, shape[2]), np.int8)
        name = f"{op.name}.ones"
        qparams = QParams.per_tensor(1.0 / math.prod(op.kernel), 0)
        self._tensors[name] = Tensor(name, ones.shape, DType.INT8, qparams, ones)
        return o.DepthwiseConv2D(
            name=op.name, inputs=op.inputs, outputs=op.outputs, source=op.source, weights=name, stride=op.stride
        )

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
        label = user_names(op)
        if weights.dtype is not DType.FLOAT32:
            raise ModelError("TC-M305", "weights shared between operators are not supported", where=label)
        if found is None:
            self._missing.append(f"{label}: weights are float")
            return op
        if found.scale.size not in (1, weights.shape[axis]):
            self._missing.append(f"{label}: weights have {found.scale.size} scales for {weights.shape[axis]} outputs")
            return op
        scales = found.scale.astype(np.float64)
        qparams = QParams(tuple(scales), (0,) * len(scales), axis if len(scales) > 1 else None)
        centred = quantize_values(weights.constant, qparams, DType.INT16)
        if not np.allclose(dequantize_values(centred, qparams), weights.constant, rtol=1e-3, atol=scales.min() * 1e-3):
            self._missing.append(f"{label}: the scales of its weights are not per output channel")
            return op
        if op.bias is not None:
            scale = self._tensors[op.inputs[0]].quantization.tensor_scale
            qparams, centred = self._with_room_for_bias(self._tensors[op.bias], weights, scale, qparams, axis, centred)
            self._tensors[op.bias] = quantize_bias(self._tensors[op.bias], scale, qparams)
        if centred.min() < -128 or centred.max() > 127:
            return self._halved(op, centred, qparams)
        self._tensors[op.weights] = integer_constant(weights, centred, qparams)
        return op

    def _with_room_for_bias(
        self, bias: Tensor, weights: Tensor, x: float, qparams: QParams, axis: int, centred: Array
    ) -> tuple[QParams, Array]:
        """Larger weight scales for channels whose bias would not fit 32 bits: there the weights hardly count."""
        channels = weights.shape[axis]
        needed = np.abs(bias.constant.astype(np.float64)) / (x * BIAS_LIMIT)
        scales = np.broadcast_to(np.asarray(qparams.scale), (channels,))
        if np.all(needed <= scales):
            return qparams, centred
        qparams = QParams(tuple(np.maximum(scales, needed)), (0,) * channels, axis)
        return qparams, quantize_values(weights.constant, qparams, DType.INT16)

    def _halved(self, op: WeightedOp, centred: Array, qparams: QParams) -> o.Op:
        """Weights that reach beyond int8 once their zero point is subtracted: w = a + b with both in int8.

        The operator then reads its input twice, joined along the channels of each group: exact, at twice the weights.
        """
        x = self._tensors[op.inputs[0]]
        channels = x.shape[-1]
        groups = op.groups if isinstance(op, o.Conv2D) else 1
        if isinstance(op, o.DepthwiseConv2D):
            groups = channels
            centred = centred.transpose(2, 0, 1)[..., np.newaxis]
            qparams = replace(qparams, axis=None if qparams.is_per_tensor else 0)
            op = o.Conv2D(
                name=op.name, inputs=op.inputs, outputs=op.outputs, source=op.source, weights=op.weights, bias=op.bias,
                stride=op.stride, dilation=op.dilation, padding=op.padding, groups=groups, activation=op.activation,
            )  # fmt: skip
        first = np.clip(centred, -128, 127)
        doubled = np.concatenate([first, centred - first], axis=-1)
        self._tensors[op.weights] = integer_constant(self._tensors[op.weights], doubled, qparams)
        name = x.name
        if groups > 1:
            name = self._viewed(op, name, (x.elements // channels, groups, channels // groups), "groups")
        shape = self._tensors[name].shape
        joined = replace(x, name=f"{op.name}_twice", shape=(*shape[:-1], 2 * shape[-1]), source="")
        self._tensors[joined.name] = joined
        axis = len(shape) - 1
        self._ops.append(o.Concat(name=f"{op.name}_join", inputs=(name, name), outputs=(joined.name,), axis=axis))
        name = joined.name
        if groups > 1:
            name = self._viewed(op, name, (*x.shape[:-1], 2 * channels), "pairs")
        self._notes.append(f"{op.name}: weights with a zero point take twice their size; quantize them symmetrically")
        return replace(op, inputs=(name,))

    def _viewed(self, op: o.Op, name: str, shape: tuple[int, ...], what: str) -> str:
        """The tensor in another shape."""
        seen = f"{op.name}_{what}"
        self._tensors[seen] = replace(self._tensors[name], name=seen, shape=shape, source="")
        self._ops.append(o.Reshape(name=seen, inputs=(name,), outputs=(seen,), shape=shape))
        return seen


def integer_constant(like: Tensor, values: Array, qparams: QParams) -> Tensor:
    """`like` as int8 with the given values, which must fit."""
    return Tensor(like.name, values.shape, DType.INT8, qparams, values.astype(np.int8), like.source)
