"""Every third-party model of the shared folder: imported, deployed in the emulator, compared with a foreign oracle.

Run as `python -m tests.bench.models [--samples N] [--json FILE] [NAME ...]` with TINYCOMPRESS_DATA set. One row per
model: multiply-accumulates, RAM and flash of the library (exact), instructions (counted), and bytes that differ between
reference and target, and between the foreign oracle and the reference. Float models are calibrated on random data here:
their accuracy says nothing. Exit status 1 when an exact oracle differs or a model does not import.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import tinycompress as tc
from tests.oracle.onnx_oracle import as_input, as_source, session
from tests.oracle.tflm_oracle import Tflm, differing_bytes, file_indices, index_of, inputs_for
from tinycompress.errors import TinycompressError
from tinycompress.execute import float_reference, reference
from tinycompress.frontends import load_file
from tinycompress.ir.fixedpoint import dequantize_values
from tinycompress.ir.graph import Graph, QuantGraph


@dataclass(frozen=True)
class Agreement:
    """A foreign oracle on one model: what it is, the tolerance that holds, and what was compared."""

    oracle: str
    tolerance: str
    samples: int
    tensors: int
    mismatching: int


@dataclass(frozen=True)
class Row:
    """One model of the table; None where a stage was not reached, which `error` explains."""

    model: str
    kind: str
    agreement: Agreement | None = None
    macs: int | None = None
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    instructions: int | None = None
    target_mismatching_bytes: int | None = None
    error: str = ""

    @property
    def is_good(self) -> bool:
        """Imported, and nothing differs from the oracle or between reference and target."""
        return self.agreement is not None and not self.agreement.mismatching and not self.target_mismatching_bytes


def agreement(path: Path, graph: Graph, samples: int) -> Agreement:
    """The model against the oracle of its format."""
    if path.suffix == ".onnx":
        return _onnx_agreement(path, graph, samples)
    if isinstance(graph, QuantGraph):
        return _tflm_agreement(path, graph, samples)
    return _float_tflite_agreement(path, graph, samples)


def _tflm_agreement(path: Path, graph: QuantGraph, samples: int) -> Agreement:
    """Every operator's output, byte for byte; at the cut where float edges were cut."""
    oracle = Tflm(path.read_bytes(), keeps_tensors=True)
    indices = file_indices(graph, oracle.file)
    noise = {name: inputs_for(graph, name, samples, 0) for name in graph.input_names}
    fed_types = [oracle.file.tensors[i].type_name for i in oracle.file.inputs]
    state = None
    wrong = 0
    for i in range(samples):
        sample = {name: values[i] for name, values in noise.items()}
        result = reference.run(graph, sample, state)
        state = result.state
        fed = [
            dequantize_values(value, graph.tensors[name].quantization) if kind == "FLOAT32" else value
            for (name, value), kind in zip(sample.items(), fed_types, strict=True)
        ]
        oracle.run(fed)
        wrong += sum(differing_bytes(oracle.tensor(index), result.tensors[name]) for name, index in indices.items())
        for op in graph.ops:
            if len(op.outputs) == 2:
                index = oracle.file.operators[index_of(op)].inputs[4]
                wrong += differing_bytes(oracle.tensor(index), result.tensors[op.outputs[1]])
    return Agreement("tflite-micro", "exact", samples, len(indices), wrong)


def _float_tflite_agreement(path: Path, graph: Graph, samples: int) -> Agreement:
    """LiteRT's outputs to 1e-3 of their range (hybrid models: it quantizes activations on the fly, 5e-2)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (described,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    is_hybrid = any("dequantized" in note for note in graph.notes)
    tolerance = 5e-2 if is_hybrid else 1e-3
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(min(samples, 20)):
        sample = generator.uniform(0, 1, graph.tensors[graph.input_names[0]].shape).astype(np.float32)
        interpreter.set_tensor(described["index"], sample[np.newaxis])
        interpreter.invoke()
        expected = interpreter.get_tensor(result["index"])[0]
        found = float_reference.run(graph, {graph.input_names[0]: sample}).output
        wrong += int(np.sum(np.abs(found - expected) > tolerance * max(1.0, float(np.abs(expected).max()))))
    return Agreement("ai-edge-litert", f"{tolerance:g}", min(samples, 20), 1, wrong)


def _onnx_agreement(path: Path, graph: Graph, samples: int) -> Agreement:
    """onnxruntime's outputs: one unit for quantized models, 1e-4 for float ones."""
    runtime = session(path.read_bytes(), optimize=False)
    (described,) = runtime.get_inputs()
    shape = tuple(described.shape[1:])
    generator = np.random.default_rng(0)
    name = graph.input_names[0]
    wrong = 0
    for _ in range(samples):
        real = generator.uniform(0, 255 if isinstance(graph, QuantGraph) else 1, shape).astype(np.float32)
        (expected,) = runtime.run(None, {described.name: real[np.newaxis]})
        sample = as_input(graph, name, real)
        if isinstance(graph, QuantGraph):
            integers = reference_inputs(graph, name, sample)
            output = graph.tensors[graph.outputs[0]].quantization
            found = reference.run(graph, {name: integers}).output
            wanted = np.rint(expected[0] / output.tensor_scale) + output.tensor_zero_point
            wrong += int(np.sum(np.abs(as_source(graph, "", found, expected.shape[1:]) - wanted) > 1))
        else:
            found = float_reference.run(graph, {name: sample}).output
            difference = np.abs(as_source(graph, "", found, expected.shape[1:]) - expected[0])
            wrong += int(np.sum(difference > 1e-4 * max(1.0, float(np.abs(expected).max()))))
    tolerance = "1 unit" if isinstance(graph, QuantGraph) else "1e-4"
    return Agreement("onnxruntime", tolerance, samples, 1, wrong)


def reference_inputs(graph: QuantGraph, name: str, sample: np.ndarray) -> np.ndarray:
    """A real sample as the graph's integers."""
    from tinycompress.ir.fixedpoint import quantize_values

    return quantize_values(sample, graph.tensors[name].quantization, graph.tensors[name].dtype)


def examine(path: Path, root: Path, samples: int) -> Row:
    """The row of one model."""
    label = str(path.relative_to(root).with_suffix(path.suffix))
    try:
        graph = load_file(path)
    except TinycompressError as error:
        return Row(label, "refused", error=str(error))
    kind = "int8" if isinstance(graph, QuantGraph) else "float"
    found = agreement(path, graph, samples)
    with tempfile.TemporaryDirectory() as run:
        settings = {"deploy.samples": 3, "data.calibration": "random"}
        try:
            report = tc.deploy(path, emulate=True, run=run, settings=settings)
        except TinycompressError as error:
            return Row(label, kind, found, error=str(error))
    return Row(
        label,
        kind,
        found,
        report.model.macs,
        report.ram.total_bytes,
        report.flash.total_bytes,
        report.counted.instructions if report.counted else None,
        report.validation.mismatching_bytes,
    )


def line(row: Row) -> str:
    """One printed row."""
    a = row.agreement
    oracle = f"{a.oracle} {a.tolerance}: {a.samples} x {a.tensors}, {a.mismatching} differ" if a else "-"
    cells = (row.macs, row.ram_bytes, row.flash_bytes, row.instructions, row.target_mismatching_bytes)
    return f"{row.model:44} {row.kind:6}" + "".join(f"{'-' if c is None else c:>14}" for c in cells) + f"  {oracle}"


def main(arguments: list[str]) -> int:
    """Prints the table; --json also writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only models whose path contains one of these")
    parser.add_argument("--samples", type=int, default=100, help="inputs compared with the foreign oracle")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    options = parser.parse_args(arguments)
    root = Path(os.environ["TINYCOMPRESS_DATA"]) / "models"
    paths = sorted(p for p in root.rglob("*") if p.suffix in (".tflite", ".onnx"))
    print(f"{'model':44} {'kind':6}" + "".join(f"{t:>14}" for t in ("MACs", "RAM", "flash", "instructions", "differ")))
    rows = []
    for path in paths:
        if options.names and not any(name in str(path) for name in options.names):
            continue
        rows.append(examine(path, root, options.samples))
        print(line(rows[-1]), flush=True)
        if rows[-1].error:
            print(f"    {rows[-1].error}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(r) for r in rows], indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.is_good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
