"""The TFLite file under construction while operators are exported: tensors on first use, constants, operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import tflite

from tinycompress.errors import UnsupportedOpError
from tinycompress.export.tflite_file import FileRecord, OperatorRecord, TensorRecord, write
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.shapes import same_padding
from tinycompress.ir.tensor import Array, DType, QParams, Tensor

ACTIVATION_CODES = {
    o.NO_ACTIVATION: tflite.ActivationFunctionType.NONE,
    o.RELU: tflite.ActivationFunctionType.RELU,
    o.RELU6: tflite.ActivationFunctionType.RELU6,
    o.Activation(-1.0, 1.0): tflite.ActivationFunctionType.RELU_N1_TO_1,
}


def impossible(what: str) -> UnsupportedOpError:
    return UnsupportedOpError("TC-M207", what)


class TfliteBuilder:
    """Collects records; IR tensors become file tensors on first use."""

    def __init__(self, graph: QuantGraph) -> None:
        self.graph = graph
        self._operators: list[OperatorRecord] = []
        self._tensors: list[TensorRecord] = []
        self._indices: dict[str, int] = {}
        self.used = {*graph.outputs, *(name for op in graph.ops for name in op.inputs)}
        for name in (*graph.input_names, *graph.outputs):
            self.activation(name)

    def file(self) -> bytes:
        """The finished file."""
        inputs = [self._indices[n] for n in self.graph.input_names]
        outputs = [self._indices[n] for n in self.graph.outputs]
        return write(FileRecord(self.graph.name, self._tensors, self._operators, inputs, outputs))

    def __getitem__(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    def activation(self, name: str) -> int:
        """Index of an activation, or of a constant operand (whose shape gets a leading one)."""
        if name not in self._indices:
            tensor = self[name]
            shape = (1, *tensor.shape)
            data = None if tensor.data is None else tensor.data.reshape(shape)
            self._indices[name] = self.add(TensorRecord(name, shape, tensor.dtype, tensor.qparams, data))
        return self._indices[name]

    def state(self, name: str) -> int:
        """Index of a state tensor, as the variable `[1, filters · memory]`."""
        tensor = self[name]
        shape = (1, tensor.elements)
        return self.add(TensorRecord(name, shape, tensor.dtype, tensor.qparams, is_variable=True))

    def recurrent_state(self, op: o.Op, position: int) -> int:
        """Index of the state that the operator reads at `position`; refused unless its own write is kept, from zero.

        A constant zero becomes such a state too, TFLite having no other form: the interpreter's variables are then to
        be reset before each inference.
        """
        name, tensor = op.inputs[position], self[op.inputs[position]]
        is_kept = any(
            (s.read, s.write) == (name, op.outputs[position]) and s.initial is None for s in self.graph.states
        )
        if tensor.is_constant:
            is_kept = bool((tensor.constant == tensor.quantization.tensor_zero_point).all())
        if not is_kept:
            raise impossible("its state does not start at the zero point")
        return self.state(name)

    def constant(self, name: str, data: Array, qparams: QParams | None = None) -> int:
        """Index of a new constant."""
        return self.add(TensorRecord(name, tuple(data.shape), DType(str(data.dtype)), qparams, data))

    def integers(self, op: o.Op, role: str, values: Any) -> int:
        """Index of a new constant of int32 (axes, shapes, paddings)."""
        return self.constant(f"{op.name}_{role}", np.asarray(values, dtype=np.int32))

    def add(self, record: TensorRecord) -> int:
        """Index of a new tensor."""
        self._tensors.append(record)
        return len(self._tensors) - 1

    def emit(
        self,
        kind: str,
        inputs: list[int],
        outputs: list[int],
        options_type: str = "",
        intermediates: tuple[int, ...] = (),
        **options: Any,
    ) -> None:
        """Appends an operator."""
        self._operators.append(
            OperatorRecord(kind, tuple(inputs), tuple(outputs), options_type, options, intermediates)
        )

    def rescaled(self, op: o.Op, position: int) -> int:
        """An input in the output's quantization: TFLM's concatenation and ReLU6 do not rescale, a QUANTIZE does."""
        name, y = op.inputs[position], self[op.outputs[0]]
        x = self[name]
        if x.qparams == y.qparams:
            return self.activation(name)
        made = self.add(TensorRecord(f"{op.name}_rescaled{position}", (1, *x.shape), y.dtype, y.qparams))
        self.emit("QUANTIZE", [self.activation(name)], [made], "QuantizeOptions")
        return made

    def padded(self, op: o.Op, padding: o.Padding, value: int | None = None) -> int:
        """The operator's input behind an explicit PAD (of the zero point) or PADV2 (of `value`)."""
        x = self[op.inputs[0]]
        top, left, bottom, right = padding
        h, w, c = x.shape
        shape = (1, h + top + bottom, w + left + right, c)
        made = self.add(TensorRecord(f"{op.name}_padded", shape, x.dtype, x.qparams))
        amounts = self.integers(op, "paddings", [[0, 0], [top, bottom], [left, right], [0, 0]])
        inputs = [self.activation(op.inputs[0]), amounts]
        if value is None:
            self.emit("PAD", inputs, [made], "PadOptions")
        else:
            inputs.append(self.constant(f"{op.name}_fill", np.asarray([value], x.dtype.numpy), x.qparams))
            self.emit("PADV2", inputs, [made], "PadV2Options")
        return made


def activation_code(op: Any) -> int:
    if op.activation not in ACTIVATION_CODES:
        raise impossible(f"no fused {op.activation}")
    return int(ACTIVATION_CODES[op.activation])


def padding_code(e: TfliteBuilder, op: Any, kernel: o.Pair, dilation: o.Pair = (1, 1)) -> int | None:
    """SAME, VALID, or None when the padding is neither."""
    if not any(op.padding):
        return int(tflite.Padding.VALID)
    h, w, _ = e[op.inputs[0]].shape
    top, bottom = same_padding(h, kernel[0], op.stride[0], dilation[0])
    left, right = same_padding(w, kernel[1], op.stride[1], dilation[1])
    return int(tflite.Padding.SAME) if op.padding == (top, left, bottom, right) else None
