"""TFLM's reference interpreter (PyPI `tflite-micro`) as the foreign oracle of int8 TFLite models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.execute.batching import Result
from tinycompress.execute.reference import run
from tinycompress.frontends.tflite_file import TfliteFile, parse
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.ops import Embedding, Op

Array = NDArray[Any]

ARENA_BYTES = 4 * 1024 * 1024


class Tflm:
    """An interpreter of one model; every tensor is kept when `keeps_tensors`."""

    def __init__(self, data: bytes, keeps_tensors: bool = False) -> None:
        runtime = pytest_importorskip()
        config = runtime.InterpreterConfig
        mode = config.kPreserveAllTensors if keeps_tensors else config.kAllocationRecording
        self._interpreter = runtime.Interpreter.from_bytes(data, arena_size=ARENA_BYTES, intrepreter_config=mode)
        self.file: TfliteFile = parse(data, "oracle")

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for one sample; arrays without batch axis."""
        for index, value in enumerate(inputs):
            self._interpreter.set_input(value[np.newaxis], index)
        self._interpreter.invoke()
        return [self._interpreter.get_output(i)[0].copy() for i in range(len(self.file.outputs))]

    def tensor(self, index: int) -> Array:
        """A tensor of the last run, without batch axis."""
        return np.asarray(self._interpreter.GetTensor(index, 0)["tensor_data"])[0].copy()

    def reset(self) -> None:
        """State as it is at the start."""
        self._interpreter.reset()


def pytest_importorskip() -> Any:
    import pytest

    return pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="PyPI tflite-micro is not installed")


def inputs_for(graph: QuantGraph, name: str, samples: int, seed: int) -> Array:
    """Uniform noise over the input's integers, with the extremes, the zero point and a few smooth patterns first."""
    tensor = graph.tensors[name]
    limits = np.iinfo(tensor.dtype.numpy)
    generator = np.random.default_rng(seed)
    for op in graph.consumers(name):
        if isinstance(op, Embedding):  # TFLM reads whatever an index beyond the table points at
            indices = generator.integers(0, graph.tensors[op.table].shape[0], (samples, *tensor.shape))
            return indices.astype(np.int32)
    values = generator.integers(limits.min, limits.max, (samples, *tensor.shape), endpoint=True)
    constants = [limits.min, limits.max, tensor.quantization.tensor_zero_point, 0]
    for i, constant in enumerate(constants[:samples]):
        values[i] = constant
    # Uniform noise averages out in deep layers; a share of low-contrast samples reaches the ones it would not excite.
    for i in range(len(constants), samples, 3):
        low, high = sorted(generator.integers(limits.min, limits.max, 2, endpoint=True))
        values[i] = generator.integers(low, high, tensor.shape, endpoint=True)
    return values.astype(tensor.dtype.numpy)


def mismatching_bytes(data: bytes, graph: QuantGraph, inputs: dict[str, Array]) -> int:
    """Differing bytes over all outputs and samples between TFLM and the reference executor (stateless models)."""
    oracle = Tflm(data)
    result = run(graph, inputs, keep_tensors=False)
    samples = len(next(iter(inputs.values())))
    wrong = 0
    for i in range(samples):
        expected = oracle.run([inputs[name][i] for name in graph.input_names])
        for name, value in zip(graph.outputs, expected, strict=True):
            wrong += differing_bytes(value, result.outputs[name][i])
    return wrong


def differing_bytes(expected: Array, found: Array) -> int:
    """Bytes that differ between two arrays of one type and size."""
    assert expected.dtype == found.dtype
    assert expected.size == found.size
    a = np.ascontiguousarray(expected).reshape(-1).view(np.uint8)
    b = np.ascontiguousarray(found).reshape(-1).view(np.uint8)
    return int(np.count_nonzero(a != b))


def file_indices(graph: QuantGraph, file: TfliteFile) -> dict[str, int]:
    """Output of an IR operator → index of the file's tensor. Operators are named after their index in the file."""
    named = [op for op in graph.ops if re.fullmatch(r".*_\d+", op.name)]
    return {op.outputs[0]: file.operators[index_of(op)].outputs[0] for op in named}


def index_of(op: Op) -> int:
    """Position in the file of the operator that `op` was made from."""
    return int(op.name.rpartition("_")[2])


def unexcited(graph: QuantGraph, result: Result) -> list[str]:
    """Operators whose output takes fewer than 32 distinct values although its elements and samples would allow it."""
    poor = []
    for op in graph.ops:
        for name in op.outputs:
            values = result.tensors[name]
            if values.size >= 1000 and len(np.unique(values)) < 32:
                poor.append(f"{op.name} -> {name}: {len(np.unique(values))} values in {values.size}")
    return poor
