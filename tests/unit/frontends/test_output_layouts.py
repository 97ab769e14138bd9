"""Outputs of channels-first models: their own axis order is known wherever users meet them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from torch import nn

from tests.oracle.onnx_oracle import run_onnx, session
from tests.unit.frontends.test_onnx_model import model, weights
from tinycompress.api import quantize
from tinycompress.emit import generate
from tinycompress.execute import float_reference
from tinycompress.export.onnx import export_onnx
from tinycompress.frontends.onnx_model import import_onnx
from tinycompress.frontends.torch_export import import_module
from tinycompress.ir.graph import Graph
from tinycompress.ir.inputs import real_inputs, source_outputs
from tinycompress.ir.store import load, save
from tinycompress.ir.text import graph_text
from tinycompress.pipeline.reporting import model_report
from tinycompress.plan import plan

CONV = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3])


def image_network() -> tuple[bytes, Graph]:
    data = model([CONV], {"w": weights(5, 4, 3, 3)}).SerializeToString()
    return data, import_onnx(data, "net")


def user_outputs(graph: Graph, samples: np.ndarray) -> list[np.ndarray]:
    """Outputs for samples in the user's layout, in the user's layout."""
    found = float_reference.run(graph, {graph.input_names[0]: real_inputs(samples, graph)}).outputs
    return list(source_outputs(found, graph).values())


@pytest.mark.parametrize(
    ("nodes", "shape", "layout"),
    [
        ([CONV], (1, 4, 9, 7), "CHW"),
        ([helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 3, 1])], (1, 4, 9, 7), ""),
        ([helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1, 3])], (1, 4, 9, 7), "HCW"),
        ([helper.make_node("Flatten", ["x"], ["y"])], (1, 4, 9, 7), ""),
        ([helper.make_node("GlobalAveragePool", ["x"], ["y"])], (1, 4, 9, 7), "CHW"),
        ([helper.make_node("Conv", ["x", "w1"], ["y"], kernel_shape=[3])], (1, 4, 9), "CT"),
        ([helper.make_node("MatMul", ["x", "m"], ["y"])], (1, 9, 4), ""),
    ],
)
def test_an_imported_output_is_what_onnxruntime_gives(nodes: list[object], shape: tuple[int, ...], layout: str) -> None:
    constants = {"w": weights(5, 4, 3, 3), "w1": weights(5, 4, 3), "m": weights(4, 6)}
    data = model(nodes, constants, shape).SerializeToString()
    graph = import_onnx(data, "net")
    assert graph.output_layout(graph.outputs[0]) == layout
    assert graph.output_layouts in ((), (layout,))
    samples = np.random.default_rng(0).normal(size=(2, *shape[1:])).astype(np.float32)
    (found,) = user_outputs(graph, samples)
    for value, sample in zip(found, samples, strict=True):
        (expected,) = session(data).run(None, {"x": sample[np.newaxis]})
        np.testing.assert_allclose(value, expected[0], rtol=1e-4, atol=1e-4)


def test_a_torch_module_with_two_outputs_of_different_order() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.conv(x)
            return y, y.mean((2, 3))

    module = Two().eval()
    graph = import_module(module, (3, 8, 7))
    assert graph.output_layouts == ("CHW", "")
    samples = np.random.default_rng(0).normal(size=(1, 3, 8, 7)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(samples))
    for value, wanted in zip(user_outputs(graph, samples), expected, strict=True):
        np.testing.assert_allclose(value, wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_layouts_survive_quantization_storing_and_export(tmp_path: Path) -> None:
    data, graph = image_network()
    rng = np.random.default_rng(0)
    quantized = quantize(graph, [rng.normal(size=(20, 9, 7, 4)).astype(np.float32)])
    save(quantized, tmp_path / "g")
    assert load(tmp_path / "g").output_layouts == quantized.output_layouts == ("CHW",)
    assert "output y (the model's own is CHW)" in graph_text(quantized)
    sample = rng.normal(size=(4, 9, 7)).astype(np.float32)
    for exported in (graph, import_onnx(export_onnx(graph), "again")):
        (value,) = run_onnx(export_onnx(exported), {exported.input_names[0]: sample})
        (expected,) = run_onnx(data, {"x": sample})
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


def test_header_and_report_name_the_order(tmp_path: Path) -> None:
    _, graph = image_network()
    quantized = quantize(graph, [np.random.default_rng(0).normal(size=(20, 9, 7, 4)).astype(np.float32)])
    made = plan(quantized, has_dsp=False)
    program = generate(made, tmp_path)
    header = (program.directory / program.header).read_text(encoding="utf-8")
    assert "int8 [7][5][5]" in header
    assert " * axes HWC, channels last; the source model's own output is CHW\n" in header
    (port,) = model_report(made).outputs
    assert (port.shape, port.source_layout) == ((7, 5, 5), "CHW")
