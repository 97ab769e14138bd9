"""Files that PyTorch and onnxruntime write for ordinary networks, over the operator sets: imported as they compute."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.oracle.onnx_oracle import as_input, as_source, session
from tinycompress.execute import float_reference, reference
from tinycompress.frontends.onnx_model import import_onnx
from tinycompress.ir.fixedpoint import quantize_values
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.ops import Transpose
from tinycompress.ir.tensor import DType

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

nn, functional = torch.nn, torch.nn.functional

OPSETS = (9, 13, 17, 18, 20)


class Images(nn.Module):  # type: ignore[misc,name-defined]
    """Most of what small image networks are made of: depthwise, squeeze-excite, upsampling, split and concat."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.slope = nn.PReLU(8)
        self.depthwise, self.pointwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 16, 1)
        self.squeeze, self.excite = nn.Linear(16, 4), nn.Linear(4, 16)
        self.up = nn.ConvTranspose2d(16, 4, 2, 2)
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(4 * 8 * 8, 10)

    def forward(self, x: Any) -> Any:
        x = self.slope(self.norm(self.stem(x)))
        x = functional.relu6(self.pointwise(functional.hardswish(self.depthwise(x))))
        gate = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        gate = torch.sigmoid(self.excite(functional.relu(self.squeeze(gate))))
        x = functional.avg_pool2d(x * gate[:, :, None, None], 2)
        x = functional.interpolate(functional.silu(self.up(x)), scale_factor=2, mode="nearest")
        first, second = functional.max_pool2d(x, 2).chunk(2, 1)
        x = functional.leaky_relu(torch.cat([second, first], 1), 0.1)
        return functional.log_softmax(self.head(self.drop(x).view(x.size(0), -1)), 1)


class Series(nn.Module):  # type: ignore[misc,name-defined]
    """A network over time."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(6, 12, 5, padding=2), nn.Conv1d(12, 12, 3, padding=1, groups=12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Any) -> Any:
        x = functional.max_pool1d(functional.relu(self.first(x)), 2)
        return self.head(torch.tanh(self.second(x)).mean(2))


class Plain(nn.Module):  # type: ignore[misc,name-defined]
    """Convolutions, a residual, pooling and a head: what onnxruntime's quantizer covers entirely."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = functional.relu(self.first(x))
        x = functional.max_pool2d(functional.relu(x + self.second(x)), 2)
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def exported(network: Any, shape: tuple[int, ...], opset: int) -> bytes:
    """What PyTorch's own exporter writes."""
    torch.manual_seed(0)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network.eval(), (torch.zeros(1, *shape),), buffer, opset_version=opset, dynamo=False)
    return buffer.getvalue()


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(("network", "shape"), [(Images, (3, 16, 16)), (Series, (6, 32))])
def test_float_networks(network: Any, shape: tuple[int, ...], opset: int) -> None:
    torch.manual_seed(0)
    data = exported(network(), shape, opset)
    graph = import_onnx(data, "net")
    assert not any(isinstance(op, Transpose) for op in graph.ops)
    sample = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    runtime = session(data)
    (expected,) = runtime.run(None, {runtime.get_inputs()[0].name: sample[np.newaxis]})
    name = graph.input_names[0]
    found = float_reference.run(graph, {name: as_input(graph, name, sample)}).output
    np.testing.assert_allclose(as_source(graph, found), expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("opset", [17, 20])
def test_gelu_is_one_table_however_it_is_written(approximate: str, opset: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.GELU(approximate), nn.Conv2d(5, 3, 1))
    data = exported(network, (3, 8, 8), opset)
    graph = import_onnx(data, "net")
    assert [op.kind for op in graph.ops] == ["Conv2D", "Table", "Conv2D"]
    sample = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    runtime = session(data)
    (expected,) = runtime.run(None, {runtime.get_inputs()[0].name: sample[np.newaxis]})
    name = graph.input_names[0]
    found = float_reference.run(graph, {name: as_input(graph, name, sample)}).output
    np.testing.assert_allclose(as_source(graph, found), expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activation", ["QInt8", "QUInt8"])
def test_onnxruntime_quantized_networks(tmp_path: Path, form: str, per_channel: bool, activation: str) -> None:
    """Roundings inside may differ by one and carry on; at the output they do not pile up beyond one unit."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    generator = np.random.default_rng(0)
    (tmp_path / "float.onnx").write_bytes(exported(Plain(), (3, 12, 12), 13))
    samples = generator.normal(size=(24, 3, 12, 12)).astype(np.float32)
    name = session((tmp_path / "float.onnx").read_bytes()).get_inputs()[0].name

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            self.rest = iter(samples)

        def get_next(self) -> Any:
            sample = next(self.rest, None)
            return None if sample is None else {name: sample[np.newaxis]}

    quantization.quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "int8.onnx",
        Reader(),
        quant_format=getattr(quantization.QuantFormat, form),
        per_channel=per_channel,
        activation_type=getattr(quantization.QuantType, activation),
        weight_type=quantization.QuantType.QInt8,
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )
    data = (tmp_path / "int8.onnx").read_bytes()
    graph = import_onnx(data, "net")
    assert isinstance(graph, QuantGraph)
    runtime = session(data, optimize=False)
    expected = np.concatenate([runtime.run(None, {name: s[np.newaxis]})[0] for s in samples])
    entry = graph.input_names[0]
    integers = quantize_values(samples.transpose(0, 2, 3, 1), graph.tensors[entry].quantization, DType.INT8)
    found = reference.run(graph, {entry: integers}, keep_tensors=False).output
    output = graph.tensors[graph.outputs[0]].quantization
    units = np.abs(np.rint(expected / output.tensor_scale) + output.tensor_zero_point - found)
    assert units.max() <= 1
    assert np.mean(units == 0) > 0.85
