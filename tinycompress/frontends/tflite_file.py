"""Reads a TFLite flatbuffer into plain records, every count, index and byte range checked before use.

Nothing here knows what an operator means; `tflite_ops` does. Source of the format: TensorFlow's schema.fbs version 3,
read through the `tflite` package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import tflite

from tinycompress.errors import ModelError
from tinycompress.frontends import limits
from tinycompress.frontends.names import source_name
from tinycompress.ir.tensor import Array

ELEMENT_TYPES: dict[int, np.dtype[Any]] = {
    tflite.TensorType.FLOAT32: np.dtype(np.float32),
    tflite.TensorType.FLOAT16: np.dtype(np.float16),
    tflite.TensorType.INT8: np.dtype(np.int8),
    tflite.TensorType.UINT8: np.dtype(np.uint8),
    tflite.TensorType.INT16: np.dtype(np.int16),
    tflite.TensorType.INT32: np.dtype(np.int32),
    tflite.TensorType.INT64: np.dtype(np.int64),
    tflite.TensorType.BOOL: np.dtype(np.bool_),
}
"""Element types that can be read; others are refused by name."""

TYPE_NAMES = {v: k for k, v in vars(tflite.TensorType).items() if isinstance(v, int)}
OPERATOR_NAMES = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
OPTION_TYPES = {k: v for k, v in vars(tflite.BuiltinOptions).items() if isinstance(v, int)}

CONTROL_FLOW = {"IF", "WHILE", "CALL", "CALL_ONCE"}


@dataclass(frozen=True, eq=False)
class FileTensor:
    """One tensor as the file declares it: shape with batch, and data when constant (a view of the file's bytes).

    `signature` is empty or the shape with −1 where the converter left a dimension open; `shape` has a 1 there.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    type_name: str
    dtype: np.dtype[Any] | None
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    data: Array | None
    is_variable: bool

    @property
    def is_open(self) -> bool:
        """Whether the file leaves the shape to the one who runs it."""
        return any(d < 0 for d in self.signature)


@dataclass(frozen=True, eq=False)
class FileOperator:
    """One operator: its kind's name, tensor indices (−1 for an absent optional input) and its raw options table."""

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: int
    options: Any

    def label(self) -> str:
        return f"operator {self.index} {self.kind}"

    def read_options(self, cls: Any) -> Any | None:
        """The options as `cls`, None when the file stores none; ModelError TC-M206 when they are of another type."""
        if self.options is None:
            return None
        expected = OPTION_TYPES[cls.__name__]
        if self.options_type != expected:
            raise ModelError(
                "TC-M206", f"its options are of type {self.options_type}, not {expected}", where=self.label()
            )
        options = cls()
        options.Init(self.options.Bytes, self.options.Pos)
        return options


@dataclass(frozen=True, eq=False)
class TfliteFile:
    """A file's only subgraph."""

    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def parse(data: bytes, where: str) -> TfliteFile:
    """The records of a TFLite flatbuffer.

    Raises ModelError TC-M201 (not TFLite), TC-M206 (inconsistent) and the TC-M60x limits. Bytes that make the parser
    itself fail raise the parser's exceptions, which `tflite_model.load_tflite` maps to TC-M201.
    """
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise ModelError("TC-M201", "this is not a TFLite file: the identifier TFL3 is missing", where=where)
    model = tflite.Model.GetRootAs(data, 0)
    if model.Version() != 3:
        raise ModelError("TC-M201", f"TFLite schema version {model.Version()} is not 3", where=where)
    if model.SubgraphsLength() == 0:
        raise ModelError("TC-M206", "the file has no subgraph", where=where)
    graph = model.Subgraphs(0)
    limits.check_count("tensors", graph.TensorsLength(), limits.MAX_TENSORS, where)
    limits.check_count("operators", graph.OperatorsLength(), limits.MAX_OPERATORS, where)
    limits.check_count("operator codes", model.OperatorCodesLength(), limits.MAX_OPERATORS, where)
    kinds = [_operator_kind(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
    operators = tuple(_operator(graph.Operators(i), i, kinds) for i in range(graph.OperatorsLength()))
    limits.refuse_control_flow([op.label() for op in operators if op.kind in CONTROL_FLOW], where)
    if model.SubgraphsLength() > 1:
        limits.refuse_control_flow([f"{model.SubgraphsLength()} subgraphs"], where)
    inputs, outputs = _indices(graph.InputsAsNumpy()), _indices(graph.OutputsAsNumpy())
    named = {*inputs, *outputs, *(i for op in operators for i in (*op.inputs, *op.outputs))}
    tensors = tuple(
        _tensor(model, graph.Tensors(i), i) if i in named else _unnamed(i) for i in range(graph.TensorsLength())
    )
    limits.check_constant_bytes(sum(t.data.nbytes for t in tensors if t.data is not None), where)
    _check_indices(operators, inputs, outputs, len(tensors), where)
    return TfliteFile(tensors, operators, inputs, outputs)


def _operator_kind(code: Any) -> str:
    # Files older than 2020 keep the code in a one-byte field; newer ones fill both, with 127 there when it is larger.
    # TFLite takes the larger. The package's accessor would trust the small field, so the slot is read directly.
    slot = code._tab.Offset(10)
    wide = code._tab.Get(flatbuffers.number_types.Int32Flags, slot + code._tab.Pos) if slot else 0
    number = max(wide, code.DeprecatedBuiltinCode())
    name = OPERATOR_NAMES.get(number, f"builtin operator {number}")
    if name == "CUSTOM":
        return f"CUSTOM:{_text(code.CustomCode())}"
    return str(name)


def _operator(operator: Any, index: int, kinds: list[str]) -> FileOperator:
    code = operator.OpcodeIndex()
    if not 0 <= code < len(kinds):
        raise ModelError("TC-M206", f"operator {index} has code index {code}, the file has {len(kinds)}")
    return FileOperator(
        index,
        kinds[code],
        _indices(operator.InputsAsNumpy()),
        _indices(operator.OutputsAsNumpy()),
        operator.BuiltinOptionsType(),
        operator.BuiltinOptions(),
    )


def _unnamed(index: int) -> FileTensor:
    """A tensor that no operator reads or makes; those inside an LSTM are such, and empty."""
    return FileTensor(index, "", (), (), "unnamed", None, (), (), 0, None, False)


def _tensor(model: Any, tensor: Any, index: int) -> FileTensor:
    name = _text(tensor.Name())
    where = f"tensor {index} {name!r}"
    limits.check_count("dimensions", tensor.ShapeLength(), limits.MAX_RANK, where)
    limits.check_count("signature dimensions", tensor.ShapeSignatureLength(), limits.MAX_RANK, where)
    shape = limits.check_shape([tensor.Shape(i) for i in range(tensor.ShapeLength())], where)
    signature = tuple(tensor.ShapeSignature(i) for i in range(tensor.ShapeSignatureLength()))
    type_name = TYPE_NAMES.get(tensor.Type(), f"type {tensor.Type()}")
    dtype = ELEMENT_TYPES.get(tensor.Type())
    scales, zero_points, axis = _quantization(tensor.Quantization(), where)
    if tensor.Sparsity() is not None:
        raise ModelError("TC-M205", "sparse tensors are not supported", where=where, fix="export dense weights")
    return FileTensor(
        index,
        name,
        shape,
        signature,
        type_name,
        dtype,
        scales,
        zero_points,
        axis,
        _data(model, tensor, shape, dtype, where),
        bool(tensor.IsVariable()),
    )


def _quantization(quantization: Any, where: str) -> tuple[tuple[float, ...], tuple[int, ...], int]:
    if quantization is None or quantization.ScaleLength() == 0:
        return (), (), 0
    limits.check_count("scales", quantization.ScaleLength(), limits.MAX_DIMENSION, where)
    limits.check_count("zero points", quantization.ZeroPointLength(), limits.MAX_DIMENSION, where)
    scales = tuple(float(s) for s in quantization.ScaleAsNumpy())
    zero_points = tuple(int(z) for z in quantization.ZeroPointAsNumpy()) if quantization.ZeroPointLength() else ()
    return scales, zero_points or (0,) * len(scales), int(quantization.QuantizedDimension())


def _data(model: Any, tensor: Any, shape: tuple[int, ...], dtype: Any, where: str) -> Array | None:
    number = tensor.Buffer()
    if number >= model.BuffersLength():
        raise ModelError("TC-M206", f"has buffer {number}, the file has {model.BuffersLength()}", where=where)
    buffer = model.Buffers(number)
    if buffer.Offset() > 1 or buffer.Size() > 1:
        raise ModelError("TC-M601", "keeps its data outside the flatbuffer, as only files above 2 GB do", where=where)
    length = buffer.DataLength()
    if length == 0:
        return None
    if dtype is None:
        # Kept as bytes: whether an operator needs it decides whether the type is an error.
        return np.asarray(buffer.DataAsNumpy())
    limits.check_bytes(length, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, where)
    data: Array = np.asarray(buffer.DataAsNumpy()).view(dtype.newbyteorder("<")).reshape(shape)
    return data


def _indices(values: Any) -> tuple[int, ...]:
    """A vector of int32 as ints; the package answers 0 for an absent vector."""
    if isinstance(values, int):
        return ()
    return tuple(int(v) for v in values)


def _check_indices(
    operators: tuple[FileOperator, ...], inputs: tuple[int, ...], outputs: tuple[int, ...], count: int, where: str
) -> None:
    if not inputs or not outputs:
        raise ModelError("TC-M206", f"the graph has {len(inputs)} inputs and {len(outputs)} outputs", where=where)
    if len(set(inputs)) != len(inputs):
        raise ModelError("TC-M206", "a graph input is listed twice", where=where)
    for label, values, lowest in (
        ("graph", (*inputs, *outputs), 0),
        *((op.label(), op.inputs, -1) for op in operators),
        *((op.label(), op.outputs, 0) for op in operators),
    ):
        for value in values:
            if not lowest <= value < count:
                raise ModelError("TC-M206", f"{label} names tensor {value}, the file has {count}", where=where)


def _text(raw: bytes | None) -> str:
    return source_name((raw or b"")[: limits.MAX_NAME_CHARACTERS].decode("utf-8", "replace"))
