"""TFLite files made operator by operator, with dimensions that converters leave open, for tests of the importer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.unit.frontends.tflite_edit import edited
from tinycompress.export.tflite_file import FileRecord, OperatorRecord, TensorRecord, write
from tinycompress.frontends.tflite_model import import_tflite
from tinycompress.ir.graph import Graph
from tinycompress.ir.tensor import DType, QParams

SCALE = QParams.per_tensor(0.05, 3)


class File:
    """A file under construction: tensors by index, and which of their dimensions are open."""

    def __init__(self) -> None:
        self.tensors: list[TensorRecord] = []
        self.operators: list[OperatorRecord] = []
        self.signatures: dict[int, Sequence[int]] = {}

    def activation(self, shape: Sequence[int], dtype: DType = DType.INT8, qparams: QParams = SCALE) -> int:
        """An activation, quantized when it is int8; −1 is an open dimension."""
        fixed = tuple(max(d, 1) for d in shape)
        parameters = qparams if dtype is DType.INT8 else None
        return self._add(TensorRecord(f"t{len(self.tensors)}", fixed, dtype, parameters), shape)

    def integers(self, values: Any) -> int:
        data = np.asarray(values, np.int32)
        return self._add(TensorRecord(f"t{len(self.tensors)}", data.shape, DType.INT32, None, data), data.shape)

    def constant(self, data: np.ndarray, qparams: QParams) -> int:
        record = TensorRecord(f"t{len(self.tensors)}", data.shape, DType(str(data.dtype)), qparams, data)
        return self._add(record, data.shape)

    def _add(self, record: TensorRecord, shape: Sequence[int]) -> int:
        self.tensors.append(record)
        if any(d < 0 for d in shape):
            self.signatures[len(self.tensors) - 1] = shape
        return len(self.tensors) - 1

    def op(self, kind: str, inputs: Sequence[int], output: int, options: str = "", **fields: Any) -> int:
        self.operators.append(OperatorRecord(kind, tuple(inputs), (output,), options, fields))
        return output

    def bytes(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        data = write(FileRecord("net", self.tensors, self.operators, inputs, outputs))

        def sign(model: Any) -> None:
            for index, shape in self.signatures.items():
                model.subgraphs[0].tensors[index].shapeSignature = np.asarray(shape, np.int32)

        return edited(data, sign)

    def graph(self, inputs: Sequence[int], outputs: Sequence[int]) -> Graph:
        return import_tflite(self.bytes(inputs, outputs), "net")


def dense_on_sequence() -> tuple[File, int, int, np.ndarray]:
    """(file, input, output, weights): Keras reshapes [b, t, c] to [b · t, c], which the file calls [1, 1], and back."""
    generator = np.random.default_rng(0)
    file = File()
    x = file.activation((-1, 6, 8))
    shape = file.op("SHAPE", [x], file.activation((3,), DType.INT32), "ShapeOptions")
    kept = file.op("GATHER", [shape, file.integers([0, 1])], file.activation((2,), DType.INT32), "GatherOptions")
    rows = file.op("REDUCE_PROD", [kept, file.integers([0])], file.activation((), DType.INT32), "ReducerOptions")
    wanted = file.op("PACK", [rows, file.integers(8)], file.activation((2,), DType.INT32), "PackOptions", ValuesCount=2)
    flat = file.op("RESHAPE", [x, wanted], file.activation((-1, -1)), "ReshapeOptions")
    weights = generator.integers(-127, 128, (5, 8)).astype(np.int8)
    w = file.constant(weights, QParams.per_tensor(0.01, 0))
    made = file.op("FULLY_CONNECTED", [flat, w, -1], file.activation((-1, 5)), "FullyConnectedOptions")
    back = file.op("CONCATENATION", [kept, file.integers([5])], file.activation((3,), DType.INT32),
                   "ConcatenationOptions")  # fmt: skip
    y = file.op("RESHAPE", [made, back], file.activation((-1, 6, 5)), "ReshapeOptions")
    return file, x, y, weights


def litert(data: bytes, values: np.ndarray) -> np.ndarray:
    """What LiteRT's reference kernels make of one input without batch; skips without the package."""
    module: Any = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert (extra dev)")
    interpreter = module.Interpreter(
        model_content=data,
        num_threads=1,
        experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values[np.newaxis])
    interpreter.invoke()
    result: np.ndarray = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    return result
