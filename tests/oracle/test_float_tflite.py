"""Float TFLite models, imported, compute what LiteRT computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinycompress.execute import float_reference
from tinycompress.frontends.tflite_model import import_tflite

interpreter: Any = pytest.importorskip("ai_edge_litert.interpreter", reason="PyPI ai-edge-litert is not installed")

MODELS = (
    ("mlperf_tiny/pretrainedResnet", 1e-4),
    ("mlperf_tiny/vww_96_float", 1e-4),
    ("mlperf_tiny/ad01_fp32", 1e-4),
    ("tflite_micro/hello_world_float", 1e-4),
    # Hybrid: LiteRT quantizes the activations of its int8 layers on the fly, the imported network does not.
    ("mlperf_tiny/kws_ref_model_float32", 5e-2),
)


@pytest.mark.parametrize(("model", "tolerance"), MODELS)
def test_float_model(data_dir: Path, model: str, tolerance: float) -> None:
    data = (data_dir / "models" / f"{model}.tflite").read_bytes()
    graph = import_tflite(data, "net")
    runtime = interpreter.Interpreter(model_content=data, num_threads=1)
    runtime.allocate_tensors()
    generator = np.random.default_rng(0)
    for _ in range(5):
        sample = generator.uniform(0, 1, graph.tensors[graph.input_names[0]].shape).astype(np.float32)
        runtime.set_tensor(runtime.get_input_details()[0]["index"], sample[np.newaxis])
        runtime.invoke()
        expected = runtime.get_tensor(runtime.get_output_details()[0]["index"])[0]
        found = float_reference.run(graph, {graph.input_names[0]: sample}).output
        np.testing.assert_allclose(found, expected, atol=tolerance * max(1.0, float(np.abs(expected).max())))
