"""Quantized ONNX: QuantizeLinear and DequantizeLinear around float operators (QDQ), and QLinear operators (QOperator).

Both mean the same: a tensor has a scale and a zero point. The importer builds the float graph and this module records
the parameters beside it; `onnx_integer.integer_graph` makes the integer graph of the two. ONNX requantizes
in float, so results are within one unit of onnxruntime's, not equal to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.onnx_call import Call, ConstantQuantization, Operand, Result, refused
from tinycompress.frontends.onnx_file import OnnxNode
from tinycompress.frontends.onnx_ops import HANDLERS
from tinycompress.frontends.values import Value
from tinycompress.ir import ops as o
from tinycompress.ir.tensor import Array, QParams

_OFFSETS = {np.dtype(np.int8): 0, np.dtype(np.uint8): 128}


class QuantizedNodes:
    """What the quantization nodes of a file say: about activations by IR name, about constants by ONNX or IR name."""

    def __init__(self) -> None:
        self.activations: dict[str, QParams] = {}
        self.constants: dict[str, ConstantQuantization] = {}
        self.operands: dict[str, ConstantQuantization] = {}
        self.integer_inputs: dict[str, str] = {}

    @property
    def is_used(self) -> bool:
        """Whether any activation is quantized."""
        return bool(self.activations)

    def integer_input(self, value: Value, type_name: str) -> None:
        """A graph input that holds integers: its parameters come with the node that dequantizes it."""
        self.integer_inputs[value.tensor] = type_name.lower()

    def annotate(self, value: Value, qparams: QParams) -> None:
        """The tensor behind `value` is quantized so; ModelError TC-M305 when it already is otherwise."""
        known = self.activations.setdefault(value.tensor, qparams)
        if known != qparams:
            raise ModelError("TC-M305", f"dequantizes with another scale than the tensor was quantized with: {qparams}")

    def note_constants(self, b: ChannelsFirstBuilder, call: Call, first: int) -> None:
        """Carries the quantization of a node's constant operands over to the IR constants made of them."""
        for op in b.ops[first:]:
            weights = getattr(op, "weights", None)
            if weights is not None and (found := call.quantization(1)) is not None:
                self.operands[weights] = found
            constants = [n for n in op.inputs if b.tensors[n].is_constant]
            for position in range(len(call.operands)):
                found = call.quantization(position)
                if found is not None and len(constants) == 1 and weights is None:
                    self.operands[constants[0]] = found


# Parameters


def _scalar_qparams(scale: Array | None, zero_point: Array | None) -> QParams:
    """Parameters of an activation, uint8 shifted to int8."""
    if scale is None or scale.size != 1:
        raise refused("activations quantized per axis are not supported", "quantize activations per tensor")
    zero = np.zeros((), np.uint8) if zero_point is None else zero_point
    if zero.dtype not in _OFFSETS or zero.size != 1:
        raise refused(f"activations of type {zero.dtype} are not supported", "quantize activations to int8 or uint8")
    value = float(scale.reshape(()))
    if not np.isfinite(value) or value <= 0:
        raise ModelError("TC-M305", f"scale {value} is not positive and finite")
    return QParams.per_tensor(value, int(zero.reshape(())) - _OFFSETS[zero.dtype])


def _along(values: Array, axis: int, rank: int) -> Array:
    if values.size == 1:
        return values.reshape(())
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])


def _dequantized(values: Array, scale: Array, zero_point: Array | None, axis: int) -> Array:
    if scale.size not in (1, values.shape[axis] if values.ndim else 1):
        raise ModelError("TC-M306", f"{scale.size} scales for shape {list(values.shape)}")
    if not np.all(np.isfinite(scale)) or np.any(scale <= 0):
        raise ModelError("TC-M305", "a scale is not positive and finite")
    zero = np.zeros(scale.shape, np.int64) if zero_point is None else zero_point.astype(np.int64)
    if zero.size != scale.size:
        raise ModelError("TC-M306", f"{scale.size} scales but {zero.size} zero points")
    # Differences of int8 values are exact in float32; biases need more bits, and are few.
    wide = np.float64 if values.dtype == np.int32 else np.float32
    centred = values.astype(wide) - _along(zero, axis, values.ndim).astype(wide)
    real: Array = (centred * _along(scale.astype(wide), axis, values.ndim)).astype(np.float32)
    return real


def _constant(nodes: QuantizedNodes, name: str, values: Array, scale: Array, zero: Array | None, axis: int) -> Array:
    """A quantized constant as the float array it stands for; how it was quantized is kept under `name`."""
    axis = axis % values.ndim if values.ndim else 0
    real = _dequantized(values, scale, zero, axis)
    if values.dtype in _OFFSETS:
        offset = _OFFSETS[values.dtype]
        zeros = np.zeros(scale.size, np.int64) if zero is None else zero.reshape(-1).astype(np.int64)
        nodes.constants[name] = ConstantQuantization(scale.reshape(-1), zeros - offset, axis)
    return real


# QuantizeLinear and DequantizeLinear


def _quantize(nodes: QuantizedNodes, b: ChannelsFirstBuilder, call: Call) -> Result:
    operand = call.operand(0)
    if call.node.get("block_size", 0):
        raise refused("blocked quantization is not supported", "quantize per tensor or per channel")
    if not isinstance(operand, Value):
        return _quantized_constant(call, operand)
    qparams = _scalar_qparams(call.data(1), call.data(2))
    if nodes.activations.get(operand.tensor, qparams) != qparams:
        rescaled = b.unary(o.Quantize, operand)
        nodes.annotate(rescaled, qparams)
        return rescaled
    nodes.annotate(operand, qparams)
    return operand


def _quantized_constant(call: Call, values: Array) -> Array:
    scale, zero = call.constant(1), call.data(2)
    zero = np.zeros(scale.shape, np.uint8) if zero is None else zero
    if zero.dtype not in _OFFSETS:
        raise refused(f"constants quantized to {zero.dtype} are not supported", "quantize to int8 or uint8")
    if not np.all(np.isfinite(values)) or not np.all(np.isfinite(scale)) or np.any(scale <= 0):
        raise ModelError("TC-M305", "quantizes values or with scales that are not finite")
    axis = int(call.node.get("axis", 1))
    limits = np.iinfo(zero.dtype)
    # ONNX rounds half to even.
    rounded = np.rint(values.astype(np.float32) / _along(scale.astype(np.float32), axis, values.ndim))
    shifted = rounded + _along(zero.astype(np.float64), axis, values.ndim)
    quantized: Array = np.clip(shifted, limits.min, limits.max).astype(zero.dtype)
    return quantized


def _dequantize(nodes: QuantizedNodes, b: ChannelsFirstBuilder, call: Call) -> Result:
    operand = call.operand(0)
    if call.node.get("block_size", 0):
        raise refused("blocked quantization is not supported", "quantize per tensor or per channel")
    if isinstance(operand, Value):
        nodes.annotate(operand, _scalar_qparams(call.data(1), call.data(2)))
        return operand
    if operand.dtype not in (np.int8, np.uint8, np.int32):
        raise refused(f"constants of type {operand.dtype} are not supported", "use int8 or uint8 weights")
    axis = int(call.node.get("axis", 1))
    if operand.ndim and not -operand.ndim <= axis < operand.ndim:
        axis = 0
    return _constant(nodes, call.node.outputs[0], operand, call.constant(1), call.data(2), axis)


# QLinear operators


@dataclass(frozen=True)
class _Form:
    """How a QLinear operator's operands lie: (value, scale, zero point) triples, the bias, the result's parameters."""

    kind: str
    operands: tuple[int, ...]
    result: int
    bias: int | None = None
    weights_axis: Callable[[OnnxNode], int] = lambda node: 0


_FORMS: dict[str, _Form] = {
    "QLinearConv": _Form("Conv", (0, 3), 6, bias=8),
    "QLinearMatMul": _Form("MatMul", (0, 3), 6, weights_axis=lambda node: 1),
    "QGemm": _Form("Gemm", (0, 3), 7, bias=6, weights_axis=lambda node: 0 if node.get("transB", 0) else 1),
    "QLinearAdd": _Form("Add", (0, 3), 6),
    "QLinearMul": _Form("Mul", (0, 3), 6),
    "QLinearAveragePool": _Form("AveragePool", (0,), 3),
    "QLinearGlobalAveragePool": _Form("GlobalAveragePool", (0,), 3),
    "QLinearSigmoid": _Form("Sigmoid", (0,), 3),
    "QLinearLeakyRelu": _Form("LeakyRelu", (0,), 3),
    "QLinearSoftmax": _Form("Softmax", (0,), 3),
}


def _linear(nodes: QuantizedNodes, b: ChannelsFirstBuilder, call: Call) -> Result:
    form = _FORMS[call.node.kind]
    if call.node.get("channels_last", 0):
        raise refused("channels-last operands are not supported", "export with channels first")
    axis = form.weights_axis(call.node)
    operands: list[Operand | None] = [_operand(nodes, call, position, axis) for position in form.operands]
    names = [call.node.inputs[position] for position in form.operands]
    if form.bias is not None and call.has(form.bias):
        operands.append(_real_bias(call, form.bias))
        names.append("")
    float_node = replace(call.node, kind=form.kind, domain="", inputs=tuple(names))
    opset = max(call.opset, 13) if form.kind == "Softmax" else call.opset
    inner = Call(float_node, opset, tuple(operands), nodes.constants)
    first = len(b.ops)
    result = HANDLERS[form.kind](b, inner)
    nodes.note_constants(b, inner, first)
    return _quantized_as(nodes, b, result, _scalar_qparams(call.data(form.result), call.data(form.result + 1)))


def _quantized_as(nodes: QuantizedNodes, b: ChannelsFirstBuilder, result: Result, qparams: QParams) -> Value:
    if not isinstance(result, Value):
        raise refused("joins constants only")
    if nodes.activations.get(result.tensor, qparams) != qparams:
        result = b.unary(o.Quantize, result)
    nodes.annotate(result, qparams)
    return result


def _operand(nodes: QuantizedNodes, call: Call, position: int, axis: int) -> Operand:
    operand = call.operand(position)
    if isinstance(operand, Value):
        nodes.annotate(operand, _scalar_qparams(call.data(position + 1), call.data(position + 2)))
        return operand
    name = call.node.inputs[position]
    return _constant(nodes, name, operand, call.constant(position + 1), call.data(position + 2), axis)


def _real_bias(call: Call, position: int) -> Array:
    """An int32 bias has scale s_x · s_w."""
    scale = call.constant(1).astype(np.float64).reshape(-1) * call.constant(4).astype(np.float64).reshape(-1)
    real: Array = (call.constant(position).astype(np.float64) * scale).astype(np.float32)
    return real


def _concat(nodes: QuantizedNodes, b: ChannelsFirstBuilder, call: Call) -> Result:
    """QLinearConcat: the result's parameters first, then (value, scale, zero point) triples."""
    positions: Sequence[int] = range(2, len(call.operands), 3)
    operands = tuple(_operand(nodes, call, p, 0) for p in positions)
    float_node = replace(call.node, kind="Concat", domain="", inputs=tuple(call.node.inputs[p] for p in positions))
    result = HANDLERS["Concat"](b, Call(float_node, call.opset, operands, nodes.constants))
    return _quantized_as(nodes, b, result, _scalar_qparams(call.data(0), call.data(1)))


QuantizedHandler = Callable[[QuantizedNodes, ChannelsFirstBuilder, Call], Result]

QUANTIZED_HANDLERS: dict[str, QuantizedHandler] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "QLinearConcat": _concat,
    **dict.fromkeys(_FORMS, _linear),
}
"""Nodes that say how tensors are quantized."""
