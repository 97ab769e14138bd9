"""Builds one-operator .tflite files and runs them in TFLM's reference kernels: a foreign oracle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs ai-edge-litert (extra dev)")
runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="needs tflite-micro (extra dev)")
flatbuffers = pytest.importorskip("flatbuffers")

TYPES = {np.dtype(t): getattr(schema.TensorType, n) for t, n in
         ((np.int8, "INT8"), (np.int16, "INT16"), (np.int32, "INT32"), (np.float32, "FLOAT32"))}  # fmt: skip


@dataclass
class Value:
    """A tensor of the file: `shape` with batch, `data` when constant, scales per tensor or along `axis`."""

    shape: tuple[int, ...]
    dtype: Any = np.int8
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    axis: int = 0
    data: Any = None
    is_variable: bool = False
    index: int = field(default=-1, init=False)


def build(builtin: str, options: Any, inputs: list[Value], output: Value) -> bytes:
    """The file: inputs without data are graph inputs (variables excepted), `output` is the graph output."""
    model = schema.ModelT()
    model.version = 3
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, builtin)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = 1
    model.operatorCodes = [code]
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors = []
    for value in [*inputs, output]:
        value.index = len(graph.tensors)
        tensor = schema.TensorT()
        tensor.name = f"t{value.index}"
        tensor.shape = list(value.shape)
        tensor.type = TYPES[np.dtype(value.dtype)]
        tensor.isVariable = value.is_variable
        buffer = schema.BufferT()
        if value.data is not None:
            buffer.data = list(np.ascontiguousarray(value.data, dtype=value.dtype).tobytes())
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
        if value.scale:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = list(value.scale)
            tensor.quantization.zeroPoint = list(value.zero_point)
            tensor.quantization.quantizedDimension = value.axis
        graph.tensors.append(tensor)
    op = schema.OperatorT()
    op.opcodeIndex = 0
    op.inputs = [v.index for v in inputs]
    op.outputs = [output.index]
    if options is not None:
        op.builtinOptions = options
        op.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    graph.operators = [op]
    graph.inputs = [v.index for v in inputs if v.data is None and not v.is_variable]
    graph.outputs = [output.index]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(model: bytes, *batches: np.ndarray) -> np.ndarray:
    """Each sample of the batches through one interpreter, in order (so that variables carry on): `[n, ...]`."""
    interpreter = runtime.Interpreter.from_bytes(model)
    results = []
    for sample in zip(*batches, strict=True):
        for i, value in enumerate(sample):
            interpreter.set_input(value[np.newaxis], i)
        interpreter.invoke()
        results.append(interpreter.get_output(0)[0])
    return np.stack(results)
