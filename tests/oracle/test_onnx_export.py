"""Exported ONNX files: onnxruntime computes what our executors compute, and importing them again changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.oracle.onnx_oracle import channels_first, float_twin, run_onnx, to_user
from tests.oracle.random_graphs import NOT_IN_ONNX, NOT_IN_QDQ, STEPS, random_graph
from tinycompress.errors import UnsupportedOpError
from tinycompress.execute import float_reference, reference
from tinycompress.export.onnx import export_onnx
from tinycompress.frontends.onnx_model import import_onnx
from tinycompress.frontends.tflite_model import import_tflite
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import dequantize_values
from tinycompress.ir.graph import Graph, QuantGraph

FLOAT_TFLITE = ("pretrainedResnet", "kws_ref_model_float32", "vww_96_float", "ad01_fp32")


def check_float(graph: Graph, seed: int) -> None:
    generator = np.random.default_rng(seed)
    samples = {n: generator.normal(size=graph.tensors[n].shape).astype(np.float32) for n in graph.input_names}
    data = export_onnx(graph)
    onnx.checker.check_model(onnx.load_from_string(data))
    expected = float_reference.run(graph, samples).outputs
    samples = {n: to_user(graph, v) for n, v in samples.items()}
    for name, value in zip(graph.outputs, run_onnx(data, samples), strict=True):
        wanted = to_user(graph, expected[name])
        np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max() + 1e-6)


@pytest.mark.parametrize("model", FLOAT_TFLITE)
def test_float_models(data_dir: Path, model: str) -> None:
    graph = import_tflite((data_dir / f"models/mlperf_tiny/{model}.tflite").read_bytes(), model)
    check_float(graph, 0)
    exported = onnx.load_from_string(export_onnx(graph))
    # An image comes in channels-last and is transposed once; nothing inside is.
    assert sum(node.op_type == "Transpose" for node in exported.graph.node) <= 1


@pytest.mark.parametrize("model", FLOAT_TFLITE)
def test_float_models_imported_again(data_dir: Path, model: str) -> None:
    graph = import_tflite((data_dir / f"models/mlperf_tiny/{model}.tflite").read_bytes(), model)
    again = import_onnx(export_onnx(graph), model)
    sample = np.random.default_rng(1).normal(size=graph.tensors[graph.input_names[0]].shape).astype(np.float32)
    first = float_reference.run(graph, {graph.input_names[0]: sample}).output
    second = float_reference.run(again, {again.input_names[0]: sample}).output
    np.testing.assert_allclose(second, first, rtol=1e-4, atol=1e-5)
    assert again.parameters == graph.parameters


@pytest.mark.parametrize("kind", sorted(set(STEPS) - {"Quantize", *NOT_IN_ONNX}))
def test_each_float_operator(kind: str) -> None:
    covered = 0
    for seed in range(12):
        graph = random_graph(seed, (kind,), 1)
        if graph.ops:
            check_float(channels_first(float_twin(graph)), seed)
            covered += 1
    assert covered >= 4


EXACT_ENOUGH = sorted(set(STEPS) - {*NOT_IN_QDQ, "Softmax", "LogSoftmax", "Table", "Mean", "ResizeBilinear"})


@pytest.mark.parametrize("kind", EXACT_ENOUGH)
def test_each_quantized_operator_within_one_unit(kind: str) -> None:
    for seed in range(8):
        check_quantized(seed, kind, 1)


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Table", "Mean", "ResizeBilinear"])
def test_fixed_point_functions_within_two_units(kind: str) -> None:
    """TFLM computes these in fixed point; onnxruntime rounds the real function."""
    for seed in range(8):
        check_quantized(seed, kind, 2)


def check_quantized(seed: int, kind: str, units: int) -> None:
    """onnxruntime on the exported file, and the file imported again, against the reference."""
    graph = random_graph(seed, (kind,), 1)
    if not graph.ops or any(isinstance(op, o.Softmax) and op.beta != 1.0 for op in graph.ops):
        return
    graph = channels_first(graph)
    assert isinstance(graph, QuantGraph)
    generator = np.random.default_rng(3)
    integers = {n: generator.integers(-128, 128, graph.tensors[n].shape).astype(np.int8) for n in graph.input_names}
    real = {n: to_user(graph, dequantize_values(v, graph.tensors[n].quantization)) for n, v in integers.items()}
    data = export_onnx(graph)
    expected = reference.run(graph, integers).outputs
    again = import_onnx(data, graph.name)
    assert isinstance(again, QuantGraph)
    repeated = reference.run(again, dict(zip(again.input_names, integers.values(), strict=True))).outputs
    values = run_onnx(data, real, optimize=False)
    for name, other, value in zip(graph.outputs, again.outputs, values, strict=True):
        qparams = graph.tensors[name].quantization
        found = np.rint(value / qparams.tensor_scale) + qparams.tensor_zero_point
        wanted = to_user(graph, expected[name])
        assert np.abs(found - wanted).max() <= units, graph.ops[0]
        if kind in ("Reshape", "Transpose"):
            # Imported outputs that are no images keep whatever order they have.
            continue
        imported = repeated[other].reshape(expected[name].shape).astype(int)
        assert np.abs(imported - expected[name].astype(int)).max() <= units


def test_quantized_model_keeps_its_answers(data_dir: Path) -> None:
    graph = import_tflite((data_dir / "models/derived/kws_ref_model.nosm.tflite").read_bytes(), "kws")
    assert isinstance(graph, QuantGraph)
    with np.load(data_dir / "kws01_mfcc_dev500.npz") as file:
        samples = file["x"][:100]
    again = import_onnx(export_onnx(graph), "kws")
    assert isinstance(again, QuantGraph)
    first = reference.run(graph, {graph.input_names[0]: samples}, keep_tensors=False).output
    second = reference.run(again, {again.input_names[0]: samples}, keep_tensors=False).output
    np.testing.assert_array_equal(first, second)


def test_state_has_no_onnx_form(data_dir: Path) -> None:
    graph = import_tflite((data_dir / "models/tflite_micro/keyword_scrambled_8bit.tflite").read_bytes(), "kws")
    with pytest.raises(UnsupportedOpError, match="state svdf_1_state") as caught:
        export_onnx(graph)
    assert caught.value.code == "TC-M307"
