"""Third-party ONNX models against onnxruntime: float to 1e-4, quantized within one unit and with the same answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.oracle.onnx_oracle import as_input, as_source, session
from tinycompress.execute import float_reference, reference
from tinycompress.frontends.onnx_model import import_onnx
from tinycompress.ir.fixedpoint import quantize_values
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.ops import Transpose
from tinycompress.ir.tensor import DType


@pytest.mark.parametrize("model", ["onnx_misc/mnist_ort_example", "deeploy_onnx/Autoencoder1D/network"])
def test_float_models_equal_onnxruntime(data_dir: Path, model: str) -> None:
    data = (data_dir / "models" / f"{model}.onnx").read_bytes()
    graph = import_onnx(data, "net")
    assert not any(isinstance(op, Transpose) for op in graph.ops if op.name.count("decoder") == 0)
    runtime = session(data)
    (described,) = runtime.get_inputs()
    generator = np.random.default_rng(0)
    for _ in range(8):
        sample = generator.normal(size=described.shape[1:]).astype(np.float32)
        (expected,) = runtime.run(None, {described.name: sample[np.newaxis]})
        name = graph.input_names[0]
        found = float_reference.run(graph, {name: as_input(graph, name, sample)}).output
        np.testing.assert_allclose(as_source(graph, found), expected[0], rtol=1e-4, atol=1e-4)


def test_qdq_mnist_within_one_unit_and_same_answers(data_dir: Path) -> None:
    """Every shared image; onnxruntime with its optimizer off computes what the QDQ nodes say."""
    data = (data_dir / "models/derived/mnist_int8_qdq.onnx").read_bytes()
    graph = import_onnx(data, "mnist")
    assert isinstance(graph, QuantGraph)
    with np.load(data_dir / "mnist5k.npz") as file:
        images = file[next(k for k in file.files if file[k].ndim >= 3)].reshape(-1, 28, 28)[::5]
    name = graph.input_names[0]
    runtime = session(data, optimize=False)
    real = images.astype(np.float32)[:, np.newaxis]
    expected = np.concatenate([runtime.run(None, {"Input3": x[np.newaxis]})[0] for x in real])
    inputs = {name: quantize_values(real.transpose(0, 2, 3, 1), graph.tensors[name].quantization, DType.INT8)}
    found = reference.run(graph, inputs, keep_tensors=False).output
    output = graph.tensors[graph.outputs[0]].quantization
    units = np.abs(np.rint(expected / output.tensor_scale) + output.tensor_zero_point - found)
    assert units.max() <= 1
    assert np.mean(units > 0) < 0.2
    assert (found.argmax(1) == expected.argmax(1)).all()
