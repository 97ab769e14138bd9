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

_MOVING = frozenset(
    ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather", "Concat",
     "MaxPool", "GlobalMaxPool", "DepthToSpace", "SpaceToDepth", "Tile", "Expand")
)  # fmt: skip
"""Nodes that mean the same on integers as on the real values they stand for, as long as there is one scale."""

_WITH_NUMBERS = {"Clip": (1, 2), "Pad": (2,), "Max": (1,), "Min": (1,), "Relu": ()}
"""Nodes that do so once the constants at these positions are real values too."""

_KEEPING_CHANNELS = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten")
"""Nodes behind which a constant still has the scales it was dequantized with, in their order."""


@dataclass(frozen=True)
class _Integers:
    """How integers of the file stand for real values; `offset` is what an unsigned type was shifted by."""

    qparams: QParams | None
    offset: int


class QuantizedNodes:
    """What the quantization nodes of a file say: about activations by IR name, about constants by ONNX or IR name.

    `integers` are the ONNX values that hold integers, `exact` those that hold just what integers stand for, `again` the
    IR tensors that quantize a real value which is also quantized otherwise.
    """

    def __init__(self) -> None:
        self.activations: dict[str, QParams] = {}
        self.constants: dict[str, ConstantQuantization] = {}
        self.operands: dict[str, ConstantQuantization] = {}
        self.integer_inputs: dict[str, str] = {}
        self.integers: dict[str, _Integers] = {}
        self.exact: set[str] = set()
        self.again: set[str] = set()

    @property
    def is_used(self) -> bool:
        """Whether any activation is quantized."""
        return bool(self.activations)

    def integer_input(self, name: str, value: Value, type_name: str) -> None:
        """A graph input that holds integers: its parameters come with the node that dequantizes it."""
        self.integer_inputs[value.tensor] = type_name.lower()
        self.integers[name] = _Integers(None, 128 if type_name == "UINT8" else 0)

    def on_real_values(self, call: Call) -> Call:
        """The call with the real values that its integer operands stand for, which it must mean the same on."""
        kinds = {self.integers[n] for n in call.node.inputs if n in self.integers}
        kind = call.node.kind
        if not kinds or kind in ("Shape", "Size") or (kind == "Cast" and not any(k.qparams for k in kinds)):
            return call
        if len(kinds) > 1:
            raise refused("joins integers of different scales", "dequantize them before")
        (integers,) = kinds
        for name in call.node.outputs:
            self.integers[name] = integers
        if _is_moving(call.node):
            return call
        if kind not in _WITH_NUMBERS:
            raise refused("computes on quantized integers", "put it behind DequantizeLinear")
        if integers.qparams is None:
            raise refused("computes on integers before their scale is known", "put it behind DequantizeLinear")
        zero = integers.qparams.tensor_zero_point + integers.offset
        scale = np.float32(integers.qparams.tensor_scale)
        operands = list(call.operands)
        if kind == "Relu":
            kind, operands = "Clip", [operands[0], np.asarray(0), None]
        if kind == "Pad" and not call.has(2):
            operands = [*operands[:2], np.asarray(0), *operands[3:]]
        for position in _WITH_NUMBERS[kind]:
            number = operands[position] if position < len(operands) else None
            if number is not None and not isinstance(number, Value):
                operands[position] = ((number.astype(np.int64) - zero) * scale).astype(np.float32)
        return replace(call, node=replace(call.node, kind=kind), operands=tuple(operands))

    def note_exact(self, node: OnnxNode) -> None:
        """Values moved from dequantized ones are what integers stand for, too."""
        if _is_moving(node) and node.inputs and node.inputs[0] in self.exact:
            self.exact.update(node.outputs)

    def note_folded(self, node: OnnxNode) -> None:
        """A dequantized constant that is only turned keeps its scales (their order is checked where they are used)."""
        found = self.constants.get(node.inputs[0]) if node.inputs else None
        if found is not None and node.kind in _KEEPING_CHANNELS:
            self.constants[node.outputs[0]] = found

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
                factor = abs(float(call.node.get("alpha", 1.0))) if call.node.kind == "Gemm" else 1.0
                self.operands[weights] = replace(found, scale=found.scale * np.float32(factor or 1.0))
            constants = [n for n in op.inputs if b.tensors[n].is_constant]
            for position in range(len(call.operands)):
                found = call.quantization(position)
                if found is not None and len(constants) == 1 and weights is None:
                    self.operands[constants[0]] = found


def _is_moving(node: OnnxNode) -> bool:
    return node.kind in _MOVING or (node.kind in ("Resize", "Upsample") and node.get("mode", "nearest") == "nearest")


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
    zero = call.data(2)
    nodes.integers[call.node.outputs[0]] = _Integers(qparams, 128 if zero is None else _OFFSETS[zero.dtype])
    if nodes.activations.get(operand.tensor, qparams) != qparams:
        rescaled = b.unary(o.Quantize, operand)
        nodes.annotate(rescaled, qparams)
        if call.node.inputs[0] not in nodes.exact:
            nodes.again.add(rescaled.tensor)
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
        qparams = _scalar_qparams(call.data(1), call.data(2))
        known = nodes.integers.get(call.node.inputs[0])
        if known is not None and known.qparams not in (None, qparams):
            raise ModelError("TC-M305", f"dequantizes with another scale than was quantized with: {qparams}")
        nodes.annotate(operand, qparams)
        nodes.exact.add(call.node.outputs[0])
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
    return _quantized_as(nodes, b, call, result, form.result)


def _quantized_as(nodes: QuantizedNodes, b: ChannelsFirstBuilder, call: Call, result: Result, at: int) -> Value:
    """The result as integers, whose scale and zero point are the operands from `at` on."""
    if not isinstance(result, Value):
        raise refused("joins constants only")
    zero = call.data(at + 1)
    qparams = _scalar_qparams(call.data(at), zero)
    nodes.integers[call.node.outputs[0]] = _Integers(qparams, 128 if zero is None else _OFFSETS[zero.dtype])
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
    return _quantized_as(nodes, b, call, result, 0)


QuantizedHandler = Callable[[QuantizedNodes, ChannelsFirstBuilder, Call], Result]

QUANTIZED_HANDLERS: dict[str, QuantizedHandler] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "QLinearConcat": _concat,
    **dict.fromkeys(_FORMS, _linear),
}
"""Nodes that say how tensors are quantized."""
