"""A third-party model file against the foreign oracle of its format: noise, and real inputs where some are shared."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.oracle.onnx_oracle import session
from tests.oracle.tflm_oracle import Tflm, differing_bytes, file_indices, index_of, inputs_for
from tinycompress.execute import float_reference, reference
from tinycompress.ir.fixedpoint import dequantize_values
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.inputs import integer_inputs, real_inputs, source_outputs

Array = NDArray[Any]
Report = Callable[[str], None]

ORACLES = ("tflite-micro", "ai-edge-litert", "onnxruntime")
BATCH = 20
REAL_INPUTS = {"kws_ref_model": "kws01_mfcc_dev500.npz", "mnist_": "mnist5k.npz"}
"""Beginning of a model's file name → the shared file with inputs it was made for; images are given as 0…255."""
FLOAT_TFLITE, HYBRID_TFLITE, FLOAT_ONNX = 1e-3, 5e-2, 1e-4
"""Tolerances relative to the output's largest value; hybrid models let LiteRT quantize activations on the fly."""


@dataclass(frozen=True)
class Agreement:
    """One model beside its oracle: the tolerance, what was compared, and what lies outside the tolerance.

    `mismatching` are bytes for an exact oracle, values otherwise. `real_samples` of the `samples` are real inputs, on
    `same_top1` of which both name the same class.
    """

    oracle: str
    version: str
    tolerance: str
    samples: int
    tensors: int
    mismatching: int
    real_samples: int = 0
    same_top1: int = 0

    @property
    def is_good(self) -> bool:
        return self.mismatching == 0 and self.same_top1 == self.real_samples


def version(oracle: str) -> str:
    """The installed version of an oracle's package."""
    return importlib.metadata.version(oracle)


def real_samples(path: Path, data_dir: Path) -> Array | None:
    """Shared inputs for this model `(n, …)` in its own layout; None when there are none (or they are quantized)."""
    name = next((file for start, file in REAL_INPUTS.items() if path.stem.startswith(start)), None)
    if name is None or path.stem.endswith("_float32"):
        return None
    with np.load(data_dir / name) as file:
        samples = file["x"]
    return samples if path.suffix == ".tflite" else samples[:, np.newaxis].astype(np.float32)


def agreement(path: Path, graph: Graph, samples: int, data_dir: Path, report: Report) -> Agreement:
    """The imported model against the oracle of its format on `samples` inputs and all shared real ones."""
    real = real_samples(path, data_dir)
    if path.suffix == ".onnx":
        return _onnx(path, graph, samples, real, report)
    if isinstance(graph, QuantGraph):
        return _tflm(path, graph, samples, real, report)
    return _float_tflite(path, graph, samples, report)


def _tflm(path: Path, graph: QuantGraph, samples: int, real: Array | None, report: Report) -> Agreement:
    """Every operator's output, byte for byte; at the cut where float edges were cut. State carries on."""
    oracle = Tflm(path.read_bytes(), keeps_tensors=True)
    indices = file_indices(graph, oracle.file)
    for op in graph.ops:
        if len(op.outputs) == 2:
            indices[op.outputs[1]] = oracle.file.operators[index_of(op)].inputs[4]
    inputs = {name: inputs_for(graph, name, samples, 0) for name in graph.input_names}
    if real is not None:
        (name,) = graph.input_names
        inputs[name] = np.concatenate([inputs[name], integer_inputs(real, graph)])
    total = len(next(iter(inputs.values())))
    fed_types = [oracle.file.tensors[i].type_name for i in oracle.file.inputs]
    state: Mapping[str, Array] | None = None
    wrong = same = 0
    step = 1 if graph.states else BATCH
    for first in range(0, total, step):
        report(f"{first} of {total} inputs in tflite-micro")
        batch = {name: values[first : first + step] for name, values in inputs.items()}
        result = reference.run(graph, {n: v[0] for n, v in batch.items()} if graph.states else batch, state)
        state = result.state
        for i in range(len(next(iter(batch.values())))):
            fed = [
                dequantize_values(values[i], graph.tensors[name].quantization) if kind == "FLOAT32" else values[i]
                for (name, values), kind in zip(batch.items(), fed_types, strict=True)
            ]
            expected = oracle.run(fed)
            for name, index in indices.items():
                found = result.tensors[name] if graph.states else result.tensors[name][i]
                wrong += differing_bytes(oracle.tensor(index), found)
            if first + i >= samples:
                same += int(np.argmax(expected[0]) == np.argmax(result.outputs[graph.outputs[0]][i]))
    count = total - samples
    return Agreement("tflite-micro", version("tflite-micro"), "exact", total, len(indices), wrong, count, same)


def _float_tflite(path: Path, graph: Graph, samples: int, report: Report) -> Agreement:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (described,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    is_hybrid = any("dequantized" in note for note in graph.notes)
    tolerance = HYBRID_TFLITE if is_hybrid else FLOAT_TFLITE
    name = graph.input_names[0]
    values = np.random.default_rng(0).uniform(0, 1, (samples, *graph.tensors[name].shape)).astype(np.float32)
    wrong = 0
    for first in range(0, samples, BATCH):
        report(f"{first} of {samples} inputs in ai-edge-litert")
        batch = values[first : first + BATCH]
        found = float_reference.run(graph, {name: batch}, keep_tensors=False).output
        for sample, value in zip(batch, found, strict=True):
            interpreter.set_tensor(described["index"], sample[np.newaxis])
            interpreter.invoke()
            wrong += _outside(value, interpreter.get_tensor(result["index"])[0], tolerance)
    return Agreement("ai-edge-litert", version("ai-edge-litert"), f"{tolerance:g}", samples, 1, wrong)


def _outside(found: Array, expected: Array, tolerance: float) -> int:
    return int(np.sum(np.abs(found - expected) > tolerance * max(1.0, float(np.abs(expected).max()))))


def _onnx(path: Path, graph: Graph, samples: int, real: Array | None, report: Report) -> Agreement:
    """Quantized models: one unit of the output's scale, with onnxruntime's optimizer off; float ones: 1e-4."""
    runtime = session(path.read_bytes(), optimize=False)
    (described,) = runtime.get_inputs()
    generator = np.random.default_rng(0)
    high = 255 if isinstance(graph, QuantGraph) else 1
    values = generator.uniform(0, high, (samples, *described.shape[1:])).astype(np.float32)
    if real is not None:
        values = np.concatenate([values, real])
    (output,) = graph.outputs
    wrong = same = 0
    for first in range(0, len(values), BATCH):
        report(f"{first} of {len(values)} inputs in onnxruntime")
        batch = values[first : first + BATCH]
        expected = np.concatenate([runtime.run(None, {described.name: sample[np.newaxis]})[0] for sample in batch])
        found = _outputs(graph, batch)[output]
        for i, (value, wanted) in enumerate(zip(found, expected, strict=True)):
            if isinstance(graph, QuantGraph):
                qparams = graph.tensors[output].quantization
                units = np.rint(wanted / qparams.tensor_scale) + qparams.tensor_zero_point
                wrong += int(np.sum(np.abs(value - units) > 1))
            else:
                wrong += _outside(value, wanted, FLOAT_ONNX)
            same += int(first + i >= samples and np.argmax(value) == np.argmax(wanted))
    tolerance = "1 unit" if isinstance(graph, QuantGraph) else f"{FLOAT_ONNX:g}"
    count = len(values) - samples
    return Agreement("onnxruntime", version("onnxruntime"), tolerance, len(values), 1, wrong, count, same)


def _outputs(graph: Graph, batch: Array) -> dict[str, Array]:
    """Our outputs for a batch in the file's own layout, in the file's own layout."""
    (name,) = graph.input_names
    if isinstance(graph, QuantGraph):
        outputs = reference.run(graph, {name: integer_inputs(batch, graph)}, keep_tensors=False).outputs
    else:
        outputs = float_reference.run(graph, {name: real_inputs(batch, graph)}, keep_tensors=False).outputs
    return source_outputs(outputs, graph)
