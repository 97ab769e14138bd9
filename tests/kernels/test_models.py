"""Every kernel variant that applies to a layer of the real int8 models, on that layer's data, against the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.kernels import harness as h
from tinycompress.execute import reference
from tinycompress.frontends.tflite_model import load_tflite
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.ops import Reshape
from tinycompress.ir.verify import to_quant_graph
from tinycompress.kernels import KERNELS

MODELS = [
    "mlperf_tiny/ad01_int8.tflite",
    "mlperf_tiny/kws_ref_model.tflite",
    "mlperf_tiny/pretrainedResnet_quant.tflite",
    "mlperf_tiny/vww_96_int8.tflite",
    "tflite_micro/hello_world_int8.tflite",
    "tflite_micro/keyword_scrambled_8bit.tflite",
    "tflite_micro/micro_speech_quantized.tflite",
]


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("name", MODELS)
def test_every_layer_of_a_model(name: str, rounding: Rounding, data_dir: Path) -> None:
    loaded = load_tflite(data_dir / "models" / name)
    assert isinstance(loaded, QuantGraph)
    graph = to_quant_graph(loaded, rounding)
    rng = np.random.default_rng(51)
    inputs = {n: h.fill(rng, graph.tensors[n]) for n in graph.input_names}
    result = reference.run(graph, inputs)
    values = {**{s.read: h.fill(rng, graph.tensors[s.read], "zero_point") for s in graph.states}, **result.tensors}
    for op in graph.ops:
        variants = [v for v in KERNELS.get(type(op), ()) if v.supports(op, graph)]
        assert variants or isinstance(op, Reshape), f"{name}: no kernel for {op}"
        for variant in variants:
            for output, value in h.run(variant, op, graph, values).items():
                np.testing.assert_array_equal(value, values[output], err_msg=f"{name}, {op.name}, {variant.name}")
