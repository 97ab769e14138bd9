"""Writes a TFLite flatbuffer from plain records (schema 3). Nothing here knows what an operator means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite

from tinycompress.ir.tensor import Array, DType, QParams

_TYPES = {
    DType.FLOAT32: tflite.TensorType.FLOAT32,
    DType.INT8: tflite.TensorType.INT8,
    DType.INT16: tflite.TensorType.INT16,
    DType.INT32: tflite.TensorType.INT32,
    DType.INT64: tflite.TensorType.INT64,
}

VERSIONS = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "TRANSPOSE_CONV": 3,
    "SVDF": 3, "UNIDIRECTIONAL_SEQUENCE_LSTM": 3,
    "ADD": 2, "SUB": 2, "MUL": 2, "MAXIMUM": 2, "MINIMUM": 2, "AVERAGE_POOL_2D": 2, "MAX_POOL_2D": 2, "MEAN": 2,
    "PAD": 2, "PADV2": 2, "CONCATENATION": 2, "TRANSPOSE": 2, "STRIDED_SLICE": 2, "SOFTMAX": 2, "LOG_SOFTMAX": 2,
    "RELU": 2, "RELU6": 2, "LOGISTIC": 2, "TANH": 2, "LEAKY_RELU": 2, "QUANTIZE": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2, "RESIZE_BILINEAR": 2, "ABS": 2,
}  # fmt: skip
"""Operator versions that stand for int8; others are version 1."""


@dataclass(frozen=True, eq=False)
class TensorRecord:
    """One tensor: shape with batch, data when constant, a variable when it is state."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    qparams: QParams | None = None
    data: Array | None = None
    is_variable: bool = False


@dataclass(frozen=True, eq=False)
class OperatorRecord:
    """One operator: builtin name, tensor indices (−1: absent), and its options' type and fields.

    `intermediates` are tensors that only say how the operator quantizes inside.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    intermediates: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class FileRecord:
    """The whole graph; inputs and outputs are tensor indices."""

    name: str
    tensors: Sequence[TensorRecord]
    operators: Sequence[OperatorRecord]
    inputs: Sequence[int]
    outputs: Sequence[int]


def write(record: FileRecord) -> bytes:
    """The file's bytes; the same records always give the same bytes."""
    return _Writer().model(record)


class _Writer:
    """A flatbuffer is written from its leaves to its root."""

    def __init__(self) -> None:
        self._b = flatbuffers.Builder(1 << 16)

    def model(self, record: FileRecord) -> bytes:
        kinds = list(dict.fromkeys(op.kind for op in record.operators))
        graphs = self._offsets([self._graph(record, kinds)])
        # Buffer 0 is the empty one that activations name; each constant has its own.
        buffers = self._offsets([self._buffer(None), *(self._buffer(t.data) for t in record.tensors)])
        codes = self._offsets([self._code(kind) for kind in kinds])
        description = self._b.CreateString("tinycompress")
        tflite.ModelStart(self._b)
        tflite.ModelAddVersion(self._b, 3)
        tflite.ModelAddOperatorCodes(self._b, codes)
        tflite.ModelAddSubgraphs(self._b, graphs)
        tflite.ModelAddDescription(self._b, description)
        tflite.ModelAddBuffers(self._b, buffers)
        self._b.Finish(tflite.ModelEnd(self._b), file_identifier=b"TFL3")
        return bytes(self._b.Output())

    def _graph(self, record: FileRecord, kinds: list[str]) -> int:
        tensors = self._offsets([self._tensor(t, i + 1) for i, t in enumerate(record.tensors)])
        operators = self._offsets([self._operator(op, kinds.index(op.kind)) for op in record.operators])
        inputs, outputs = self._integers(record.inputs), self._integers(record.outputs)
        label = self._b.CreateString(record.name)
        tflite.SubGraphStart(self._b)
        tflite.SubGraphAddTensors(self._b, tensors)
        tflite.SubGraphAddInputs(self._b, inputs)
        tflite.SubGraphAddOutputs(self._b, outputs)
        tflite.SubGraphAddOperators(self._b, operators)
        tflite.SubGraphAddName(self._b, label)
        return int(tflite.SubGraphEnd(self._b))

    def _tensor(self, tensor: TensorRecord, buffer: int) -> int:
        label = self._b.CreateString(tensor.name)
        shape = self._integers(tensor.shape)
        quantization = None if tensor.qparams is None else self._quantization(tensor.qparams)
        tflite.TensorStart(self._b)
        tflite.TensorAddShape(self._b, shape)
        tflite.TensorAddType(self._b, _TYPES[tensor.dtype])
        tflite.TensorAddBuffer(self._b, buffer)
        tflite.TensorAddName(self._b, label)
        if quantization is not None:
            tflite.TensorAddQuantization(self._b, quantization)
        tflite.TensorAddIsVariable(self._b, tensor.is_variable)
        return int(tflite.TensorEnd(self._b))

    def _quantization(self, qparams: QParams) -> int:
        scales = self._b.CreateNumpyVector(np.asarray(qparams.scale, dtype=np.float32))
        zero_points = self._b.CreateNumpyVector(np.asarray(qparams.zero_point, dtype=np.int64))
        tflite.QuantizationParametersStart(self._b)
        tflite.QuantizationParametersAddScale(self._b, scales)
        tflite.QuantizationParametersAddZeroPoint(self._b, zero_points)
        tflite.QuantizationParametersAddQuantizedDimension(self._b, qparams.axis or 0)
        return int(tflite.QuantizationParametersEnd(self._b))

    def _operator(self, op: OperatorRecord, code: int) -> int:
        inputs, outputs = self._integers(op.inputs), self._integers(op.outputs)
        options = self._options(op) if op.options_type else None
        intermediates = self._integers(op.intermediates) if op.intermediates else None
        tflite.OperatorStart(self._b)
        tflite.OperatorAddOpcodeIndex(self._b, code)
        tflite.OperatorAddInputs(self._b, inputs)
        tflite.OperatorAddOutputs(self._b, outputs)
        if options is not None:
            tflite.OperatorAddBuiltinOptionsType(self._b, getattr(tflite.BuiltinOptions, op.options_type))
            tflite.OperatorAddBuiltinOptions(self._b, options)
        if intermediates is not None:
            tflite.OperatorAddIntermediates(self._b, intermediates)
        return int(tflite.OperatorEnd(self._b))

    def _options(self, op: OperatorRecord) -> int:
        vectors = {k: self._integers(v) for k, v in op.options.items() if isinstance(v, (tuple, list))}
        self._call(op.options_type, "Start")(self._b)
        for name, value in op.options.items():
            self._call(op.options_type, f"Add{name}")(self._b, vectors.get(name, value))
        return int(self._call(op.options_type, "End")(self._b))

    @staticmethod
    def _call(options_type: str, action: str) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(tflite, options_type + action)
        return function

    def _code(self, kind: str) -> int:
        number = getattr(tflite.BuiltinOperator, kind)
        tflite.OperatorCodeStart(self._b)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(self._b, min(number, 127))
        tflite.OperatorCodeAddVersion(self._b, VERSIONS.get(kind, 1))
        tflite.OperatorCodeAddBuiltinCode(self._b, number)
        return int(tflite.OperatorCodeEnd(self._b))

    def _buffer(self, data: Array | None) -> int:
        vector = None
        if data is not None:
            raw = np.ascontiguousarray(data).tobytes()
            # TFLM reads constants in place, so they are aligned as its arena is.
            self._b.StartVector(1, len(raw), 16)
            self._b.head = self._b.head - len(raw)
            self._b.Bytes[self._b.head : self._b.head + len(raw)] = raw
            vector = self._b.EndVector()
        tflite.BufferStart(self._b)
        if vector is not None:
            tflite.BufferAddData(self._b, vector)
        return int(tflite.BufferEnd(self._b))

    def _integers(self, values: Sequence[int]) -> int:
        return int(self._b.CreateNumpyVector(np.asarray(values, dtype=np.int32)))

    def _offsets(self, values: Sequence[int]) -> int:
        self._b.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._b.PrependUOffsetTRelative(value)
        return int(self._b.EndVector())
